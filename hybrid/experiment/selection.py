"""Feature matrices, candidates and training parts in; the best candidate for each part out."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from hybrid.experiment.candidates import balanced, classifier, scaler
from hybrid.statistics.scores import score_folds
from hybrid.statistics.splits import folds

VALIDATION_FOLDS = 5


def validation_parts(data, rows, config, seed) -> list[tuple[np.ndarray, np.ndarray]]:
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
        parts = folds(y[testable], groups[testable], n_splits, seed=seed)
    places = np.arange(len(rows))
    parts = [(np.setdiff1d(places, testable[test]), testable[test]) for _, test in parts]
    parts = [(rows[train], rows[test]) for train, test in (parts[:1] if split else parts)]
    return [(train, test) for train, test in parts if len(np.unique(data.y[train])) > 1]


def search(data, matrices, candidates, parts, config, verbose=0) -> tuple[list[int], int]:
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
    (chosen, fits) : list of int, int
        The best candidate of every part, and how many models were fitted.
    """
    if len(candidates) == 1:
        return [0] * len(parts), 0
    # What shares its scaled features is fitted in one task.
    alike = {}
    for j, candidate in enumerate(candidates):
        alike.setdefault((candidate.setting, candidate.kind), []).append(j)
    tasks = [
        (i, numbers, train, test)
        for i, rows in enumerate(parts)
        for train, test in validation_parts(data, rows, config, config.seed)
        for numbers in alike.values()
    ]

    def run(i, numbers, train, test):
        return validate(data, matrices, [candidates[j] for j in numbers], config, train, test)

    totals = np.zeros((len(parts), len(candidates)))
    for (i, numbers, _, _), scores in zip(tasks, parallel(run, tasks, verbose and "search"), strict=True):
        totals[i, numbers] += scores
    fits = sum(len(numbers) for _, numbers, _, _ in tasks)
    # Rounded, so that equal scores stay equal; where nothing could be compared, the first candidate it is.
    return np.argmax(totals.round(9), axis=1).tolist(), fits


def validate(data, matrices, candidates, config, train, test) -> list[float]:
    """Score candidates that differ in their classifier's parameters only."""
    features = matrices[candidates[0].setting]
    scale = make_pipeline(scaler(candidates[0], config)).fit(features[train])
    X, T = (scale.transform(features[rows]).astype(float) for rows in (train, test))
    y, spread = data.y[train], X.shape[1] * X.var()
    gammas = {"scale": 1 / spread if spread else 1.0, "auto": 1 / X.shape[1]}
    weights = balanced(y, None if data.weights is None else data.weights[train], config)
    if X.shape[1] > len(X):
        X, T = turned(X, T)
    scores = []
    for candidate in candidates:
        gamma = dict(candidate.params).get("gamma")
        changes = {"gamma": gammas.get(gamma, gamma)} if gamma else {}
        model = classifier(candidate, config, **changes).fit(X, y, weights)
        predicted = [model.predict(T)]
        found = score_folds(data.y, None, predicted, [(train, test)], np.unique(data.y))
        scores.append(found[config.search.score][0])
    return scores


def turned(X, T) -> tuple[np.ndarray, np.ndarray]:
    """Turn the axes so that training rows fill as few columns as there are rows, and keep all distances.

    What of a test row lies outside these goes into one more column. A model that sees rows by their distances
    or products alone (an SVC, an L2 logistic regression) stays the same, and is fitted several times as fast.
    """
    values, axes = np.linalg.eigh(X @ X.T)
    kept = values > values[-1] * 1e-10
    lengths, axes = np.sqrt(values[kept]), axes[:, kept]
    inside = T @ (X.T @ (axes / lengths))
    outside = np.sqrt(np.maximum((T**2).sum(axis=1) - (inside**2).sum(axis=1), 0))
    return np.pad(axes * lengths, ((0, 0), (0, 1))), np.column_stack([inside, outside])


def parallel(function, tasks, shown="", at_once=None) -> list:
    """Run tasks side by side, or so many at once; return their results in order."""
    with one_thread_a_core(at_once):
        results = Parallel(return_as="generator")(delayed(function)(*task) for task in tasks)
        return list(watched(results, len(tasks), shown) if shown else results)


@contextmanager
def one_thread_a_core(at_once=None):
    """Let joblib use threads, which copy nothing, and BLAS none: libsvm and BLAS release the GIL."""
    with threadpool_limits(1), parallel_config("threading", n_jobs=at_once or cpu_count()), silence():
        yield


@contextmanager
def silence():
    """Show no warnings: a C that does not converge loses by its score.

    Recorded, not only ignored: scikit-learn's threads reset each other's filters.
    """
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        yield


def watched(results, total, name):
    """Show one bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    return track(results, name, total, console=Console(stderr=True))
