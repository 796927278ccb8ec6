"""A JPEG file in; Pillow's own pixels out, or an error where libjpeg had to guess.

Pillow keeps libjpeg's warnings to itself; simplejpeg, which stands on the same library, tells the first one.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import simplejpeg
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from hybrid.images.limits import MAX_PIXELS
from hybrid.images.pixels import ImageError

CODEC = "told_jpeg"
COLOURS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
START_OF_SCAN = b"\xff\xda"
# Each scan of a progressive file goes over the whole picture; usual files have ten.
MAX_SCANNED = 20 * MAX_PIXELS
# Cameras write these, and every pixel is there.
HARMLESS = re.compile(
    r"\b([1-9]|1[0-6]) extraneous bytes before marker 0xd9|Invalid SOS|JFIF revision|Adobe color|ICC marker"
)


def tell(image: JpegImageFile, raw: bytes):
    """Have a JPEG file that is not loaded yet decoded so that damage is told; refuse endless scans."""
    # A thumbnail, which lies before the first scan, has scans of its own.
    scans = raw.count(START_OF_SCAN, image.fp.tell()) + 1
    if scans * image.width * image.height > MAX_SCANNED:
        limit = MAX_SCANNED // (image.width * image.height)
        raise ImageError(
            f"{scans} scans of {image.width} x {image.height} pixels are over the limit of {limit}"
        )
    try:
        simplejpeg.decode_jpeg_header(raw)
    except ValueError as exc:
        # What simplejpeg doesn't take, a rare sampling of colour or a header's small fault, is left to Pillow.
        if "subsampling" not in str(exc):
            weigh(exc)
        return
    image.tile = [tile._replace(codec_name=CODEC) for tile in image.tile]


def weigh(exc: ValueError):
    """Raise for damage; warn of a fault that leaves every pixel in its place."""
    fault = str(exc)
    if HARMLESS.search(fault):
        warnings.warn(f"Decoded a JPEG file in spite of a small fault: {fault}.", RuntimeWarning, 2)
    elif fault.startswith("Premature end of JPEG file"):
        raise ImageError("truncated file") from exc
    else:
        raise ImageError(f"damaged ({fault})") from exc


class _ToldJpeg(ImageFile.PyDecoder):
    """Pillow's decoder for JPEG, reduced sizes included, which raises where libjpeg warns."""

    _pulls_fd = True

    def decode(self, buffer):
        """Fill the picture; Pillow asks for nothing more after -1."""
        width, height = self.state.xsize, self.state.ysize
        wanted = {"colorspace": COLOURS[self.mode], "min_height": height, "min_width": width}
        raw = self.fd.read()
        try:
            pixels = simplejpeg.decode_jpeg(raw, **wanted)
        except ValueError as exc:
            weigh(exc)
            pixels = simplejpeg.decode_jpeg(raw, strict=False, **wanted)
        if pixels.shape[:2] != (height, width):
            raise ImageError(f"damaged ({width} x {height} pixels by one header, others by a second)")
        self.set_as_raw(np.ascontiguousarray(pixels), self.args[0])
        return -1, 0


Image.register_decoder(CODEC, _ToldJpeg)
