"""Features, labels and folds -> how accuracy grows with the images, and what more of them would bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.optimize import curve_fit

from hybrid.spelling import counted
from hybrid.statistics.intervals import interval, wilson

FRACTIONS = (0.15, 0.25, 0.4, 0.6, 0.8, 1.0)
FARTHEST = 4.0
WIDEST = 0.2

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Curve:
    """Accuracy at growing training sizes, fold by fold."""

    sizes: tuple[float, ...]  # mean number of training images
    values: tuple[tuple[float, ...], ...]  # one row a size, one column a fold
    n_test: float
    n_classes: int


@dataclass(frozen=True)
class _Forecast:
    """What more images would bring; the figures are None where the curve does not tell."""

    more: int  # images a class
    now: float
    then: float | None
    low: float | None
    high: float | None
    sentence: str  # the same in words, or why not


def stratified_order(y: ArrayLike, seed: int = 0) -> np.ndarray:
    """Order rows so that any beginning has every class in proportion, and each class as early as can be.

    Examples
    --------
    >>> stratified_order(["ant", "ant", "ant", "ant", "bee", "bee"])
    array([2, 5, 0, 1, 4, 3])
    """
    rng = np.random.default_rng(seed)
    _, codes = np.unique(np.asarray(y), return_inverse=True)
    place = np.empty(len(codes))
    for code in range(codes.max() + 1):
        rows = rng.permutation(np.flatnonzero(codes == code))
        place[rows] = np.arange(len(rows)) / len(rows)
    return np.lexsort((codes, place))


def _accuracy(
    predict: Predict, y: np.ndarray, train: np.ndarray, test: np.ndarray, fraction: float, seed: int
) -> float:
    part = train[stratified_order(y[train], seed)][: round(fraction * len(train))]
    return float(np.mean(predict(part, test) == y[test]))


def learning_curve(
    predict: Predict,
    y: ArrayLike,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    n_jobs: int | None = None,
) -> Curve:
    """Train on growing, nested, stratified parts of every fold's training part; test on its test part.

    Parameters
    ----------
    predict : callable
        Called with rows to train on and rows to test, ``len(fractions) * len(folds)`` times; returns the labels
        that a model of some hyper-parameters, chosen before, gives the latter.
    y : array of shape (n,)
        Labels.
    folds : list of (train, test)
    fractions : floats above 0, up to 1
        Shares of a training part, ascending. A part has at least two images a class on average.
    seed : int
    n_jobs : int, optional
        As in scikit-learn.

    Returns
    -------
    Curve
    """
    y = np.asarray(y)
    n_classes = len(np.unique(y))
    smallest = 2 * n_classes / min(len(train) for train, _ in folds)
    fractions = [fraction for fraction in fractions if fraction >= smallest or fraction == fractions[-1]]
    # The longest fits first: no core then waits for the last one.
    scores = Parallel(n_jobs=n_jobs)(
        delayed(_accuracy)(predict, y, np.asarray(train), test, fraction, seed)
        for fraction in reversed(fractions)
        for train, test in folds
    )
    values = np.reshape(scores, (len(fractions), len(folds)))[::-1]
    n_train, n_test = (float(np.mean([len(fold[i]) for fold in folds])) for i in (0, 1))
    return Curve(
        sizes=tuple(fraction * n_train for fraction in fractions),
        values=tuple(tuple(row) for row in values.tolist()),
        n_test=n_test,
        n_classes=n_classes,
    )


def _power_law(n: np.ndarray | float, ceiling: float, loss: float, rate: float) -> np.ndarray | float:
    return ceiling - loss * n**-rate


def _fit(relative: np.ndarray, means: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Fit the law to sizes relative to the largest, so that its terms are alike in scale."""
    start = (min(0.99, means[-1] + 0.02), max(0.01, means[-1] - means[0]), 0.5)
    bounds = ((0.0, 0.0, 0.05), (1.0, 1.0, 2.0))
    found, _ = curve_fit(_power_law, relative, means, start, errors, bounds=bounds, max_nfev=2000)
    return found


