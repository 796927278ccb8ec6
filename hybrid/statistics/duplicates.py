"""Features -> which images are the same photograph, as one group number an image."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hybrid.statistics.neighbours import BLOCK, directions, nearest

# Lite0, 1,493 photographs: finds 98 % of copies in JPEG 50, 100 % mirrored, 98 % cropped to 90 %, 73 % at
# half size; ties some 20 others. Bare cosine of 0.9: 89, 99, 83, 28 %; none, but 17 wrong pairs of 400 cells.
THRESHOLD = 0.8
CROWD = 5
SHARE = 0.5
# Axes that tell which images might have a duplicate; how many images tell the axes, and the usual crowd.
AXES, SAMPLE = 64, 2000
SLACK = 1e-5


def _join(labels: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Unite the groups of every pair (i, j)."""
    n = len(labels)
    graph = coo_array((np.ones(len(i), dtype=bool), (labels[i], labels[j])), shape=(n, n))
    return connected_components(graph, directed=False)[1][labels]


def _numbered(labels: Iterable) -> np.ndarray:
    """Number labels of any hashable kind from 0 in order of appearance; a missing one stands alone."""
    numbers: dict = {}
    # np.unique would not sort mixed labels, and its bytes lose their trailing zeros: digests have such.
    labels = labels.tolist() if hasattr(labels, "tolist") else labels
    keys = (object() if label is None or label != label else label for label in labels)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=int)


def _company(unit: np.ndarray, distance: float) -> np.ndarray:
    """Find rows with another one as near (1 - cosine), or all that might have one: on a few axes.

    A projection takes nothing apart, so that what is far off there is far off.
    """
    n, width = unit.shape
    if width > 2 * AXES:
        some = unit[:: -(-n // SAMPLE)]
        start = np.random.default_rng(0).standard_normal((width, AXES)).astype(np.float32)
        axes, _ = np.linalg.qr(some.T @ (some @ start))
        unit = unit @ axes
    half = np.einsum("ij,ij->i", unit, unit) / 2
    found = np.zeros(n, bool)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        # Half the squared distance of rows of length 1 is 1 - cosine.
        apart = half[start:] - unit[start:stop] @ unit[start:].T
        near = apart <= (distance + SLACK) - half[start:stop, None]
        near[np.arange(stop - start), np.arange(stop - start)] = False
        found[start:stop] |= near.any(axis=1)
        found[start:] |= near.any(axis=0)
    return np.flatnonzero(found)


def _reach(unit: np.ndarray, rows: np.ndarray, threshold: float) -> np.ndarray:
    """Say for some rows how far off (1 - cosine) a duplicate of them may be."""
    n = len(unit)
    crowd = min(CROWD, max(1, n // 10))
    some = np.arange(0, n, -(-n // SAMPLE))
    # One more than the crowd: a row is the nearest to itself.
    far, usual = (nearest(unit, unit[of], crowd + 1)[1][:, -1] for of in (rows, some))
    # Many copies of an image would be the very crowd it has to stand out from: hence the set's median.
    reach = SHARE * np.maximum(far, SHARE * np.median(usual))
    # Equal rows are up to an ulp or two apart.
    return np.clip(reach, 1e-6, max(1e-6, 1 - threshold))


def groups(features: ArrayLike, threshold: float = THRESHOLD, origin: ArrayLike = 0.0) -> np.ndarray:
    """Group the images that are near duplicates, and whatever these chain to.

    Two images are near duplicates where their features' cosine is at least `threshold` and stands out from
    the crowd: the distance (1 - cosine) is at most half that from either image to its fifth-nearest (to a
    nearer one in sets below 50 images; one closer than half the set's median counts as that far, which of more
    than 2,000 images some tell). Without the
    second condition no threshold would do for all networks and subjects: some give every pair 0.9. For pairs
    that are sure, at the price of missing many, ask for 0.95.

    Parameters
    ----------
    features : array of shape (n, d)
        One row an image. A row of zeros, or with a NaN, is alone in its group.
    threshold : float
        The least cosine of near duplicates.
    origin : array of shape (d,)
        What is taken off all rows before: the cosines are those of what is left.

    Returns
    -------
    array of int, shape (n,)
        Group numbers from 0, in order of appearance. The n x n cosines are never held at once, and of
        images without one near them never computed: they tell on a few axes, where no two lie further apart.

    Examples
    --------
    >>> groups([[1.0, 0.0], [0.0, 1.0], [2.0, 0.01], [0.0, 0.0], [0.8, 0.6]])
    array([0, 1, 0, 2, 3])
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"Got threshold={threshold!r}, but expected a cosine above 0 and up to 1.")
    unit = directions(features, origin)
    labels = np.arange(len(unit))
    filled = np.flatnonzero(unit.any(axis=1))
    full = unit if len(filled) == len(unit) else unit[filled]
    rows = _company(full, 1 - threshold)
    if not len(rows):
        return labels
    reach = _reach(full, rows, threshold).astype(np.float32)
    rows = filled[rows]
    close = unit[rows]
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        near = 1 - close[part] @ close[start:].T <= np.minimum(reach[part, None], reach[None, start:])
        near &= labels[rows[part], None] != labels[None, rows[start:]]
        i, j = np.nonzero(near)
        if len(i):
            labels = _join(labels, rows[start + i], rows[start + j])
    return _numbered(labels)


def merge_groups(a: Iterable, b: Iterable) -> np.ndarray:
    """Merge two groupings: images that share a group in either share one in the result, and no others do.

    Use it to keep together both patients and duplicates, or near duplicates (`groups`) and equal files
    (their digests are labels like any other).

    Parameters
    ----------
    a, b : sequences of n labels
        Numbers, strings, bytes; None or NaN belongs to no group.

    Returns
    -------
    array of int, shape (n,)
        Group numbers from 0, in order of appearance.

    Examples
    --------
    >>> merge_groups(["ann", "ann", "bob", "eve", None], [0, 1, 1, 2, 3])
    array([0, 0, 0, 1, 2])
    """
    a, b = _numbered(a), _numbered(b)
    if len(a) != len(b):
        raise ValueError(f"Got {len(a)} and {len(b)} labels, but expected one an image in both.")
    n = len(a)
    # Nodes 0..n-1 are images, then come a's groups, then b's: at most n of each.
    labels = _join(np.arange(3 * n), np.r_[:n, :n], np.r_[n + a, 2 * n + b])
    return _numbered(labels[:n])


def members(groups: ArrayLike) -> list[np.ndarray]:
    """List the row numbers of every group of two or more.

    Examples
    --------
    >>> members([0, 1, 0, 2, 1])
    [array([0, 2]), array([1, 4])]
    """
    groups = np.asarray(groups)
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return [part for part in parts if len(part) > 1]
