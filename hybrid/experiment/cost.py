"""The size of an experiment in; how long all but its network will take on this machine out.

The very work is run on stand-ins for features, few and for a moment, on all cores at once, and counted up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
from joblib import cpu_count
from sklearn.svm import SVC

from hybrid.experiment.baselines import MOST_IMAGES
from hybrid.experiment.candidates import COMPARED, Candidate
from hybrid.experiment.copies import near_duplicates
from hybrid.experiment.work import parallel
from hybrid.normalise import FeatureNormalizer
from hybrid.statistics.kernels import rbf
from hybrid.statistics.linear import LEFT_OUT, Axes, linear_path

# Rows of a stand-in.
ROWS = 400
# Whose median counts.
TRIES = 5
# Fitted to ten sets of photographs, which it foretells within 1.3 times, network and all: the seconds of a part that
# do not grow.
PART = 0.03
# Of the inner folds after the first, the share that candidates still run in; of the work on stand-ins, that of a
# kernel, and that of one linear model on features.
RACED, KERNEL, ALONE = 0.2, 0.5, 0.6


@dataclass(frozen=True)
class Size:
    """All that tells how long an experiment takes."""

    images: int
    classes: int
    widths: tuple[int, ...]  # of the settings
    candidates: list[Candidate]
    parts: int  # outer folds
    inner: int  # folds inside each
    share: float  # of a part's images that inner folds train on
    curve: float  # models as large as one of a part
    baselines: bool


def search_seconds(size: Size) -> float:
    """Tell how long searching, scoring and fitting will take."""
    train = size.images * 0.8
    inner = min(train, COMPARED) * size.share
    rows = min(ROWS, size.images)
    linear, kernel, pair, whole = (measured(work) for work in works(rows, max(size.widths), size.classes))
    rounds = (size.parts + 1) * (1 + RACED * (size.inner - 1)) if len(size.candidates) > 1 else 0
    columns = sum(min(width, COMPARED, size.images) for width in size.widths)
    seconds = rounds * linear * inner * columns / (rows * min(rows, max(size.widths)))
    squares = 0.0
    if any(candidate.kind.has_kernel for candidate in size.candidates):
        squares += rounds * len(size.widths) * inner**2
    if size.baselines and size.images <= MOST_IMAGES:
        squares += size.parts * train**2
    seconds += KERNEL * kernel * squares / rows**2
    alone = ALONE * linear * max(1, max(size.widths) / ROWS)
    seconds += (size.parts + size.curve + 1) * (alone + whole) * train / rows
    return seconds + pair * max(1, size.images / rows) ** 1.7 + PART * (size.parts + 1)


def works(rows: int, width: int, classes: int) -> list[Callable[[], object]]:
    """Return the kinds of work that an experiment is made of, on so many stand-ins."""
    rng = np.random.default_rng(0)
    codes = np.arange(rows) % min(classes, rows)
    X = rng.random((rows, width), dtype=np.float32) ** 4
    X[np.arange(rows), codes % width] += 0.2
    pixels = rng.integers(0, 256, (rows, 32, 32, 3), np.uint8)
    scaled = FeatureNormalizer().fit_transform(X)
    placed = Axes(LEFT_OUT).fit_transform(scaled)
    alike = rbf(1 - scaled @ scaled.T, 0.25)
    return [
        lambda: linear_path(placed, codes, [30.0, 3.0, 300.0]),
        lambda: SVC(C=10, kernel="precomputed").fit(alike, codes).predict(alike),
        lambda: near_duplicates(X, pixels, [None] * rows, 0.9),
        lambda: FeatureNormalizer().fit_transform(X),
    ]


def measured(work: Callable[[], object]) -> float:
    """Return the seconds that one of a kind takes, where all cores are at it."""
    work()
    spent = []
    while len(spent) < TRIES:
        start = time.perf_counter()
        parallel(work, [()] * cpu_count())
        spent.append((time.perf_counter() - start) / cpu_count())
    return median(spent)
