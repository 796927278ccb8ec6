"""Where an image comes from: a path or URL in, its bytes out; trouble becomes one plain reason."""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager

import numpy as np
from PIL import Image

from hybrid.images.pixels import ImageError
from hybrid.images.urls import fetch

MAX_BYTES = 1 << 30
URL = re.compile(r"(?!file:)[A-Za-z][\w+.:-]*://")
TRUNCATED = re.compile("truncated|not enough image data|EOF|requires a buffer", re.IGNORECASE)


def missing(item) -> bool:
    """Tell whether a cell of a table holds nothing."""
    return item is None or type(item).__name__ == "NAType" or (isinstance(item, float) and item != item)


@contextmanager
def plainly(what: str):
    """Turn whatever a file system, a server or a decoder raises into an ImageError with a plain reason."""
    try:
        yield
    except (ImageError, ImportError):
        raise
    except Exception as exc:
        if isinstance(exc, FileNotFoundError):
            reason = "no such file"
        elif isinstance(exc, OSError) and exc.strerror:
            reason = exc.strerror.lower()
        elif TRUNCATED.search(str(exc)):
            reason = "truncated file"
        else:
            reason = f"{what} ({str(exc) or type(exc).__name__})"
        raise ImageError(reason) from exc


def read(item):
    """Return an image as its encoded bytes, an array or a PIL image."""
    if isinstance(item, (bytes, Image.Image)):
        return item
    if isinstance(item, np.ndarray):
        if item.dtype.kind not in "biuf":
            raise ImageError(f"dtype {item.dtype}, but expected numbers")
        return item
    if missing(item):
        raise ImageError("no image")
    path = os.fspath(item)
    if isinstance(path, str) and URL.match(path):
        with plainly("cannot be fetched"):
            return fetch(path)
    with plainly("cannot be opened"):
        # Opening a device can already act on it, and a pipe may take the file's place after the first look.
        check_regular(os.stat(path))
        with open(path, "rb", buffering=0, opener=open_at_once) as file:
            check_regular(os.fstat(file.fileno()))
            return file.readall()


def open_at_once(path, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_regular(status: os.stat_result):
    """Refuse what is not a regular file, or too large a one."""
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file")
    if status.st_size > MAX_BYTES:
        raise ImageError(f"{status.st_size} bytes are over the limit of {MAX_BYTES}")
