"""A fitted head and a class in; a function from features to the decision values of that class out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from hybrid.statistics.kernels import half_distances, rbf

Decide = Callable[[np.ndarray], np.ndarray]
# Log odds end here: 1e-9 from sure.
SUREST = 1e-9


def decision(head: BaseEstimator, label: object) -> Decide:
    """Return what gives one class's decision values, one a row: the larger, the more is it that class.

    They are the classifier's own before any calibration; of an SVC with several classes, the mean of its
    decisions against each of the others (its votes jump); of what has none, the log odds of the probability.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> head = LogisticRegression().fit([[0.0], [1.0]], ["ant", "bee"])
    >>> ant, bee = (decision(head, label)(np.array([[0.2]])) for label in ("ant", "bee"))
    >>> bool(ant == -bee), bool(ant > 0)
    (True, True)
    """
    classes = list(head.classes_)
    if label not in classes:
        names = ", ".join(map(repr, np.asarray(classes).tolist()))
        raise ValueError(f"Got label={label!r}, but expected one of {names}.")
    steps, classifier = [], head
    while isinstance(classifier, Pipeline):
        steps += [step for _, step in classifier.steps[:-1] if step not in (None, "passthrough")]
        classifier = classifier[-1]

    def decide(X: np.ndarray) -> np.ndarray:
        for step in steps:
            X = step.transform(X)
        return values(classifier, X, classes.index(label))

    return decide


def values(classifier: BaseEstimator, X: np.ndarray, column: int) -> np.ndarray:
    """Return a classifier's decision values of the class in one column."""
    if isinstance(classifier, CalibratedClassifierCV):
        inner = [one.estimator for one in classifier.calibrated_classifiers_]
        return np.mean([decision(one, classifier.classes_[column])(X) for one in inner], axis=0)
    if isinstance(classifier, SVC) and classifier.kernel == "rbf" and not isinstance(classifier.gamma, str):
        return _by_kernel(classifier, X, column)
    if isinstance(classifier, SVC) and len(classifier.classes_) > 2:
        return _against_others(classifier, X, column)
    if hasattr(classifier, "decision_function"):
        found = classifier.decision_function(X)
        return found[:, column] if found.ndim == 2 else found if column else -found
    chance = np.clip(classifier.predict_proba(X)[:, column], SUREST, 1 - SUREST)
    return np.log(chance) - np.log1p(-chance)


def _by_kernel(classifier: SVC, X: np.ndarray, column: int) -> np.ndarray:
    """Return the same as scikit-learn, by BLAS: a sum over the support vectors, whose weights do not hang on X."""
    k = len(classifier.classes_)
    owner, weights, start = np.repeat(np.arange(k), classifier.n_support_), 0.0, 0.0
    for number, (first, second) in enumerate(combinations(range(k), 2)):
        if column in (first, second):
            sign = 1 if column == first else -1
            duals = classifier.dual_coef_[second - 1] * (owner == first)
            weights += sign * (duals + classifier.dual_coef_[first] * (owner == second))
            start += sign * classifier.intercept_[number]
    # Of two classes, scikit-learn turns the sign round.
    share = k - 1 if k > 2 else -1
    alike = rbf(half_distances(X, classifier.support_vectors_), classifier.gamma)
    return (alike @ weights + start) / share


def _against_others(classifier: SVC, X: np.ndarray, column: int) -> np.ndarray:
    """Return the mean of a class's decisions against each other class."""
    pairwise = copy.copy(classifier).set_params(decision_function_shape="ovo", break_ties=False)
    pairs = list(combinations(range(len(classifier.classes_)), 2))
    signs = np.array([(column == first) - (column == second) for first, second in pairs], float)
    return pairwise.decision_function(X) @ signs / (len(classifier.classes_) - 1)
