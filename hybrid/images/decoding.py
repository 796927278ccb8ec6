"""What a source gave in; its digest, or its pixels as uint8 RGB of one size, out. What is bad is named, never guessed.

EXIF orientation is applied, transparency lies over white, of an animation the first frame counts, and colour
profiles are ignored. Samples of 16 bits are scaled to 8; floats, and integers of 32 bits, need a value range.
"""

from __future__ import annotations

import hashlib
from threading import Lock

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hybrid.images.frame import Frame, orientation, views
from hybrid.images.jpeg import tell
from hybrid.images.limits import check_size
from hybrid.images.opening import opened
from hybrid.images.pixels import ImageError, Range, flat, from_array
from hybrid.images.source import Raw, plainly

# Two threads may be given the same picture, opened and not yet loaded.
LOADING = Lock()


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
        if not isinstance(raw, bytes):
            return views(picture(raw, value_range), frame, value_range)
        with opened(raw) as image:
            # A JPEG file may be decoded smaller, to what the views need.
            if not isinstance(image, JpegImageFile):
                image.load()
            return views(image, frame, value_range)


def picture(raw: np.ndarray | Image.Image, value_range: Range = None) -> Image.Image:
    """Return an array or a PIL image as a PIL image that is loaded."""
    if isinstance(raw, np.ndarray):
        _check_shape(raw.shape)
        return from_array(raw, value_range)
    check_size(*raw.size)
    with LOADING:
        if type(raw) is JpegImageFile and raw.tile:
            at = raw.fp.tell()
            raw.fp.seek(0)
            content = raw.fp.read()
            raw.fp.seek(at)
            tell(raw, content)
        raw.load()
        raw.getexif()
    return raw


def _check_shape(shape: tuple[int, ...]):
    """Refuse an array that is no picture."""
    if len(shape) == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        raise ImageError(f"shape {shape} has its channels first; use np.moveaxis(image, 0, -1)")
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(f"shape {shape}, but expected (h, w) or (h, w, channels) with 1, 3 or 4 channels")
    check_size(shape[1], shape[0])
