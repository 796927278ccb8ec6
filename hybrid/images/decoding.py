"""What a source gave in; its digest, or its pixels as uint8 RGB of one size, out. What is bad is named, never guessed.

EXIF orientation is applied, transparency lies over white, of an animation the first frame counts, and colour
profiles are ignored. Samples of 16 bits are scaled to 8; floats, and integers of 32 bits, need a value range.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from importlib import import_module
from threading import Lock

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hybrid.images.frame import Frame, orientation, views
from hybrid.images.pixels import ImageError, Range, flat, from_array
from hybrid.images.source import Raw, plainly

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")
# Two threads may be given the same picture, opened and not yet loaded.
LOADING = Lock()

# Importing a plugin registers it in Image.OPEN.
for plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP"):
    import_module(f"PIL.{plugin}ImagePlugin")


def digest(raw: Raw, value_range: Range = None) -> bytes:
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


def decode(raw: Raw, frame: Frame, value_range: Range = None) -> np.ndarray:
    """Return the views of an image as fresh uint8 (views, h, w, 3).

    Examples
    --------
    >>> decode(np.full((60, 80), 7, np.uint8), Frame(size=(2, 2))).tolist()
    [[[[7, 7, 7], [7, 7, 7]], [[7, 7, 7], [7, 7, 7]]]]
    """
    with plainly("damaged or unsupported"):
        return views(picture(raw, value_range), frame, value_range)


def picture(raw: Raw, value_range: Range = None) -> Image.Image:
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
