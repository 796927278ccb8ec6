"""Feature matrices, candidates and training parts in; the best candidate for each part out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from hybrid.experiment.candidates import Candidate, Setting, weighting
from hybrid.statistics.scores import score_folds
from hybrid.statistics.splits import folds

if TYPE_CHECKING:
    from hybrid.config import Config
    from hybrid.datasets.labelled import Labelled

# Row numbers to train on and to test on.
Fold = tuple[np.ndarray, np.ndarray]
VALIDATION_FOLDS = 5


def validation_parts(data: Labelled, rows: np.ndarray, config: Config) -> list[Fold]:
    """Split a training part for the search: (train, test) row numbers, or nothing where that cannot be."""
    y, groups = data.y[rows], np.arange(len(rows)) if data.groups is None else data.groups[rows]
    if config.search.validation == "split" and data.split is not None:
        validation = data.split[rows] == "val"
        if validation.any() and not validation.all():
            return [(rows[~validation], rows[validation])]
    pairs = {(label, group) for label, group in zip(y.tolist(), groups.tolist(), strict=True)}
    labels, counts = np.unique([label for label, _ in pairs], return_counts=True)
    # A class that is one image, or one group, can be trained on only.
    testable = np.flatnonzero(np.isin(y, labels[counts > 1]))
    if np.count_nonzero(counts > 1) < 2:
        return []
    split = config.search.validation == "split"
    n_splits = min(VALIDATION_FOLDS if split else config.search.folds, counts.max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        parts = folds(y[testable], groups[testable], n_splits, seed=config.seed)
    places = np.arange(len(rows))
    parts = [(np.setdiff1d(places, testable[test]), testable[test]) for _, test in parts]
    parts = [(rows[train], rows[test]) for train, test in (parts[:1] if split else parts)]
    return [(train, test) for train, test in parts if len(np.unique(data.y[train])) > 1]


def search(
    data: Labelled,
    matrices: dict[Setting | None, np.ndarray],
    candidates: list[Candidate],
    parts: Sequence[np.ndarray],
    config: Config,
    verbose: int = 0,
) -> tuple[list[int], np.ndarray | None, int]:
    """Find the best candidate for every training part by validation inside it.

    Parameters
    ----------
    data : Labelled
    matrices : dict of setting to matrix
    candidates : list of Candidate
    parts : list of row numbers
        Training parts, each searched on its own.
    config : Config
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    (chosen, scores, fits) : list of int, array, int
        The best candidate of every part, the mean score of every candidate (none where there is but one), and
        how many models were fitted.
    """
    if len(candidates) == 1:
        return [0] * len(parts), None, 0
    # What shares its scaled features is fitted in one task.
    alike = {}
    for j, candidate in enumerate(candidates):
        key = candidate.setting, candidate.name, candidate.searched.get("scaler")
        alike.setdefault(key, []).append(j)
    tasks = [
        (i, numbers, train, test)
        for i, rows in enumerate(parts)
        for train, test in validation_parts(data, rows, config)
        for numbers in alike.values()
    ]

    def run(i: int, numbers: list[int], train: np.ndarray, test: np.ndarray) -> list[float]:
        return validate(data, matrices, [candidates[j] for j in numbers], config, train, test)

    totals = np.zeros((len(parts), len(candidates)))
    found = parallel(run, tasks, "search" if verbose else "", at_once(candidates))
    for (i, numbers, _, _), scores in zip(tasks, found, strict=True):
        totals[i, numbers] += scores
    fits, counted = sum(len(numbers) for _, numbers, _, _ in tasks), len(tasks) // len(alike)
    # Rounded, so that equal scores stay equal; where nothing could be compared, the first candidate it is.
    return np.argmax(totals.round(9), axis=1).tolist(), totals.sum(axis=0) / max(counted, 1), fits


def at_once(candidates: list[Candidate]) -> int | None:
    """How many are fitted side by side: one, where it uses all cores by itself."""
    return 1 if any(candidate.kind.takes_images for candidate in candidates) else None


def validate(
    data: Labelled,
    matrices: dict[Setting | None, np.ndarray],
    candidates: list[Candidate],
    config: Config,
    train: np.ndarray,
    test: np.ndarray,
) -> list[float]:
    """Score candidates that differ in their classifier's parameters only."""
    first, y, params = candidates[0], data.y[train], [candidate.params for candidate in candidates]
    X, T = (matrices[first.setting][rows] for rows in (train, test))
    kind = first.kind
    if not kind.takes_images:
        scaler = Pipeline(kind.steps(first.params)[:1]).fit(X)
        X, T = (scaler.transform(part).astype(float) for part in (X, T))
        if kind.turned and X.shape[1] > len(X):
            params = [kind.turned(one, X) for one in params]
            X, T = turned(X, T)
    weights = weighting(y, None if data.weights is None else data.weights[train], config)
    scores = []
    for one in params:
        predicted = [kind.build(one).fit(X, y, **weights).predict(T)]
        found = score_folds(data.y, None, predicted, [(train, test)], np.unique(data.y))
        scores.append(found[config.search.score][0])
    return scores


def turned(X: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the axes so that training rows fill as few columns as there are rows, and keep all distances.

    What of a test row lies outside these goes into one more column. A model that sees rows by their distances
    or products alone (see `Kind.turned`) stays the same, and is fitted several times as fast.
    """
    values, axes = np.linalg.eigh(X @ X.T)
    kept = values > values[-1] * 1e-10
    lengths, axes = np.sqrt(values[kept]), axes[:, kept]
    inside = T @ (X.T @ (axes / lengths))
    outside = np.sqrt(np.maximum((T**2).sum(axis=1) - (inside**2).sum(axis=1), 0))
    return np.pad(axes * lengths, ((0, 0), (0, 1))), np.column_stack([inside, outside])


def parallel(function: Callable, tasks: Sequence[tuple], shown: str = "", n_jobs: int | None = None) -> list:
    """Run tasks side by side, or so many at once; return their results in order."""
    with one_thread_a_core(n_jobs):
        results = Parallel(return_as="generator")(delayed(function)(*task) for task in tasks)
        return list(watched(results, len(tasks), shown) if shown else results)


@contextmanager
def one_thread_a_core(n_jobs: int | None = None) -> Iterator[None]:
    """Let joblib use threads, which copy nothing, and BLAS none: libsvm and BLAS release the GIL."""
    with threadpool_limits(1), parallel_config("threading", n_jobs=n_jobs or cpu_count()), silence():
        yield


@contextmanager
def silence() -> Iterator[None]:
    """Show no warnings: a C that does not converge loses by its score.

    Recorded, not only ignored: scikit-learn's threads reset each other's filters.
    """
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        yield


def watched(results: Iterable, total: int, name: str) -> Iterable:
    """Show one bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    return track(results, name, total, console=Console(stderr=True))
