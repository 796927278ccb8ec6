"""Labelled images in; what is wrong with them out, before anything is trained. No image is ever touched."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import cpu_count

from hybrid.config import read_config
from hybrid.datasets.labelled import read_labelled
from hybrid.datasets.load import load_images
from hybrid.experiment.candidates import featurizer, read_candidates
from hybrid.experiment.copies import near_duplicates, read_pixels
from hybrid.experiment.crossval import cross_validate
from hybrid.experiment.findings import FEW, Findings
from hybrid.experiment.prepare import LIKENESS, outer_folds
from hybrid.features.passes import compute
from hybrid.images.opening import opened
from hybrid.images.source import read
from hybrid.statistics.doubts import doubts
from hybrid.statistics.duplicates import members, merge_groups
from hybrid.statistics.splits import groups_by_class

if TYPE_CHECKING:
    from hybrid.config import Config
    from hybrid.datasets.labelled import Labelled
    from hybrid.experiment.prepare import Table

# A picture of a quarter, or of four times, the usual number of pixels.
SIZE_STEPS = 2.0
LONG = 4.0
SMALL = 32
# What so large a share of images has in common is odd no more.
USUAL = 0.1


def check(
    frame: Table,
    *,
    store: Any = "auto",
    backbone: str = "efficientnet_lite0",
    threshold: float | None = None,
    verbose: int = 0,
) -> Findings:
    """Look for what makes a model, or its scores, worse than they seem.

    Parameters
    ----------
    frame : DataFrame, path or "sample"
        Labelled images.
    store : "auto", path, FeatureStore or None, default="auto"
    backbone : str, default="efficientnet_lite0"
        The network by whose features images are compared.
    threshold : float, optional
        The cosine from which two images are near duplicates: `cv.threshold` of a config.
    verbose : int, default=0

    Examples
    --------
    >>> from hybrid import load_sample
    >>> sample = load_sample(n_per_class=12)
    >>> sample.loc[5, "image"] = b"no image"
    >>> print(check(sample, backbone="tiny").lines()[0])
    1 image of 120 cannot be read: row 5 (not an image in a known format ...).
    """
    settings = {"features": {"backbone": backbone, "layers": "last"}}
    model = {"model": {"kind": "logistic"}, "logistic": {"C": 10.0}}
    config = read_config(settings | model | ({"cv": {"threshold": threshold}} if threshold else {}))
    frame = frame if hasattr(frame, "columns") else load_images(frame, empty=True)
    data = read_labelled(frame)
    found = compute(data.images, [featurizer(config, LIKENESS, store).get_params(deep=False)], verbose)
    good = np.setdiff1d(np.arange(len(data)), [row for row, _, _ in found.failures]).astype(int)
    readable, X = data.take(good), found.features[0][good]
    exact, near = copies(readable, X, [found.digests[row] for row in good], config.cv.threshold)
    held = replace(readable, groups=near if data.groups is None else merge_groups(readable.groups, near))
    return Findings(
        data=data,
        classes=dict(Counter(readable.y.tolist())),
        unreadable=found.failures,
        exact=tuple(good[rows] for rows in members(exact)),
        near=tuple(good[rows] for rows in members(near) if len(np.unique(exact[rows])) > 1),
        empty=tuple(frame.attrs.get("empty", ())),
        few={label: count for label, count in sorted(Counter(readable.y.tolist()).items()) if count < FEW},
        sizes=tuple((int(good[row]), *rest) for row, *rest in _odd_sizes(readable.images)),
        doubtful=tuple((int(good[row]), *rest) for row, *rest in doubtful(held, X, config)),
        passes=found.passes,
    )


def copies(
    data: Labelled, X: np.ndarray, digests: list[bytes | None], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Group images of the same content, and near duplicates."""
    if not len(data):
        return np.zeros(0, int), np.zeros(0, int)
    exact = merge_groups(np.arange(len(data)), digests)
    return exact, near_duplicates(X, read_pixels(data.images), digests, threshold)


def _odd_sizes(images: list) -> list[tuple]:
    """Find images far smaller, larger or longer than the others: (row, width, height, what)."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        sizes = np.array(list(pool.map(size, images)), float).reshape(-1, 2)
    if not len(sizes):
        return []
    pixels = np.log2(sizes.prod(axis=1))
    length = np.log2(sizes.max(axis=1) / sizes.min(axis=1))
    usual, usual_length = np.median(pixels), np.median(length)
    spread = 6 * np.median(np.abs(pixels - usual))
    found = []
    for row, (width, height) in enumerate(sizes.astype(int).tolist()):
        if min(width, height) < SMALL:
            found.append((row, width, height, f"under {SMALL} pixels"))
        elif abs(pixels[row] - usual) > max(SIZE_STEPS, spread):
            found.append((row, width, height, "small" if pixels[row] < usual else "large"))
        elif length[row] > max(np.log2(LONG), usual_length + 1):
            found.append((row, width, height, "long"))
    counts = Counter(what for *_, what in found)
    return [finding for finding in found if counts[finding[-1]] <= max(1, USUAL * len(sizes))]


def size(item: Any) -> tuple[int, int]:
    """Return an image's width and height, off its header."""
    raw = read(item)
    if isinstance(raw, np.ndarray):
        return raw.shape[1], raw.shape[0]
    if not isinstance(raw, bytes):
        return raw.size
    with opened(raw) as image:
        return image.size


def doubtful(data: Labelled, X: np.ndarray, config: Config) -> list[tuple]:
    """Find labels that a model of the other images contradicts: (row, other label, its probability)."""
    labels, counts = groups_by_class(data.y, data.groups)
    rows = np.flatnonzero(np.isin(data.y, labels[counts > 1]))
    if len(np.unique(data.y[rows])) < 2:
        return []
    folds, _ = outer_folds(data, rows, config)
    (candidate,) = read_candidates(config)
    scored = cross_validate(data, {candidate.setting: X}, [candidate], folds, config)
    rows, probabilities = scored.out_of_fold()
    top = probabilities.max(axis=1)
    other = scored.classes[probabilities.argmax(axis=1)]
    order = doubts(data.y[rows], probabilities, scored.classes)
    return [(int(rows[i]), other[i].item(), float(top[i])) for i in order]
