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
    text = {} if encoding is None else {"encoding": encoding, "newline": ""}
    binary = "" if text else "b"
    if _is_stream(path):
        with open(path, f"w{binary}", **text) as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    temporary = beside(path)
    file = open(temporary, f"x{binary}", **text)  # noqa: SIM115
    try:
        with file:
            yield file
            flush(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_stream(path: str | os.PathLike) -> bool:
    """Tell a device or a pipe, which no file may replace."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def obstacle(path: str | os.PathLike) -> str | None:
    """Say why no file can be written there, or None; found out by writing one beside it."""
    if os.path.isdir(path):
        return "it is a folder"
    if _is_stream(path):
        return None
    temporary = beside(Path(os.path.realpath(path)))
    try:
        file = open(temporary, "xb")  # noqa: SIM115
        try:
            with file:
                file.write(bytes(TRIED))
                flush(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        return (
            "there is no such folder"
            if isinstance(exc, FileNotFoundError)
            else (exc.strerror or str(exc)).lower()
        )
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
