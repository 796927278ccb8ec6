"""Rows and labels in; linear models for several C, each from the one before, out.

The objectives are those of scikit-learn's LogisticRegression and LinearSVC, solved for a choice between them:
rows lie on the axes of their spread, which tells how steep the objective is along each, so that a quasi-Newton
method needs a few steps instead of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

# Steps of a size that leaves accuracy within what one image makes.
TOLERANCE, MOST_STEPS = 1e-4, 200
# Of a size that leaves probabilities within a hundredth.
FINE = 1e-8
# How much of the spread, about half of the axes, a softmax learns next to nothing from; a squared hinge does.
LEFT_OUT = 0.01
# Of the widest axis' square: what float32 cannot tell from nothing.
NOTHING = 1e-6
# How much the loss of an image bends, about, in the middle of learning; steps that are remembered.
BEND, MEMORY = 0.05, 5
# How many times as large a model may become from one C to the next.
GROWN = 1.0, 1.5, 2.0, 3.0, 4.0, 6.0

# Scores and the targets they should have in, a column an image; each image's loss and its slope by the scores out.
Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Axes(TransformerMixin, BaseEstimator):
    """Turn rows so that their columns have nothing in common, and leave out those that hold next to nothing.

    Parameters
    ----------
    left_out : float
        Share of the spread around the mean, at most, that `transform` leaves out.

    Attributes
    ----------
    directions_ : float32 array of shape (d, r)
        Orthonormal, the widest last; those that are left out are first.
    spread_ : array of shape (r,)
        The rows' mean square along each.
    n_left_out_ : int

    Examples
    --------
    >>> rows = np.array([[3.0, 4.0, 0.0], [-6.0, -8.0, 0.01]], np.float32)
    >>> abs(Axes(left_out=0.01).fit_transform(rows).round(1))
    array([[ 5.],
           [10.]], dtype=float32)
    """

    def __init__(self, left_out=0.0):
        self.left_out = left_out

    def fit(self, X, y=None):
        wide = len(X) < X.shape[1]
        products = X @ X.T if wide else X.T @ X
        squares, directions = eigh(products, overwrite_a=True, check_finite=False, driver="evd")
        if wide:
            # Where all rows are zero, one direction that is zero, too.
            known = squares > NOTHING * squares[-1]
            known[-1] = True
            squares = np.maximum(squares[known], np.finfo(np.float32).tiny)
            directions = X.T @ (directions[:, known] / np.sqrt(squares))
        self.directions_ = np.ascontiguousarray(directions)
        self.spread_ = np.maximum(squares, 0) / len(X)
        sums = np.cumsum(self.spread_)
        around = max(sums[-1] - np.square(X.mean(axis=0)).sum(), 0)
        self.n_left_out_ = np.count_nonzero(sums[:-1] <= self.left_out * around)
        return self

    def transform(self, X):
        return X @ self.directions_[:, self.n_left_out_ :]


def softmax(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cross-entropy of each image and its slope; targets are ones and zeros."""
    scores = scores - scores.max(axis=0)
    likely = np.exp(scores)
    sums = likely.sum(axis=0)
    return np.log(sums) - (scores * targets).sum(axis=0), likely / sums - targets


