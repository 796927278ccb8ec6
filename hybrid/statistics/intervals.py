"""A score's values fold by fold -> its interval, and paired tests between models."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t


def wilson(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share observed on `n` independent images.

    Examples
    --------
    >>> low, high = wilson(0.9, 100)
    >>> print(f"{low:.3f} {high:.3f}")
    0.826 0.945
    """
    z = norm.ppf((1 + level) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At a share of 0 or 1 an end equals it, but for rounding.
    low, high = min(share, float(centre - half)), max(share, float(centre + half))
    return max(0.0, low), min(1.0, high)


def _corrected_error(spread: float, folds: int, n_train: float, n_test: float) -> float:
    return float(spread * np.sqrt(1 / folds + n_test / n_train))


def interval(
    values: ArrayLike,
    n_train: float,
    n_test: float,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float, float]:
    """Mean of a cross-validated score and its corrected interval.

    Student's t on the folds' values, with the variance of Nadeau and Bengio (2003): training parts overlap,
    so ``s**2 / J`` is too small, and ``s**2 * (1 / J + n_test / n_train)`` stands for it.

    The correction is a rule of thumb, not a theorem: it takes the correlation between folds to be
    ``n_test / (n_train + n_test)``. The interval is for the score of a model trained on `n_train` images
    drawn like these; it knows nothing of a shift in the data, nor of images that depend on each other beyond
    the folds' groups. Folds that all agree have no spread to learn from: then Wilson's interval on
    ``n_train + n_test`` images answers, where the score lies between 0 and 1.

    Parameters
    ----------
    values : array of shape (n_folds,)
        The score in every fold of all repeats; NaN (a score that a fold does not have) is left out.
    n_train, n_test : float
        Mean number of images in a training and in a test part.
    level : float
        Confidence.
    bounds : (float, float)
        The range of the score (`scores.BOUNDS` has every score's), to which the interval is clipped.

    Returns
    -------
    (mean, low, high) : floats
        The ends are NaN with fewer than two values.

    Examples
    --------
    >>> mean, low, high = interval([0.90, 0.85, 0.95, 0.90, 0.90], n_train=80, n_test=20)
    >>> print(f"{mean:.2f} ({low:.3f} to {high:.3f})")
    0.90 (0.834 to 0.966)
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return (float(values[0]) if len(values) else np.nan), np.nan, np.nan
    mean, spread = float(values.mean()), values.std(ddof=1)
    if spread < 1e-12 and bounds == (0.0, 1.0):
        return mean, *wilson(min(1.0, max(0.0, mean)), round(n_train + n_test), level)
    half = t.ppf((1 + level) / 2, len(values) - 1) * _corrected_error(spread, len(values), n_train, n_test)
    return mean, max(bounds[0], float(mean - half)), min(bounds[1], float(mean + half))


def corrected_ttest(
    a: ArrayLike, b: ArrayLike, n_train: float, n_test: float, level: float = 0.95
) -> tuple[float, float, float, float]:
    """Compare two models scored on the same folds: the paired t-test of Nadeau and Bengio.

    Parameters
    ----------
    a, b : arrays of shape (n_folds,)
        The two models' scores, fold by fold; folds where either is NaN are left out.
    n_train, n_test : float
        Mean number of images in a training and in a test part.
    level : float
        Confidence of the interval.

    Returns
    -------
    (difference, low, high, p) : floats
        Mean of ``a - b``, its interval, and the two-sided p-value. Where all folds differ by the same amount,
        the spread is taken to be that of rounding to whole images, ``1 / (n_test * sqrt(12))``, rather than
        none: so identical scores give p = 1, and no p is 0. Correct several with `holm`.

    Examples
    --------
    >>> a, b = [0.90, 0.85, 0.95, 0.90, 0.90], [0.80, 0.80, 0.85, 0.80, 0.85]
    >>> difference, low, high, p = corrected_ttest(a, b, n_train=80, n_test=20)
    >>> print(f"{difference:.2f} ({low:.3f} to {high:.3f}), p = {p:.3f}")
    0.08 (0.029 to 0.131), p = 0.012
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"Got {a.size} and {b.size} scores, but expected both models' on the same folds.")
    differences = (a - b)[~np.isnan(a - b)]
    if len(differences) < 2:
        raise ValueError(f"Got {len(differences)} paired scores, but expected at least 2: use more folds.")
    mean, spread = float(differences.mean()), differences.std(ddof=1)
    if spread < 1e-12:
        mean, spread = round(mean, 12), 1 / (n_test * np.sqrt(12))
    error, freedom = _corrected_error(spread, len(differences), n_train, n_test), len(differences) - 1
    half = float(t.ppf((1 + level) / 2, freedom) * error)
    return mean, mean - half, mean + half, float(2 * t.sf(abs(mean) / error, freedom))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust the p-values of several tests by Holm's method, in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
