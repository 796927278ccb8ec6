"""A file of weights, or a seed to draw them by, in; what they are known by out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Integral
from pathlib import Path

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


@dataclass(frozen=True)
class WeightsFile:
    """A file of published weights: its name, where it is had, and its MD5 or SHA-256 where that is known."""

    name: str
    url: str = ""
    hash: str = ""

    def is_whole(self, path: Path) -> bool:
        """Say whether this very file lies at a path."""
        if not self.hash:
            return path.is_file()
        return path.is_file() and file_digest(path, kind_of(self.hash)) == self.hash


def drawn(name: str, seed: int | None) -> Weights:
    """Return the weights that a seed draws for a network of this name."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise ValueError(
            f"Got weights=None and seed={seed!r}, but random weights need an integer seed of 0 or more."
        )
    return Weights(None, _text_digest(name, DRAWING, int(seed)), int(seed))


def given(path: Path, published: Iterable[WeightsFile | None] = ()) -> Weights:
    """Return the weights in a user's file; the published ones are known by name and content."""
    if not path.is_file():
        raise ValueError(
            f"Got weights={str(path)!r}, but expected 'imagenet', None (with a seed) or a weights file: "
            "there is no such file."
        )
    for file in published:
        if file and file.hash and file.name == path.name and file.is_whole(path):
            return Weights(path, file.hash, published=True)
    return Weights(path, file_digest(path))


def brought(path: Path, files: Iterable[Path]) -> Weights:
    """Return the weights of a user's own network, known by all of its files and their names."""
    told = [(file.name, file_digest(file)) for file in files if file.is_file()]
    return Weights(path, _text_digest(*told), published=True)


def file_digest(path: str | os.PathLike, kind: str = "blake2b") -> str:
    """Return the hash of a file's content, computed once a process and version of the file."""
    status = os.stat(path)
    version = status.st_size, status.st_mtime_ns, status.st_ino
    return _versioned_digest(os.path.abspath(path), kind, version)


@lru_cache(maxsize=256)
def _versioned_digest(path, kind, version):
    return content_digest(path, kind)


def content_digest(path: str | os.PathLike, kind: str) -> str:
    """Return the hash of a file's content as it is now."""
    options = {"digest_size": 20} if kind == "blake2b" else {"usedforsecurity": False}
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, **options)).hexdigest()


def kind_of(digest: str) -> str:
    """Return the algorithm of a published hash."""
    return "md5" if len(digest) == 32 else "sha256"


def _text_digest(*parts: object) -> str:
    """Return the hash of plain values."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()
