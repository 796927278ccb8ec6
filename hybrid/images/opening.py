"""An encoded image in; a PIL image of a known format out, its header read and its pixels not.

What Pillow leaves out is made good: its own pixel limit doesn't count, damage that it would pass over is told, and
layouts of TIFF that it misreads are read rightly or refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import numpy as np
from PIL import Image

from hybrid.images.jpeg import tell
from hybrid.images.limits import BUDGET, Feed, check_size
from hybrid.images.pixels import ImageError
from hybrid.images.ppm import bound
from hybrid.images.tiff import mend

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")

# Importing a plugin registers it in Image.OPEN.
for plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP"):
    import_module(f"PIL.{plugin}ImagePlugin")


@contextmanager
def opened(raw: bytes) -> Iterator[Image.Image]:
    """Read a file's header, and hold the pixels of its picture for as long as it is used."""
    if not raw:
        raise ImageError("empty file")
    for format in FORMATS:
        # MPO has none of its own: that of JPEG opens it.
        factory, accept = Image.OPEN.get(format, (None, lambda prefix: False))
        accepted = accept(raw[:16])
        if isinstance(accepted, str):
            raise ImageError(accepted)
        if accepted:
            break
    else:
        raise ImageError(f"not an image in a known format ({', '.join(FORMATS)}); it starts with {raw[:8]!r}")
    width, height = canvas(raw) if format == "WEBP" else (0, 0)
    with BUDGET.hold(width * height):
        image = factory(Feed(raw), "")
        check_size(*image.size)
        if format == "WEBP" and image.size != (width, height):
            raise ImageError(
                f"damaged ({width} x {height} pixels by the header, but {image.size} by the rest)"
            )
        # JPEG takes half of what others take, or less.
        pixels = image.width * image.height // (2 if format == "JPEG" else 1)
        with BUDGET.hold(pixels - width * height):
            if format in MEND:
                MEND[format](image, raw)
            yield image


def canvas(raw: bytes) -> tuple[int, int]:
    """Return the size of a WebP file, whose decoder fills its canvas already when it is opened."""
    if len(raw) < 30:
        raise ImageError("truncated file")
    little = lambda at, size: int.from_bytes(raw[at : at + size], "little")  # noqa: E731
    if raw[12:16] == b"VP8X":
        size = little(24, 3) + 1, little(27, 3) + 1
    elif raw[12:16] == b"VP8L":
        size = little(21, 4) % (1 << 14) + 1, (little(21, 4) >> 14) % (1 << 14) + 1
    else:
        size = little(26, 2) % (1 << 14), little(28, 2) % (1 << 14)
    check_size(*size)
    return size


def _mend_png(image: Image.Image, raw: bytes):
    """Compare the pixel data with their sums, and scale the transparent colour to the 8 bits of the pixels."""
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


def _ask_libvips(image: Image.Image, raw: bytes):
    """Refuse an AVIF that libvips, where it is installed, finds damaged: Pillow's decoder makes pixels of anything."""
    try:
        import pyvips
    except (ImportError, OSError):
        return
    try:
        pyvips.Image.new_from_buffer(raw, "", access="sequential", fail_on="warning").avg()
    except pyvips.Error as exc:
        # What else it refuses, it may only not know.
        if "Corrupt frame" in str(exc):
            raise ImageError("damaged (corrupt frame)") from exc


# What Pillow leaves out, by format.
MEND = {"JPEG": tell, "PNG": _mend_png, "TIFF": mend, "AVIF": _ask_libvips, "PPM": bound}
