"""Where an image comes from: a path or URL in, its bytes out; trouble becomes one plain reason."""

from __future__ import annotations

import binascii
import io
import os
import re
import stat
from collections.abc import Mapping
from contextlib import contextmanager

import numpy as np
from PIL import Image

from hybrid.images.pixels import ImageError
from hybrid.images.urls import fetch

Raw = bytes | np.ndarray | Image.Image
ENCODED = (bytes, bytearray, memoryview, io.BytesIO)
MAX_BYTES = 1 << 30
NO_FILE = "no such file"
DATA = re.compile("data:[^,]*;base64,", re.IGNORECASE)
URL = re.compile(rf"(?!file:)[A-Za-z][\w+.:-]*://|{DATA.pattern}", re.IGNORECASE)
PATTERN = re.compile(r"[*?]|\[.+\]")
TRUNCATED = re.compile("truncated|not enough image data|EOF|requires a buffer", re.IGNORECASE)


def missing(item: object) -> bool:
    """Tell whether a cell of a table holds nothing."""
    return item is None or type(item).__name__ == "NAType" or (isinstance(item, float) and item != item)


def is_image(item: object) -> bool:
    """Tell whether `read` takes an item of this kind."""
    known = isinstance(item, (str, os.PathLike, Image.Image, *ENCODED)) or missing(item) or is_wrapped(item)
    return known or (hasattr(item, "__array__") and not isinstance(item, np.generic))


def is_wrapped(item: object) -> bool:
    """Tell whether an item is what Hugging Face's datasets make of an image that is not decoded."""
    return isinstance(item, Mapping) and "bytes" in item and item.keys() <= {"bytes", "path"}


def is_folder(item: object) -> bool:
    """Tell whether a folder stands where an image is expected."""
    return isinstance(item, (str, os.PathLike)) and os.path.isdir(item)


def is_pattern(item: object) -> bool:
    """Tell whether a path is no file's, but a pattern such as a shell expands."""
    if not isinstance(item, str) or URL.match(item) or not PATTERN.search(item):
        return False
    return not os.path.lexists(item)


def encoded(item: bytes | bytearray | memoryview | io.BytesIO) -> bytes:
    """Return encoded bytes as bytes; a file in memory is read from its start."""
    return item.getvalue() if isinstance(item, io.BytesIO) else bytes(item)


@contextmanager
def plainly(what: str):
    """Turn whatever a file system, a server or a decoder raises into an ImageError with a plain reason."""
    try:
        yield
    except (ImageError, ImportError):
        raise
    except Exception as exc:
        if isinstance(exc, FileNotFoundError):
            reason = NO_FILE
        elif isinstance(exc, OSError) and exc.strerror:
            reason = exc.strerror.lower()
        elif TRUNCATED.search(str(exc)):
            reason = "truncated file"
        else:
            reason = f"{what} ({str(exc) or type(exc).__name__})"
        raise ImageError(reason) from exc


def read(item: object) -> Raw:
    """Return an image as its encoded bytes, an array or a PIL image."""
    if is_wrapped(item):
        item = item.get("path") if item["bytes"] is None else item["bytes"]
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, ENCODED):
        return encoded(item)
    if missing(item):
        raise ImageError("no image")
    if not is_image(item):
        raise ImageError(f"{type(item).__name__} is no path, bytes, PIL image or array")
    if not isinstance(item, (str, os.PathLike)):
        return numbers(item)
    path = os.fspath(item)
    if isinstance(path, str) and URL.match(path):
        if DATA.match(path):
            return unpack(path)
        with plainly("cannot be fetched"):
            return fetch(path)
    if is_pattern(path):
        raise ImageError(f"{NO_FILE}; hybrid.load_folder lists what a pattern matches")
    with plainly("cannot be opened"):
        # Opening a device can already act on it, and a pipe may take the file's place after the first look.
        _check_regular(os.stat(path))
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            _check_regular(os.fstat(file.fileno()))
            return file.readall()


def _open_at_once(path: str | os.PathLike, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_regular(status: os.stat_result):
    """Refuse what is not a regular file, or too large a one."""
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("is a directory; hybrid.load_folder lists its images")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file")
    if status.st_size > MAX_BYTES:
        raise ImageError(f"{status.st_size} bytes are over the limit of {MAX_BYTES}")


def numbers(item: object) -> np.ndarray:
    """Return an array, or a tensor as an array."""
    with plainly("cannot be made an array"):
        array = np.asarray(item)
    if array.dtype.kind not in "biuf":
        raise ImageError(f"dtype {array.dtype}, but expected numbers")
    return array


def unpack(uri: str) -> bytes:
    """Return the bytes that a data: URI holds."""
    try:
        return binascii.a2b_base64(uri.partition(",")[2], strict_mode=True)
    except (binascii.Error, ValueError) as exc:
        raise ImageError(f"damaged base64 ({exc})") from exc