def _extrapolate(curve: Curve, factor: float, level: float) -> tuple[float, float, float]:
    """Fit, and give the accuracy at `factor` with its interval; ValueError says why not."""
    values, relative = np.array(curve.values), np.array(curve.sizes) / curve.sizes[-1]
    n_folds, means = values.shape[1], values.mean(axis=1)
    if len(relative) < 4 or n_folds < 3:
        few = f"{counted(len(relative), 'size')} and {counted(n_folds, 'fold')}"
        raise ValueError(f"{few} are too few (4 and 3 are needed)")
    # A test part cannot tell scores apart that are closer than one image.
    spread = np.maximum(values.std(axis=1, ddof=1), 1 / curve.n_test)
    errors = spread * np.sqrt(1 / n_folds + curve.n_test / curve.sizes[-1])
    if means[-1] == 1:
        raise ValueError("the curve has reached 1.000")
    if means[-1] < means[0] - 2 * errors[0]:
        raise ValueError("accuracy falls as images are added")
    found = _fit(relative, means, spread)
    residuals = np.abs(means - _power_law(relative, *found))
    worst = residuals.argmax()
    if residuals[worst] > max(0.02, 2 * errors[worst]):
        raise ValueError(
            f"no power law fits (off by {residuals[worst]:.3f} at {curve.sizes[worst]:.0f} images)"
        )

    law = _power_law(factor, *found)
    folds = range(n_folds)
    without = [_fit(relative, np.delete(values, fold, axis=1).mean(axis=1), spread) for fold in folds]
    pseudo = [n_folds * law - (n_folds - 1) * _power_law(factor, *other) for other in without]
    middle, low, high = interval(pseudo, curve.sizes[-1], curve.n_test, level, bounds=(-np.inf, np.inf))
    # The law rises: where it ends below the last point, that one lies high by chance.
    then = float(max(law, means[-1]))
    least, most = wilson(then, round(curve.sizes[-1] + curve.n_test), level)
    low, high = min(least, max(0.0, then + low - middle)), max(most, min(1.0, then + high - middle))
    if high - low > WIDEST:
        raise ValueError(f"anything from {low:.2f} to {high:.2f} is possible. Use more folds or images")
    return then, low, high


def forecast(curve: Curve, factor: float = 2.0, level: float = 0.95) -> _Forecast:
    """Extrapolate a learning curve to `factor` times the images.

    An inverse power law, ``ceiling - loss * n ** -rate``, is fitted to the means over the folds, weighted by
    their spread. The interval is that of a score (`intervals.interval`), on the folds' jackknife
    pseudo-values, how the extrapolation moves without each fold, and never narrower than Wilson's on as many
    images as there are. It takes the law for granted, which is why `factor` ends at 4, and why there are no
    figures where the law fits badly, the interval is wider than 0.2 or no error is left. More images are never
    said to do harm.

    Parameters
    ----------
    curve : Curve
    factor : float
        Images in all, as a multiple of those at hand.
    level : float
        Confidence.

    Returns
    -------
    Forecast

    Examples
    --------
    >>> sizes = (20.0, 40.0, 80.0, 160.0)
    >>> values = tuple((0.97 - n**-0.5, 0.98 - n**-0.5, 0.99 - n**-0.5) for n in sizes)
    >>> print(forecast(Curve(sizes, values, n_test=40.0, n_classes=4)).sentence)
    About 50 more images a class would bring accuracy from 0.901 to 0.924 (95 %: 0.879 to 0.957).
    """
    if not 1 < factor <= FARTHEST:
        raise ValueError(
            f"Got factor={factor!r}, but expected above 1 and up to {FARTHEST:g} times the images."
        )
    more = round((factor - 1) * (curve.sizes[-1] + curve.n_test) / curve.n_classes)
    now = float(np.mean(curve.values[-1]))
    try:
        then, low, high = _extrapolate(curve, factor, level)
    except (ValueError, RuntimeError) as reason:
        # curve_fit raises RuntimeError where it finds no fit.
        sentence = f"What {more} more images a class would bring cannot be told: {reason}."
        return _Forecast(more, now, None, None, None, sentence)
    change = "hardly change accuracy:" if then - now < 0.005 else "bring accuracy"
    sentence = (
        f"About {more} more images a class would {change} from {now:.3f} to {then:.3f} "
        f"({100 * level:.0f} %: {low:.3f} to {high:.3f})."
    )
    return _Forecast(more, now, then, low, high, sentence)
