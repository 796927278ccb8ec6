"""Rows and labels in; linear models for several C, each from the one before, out.

The objectives are those of scikit-learn's LogisticRegression and LinearSVC, solved for a choice between them:
the rows' products tell how steep the objective is in which direction, so that a quasi-Newton method needs a
few steps instead of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin

# Steps of a size that leaves accuracy within what one image makes.
TOLERANCE, MOST_STEPS = 1e-4, 200
# Of a size that leaves probabilities within a hundredth.
FINE = 1e-6
# How much the loss of an image bends, about, in the middle of learning.
BEND = 0.1
# Of the mean diagonal: what keeps a matrix of float32 positive.
ROUNDING = 1e-5

# Scores and the targets they should have in; each image's loss and its slope by the scores out.
Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Slope:
    """Rows on as few columns as there are rows, and what a model of some of them is steep in.

    Parameters
    ----------
    rows : float32 array of shape (n, d)
        Scaled features.

    Attributes
    ----------
    rows : float32 array of shape (n, min(n, d))
        The same, or others with the same products.

    Examples
    --------
    >>> slope = Slope(np.array([[3.0, 4.0, 0.0], [-6.0, -7.0, 1.0]], np.float32))
    >>> (slope.rows @ slope.rows.T).round()
    array([[ 25., -46.],
           [-46.,  86.]], dtype=float32)
    """

    def __init__(self, rows: np.ndarray):
        if rows.shape[0] < rows.shape[1]:
            rows = np.ascontiguousarray(factor(rows @ rows.T))
        self.rows = rows

    @cached_property
    def products(self) -> np.ndarray:
        """The mean products of columns."""
        return self.rows.T @ self.rows / len(self.rows)

    def at(self, pull: float) -> np.ndarray:
        """Return a root of how the objective bends, the penalty's share being `pull`."""
        bent = BEND * self.products
        bent[np.diag_indices_from(bent)] += pull
        return factor(bent)


def factor(matrix: np.ndarray) -> np.ndarray:
    """Return the lower triangle whose product with its transpose is a matrix, or nearly."""
    matrix[np.diag_indices_from(matrix)] += ROUNDING * max(np.trace(matrix) / len(matrix), ROUNDING)
    return cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)


def softmax(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cross-entropy of each image and its slope; targets are ones and zeros."""
    scores = scores - scores.max(axis=1, keepdims=True)
    likely = np.exp(scores)
    sums = likely.sum(axis=1, keepdims=True)
    losses = np.log(sums[:, 0]) - (scores * targets).sum(axis=1)
    return losses, likely / sums - targets


def squared_hinge(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared hinges of each image, a class against the rest, and their slope."""
    sides = 2 * targets - 1
    short = np.maximum(1 - sides * scores, 0)
    return (short**2).sum(axis=1), -2 * sides * short


def linear_path(
    rows: np.ndarray,
    roots: Sequence[np.ndarray],
    codes: np.ndarray,
    values: Sequence[float],
    loss: Loss = softmax,
    weights: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit a model for each value of C, in ascending order, each started from the one before.

    Parameters
    ----------
    rows : float32 array of shape (n, r)
    roots : sequence of arrays of shape (r, r)
        `Slope.at` of each value, for such rows as these.
    codes : int array of shape (n,)
        Classes, from 0; each of them occurs.
    values : sequence of float
        C, as in scikit-learn.
    loss : `softmax` or `squared_hinge`
    weights : array of shape (n,), optional
        Of images.
    tolerance : float
        The last step lowers the mean loss by less.

    Returns
    -------
    list of (coefficients, intercepts)
        In the order of `values`; of an image, the class of the largest ``rows @ coefficients + intercepts``.

    Examples
    --------
    >>> rows = np.array([[2.0, 0.1], [1.8, 0.0], [-2.1, 0.1]], np.float32)
    >>> ((coefficients, intercepts),) = linear_path(rows, [Slope(rows).at(1.0)], np.array([1, 1, 0]), [1.0])
    >>> (rows @ coefficients + intercepts).argmax(axis=1)
    array([1, 1, 0])
    """
    targets = np.eye(codes.max() + 1, dtype=np.float32)[codes]
    weights = np.ones(len(rows)) if weights is None else weights
    # Two coefficients that oppose each other are half as long as one.
    alike = 0.5 if loss is softmax and targets.shape[1] == 2 else 1.0
    found = [np.zeros(0)] * len(values)
    model = np.zeros((rows.shape[1] + 1, targets.shape[1]), np.float32)
    for i in np.argsort(values, kind="stable"):
        pull = 1 / (alike * values[i] * weights.sum())
        model = found[i] = _descend(
            model, rows, targets, roots[i], pull, loss, weights / weights.sum(), tolerance
        )
    return [(model[:-1], model[-1]) for model in found]


def _descend(
    start: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    root: np.ndarray,
    pull: float,
    loss: Loss,
    shares: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Minimise the mean loss and a penalty, from a model; its last row are intercepts."""
    shares = shares.astype(np.float32)[:, None]
    # An intercept is one more coefficient of LinearSVC, and free in a logistic regression.
    held = loss is squared_hinge
    bend = np.float32(np.sqrt(BEND + pull * held))

    def unbend(flat: np.ndarray) -> np.ndarray:
        steps = flat.reshape(start.shape).astype(np.float32)
        steps[:-1] = solve_triangular(root, steps[:-1], lower=True, trans=1, check_finite=False)
        steps[-1] /= bend
        return steps

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        model = unbend(flat)
        losses, slopes = loss(rows @ model[:-1] + model[-1], targets)
        slopes *= shares
        pulled = np.float32(pull) * model
        pulled[-1] *= held
        slope = pulled + np.vstack([rows.T @ slopes, slopes.sum(axis=0)])
        slope[:-1] = solve_triangular(root, slope[:-1], lower=True, check_finite=False)
        slope[-1] /= bend
        value = (losses * shares[:, 0]).sum(dtype=float) + (pulled * model).sum(dtype=float) / 2
        return value, slope.ravel().astype(float)

    bent = np.vstack([root.T @ start[:-1], bend * start[-1:]]).ravel().astype(float)
    options = {"maxiter": MOST_STEPS, "ftol": tolerance, "gtol": 0}
    return unbend(minimize(objective, bent, jac=True, method="L-BFGS-B", options=options).x)


class QuickSVC(ClassifierMixin, BaseEstimator):
    """scikit-learn's LinearSVC by `linear_path`, in a tenth of its time.

    Examples
    --------
    >>> rows = np.array([[2.0, 0.1], [1.8, 0.0], [-2.1, 0.1]], np.float32)
    >>> QuickSVC(C=1.0).fit(rows, ["bee", "bee", "ant"]).predict(rows)
    array(['bee', 'bee', 'ant'], dtype='<U3')
    """

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, X, y, sample_weight=None):
        self.classes_, codes = np.unique(y, return_inverse=True)
        slope = Slope(X)
        roots = [slope.at(1 / (self.C * len(X)))]
        ((slopes, self.intercept_),) = linear_path(
            slope.rows, roots, codes, [self.C], squared_hinge, sample_weight, FINE
        )
        if slope.rows is not X:
            slopes = X.T @ solve_triangular(slope.rows, slopes, lower=True, trans=1, check_finite=False)
        self.coef_ = slopes.T
        return self

    def decision_function(self, X):
        scores = X @ self.coef_.T + self.intercept_
        return scores if len(self.classes_) > 2 else scores[:, 1]

    def predict(self, X):
        return self.classes_[(X @ self.coef_.T + self.intercept_).argmax(axis=1)]
