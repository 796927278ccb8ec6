"""A classifier's name, and a featurizer's parameters or its table, in; one scikit-learn Pipeline out."""

from __future__ import annotations

import difflib
import os
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from hybrid.featurizer import ResNetFeaturizer
from hybrid.kinds import KINDS
from hybrid.normalise import FeatureNormalizer
from hybrid.precomputed import PrecomputedFeatures


def build_pipeline(
    classifier: str | BaseEstimator = "logistic",
    features: str | os.PathLike | None = None,
    **featurizer: Any,
) -> Pipeline:
    """Return featurizer, scaler and classifier as one Pipeline.

    Parameters
    ----------
    classifier : "logistic", "svm", "rbf" or an estimator, default="logistic"
        A logistic regression, a linear support vector machine or one with an RBF kernel, each as `hybrid train`
        tries it first; or your own. All see features that :class:`FeatureNormalizer` has put on one scale.
    features : path, default=None
        What `hybrid featurize` wrote, a Parquet file or a folder of them: X is then paths as they stand there, or
        row numbers, and no network runs.
    **featurizer
        Otherwise, parameters of :class:`ResNetFeaturizer`.

    Returns
    -------
    pipeline : Pipeline
        With the steps "featurizer", "scaler" and "classifier".

    Notes
    -----
    Support vector machines have no probabilities of their own; scikit-learn gives them some::

        CalibratedClassifierCV(build_pipeline("svm"), ensemble=False)

    Examples
    --------
    >>> from hybrid import build_pipeline
    >>> list(build_pipeline("logistic", backbone="tiny").named_steps)
    ['featurizer', 'scaler', 'classifier']
    """
    if features is None:
        first = ResNetFeaturizer(**featurizer)
    elif featurizer:
        raise TypeError(f"Got features= and {next(iter(featurizer))}=, but expected either: no network runs.")
    else:
        first = PrecomputedFeatures(features)
    return Pipeline([("featurizer", first), *tail(classifier)])


def tail(classifier: str | BaseEstimator) -> list[tuple[str, Any]]:
    """Return the steps behind the featurizer."""
    known = [name for name, kind in KINDS.items() if not kind.takes_images]
    expected = f"expected {', '.join(map(repr, known))} or an estimator."
    if isinstance(classifier, str):
        if classifier not in known:
            near = difflib.get_close_matches(classifier, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"Got classifier={classifier!r}, but {expected}{hint}")
        return KINDS[classifier].steps(KINDS[classifier].default())
    if isinstance(classifier, type):
        name = classifier.__name__
        raise TypeError(f"Got the class classifier={name}, but {expected} Pass an instance: {name}().")
    if not isinstance(classifier, BaseEstimator) and not hasattr(classifier, "fit"):
        raise TypeError(f"Got classifier={classifier!r}, but {expected}")
    return [("scaler", FeatureNormalizer()), ("classifier", classifier)]