def squared_hinge(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared hinges of each image, a class against the rest, and their slope."""
    sides = 2 * targets - 1
    short = np.maximum(1 - sides * scores, 0)
    return (short**2).sum(axis=0), -2 * sides * short


def linear_path(
    rows: np.ndarray | LinearOperator,
    codes: np.ndarray,
    values: Sequence[float],
    loss: Loss = softmax,
    weights: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
    spread: np.ndarray | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit a model for each value of C, in ascending order, each started from the one before.

    Parameters
    ----------
    rows : float32 array of shape (n, r), or LinearOperator
        On their `Axes`, or on those of others like them.
    codes : int array of shape (n,)
        Classes, from 0; each of them occurs.
    values : sequence of float
        C, as in scikit-learn.
    loss : `softmax` or `squared_hinge`
    weights : array of shape (n,), optional
        Of images.
    tolerance : float
        The last step lowers the mean loss by less.
    spread : float32 array of shape (r,), optional
        The rows' mean squares on each axis, or about; found where it is not given.

    Returns
    -------
    list of (coefficients, intercepts)
        In the order of `values`; of an image, the class of the largest ``rows @ coefficients + intercepts``.

    Examples
    --------
    >>> rows = np.array([[2.0, 0.1], [1.8, 0.0], [-2.1, 0.1]], np.float32)
    >>> ((coefficients, intercepts),) = linear_path(rows, np.array([1, 1, 0]), [1.0])
    >>> (rows @ coefficients + intercepts).argmax(axis=1)
    array([1, 1, 0])
    """
    targets = np.eye(codes.max() + 1, dtype=np.float32)[:, codes]
    spread = np.square(rows).mean(axis=0) if spread is None else spread
    weights = np.ones(len(codes)) if weights is None else weights
    # Two coefficients that oppose each other are half as long as one.
    alike = 0.5 if loss is softmax and len(targets) == 2 else 1.0
    found = [np.zeros(0)] * len(values)
    shares = (weights / weights.sum()).astype(np.float32)
    model = np.zeros((len(targets), len(spread) + 1), np.float32)
    for i in np.argsort(values, kind="stable"):
        pull = 1 / (alike * values[i] * weights.sum())
        start = _grown(model, rows, targets, pull, loss, shares) if model.any() else model
        model = found[i] = _descend(start, rows, targets, spread, pull, loss, shares, tolerance)
    return [(model[:, :-1].T, model[:, -1]) for model in found]


def _grown(
    model: np.ndarray,
    rows: np.ndarray | LinearOperator,
    targets: np.ndarray,
    pull: float,
    loss: Loss,
    shares: np.ndarray,
) -> np.ndarray:
    """Return a model as large as suits another pull best, which takes one product."""
    scores, square = _scores(model, rows), np.square(model[:, :-1]).sum()
    values = [shares @ loss(times * scores, targets)[0] + pull * times**2 * square / 2 for times in GROWN]
    return np.float32(GROWN[np.argmin(values)]) * model


def _descend(
    start: np.ndarray,
    rows: np.ndarray | LinearOperator,
    targets: np.ndarray,
    spread: np.ndarray,
    pull: float,
    loss: Loss,
    shares: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Minimise the mean loss and a penalty, from a model: a row a class, its last column intercepts."""
    # An intercept is one more coefficient of LinearSVC, and free in a logistic regression.
    pulls = np.full(start.shape[1], pull, np.float32)
    pulls[-1] *= loss is squared_hinge
    # How the objective bends along each axis, which the steps are measured by.
    scale = np.sqrt(BEND * np.append(spread, np.float32(1)) + pulls)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        model = flat.reshape(start.shape).astype(np.float32) / scale
        losses, slopes = loss(_scores(model, rows), targets)
        slopes *= shares
        pulled = pulls * model
        slope = pulled + np.hstack([slopes @ rows, slopes.sum(axis=1, keepdims=True)])
        value = (losses * shares).sum(dtype=float) + (pulled * model).sum(dtype=float) / 2
        return value, (slope / scale).ravel().astype(float)

    options = {"maxiter": MOST_STEPS, "ftol": tolerance, "gtol": 0, "maxcor": MEMORY}
    first = (start * scale).ravel().astype(float)
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape).astype(np.float32) / scale


def _scores(model: np.ndarray, rows: np.ndarray | LinearOperator) -> np.ndarray:
    """Return a row a class: sums over a few classes are quick along columns only."""
    return np.ascontiguousarray((rows @ model[:, :-1].T).T) + model[:, -1:]


class QuickSVC(ClassifierMixin, BaseEstimator):
    """scikit-learn's LinearSVC by `linear_path`, in a fraction of its time, of rows on their `Axes`.

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
        ((slopes, self.intercept_),) = linear_path(X, codes, [self.C], squared_hinge, sample_weight, FINE)
        self.coef_ = slopes.T
        return self

    def decision_function(self, X):
        scores = X @ self.coef_.T + self.intercept_
        return scores if len(self.classes_) > 2 else scores[:, 1]

    def predict(self, X):
        return self.classes_[(X @ self.coef_.T + self.intercept_).argmax(axis=1)]
