"""Converted networks on disk: an OpenVINO model in, the same model out in any later process.

Each is a folder under ``home()/networks``, published whole by one rename and checked by digest when read. Of several
processes one converts, and the others wait for it; what was not read for longest goes when they fill their room.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hybrid.home import home
from hybrid.sources.network import Network
from hybrid.store.feature_store import LIMIT, read_limit

if TYPE_CHECKING:
    import openvino

try:
    import fcntl
except ImportError:  # Windows, where each process converts for itself
    fcntl = None

# Raise it whenever a network would be converted into another graph.
CONVERTER = 1
MODEL, WEIGHTS, DIGESTS = "network.xml", "network.bin", "digests.json"
ABANDONED_SECONDS = 3600
# Longer than any network takes; a process that was stopped holds its lock for ever.
WAIT_SECONDS, POLL_SECONDS = 180, 0.1
LOCK = ".lock"


def networks_folder() -> Path:
    return home() / "networks"


def make_folder():
    """Make the folder, for its user alone."""
    home().mkdir(parents=True, exist_ok=True, mode=0o700)
    networks_folder().mkdir(exist_ok=True, mode=0o700)


def identity(network: Network, *more: object) -> str:
    """Digest everything that the converted network depends on."""
    record = asdict(network.backbone)
    graph = [record[field] for field in ("name", "stages", "last", "bgr", "scale", "mean", "std")]
    told = [CONVERTER, graph, network.fingerprint, network.size, network.top, more]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def kept(core: openvino.Core, key: str, convert: Callable[[], openvino.Model]) -> openvino.Model:
    """Return the model kept under a key; the one process that finds none converts and keeps it."""
    model = read(core, key)
    if model is not None:
        return model
    with alone(key):
        model = read(core, key)
        if model is None:
            model = convert()
            keep(core, key, model)
            _trim(key)
    return model


@contextlib.contextmanager
def alone(key: str) -> Iterator[None]:
    """Hold other processes off a network; where one holds us off for too long, go on all the same."""
    lock = networks_folder() / f"{key}{LOCK}"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            make_folder()
            file = stack.enter_context(open(lock, "a"))
            until = time.monotonic() + WAIT_SECONDS
            while fcntl and not locked(file) and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
        yield
    if not lock.with_suffix("").is_dir():
        with contextlib.suppress(OSError):
            lock.unlink()


def locked(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _trim(key: str):
    """Remove the networks that were not read for longest, down to the store's limit; never the one of this key.

    Only those that have a lock: they can be converted again, where a calibrated one needs its images.
    """
    limit = read_limit(os.environ.get("HYBRID_STORE_LIMIT") or LIMIT)
    with contextlib.suppress(OSError):
        folders = [path.with_suffix("") for path in networks_folder().glob(f"*{LOCK}")]
        rest = [folder for folder in folders if folder.name != key and folder.is_dir()]
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in rest}
        room = limit - sum(file.stat().st_size for file in (networks_folder() / key).glob("*"))
        for folder in sorted(rest, key=lambda folder: folder.stat().st_mtime, reverse=True):
            room -= sizes[folder]
            if room < 0:
                shutil.rmtree(folder, ignore_errors=True)
                folder.with_suffix(LOCK).unlink(missing_ok=True)


def read(core: openvino.Core, key: str) -> openvino.Model | None:
    """Return the model kept under a key, or None where there is none or it is damaged."""
    folder = networks_folder() / key
    try:
        if json.loads((folder / DIGESTS).read_text()) != digests(folder):
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)
        return core.read_model(folder / MODEL)
    except (OSError, ValueError, RuntimeError):
        return None


def keep(core: openvino.Core, key: str, model: openvino.Model):
    """Keep a model for later processes; where the disk does not allow it, warn and go on."""
    import openvino

    parent = networks_folder()
    try:
        make_folder()
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(prefix=".", dir=parent))
        try:
            openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
            # A full disk may cut the file short without an error, and a digest of the stump would fit it.
            core.read_model(folder / MODEL)
            (folder / DIGESTS).write_text(json.dumps(digests(folder)))
            for file in folder.iterdir():
                file.chmod(0o600)
            _publish(folder, parent / key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RuntimeError) as exc:
        reason = (str(exc).strip() or repr(exc)).splitlines()[-1]
        warnings.warn(
            f"Cannot keep the converted network in {parent}: {reason}. It works now, but the next "
            "process has to convert it again. Free some space there, or set HYBRID_STORE to another folder.",
            RuntimeWarning,
            stacklevel=2,
        )


def _publish(folder: Path, place: Path):
    """Move a folder to its place, by renames alone; what stands there is damaged, or the same network."""
    old = folder.with_name(f"{folder.name}-old")
    with contextlib.suppress(FileNotFoundError):
        os.rename(place, old)
    try:
        os.rename(folder, place)
    except OSError:
        if not place.exists():
            raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(parent: Path):
    """Remove what killed processes left behind."""
    for folder in parent.glob(".*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def digests(folder: Path) -> dict[str, str]:
    return {name: digest(folder / name) for name in (MODEL, WEIGHTS)}


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
