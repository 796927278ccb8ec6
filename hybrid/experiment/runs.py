"""What a run is about in; a folder of its finished parts out, so that one that was killed goes on where it was.

The folder's name is a digest of the data, the config and the folds: whatever differs is another run. It is
removed when the run is done.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import sklearn

from hybrid.store.feature_store import FeatureStore

# Folders of runs that were never finished; the oldest go first.
MOST_RUNS = 20


class Run:
    """Finished parts, by name: arrays in, the same arrays out; None where they are not kept."""

    def __init__(self, folder: Path | None):
        self.folder = folder

    def remember(self, name: str, work: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return what the work returned before, or does now."""
        known = self.read(name)
        if known is None:
            known = work()
            self.write(name, known)
        return known

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """Return a part; what cannot be read is not there."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception:  # whatever a torn or foreign file does, the part is computed anew
            return None

    def write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep a part, whole or not at all; where that cannot be, it isn't kept."""
        if self.folder is None:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = self.folder / f"{name}.{os.getpid()}.draft"
            with draft.open("wb") as file:
                np.savez(file, **arrays)
            draft.replace(self.folder / f"{name}.npz")

    def finish(self) -> None:
        """Forget the parts."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def open_run(store: FeatureStore | None, about: Iterable) -> Run:
    """Find the run beside a store that is about texts and arrays; without a store nothing is kept."""
    about = list(about)
    if store is None or any(isinstance(one, np.ndarray) and one.dtype.hasobject for one in about):
        return Run(None)
    digest = hashlib.blake2b(sklearn.__version__.encode(), digest_size=16)
    for one in about:
        if isinstance(one, np.ndarray):
            digest.update(f"{one.dtype} {one.shape}".encode())
            digest.update(np.ascontiguousarray(one).data)
        else:
            digest.update(str(one).encode())
    folder = Path(store.path) / "runs"
    with suppress(OSError):
        others = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in others[MOST_RUNS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
    return Run(folder / digest.hexdigest())
