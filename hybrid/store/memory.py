"""Files in, the rows that this process read of them last out: a fold that was seen before costs a stat a row."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterable

import numpy as np

LIMIT = 128 * 2**20
RACY_SECONDS = 2  # the coarsest clock of a file system in use: FAT's


def states(items: Iterable) -> list[tuple] | None:
    """Return what changes with each file's content; None where not every item is a file that rests."""
    now, found = time.time(), []
    for item in items:
        if not isinstance(item, (str, os.PathLike)):
            return None
        try:
            status = os.stat(item)
        except (OSError, ValueError):
            return None
        if now - status.st_mtime < RACY_SECONDS:
            return None
        found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return found


class Memory:
    """Rows by recipe and by the state that a file had before it was read."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.rows: dict[Hashable, dict[Hashable, np.ndarray]] = {}
        self.bytes = 0

    def get(self, recipe: Hashable, files: list) -> np.ndarray | None:
        """Return a new matrix of the files' rows, if all of them are known."""
        rows = self.rows.get(recipe, {})
        try:
            return np.stack([rows[state] for state in files])
        except KeyError:
            return None

    def keep(self, recipe: Hashable, files: list, matrix: np.ndarray) -> None:
        """Remember rows, in a copy: the matrix is its caller's to change."""
        rows = self.rows.setdefault(recipe, {})
        fresh = [i for i, state in enumerate(files) if state not in rows]
        size = len(fresh) * matrix.itemsize * matrix.shape[1]
        if size > LIMIT:
            return
        if self.bytes + size > LIMIT:
            self.clear()
            rows = self.rows.setdefault(recipe, {})
        self.bytes += size
        rows.update(zip((files[i] for i in fresh), matrix[fresh], strict=True))
