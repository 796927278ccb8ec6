"""Images in, near duplicates out: copies saved anew, resized, mirrored, or shot a moment later.

What a network makes of a picture shifts when it is saved anew, more so where all pictures look alike; a
thumbnail does not. So two images are one photograph if their features, thumbnails or contents agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import cpu_count

from hybrid.images.decoding import decode
from hybrid.images.frame import Frame
from hybrid.images.source import read
from hybrid.statistics.duplicates import groups, merge_groups

SIDE = 32
FRAME = Frame((SIDE, SIDE), "squash", interpolation="bilinear")
# Measured on photographs, textures and cells: copies of JPEG quality 50 or 0.6 of the size lie above 0.99,
# and different images below 0.98, but for a few very regular textures.
THUMBNAILS = 0.98


def read_pixels(images: Sequence, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Return each image squashed to 32 x 32, uint8 (n, 32, 32, 3).

    Examples
    --------
    >>> read_pixels([np.zeros((40, 50, 3), np.uint8)]).shape
    (1, 32, 32, 3)
    """
    with ThreadPoolExecutor(cpu_count()) as pool:
        return np.concatenate(list(pool.map(lambda item: decode(read(item), FRAME, value_range), images)))


def near_duplicates(
    features: np.ndarray, pixels: np.ndarray, digests: Sequence[bytes | None], threshold: float
) -> np.ndarray:
    """Group the images that are one photograph.

    Parameters
    ----------
    features : array of shape (n, d)
        Compared by their cosine after the mean is taken off: what all images share tells none apart.
    pixels : uint8 array of shape (n, 32, 32, 3)
        What `read_pixels` returned.
    digests : sequence of bytes or None
        Of the contents; None is like nothing.
    threshold : float
        The cosine of features from which two images count as one.

    Returns
    -------
    array of int, shape (n,)
        Group numbers.
    """
    half = SIDE // 2
    thumbnails = pixels.reshape(len(pixels), half, 2, half, 2, 3).mean(axis=(2, 4, 5), dtype=np.float32)
    thumbnails = thumbnails.reshape(len(pixels), -1)
    # Brightness is no likeness.
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    alike = merge_groups(
        groups(features, threshold, features.mean(axis=0)),
        groups(thumbnails, THUMBNAILS, thumbnails.mean(axis=0)),
    )
    return merge_groups(alike, digests)
