"""Anything a user calls an image in; uint8 RGB of one size out. What is bad is named, never guessed.

EXIF orientation is applied, transparency lies over white, of an animation the first frame counts, and colour
profiles are ignored. Samples of 16 bits are scaled to 8; floats, and integers of 32 bits, need a value range.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Sequence
from importlib import import_module
from threading import Lock

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hybrid.images.frame import Frame, orientation, views
from hybrid.images.pixels import ImageError, flat, from_array
from hybrid.images.source import missing, plainly, read

__all__ = [
    "FORMATS", "MAX_PIXELS", "Frame", "ImageError",
    "as_items", "decode", "digest", "name", "raise_for", "read",
]  # fmt: skip

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")
LISTED = 20
KINDS = (str, bytes, os.PathLike, Image.Image, np.ndarray)
EXPECTED = "a list of paths, bytes, PIL images or arrays, an array (n, h, w, 3), or a DataFrame of one column"
# Two threads may be given the same picture, opened and not yet loaded.
LOADING = Lock()

# Importing a plugin registers it in Image.OPEN.
for plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP"):
    import_module(f"PIL.{plugin}ImagePlugin")


def as_items(X) -> Sequence:
    """Return a batch as a sequence of single images, without copying any.

    Parameters
    ----------
    X : list, tuple, Series, array or DataFrame
        Paths, URLs, encoded bytes, PIL images or arrays, of any sizes and mixed; an array
        (n, h, w, 3 | 1 | 4) or (n, h, w); a DataFrame of one column. An array (a, b, 3) is refused:
        it may be one colour picture, or many grey ones.

    Examples
    --------
    >>> as_items(["cat.jpg", "dog.png"])
    ['cat.jpg', 'dog.png']
    >>> as_items(np.zeros((10, 480, 640, 3), np.uint8))[7].shape
    (480, 640, 3)
    """
    if isinstance(X, (str, bytes, os.PathLike, Image.Image)):
        raise TypeError(f"Got one image, {name(X)}, but expected {EXPECTED}. Wrap it in a list: [X].")
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            raise ValueError(
                f"Got a DataFrame of {len(X.columns)} columns {list(X.columns)!r:.200}, but expected one. "
                "Select that of the images, as in X[['image']], or use a ColumnTransformer."
            )
        X = X[X.columns[0]]
    if not isinstance(X, (list, tuple)):
        if not hasattr(X, "__array__"):
            raise TypeError(f"Got {name(X)}, but expected {EXPECTED}.")
        X = as_rows(np.asarray(X))
    if len(X) == 0:
        raise ValueError(f"Got no images, but expected at least one in {EXPECTED}.")
    if isinstance(X, (list, tuple)) or X.ndim == 1:
        for i, item in enumerate(X):
            if not isinstance(item, KINDS) and not missing(item):
                raise TypeError(
                    f"Got {name(item)} as item {i}, but expected a path, bytes, PIL image or array."
                )
    return X


def as_rows(X: np.ndarray) -> np.ndarray:
    """Return an array with one image an item."""
    got = f"Got an array of shape {X.shape} and dtype {X.dtype}, but expected"
    if X.dtype.kind in "OUT":
        X = X[:, 0] if X.shape[1:] == (1,) else X
        if X.ndim != 1:
            raise ValueError(f"{got} one image a row. Select the image column.")
        return X
    if X.dtype.kind not in "biuf":
        # Among them NumPy's byte strings, which drop trailing zeros.
        raise TypeError(f"{got} numbers, or objects such as paths.")
    if X.ndim == 3 and X.shape[2] in (3, 4):
        raise ValueError(
            f"{got} (n, h, w, channels) or (n, h, w). Pass [X] if it is one colour picture, "
            f"X[..., None] if it is {len(X)} grey ones of width {X.shape[2]}."
        )
    if X.ndim == 4 and X.shape[3] not in (1, 3, 4):
        way_out = "Use np.moveaxis(X, 1, -1)." if X.shape[1] in (1, 3, 4) else "Select them."
        raise ValueError(f"{got} 1, 3 or 4 channels, last. {way_out}")
    if X.ndim not in (3, 4):
        raise ValueError(
            f"{got} images (n, h, w, channels) or (n, h, w). "
            "Reshape rows of pixels to pictures; wrap one grey picture in a list."
        )
    return X


def digest(raw, value_range=None) -> bytes:
    """Return 16 bytes that differ wherever the pixels do.

    Encoded bytes count as they are: float samples in a file need the value range beside their digest.
    """
    if isinstance(raw, bytes):
        return hashlib.blake2b(raw, digest_size=16).digest()
    with plainly("damaged or unsupported"):
        if isinstance(raw, np.ndarray):
            scale = tuple(map(float, value_range)) if value_range and raw.dtype.kind == "f" else None
            content, header = np.ascontiguousarray(raw), ("array", raw.dtype.str, raw.shape, scale)
        else:
            image = picture(raw)
            pixels = flat(image, value_range)
            content, header = pixels.tobytes(), ("picture", pixels.mode, pixels.size, orientation(image))
        summary = hashlib.blake2b(repr(header).encode(), digest_size=16, person=b"pixels")
        summary.update(content)
        return summary.digest()


def decode(raw, frame: Frame, value_range=None) -> np.ndarray:
    """Return the views of an image as fresh uint8 (views, h, w, 3).

    Examples
    --------
    >>> decode(np.full((60, 80), 7, np.uint8), Frame(size=(2, 2))).tolist()
    [[[[7, 7, 7], [7, 7, 7]], [[7, 7, 7], [7, 7, 7]]]]
    """
    with plainly("damaged or unsupported"):
        return views(picture(raw, value_range), frame, value_range)


def picture(raw, value_range=None) -> Image.Image:
    """Return a PIL image: of a JPEG file not loaded yet, of anything else loaded."""
    if isinstance(raw, bytes):
        image = opened(raw)
        if not isinstance(image, JpegImageFile):
            image.load()
        return image
    if isinstance(raw, np.ndarray):
        check_shape(raw.shape)
        return from_array(raw, value_range)
    check_size(*raw.size)
    with LOADING:
        raw.load()
        raw.getexif()
    return raw


def opened(raw: bytes) -> Image.Image:
    """Read a file's header, past Pillow's own pixel limit and its warning."""
    if not raw:
        raise ImageError("empty file")
    for format in FORMATS:
        # MPO has none of its own: that of JPEG opens it.
        factory, accept = Image.OPEN.get(format, (None, lambda prefix: False))
        accepted = accept(raw[:16])
        if isinstance(accepted, str):
            raise ImageError(accepted)
        if accepted:
            image = factory(io.BytesIO(raw), "")
            check_size(*image.size)
            if format == "PNG":
                mend_png(image, raw)
            return image
    raise ImageError(f"not an image in a known format ({', '.join(FORMATS)}); it starts with {raw[:8]!r}")


def mend_png(image: Image.Image, raw: bytes):
    """Do what Pillow leaves out: check the sums of the pixel data, scale the transparent colour to 8 bits."""
    at = 8
    while at + 12 <= len(raw):
        end = at + 8 + int.from_bytes(raw[at : at + 4])
        whole = raw[at + 4 : at + 8] == b"IDAT" and end + 4 <= len(raw)
        if whole and zlib.crc32(memoryview(raw)[at + 4 : end]) != int.from_bytes(raw[end : end + 4]):
            raise ImageError("damaged (wrong checksum)")
        at = end + 4
    scale = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}.get(image.tile[0].args)
    if scale and "transparency" in image.info:
        image.info["transparency"] = np.multiply(image.info["transparency"], scale).astype(int)


def check_shape(shape: tuple[int, ...]):
    """Refuse an array that is no picture."""
    if len(shape) == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        raise ImageError(f"shape {shape} has its channels first; use np.moveaxis(image, 0, -1)")
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(f"shape {shape}, but expected (h, w) or (h, w, channels) with 1, 3 or 4 channels")
    check_size(shape[1], shape[0])


def check_size(width: int, height: int):
    """Refuse a picture without pixels, or with too many."""
    if width * height == 0:
        raise ImageError(f"{width} x {height} pixels, but expected at least one")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels are over the limit of {MAX_PIXELS}")


def name(item) -> str:
    """Return what to call an image in a message.

    Examples
    --------
    >>> name("cats/7.jpg"), name(np.zeros((3, 4)))
    ("'cats/7.jpg'", 'array (3, 4) float64')
    """
    if isinstance(item, (str, os.PathLike)):
        return repr(str(os.fsdecode(item)))
    if isinstance(item, bytes):
        return f"{len(item)} bytes"
    if isinstance(item, np.ndarray):
        return f"array {item.shape} {item.dtype}"
    if isinstance(item, Image.Image):
        filename = getattr(item, "filename", "")
        return f"PIL image {item.mode} {item.width}x{item.height}" + (f" {filename!r}" if filename else "")
    return f"{item!r:.80}"


def raise_for(failures: Sequence[tuple[int, object, str]]):
    """Raise one ImageError for all (index, item, reason)."""
    lines = [f"Cannot decode {name(item)} (item {index}): {reason}." for index, item, reason in failures]
    if len(lines) > LISTED:
        lines[LISTED:] = [f"... and {len(lines) - LISTED} more."]
    them = "it" if len(lines) == 1 else "them"
    raise ImageError("\n".join(lines) + f" Remove {them}, or pass on_error='nan'.")
