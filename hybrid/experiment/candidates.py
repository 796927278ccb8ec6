"""A config in, the candidates that it searches out; each can be fitted on its features, or on images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.linalg import aslinearoperator
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight

from hybrid.featurizer import ResNetFeaturizer
from hybrid.kinds import AUTO, KINDS, Kind, bound_certainty, calibrated
from hybrid.sources.catalogue import find
from hybrid.statistics.kernels import MOST_ROWS
from hybrid.statistics.linear import Axes, linear_path, softmax

if TYPE_CHECKING:
    from hybrid.config import Config

# More rows tell candidates apart no better than the folds do; above, so many are drawn, class by class.
COMPARED = 5000

# Layers and poolings that are concatenated.
Setting = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Candidate:
    """One setting of everything that is searched."""

    name: str  # of its kind
    setting: Setting | None  # what features it takes; None: the images themselves
    searched: dict[str, Any]
    fixed: dict[str, Any]

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def params(self) -> dict[str, Any]:
        return self.fixed | self.searched

    def to_dict(self) -> dict[str, Any]:
        """Return what is printed of it."""
        features = dict(zip(("layers", "pooling"), map(list, self.setting or ()), strict=False))
        return {"model": self.name} | self.searched | features


def read_candidates(config: Config, store: Any = "auto", images: int = 0) -> list[Candidate]:
    """List what a config searches on so many images; where two do equally well, the earlier one is chosen.

    Examples
    --------
    >>> from hybrid.config import read_config
    >>> config = read_config({"model": {"kind": "logistic"}, "features": {"layers": "last"}})
    >>> [candidate.searched["C"] for candidate in read_candidates(config)]
    [30.0, 3.0, 300.0]
    """
    names = AUTO if config.model.kind == "auto" else (config.model.kind,)
    names = [name for name in names if name not in left_out(config, images)]
    settings = [*product(_layers_of(config), config.features.pooling), None]
    found = [
        Candidate(name, setting, dict(zip(KINDS[name].searched, values, strict=True)), fixed)
        for setting, name in product(settings, names)
        if (setting is None) == KINDS[name].takes_images
        for fixed in [_fixed_params(name, config, store)]
        for values in product(*(getattr(getattr(config, name), key) for key in KINDS[name].searched))
    ]
    fits = len(found) * inner_folds(config)
    if len(found) > 1 and fits > config.search.max_fits:
        raise ValueError(
            f"Got {len(found)} candidates x {inner_folds(config)} folds = {fits} fits a search, but expected "
            f"search.max_fits={config.search.max_fits} at most. Search less, or set search.max_fits={fits}."
        )
    return found


def _fixed_params(name: str, config: Config, store: Any) -> dict[str, Any]:
    """Return the parameters of a kind's classifier that are not searched."""
    kind = KINDS[name]
    params = getattr(config, name).model_dump(exclude=set(kind.searched))
    if kind.takes_images:
        params |= _reader_params(config, store) | {"random_state": config.seed}
    return params


def _reader_params(config: Config, store: Any) -> dict[str, Any]:
    """Return the parameters of whatever reads images, but layers and poolings."""
    seed = config.seed if config.features.weights is None else None
    return config.features.model_dump(exclude={"layers", "pooling"}) | {"store": store, "seed": seed}


def featurizer(config: Config, setting: Setting, store: Any = "auto") -> ResNetFeaturizer:
    """Return the featurizer of a config with the layers and poolings of one setting."""
    layers, pooling = (names[0] if len(names) == 1 else list(names) for names in setting)
    return ResNetFeaturizer(layers=layers, pooling=pooling, **_reader_params(config, store))


def _layers_of(config: Config) -> list[tuple[str, ...]]:
    """The layers that are searched; "auto" stands for the last, the stage before it, and both."""
    layers = config.features.layers
    if ("auto",) in layers:
        stages = [stage.name for stage in find(config.features.backbone).stages]
        auto = [("last",), (stages[-2],), (stages[-2], "last")] if len(stages) > 1 else [("last",)]
        layers = [*auto, *(one for one in layers if one not in auto and one != ("auto",))]
    return list(layers)


def inner_folds(config: Config) -> int:
    return 1 if config.search.validation == "split" else config.search.folds


def left_out(config: Config, images: int) -> list[str]:
    """Name the kinds that "auto" leaves out for so many images."""
    many = config.model.kind == "auto" and images > MOST_ROWS
    return [name for name in AUTO if many and KINDS[name].has_kernel]


