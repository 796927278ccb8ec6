"""Features -> the nearest training images of a new one by cosine, and whether it is like any of them.

What is kept of the training set is a dict of two plain arrays, which skops stores as it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# 256 rows against 20,000: a block of cosines takes 20 MB.
BLOCK = 256
# So many images tell how far apart they all are: 0.95 of them means 0.94 to 0.96.
TELLING = 2000


def directions(features: ArrayLike, origin: ArrayLike = 0.0) -> np.ndarray:
    """Scale rows, as seen from an origin, to length 1, in float32; zeros, or a row with a NaN, become zeros."""
    unit = np.asarray(features, dtype=np.float32) - np.asarray(origin, dtype=np.float32)
    if unit.ndim != 2:
        raise ValueError(f"Got features of shape {unit.shape}, but expected a matrix, one row an image.")
    lengths = np.sqrt(np.einsum("ij,ij->i", unit, unit, dtype=np.float64))
    good = np.isfinite(lengths) & (lengths > 0)
    unit[~good] = 0
    unit /= np.where(good, lengths, 1)[:, None]
    return unit


def nearest(
    train: np.ndarray, new: np.ndarray, k: int, groups: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k rows of `train` nearest to each of `new`, and their distances (1 - cosine).

    Both are `directions`. With the groups of `train` and of `new`, a row's own group is left out.
    """
    indices = np.empty((len(new), k), dtype=int)
    distances = np.empty((len(new), k), dtype=np.float32)
    for start in range(0, len(new), BLOCK):
        rows = slice(start, start + BLOCK)
        block = 1 - new[rows] @ train.T
        if groups is not None:
            block[groups[1][rows, None] == groups[0][None, :]] = 2.0
        some = np.argpartition(block, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(block, some, axis=1), axis=1, kind="stable")
        indices[rows] = np.take_along_axis(some, order, axis=1)
        distances[rows] = np.take_along_axis(block, indices[rows], axis=1)
    return indices, np.maximum(distances, 0)


def remember(features: ArrayLike, groups: ArrayLike | None = None) -> dict[str, np.ndarray]:
    """Keep what `neighbours` and `unlike` need of the training set.

    Parameters
    ----------
    features : array of shape (n, d)
        One row a training image.
    groups : array of shape (n,), optional
        Groups of duplicates: how far training images lie from each other is measured between groups, as a
        new image has no duplicate among them.

    Returns
    -------
    dict
        ``features``, rows of length 1; ``distances``, the cosine distances of training images, or of 2,000 of
        them, to the nearest other, in ascending order.

    Examples
    --------
    >>> memory = remember([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> memory["distances"].round(2)
    array([0.04, 0.04, 0.2 ], dtype=float32)
    """
    unit = directions(features)
    groups = np.arange(len(unit)) if groups is None else np.asarray(groups)
    if len(np.unique(groups)) < 2:
        raise ValueError(f"Got {len(unit)} images in one group, but expected two or more different ones.")
    some = slice(None, None, -(-len(unit) // TELLING))
    distances = nearest(unit, unit[some], 1, (groups, groups[some]))[1][:, 0]
    return {"features": unit, "distances": np.sort(distances)}


def neighbours(
    memory: dict[str, np.ndarray], features: ArrayLike, k: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k most similar training images.

    Parameters
    ----------
    memory : dict
        What `remember` returned.
    features : array of shape (m, d)
        One row a new image.
    k : int
        At most the number of training images.

    Returns
    -------
    (indices, distances) : arrays of shape (m, k)
        Row numbers in the training set, the most similar first, and their cosine distances.

    Examples
    --------
    >>> memory = remember([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> indices, distances = neighbours(memory, [[0.0, 1.0]], k=2)
    >>> indices, distances.round(2)
    (array([[2, 1]]), array([[0.2, 0.4]], dtype=float32))
    """
    n = len(memory["features"])
    if not 1 <= k <= n:
        raise ValueError(f"Got k={k!r}, but expected 1 to {n}, the number of training images.")
    return nearest(memory["features"], directions(features), k)


def unlike(memory: dict[str, np.ndarray], features: ArrayLike, quantile: float = 0.95) -> np.ndarray:
    """Tell which images are like none of the training set: "none of these".

    An image is unlike when its nearest training image is further off than `quantile` of the training images
    are from theirs, so about ``1 - quantile`` of ordinary new images are called unlike, too. How many images
    of a class left out are found depends on the data: with EfficientNet-Lite0 and the default, 86 % in 20
    kinds of object, 28 % in 10 textures; of images of quite another sort, 98 % and 72 %.

    Parameters
    ----------
    memory : dict
        What `remember` returned.
    features : array of shape (m, d)
        One row a new image; a row of zeros, or with a NaN, is unlike.
    quantile : float
        Between 0 and 1.

    Returns
    -------
    array of bool, shape (m,)

    Examples
    --------
    >>> memory = remember([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> unlike(memory, [[0.9, 0.1], [-1.0, 0.0]])
    array([False,  True])
    """
    if not 0 < quantile < 1:
        raise ValueError(f"Got quantile={quantile!r}, but expected a number between 0 and 1, such as 0.95.")
    distances = nearest(memory["features"], directions(features), 1)[1][:, 0]
    return distances > np.quantile(memory["distances"], quantile)
