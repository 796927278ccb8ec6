"""Images in, small JPEG pictures of them out, and heat maps of those that a model gets wrong."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import cpu_count
from numpy.typing import ArrayLike
from PIL import Image
from sklearn.base import BaseEstimator
from threadpoolctl import threadpool_limits

from hybrid.explain.explanation import explain
from hybrid.images.decoding import decode
from hybrid.images.frame import Frame
from hybrid.images.pixels import ImageError, Range
from hybrid.images.source import read

SIDE, QUALITY = 96, 60
HEAT_SIDE, HEAT_QUALITY = 160, 75
FRAME = Frame((SIDE, SIDE), "crop", margin=1.0, interpolation="bicubic")
# Of classes: those of Okabe and Ito, which all can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8f00", "#7b61c4")
# Heat maps end here: a head with many thousand support vectors takes seconds for one.
SECONDS = 20.0


def thumbnails(images: Sequence, value_range: Range = None) -> list[bytes]:
    """Return a small JPEG file of each image; nothing of one that can be read no more."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(lambda image: thumbnail(image, value_range), images))


def thumbnail(image: object, value_range: Range) -> bytes:
    try:
        return jpeg(Image.fromarray(small(image, value_range)), QUALITY)
    except ImageError:
        return b""


def small(image: object, value_range: Range = None) -> np.ndarray:
    """Return the middle of an image, in few pixels."""
    return decode(read(image), FRAME, value_range)[0]


def heats(model: BaseEstimator, images: Sequence, labels: Sequence, mean: ArrayLike | None) -> list[bytes]:
    """Return a JPEG file of what speaks for each label; nothing for the last ones where that takes long."""
    end = time.monotonic() + SECONDS

    def heat(image: object, label: object) -> bytes:
        try:
            found = explain(model, image, label, mean) if time.monotonic() < end else None
        except ImageError:
            return b""
        return jpeg(found.draw(HEAT_SIDE), HEAT_QUALITY) if found else b""

    # On matrices as small as these, BLAS's threads wait for each other.
    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(heat, images, labels))


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def packed(files: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Put files into two arrays, as a bundle holds them."""
    return {
        "bytes": np.frombuffer(b"".join(files), np.uint8),
        "ends": np.cumsum([len(one) for one in files], dtype=np.int64),
    }


def unpacked(files: dict[str, np.ndarray]) -> list[bytes]:
    """Return what `packed` was given.

    Examples
    --------
    >>> unpacked(packed([b"one", b"", b"two"]))
    [b'one', b'', b'two']
    """
    return [part.tobytes() for part in np.split(files["bytes"], files["ends"])[:-1]]
