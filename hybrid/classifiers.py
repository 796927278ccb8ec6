"""The classical classifiers on deep features: scikit-learn's, or their faster twins where those are installed."""

from __future__ import annotations

import warnings
from importlib.util import find_spec


def svm(**params):
    """Return an SVC with an RBF kernel, from scikit-learn-intelex where the `fast` extra is installed."""
    from sklearn.svm import SVC

    if find_spec("sklearnex"):
        try:
            from sklearnex.svm import SVC
        except ImportError as exc:
            # Another package's libtbb was loaded first, such as by an `import openvino` of the user's.
            warnings.warn(
                f"scikit-learn's own SVC is used, which is slower: {exc}", RuntimeWarning, stacklevel=2
            )
    return SVC(**params)


def logistic(**params):
    """Return scikit-learn's logistic regression, with iterations enough for deep features."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**{"max_iter": 1000} | params)


CLASSIFIERS = {"svm": svm, "logistic": logistic}
