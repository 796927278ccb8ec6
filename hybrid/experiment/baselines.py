"""Small pixels and folds in; the scores of the majority and of raw pixels out, which features must beat."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hybrid.experiment.selection import Fold
from hybrid.experiment.work import parallel
from hybrid.statistics.kernels import RBFKernel
from hybrid.statistics.scores import summary

# An SVC on pixels grows with the square of the images, and says no more.
MOST_IMAGES = 5000


def baselines(y: np.ndarray, pixels: np.ndarray, folds: list[Fold]) -> dict[str, dict]:
    """Score the majority, and an SVC on raw pixels where there are no more than 5000 images.

    Parameters
    ----------
    y : array of shape (n,)
        Labels.
    pixels : array of shape (n, 32, 32, 3)
    folds : list of (train, test)

    Returns
    -------
    dict
        ``{"majority": scores, "raw_pixels": scores}``, each as `hybrid.statistics.scores.summary` gives them, without
        those that need probabilities.
    """
    classes = np.unique(y)
    found = {"majority": scored(DummyClassifier(), np.zeros((len(y), 1)), y, folds, classes)}
    if len(y) <= MOST_IMAGES:
        model = SVC(C=10, kernel="precomputed")
        found["raw_pixels"] = scored(model, _pixel_kernel(pixels), y, folds, classes)
    return found


def _pixel_kernel(pixels: np.ndarray) -> np.ndarray:
    """Return the RBF kernel of all images' standardised pixels, which every fold takes its part of."""
    rows = StandardScaler(copy=False).fit_transform(pixels.reshape(len(pixels), -1).astype(np.float32))
    return RBFKernel().fit_transform(rows)


def scored(
    model: BaseEstimator, X: np.ndarray, y: np.ndarray, folds: list[Fold], classes: np.ndarray
) -> dict:
    """Fit a model in every fold and score its predictions; a square matrix holds all images' likeness."""

    def run(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        own = train if X.shape[1] == len(X) else slice(None)
        return clone(model).fit(X[train][:, own], y[train]).predict(X[test][:, own])

    return summary(y, None, parallel(run, folds), folds, classes)
