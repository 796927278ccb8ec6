"""A classifier's name and a featurizer's parameters in; one scikit-learn Pipeline out."""

from __future__ import annotations

import difflib

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from hybrid.classifiers import CLASSIFIERS
from hybrid.featurizer import ResNetFeaturizer


def build_pipeline(classifier="svm", **featurizer):
    """Return featurizer, scaler and classifier as one Pipeline.

    Parameters
    ----------
    classifier : "svm", "logistic" or an estimator, default="svm"
    **featurizer
        Parameters of :class:`ResNetFeaturizer`.

    Returns
    -------
    pipeline : Pipeline
        With the steps "featurizer", "scaler" and "classifier".

    Examples
    --------
    >>> from hybrid import build_pipeline
    >>> list(build_pipeline("logistic", backbone="tiny").named_steps)
    ['featurizer', 'scaler', 'classifier']
    """
    if isinstance(classifier, str):
        if classifier not in CLASSIFIERS:
            near = difflib.get_close_matches(classifier, CLASSIFIERS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"Got classifier={classifier!r}, but expected 'svm', 'logistic' or an estimator.{hint}"
            )
        classifier = CLASSIFIERS[classifier]()
    elif not isinstance(classifier, BaseEstimator) and not hasattr(classifier, "fit"):
        raise TypeError(f"Got classifier={classifier!r}, but expected 'svm', 'logistic' or an estimator.")
    steps = ResNetFeaturizer(**featurizer), StandardScaler(), classifier
    return Pipeline(list(zip(("featurizer", "scaler", "classifier"), steps, strict=True)))
