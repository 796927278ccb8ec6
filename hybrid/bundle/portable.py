"""A fitted model in, skops bytes that any machine can read out, and back, without running code from them.

What is only faster here goes out as what everyone has: scikit-learn-intelex's SVC as scikit-learn's, nearest
neighbours without their search tree, a search as the best model that it found.
"""

from __future__ import annotations

import copy
import io
import os
import zipfile
from collections.abc import Iterator

import numpy as np
from sklearn.base import BaseEstimator

from hybrid.bundle.reading import check_array, read_model
from hybrid.featurizer import ResNetFeaturizer

# What skops does not know by itself, and a reader who trusts a file's maker lets it have.
TRUSTED = [
    "hybrid.featurizer.ResNetFeaturizer",
    "hybrid.finetune.classifier.FineTunedClassifier",
    "hybrid.finetune.tuned.TunedFeaturizer",
    "hybrid.normalise.FeatureNormalizer",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
]
OTHERWISE = "Use joblib.dump for a file that only you will load, or another estimator."
SVC_STATE = "classes_", "class_weight_", "n_features_in_", "shape_fit_", "fit_status_", "_sparse", "_gamma"
SEARCH_TREES = "kd_tree", "ball_tree"
SIMPLE = (str, bytes, int, float, type(None), type)


def walk(value: object) -> Iterator:
    """Yield every object inside a model once, in an order that saving and loading keep."""
    seen, stack = {}, [value]
    while stack:
        value = stack.pop()
        if isinstance(value, SIMPLE) or id(value) in seen:
            continue
        seen[id(value)] = value
        yield value
        stack += reversed(inside(value))


def inside(value: object) -> list:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, np.ndarray):
        return list(value.flat) if value.dtype == object else []
    return list(getattr(value, "__dict__", {}).values())


def featurizers(model: BaseEstimator) -> tuple[list[ResNetFeaturizer], list[ResNetFeaturizer]]:
    """Return the fitted featurizers inside a model, and those that are templates only."""
    found = [one for one in walk(model) if _reads_images(one)]
    fitted = [one for one in found if hasattr(one, "fingerprint_")]
    return fitted, [one for one in found if one not in fitted]


def _reads_images(value: object) -> bool:
    """Say whether an object is one of ours; the classifier is not imported only to ask."""
    return isinstance(value, ResNetFeaturizer) or type(value).__module__ == "hybrid.finetune.classifier"


def portable(model: BaseEstimator) -> BaseEstimator:
    """Return a copy of a model with nothing in it that belongs to this machine."""
    twins = {id(value): twin for value in walk(model) if (twin := _twin_of(value)) is not None}
    return copy.deepcopy(model, twins)


def _twin_of(value: object) -> object:
    """Return what stands for an object elsewhere, or None where it can go as it is."""
    if _reads_images(value):
        return _unbound(value)
    if hasattr(value, "best_estimator_"):
        return portable(value.best_estimator_)
    if getattr(value, "_fit_method", None) in SEARCH_TREES and type(value).__name__ == "KNeighborsClassifier":
        return changed(value, algorithm="brute", _fit_method="brute", _tree=None)
    if hasattr(value, "_loss_function_"):
        # Compiled, and only training asks for it.
        twin = copy.copy(value)
        del twin._loss_function_
        return twin
    if type(value).__module__.startswith("sklearnex.svm") and type(value).__name__ == "SVC":
        return _plain_svc(value)
    return None


def changed(value: BaseEstimator, **attributes: object) -> BaseEstimator:
    """Copy an estimator with other attributes."""
    twin = copy.copy(value)
    twin.__dict__.update(attributes)
    return twin


def _unbound(reader: BaseEstimator) -> BaseEstimator:
    """Copy what reads images without this machine's store, and without objects of Keras."""
    twin = copy.copy(reader)
    twin.store = None if reader.store is None else "auto"
    twin.backbone = os.fspath(reader.backbone)
    twin.weights = None if reader.weights is None else os.fspath(reader.weights)
    if hasattr(reader, "optimizer"):
        twin.callbacks = ()
        if not isinstance(reader.optimizer, str):
            twin.optimizer = type(reader.optimizer).__name__.lower()
    if hasattr(reader, "featurizer_"):
        twin.featurizer_ = _unbound(reader.featurizer_)
    return twin


def _plain_svc(svc: BaseEstimator) -> BaseEstimator:
    """Return scikit-learn's SVC with the fitted state of scikit-learn-intelex's, in libsvm's own types."""
    from sklearn.svm import SVC

    names = SVC().get_params()
    plain = SVC(**{name: value for name, value in svc.get_params().items() if name in names})
    if not hasattr(svc, "support_"):
        return plain
    for name in SVC_STATE:
        setattr(plain, name, getattr(svc, name))
    for name in ("support_", "_n_support", "n_iter_"):
        setattr(plain, name, np.array(getattr(svc, name), np.int32))
    for name in ("support_vectors_", "dual_coef_", "_dual_coef_", "intercept_", "_intercept_"):
        setattr(plain, name, np.array(getattr(svc, name), np.float64, order="C"))
    plain._probA = plain._probB = np.empty(0)
    plain._num_iter, plain._effective_probability = plain.n_iter_, False
    return plain


def dumps(content: object) -> bytes:
    """Return the skops bytes of models, arrays and plain values; refuse what `loads` would refuse."""
    import skops.io

    try:
        data = skops.io.dumps(content)
    except Exception as exc:
        raise ValueError(f"Cannot save this model in a bundle: {exc}. {OTHERWISE}") from exc
    unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED))
    if unknown:
        raise ValueError(f"Got a model with {', '.join(unknown)}, which no bundle holds. {OTHERWISE}")
    _check_members(data)
    return data


def loads(data: bytes, trusted: bool = False) -> object:
    """Return what `dumps` was given; any exception means that these bytes are not of its making.

    Without trust, all is checked before compiled code sees it: see reading.py. With it, code is kept out, but numbers
    that lead scikit-learn out of its arrays are not.
    """
    _check_members(data)
    if not trusted:
        return read_model(data)
    import skops.io

    return skops.io.loads(data, trusted=TRUSTED)


def _check_members(data: bytes):
    """Refuse what would grow when it is read: compressed members, and arrays larger than their bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(data):
                raise ValueError(f"{info.filename!r} promises {info.file_size} bytes")
            with archive.open(info) as file:
                start = file.read(8)
            if start.startswith(b"PK"):
                raise ValueError(f"{info.filename!r} is a zip of its own, such as a sparse matrix")
            if start.startswith(b"\x93NUMPY"):
                with archive.open(info) as file:
                    check_array(info.filename, file, info.file_size)
