"""A place for a file in; a file that takes it whole, or not at all, out."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# What must fit on the disk before anything is computed.
TRIED = 1 << 20


@contextmanager
def whole(path: str | os.PathLike, encoding: str | None = None) -> Iterator[IO]:
    """Open a file of bytes, or of text, beside its place, which it takes once it is written; of others nothing stays.

    A link's target is written, and a device or a pipe is written to as it is.
    """
    path = Path(os.path.realpath(path))
    kind = {"mode": "b"} if encoding is None else {"mode": "", "encoding": encoding, "newline": ""}
    if path.exists() and not path.is_file():
        with open(path, "w" + kind.pop("mode"), **kind) as file:
            yield file
        return
    temporary = beside(path)
    try:
        with open(temporary, "x" + kind.pop("mode"), **kind) as file:
            yield file
            flush(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def obstacle(path: str | os.PathLike) -> str | None:
    """Say why no file can be written there, or None; found out by writing one beside it."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        return "it is a folder"
    if path.exists() and not path.is_file():
        return None
    temporary = beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(bytes(TRIED))
            flush(file)
    except OSError as exc:
        return "there is no such folder" if isinstance(exc, FileNotFoundError) else exc.strerror.lower()
    finally:
        temporary.unlink(missing_ok=True)
    return None


def check(path: str | os.PathLike):
    """Refuse a place where no file can be written."""
    if reason := obstacle(path):
        raise ValueError(f"Cannot write {os.fspath(path)!r}: {reason}. Choose another place.")


def flush(file: IO):
    """Have the bytes on disk before the name points to them."""
    file.flush()
    os.fsync(file.fileno())


def beside(path: Path) -> Path:
    """Return a name that nobody can foresee."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")