def said(config: Config, images: int) -> list[str]:
    """Say what is done for the sake of time."""
    notes = [
        f"{name} is left out: it would take too long on {images} images. Ask for it: model.kind={name}."
        for name in left_out(config, images)
    ]
    if images > COMPARED and len(read_candidates(config, None, images)) > 1:
        notes.append(f"Candidates are compared on {COMPARED} of {images} images, and scored on all.")
    return notes


def fit(
    candidate: Candidate,
    config: Config,
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    probabilities: bool = True,
    axes: Axes | None = None,
) -> Pipeline:
    """Fit a candidate's scaler and classifier, with probabilities or without; what comes out can be saved."""
    kind = candidate.kind
    if not (probabilities and kind.is_slow(len(X))):
        steps = kind.steps(candidate.params)
        return _fit_steps(steps, candidate, config, X, y, sample_weight, probabilities, axes)
    # What is calibrated in quick folds is fitted once more, to be kept.
    quick = fit_quick(candidate, config, X, y, sample_weight)
    plain = _fit_steps(kind.steps(candidate.params), candidate, config, X, y, sample_weight, False)
    scaled = quick["classifier"]
    scaled.estimator, scaled.n_features_in_ = kind.build(candidate.params), plain["classifier"].n_features_in_
    scaled.calibrated_classifiers_[0].estimator = plain["classifier"]
    return Pipeline([*plain.steps[:-1], ("classifier", scaled)])


def fit_quick(
    candidate: Candidate,
    config: Config,
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    probabilities: bool = True,
    axes: Axes | None = None,
) -> Pipeline:
    """Fit the same sooner, to predict with and throw away."""
    kind = candidate.kind
    steps = kind.quick_steps(candidate.params) if kind.is_slow(len(X)) else kind.steps(candidate.params)
    return _fit_steps(steps, candidate, config, X, y, sample_weight, probabilities, axes)


def _fit_steps(
    steps: list[tuple[str, Any]],
    candidate: Candidate,
    config: Config,
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    probabilities: bool,
    axes: Axes | None = None,
) -> Pipeline:
    """Fit a Pipeline; of many rows, scikit-learn's logistic regression starts near its end, found on axes."""
    pipeline = Pipeline(steps)
    if probabilities and candidate.kind.needs_calibration:
        X, y, sample_weight = _with_pairs(X, y, sample_weight)
        pipeline.set_params(classifier=calibrated(pipeline["classifier"], y))
    weights = weighting(y, sample_weight, config)
    if axes is None or candidate.kind.loss is not softmax or len(X) < X.shape[1]:
        pipeline.fit(X, y, **{f"classifier__{name}": value for name, value in weights.items()})
        if probabilities and candidate.kind.needs_calibration:
            bound_certainty(pipeline["classifier"], pipeline[:-1].transform(X), y, weights)
        return pipeline
    rows = pipeline["scaler"].fit_transform(X) if pipeline["scaler"] != "passthrough" else X
    classes, codes = np.unique(y, return_inverse=True)
    # Of many rows, turning the model takes a fraction of what turning the rows would.
    on_axes = aslinearoperator(rows) @ aslinearoperator(axes.directions_)
    values, own = [candidate.params["C"]], weights.get("sample_weight")
    ((slopes, intercepts),) = linear_path(on_axes, codes, values, softmax, own, spread=axes.spread_)
    classifier = pipeline["classifier"]
    kept = classifier.get_params()
    # So near its end, a few short steps do.
    classifier.set_params(warm_start=True, solver="lbfgs")
    # Of two classes, scikit-learn knows the difference.
    signs = np.eye(len(classes), dtype=np.float32) if len(classes) > 2 else np.float32([[-1], [1]])
    classifier.coef_, classifier.intercept_ = (axes.directions_ @ slopes @ signs).T, intercepts @ signs
    classifier.fit(rows, y, **weights).set_params(**kept)
    return pipeline


def weighting(y: np.ndarray, sample_weight: np.ndarray | None, config: Config) -> dict[str, np.ndarray]:
    """Return what `fit` is told of weights, so that all classes weigh the same where the config wants it."""
    if config.model.class_weight == "balanced":
        balance = compute_sample_weight("balanced", y)
        sample_weight = balance if sample_weight is None else balance * sample_weight
    return {} if sample_weight is None else {"sample_weight": sample_weight}


def _with_pairs(X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> tuple:
    """Split an image that is alone in its class into two of half the weight: calibration needs two."""
    classes, counts = np.unique(y, return_counts=True)
    lonely = np.flatnonzero(np.isin(y, classes[counts == 1]))
    if not len(lonely):
        return X, y, sample_weight
    weights = np.ones(len(y)) if sample_weight is None else sample_weight.copy()
    weights[lonely] /= 2
    rows = np.r_[np.arange(len(y)), lonely]
    return X[rows], y[rows], weights[rows]
