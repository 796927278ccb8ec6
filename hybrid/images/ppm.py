"""A PPM file that Pillow opened in; the same out, where it takes no long loop over samples."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFile

from hybrid.images.pixels import ImageError

CODEC = "quick_ppm"
MAX_TEXT, MAX_COMMENTS = 1 << 25, 1000


def bound(image: Image.Image, raw: bytes):
    """Have samples of odd depths decoded at once; refuse too many that are written as text."""
    if image.tile[0].codec_name == "ppm":
        image.tile = [image.tile[0]._replace(codec_name=CODEC)]
    elif image.tile[0].codec_name == "ppm_plain":
        for count, limit, what in (
            (len(raw), MAX_TEXT, "bytes"),
            (raw.count(b"#"), MAX_COMMENTS, "comments"),
        ):
            if count > limit:
                raise ImageError(f"{count} {what} of text are over the limit of {limit}: save as binary PPM")


class _QuickPpm(ImageFile.PyDecoder):
    """Pillow's decoder for samples from 0 to any number, without its loop."""

    _pulls_fd = True

    def decode(self, buffer):
        """Fill the picture; Pillow asks for nothing more after -1."""
        most, deep = self.args[-1], self.mode == "I"
        count = self.state.xsize * self.state.ysize * (3 if self.mode == "RGB" else 1)
        data = self.fd.read()
        depth = np.dtype(">u2" if most > 255 else "u1")
        if len(data) < count * depth.itemsize:
            raise ImageError("truncated file")
        top = 65535 if deep else 255
        samples = np.minimum(np.rint(np.frombuffer(data, depth, count) / most * top), top)
        self.set_as_raw(
            samples.astype(np.int32 if deep else np.uint8).tobytes(), "I;32N" if deep else self.mode
        )
        return -1, 0


Image.register_decoder(CODEC, _QuickPpm)
