"""Small pixels and folds in; the scores of the majority and of raw pixels out, which features must beat."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hybrid.experiment.selection import Fold, parallel
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
        rows = pixels.reshape(len(y), -1).astype(np.float32)
        found["raw_pixels"] = scored(make_pipeline(StandardScaler(), SVC(C=10)), rows, y, folds, classes)
    return found


def scored(
    model: BaseEstimator, X: np.ndarray, y: np.ndarray, folds: list[Fold], classes: np.ndarray
) -> dict:
    """Fit a model in every fold and score its predictions."""

    def run(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return clone(model).fit(X[train], y[train]).predict(X[test])

    return summary(y, None, parallel(run, folds), folds, classes)
