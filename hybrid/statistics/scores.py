"""Labels, predictions and folds -> scores, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from hybrid.statistics.intervals import interval, wilson

# The least and the greatest value each score can take.
BOUNDS = {
    "accuracy": (0.0, 1.0),
    "balanced_accuracy": (0.0, 1.0),
    "macro_f1": (0.0, 1.0),
    "log_loss": (0.0, np.inf),
    "roc_auc": (0.0, 1.0),
    "calibration_error": (0.0, 1.0),
}
BINS = 15
RESAMPLES = 500


def _measure(true: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None, k: int) -> dict:
    """Score one test part; labels are column numbers below `k`."""
    n = len(true)
    support, called = np.bincount(true, minlength=k), np.bincount(predicted, minlength=k)
    right = true == predicted
    hits = np.bincount(true[right], minlength=k)
    seen, named = support > 0, support + called > 0
    scores = {
        "accuracy": right.mean(),
        "balanced_accuracy": (hits[seen] / support[seen]).mean(),
        "macro_f1": (2 * hits[named] / (support + called)[named]).mean(),
    }
    if probabilities is not None:
        rows = np.arange(n)
        own, confidence = probabilities[rows, true], probabilities[rows, predicted]
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        # Not by a minus sign: no loss at all is 0.0, not -0.0.
        scores["log_loss"] = np.abs(np.log(np.clip(own, 1e-15, 1))).mean()
        scores["roc_auc"] = _roc_auc(true, probabilities, support)
        scores["calibration_error"] = np.abs(np.bincount(bins, weights=right - confidence)).sum() / n
    return {name: float(value) for name, value in scores.items()}


def _roc_auc(true: np.ndarray, probabilities: np.ndarray, support: np.ndarray) -> float:
    """Average the one-vs-rest areas of the classes that have images on both sides; NaN where none has."""
    ranks = rankdata(probabilities, axis=0)[np.arange(len(true)), true]
    sums = np.bincount(true, weights=ranks, minlength=len(support))
    both = (support > 0) & (support < len(true))
    own = support[both]
    areas = (sums[both] - own * (own + 1) / 2) / (own * (len(true) - own))
    return areas.mean() if both.any() else np.nan


def _coded(
    y: ArrayLike,
    probabilities: Sequence[ArrayLike] | None,
    predictions: Sequence[ArrayLike],
    classes: ArrayLike,
) -> tuple[np.ndarray, list, list[np.ndarray], int]:
    """Turn labels into column numbers; labels the model never saw get columns of zeros."""
    number = {label: i for i, label in enumerate(np.asarray(classes).tolist())}
    known = len(number)
    for labels in (y, *predictions):
        for label in np.asarray(labels).tolist():
            number.setdefault(label, len(number))

    def code(labels: ArrayLike) -> np.ndarray:
        return np.array([number[label] for label in np.asarray(labels).tolist()], dtype=int)

    if probabilities is not None:
        extra = ((0, 0), (0, len(number) - known))
        probabilities = [np.pad(np.asarray(p, dtype=float), extra) for p in probabilities]
    else:
        probabilities = [None] * len(predictions)
    return code(y), probabilities, [code(p) for p in predictions], len(number)


def score_folds(
    y: ArrayLike,
    probabilities: Sequence[ArrayLike] | None,
    predictions: Sequence[ArrayLike],
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    classes: ArrayLike,
) -> dict[str, np.ndarray]:
    """Score the predictions of every fold.

    Parameters
    ----------
    y : array of shape (n,)
        The labels of all images.
    probabilities : list of arrays (n_test, n_classes), or None
        For every fold, the probabilities of its test part. None leaves out the scores that need them.
    predictions : list of arrays (n_test,)
        For every fold, the predicted labels of its test part.
    folds : list of (train, test)
        Row numbers, as scikit-learn's splitters give them. One fold is a plain test set.
    classes : array of shape (n_classes,)
        The label of every column of `probabilities`.

    Returns
    -------
    dict of str to array of shape (n_folds,)
        ``accuracy``; ``balanced_accuracy``, the mean recall of the classes in the test part; ``macro_f1``
        over the classes in it or predicted; ``log_loss`` in nats, probabilities below 1e-15 counted as
        that; ``roc_auc``, the mean one-vs-rest area of the classes both present and not alone in the test
        part (NaN where there is none); ``calibration_error``, the expected calibration error of the
        predicted class in 15 bins of equal width (a small test part inflates it).

    Examples
    --------
    >>> folds = [([2, 3], [0, 1]), ([0, 1], [2, 3])]
    >>> sure = [[0.9, 0.1], [0.2, 0.8]]
    >>> scores = score_folds(list("abab"), [sure, sure], [list("ab"), list("aa")], folds, list("ab"))
    >>> scores["accuracy"]
    array([1. , 0.5])
    >>> scores["roc_auc"]
    array([1., 1.])
    """
    y, probabilities, predictions, k = _coded(y, probabilities, predictions, classes)
    parts = zip(folds, predictions, probabilities, strict=True)
    scored = [_measure(y[test], predicted, p, k) for (_, test), predicted, p in parts]
    return {name: np.array([scores[name] for scores in scored]) for name in scored[0]}


def held_out(
    y: ArrayLike,
    probabilities: ArrayLike | None,
    predictions: ArrayLike,
    classes: ArrayLike,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Scores of one plain test set with their intervals: Wilson's for accuracy, a bootstrap for the others.

    The bootstrap draws images with replacement 500 times and takes the percentiles, less twice the bias the
    draws show: their own, and the score's. Only the calibration error has one to speak of; near 0 its interval
    still lies too high. All speak of this model, not of others trained on other images.

    Returns
    -------
    dict of str to (value, low, high)

    Examples
    --------
    >>> y = ["ant", "bee"] * 20
    >>> guess = ["ant"] * 40
    >>> scores = held_out(y, None, guess, ["ant", "bee"])
    >>> print("{:.2f} ({:.2f} to {:.2f})".format(*scores["accuracy"]))
    0.50 (0.35 to 0.65)
    """
    probabilities = None if probabilities is None else [probabilities]
    true, (p,), (predicted,), k = _coded(y, probabilities, [predictions], classes)
    values, n = _measure(true, predicted, p, k), len(true)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        rows = rng.integers(n, size=n)
        draws.append(_measure(true[rows], predicted[rows], None if p is None else p[rows], k))
    result = {}
    for name, value in values.items():
        bounds = BOUNDS[name]
        drawn = np.array([draw[name] for draw in draws])
        drawn = drawn[~np.isnan(drawn)]
        if name == "accuracy" or (len(drawn) and np.ptp(drawn) == 0 and bounds == (0.0, 1.0)):
            result[name] = value, *wilson(value, n, level)
        elif len(drawn) == 0:
            result[name] = value, np.nan, np.nan
        else:
            ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - 2 * (drawn.mean() - value)
            low, high = np.clip(ends, *bounds).tolist()
            result[name] = value, min(low, value), max(high, value)
    return result


def summary(
    y: ArrayLike,
    probabilities: Sequence[ArrayLike] | None,
    predictions: Sequence[ArrayLike],
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    classes: ArrayLike,
    level: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Score folds (or one plain test set) and give every score as ``{"mean": .., "low": .., "high": ..}``.

    The parameters are those of `score_folds`; the intervals those of `interval`, or for a single fold those
    of `held_out`.
    """
    if len(folds) == 1:
        y = np.asarray(y)[folds[0][1]]
        p = None if probabilities is None else probabilities[0]
        triples = held_out(y, p, predictions[0], classes, level)
    else:
        n_train, n_test = (float(np.mean([len(fold[i]) for fold in folds])) for i in (0, 1))
        scores = score_folds(y, probabilities, predictions, folds, classes)
        triples = {name: interval(v, n_train, n_test, level, BOUNDS[name]) for name, v in scores.items()}
    return {name: dict(zip(("mean", "low", "high"), triple, strict=True)) for name, triple in triples.items()}
