"""A config in, the candidates that it searches out; each can be fitted on a feature matrix."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from hybrid.sources.catalogue import find

# The setting of a model that takes the images themselves.
IMAGES = (), ()
SCALERS = {"standard": StandardScaler, "l2": Normalizer, "none": lambda: "passthrough"}
CALIBRATION_FOLDS = 5
# A temperature leaves the SVC's choices as they are; a sigmoid a class, all there was before 1.8, favours
# the frequent ones.
CALIBRATION = "temperature" if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8) else "sigmoid"


@dataclass(frozen=True)
class Candidate:
    """One setting of everything that is searched."""

    layers: tuple[str, ...]
    pooling: tuple[str, ...]
    kind: str
    params: tuple[tuple[str, object], ...]

    @property
    def setting(self):
        """What tells its features apart."""
        return self.layers, self.pooling

    def to_dict(self) -> dict:
        features = {"layers": list(self.layers), "pooling": list(self.pooling)}
        return {"model": self.kind} | dict(self.params) | (features if self.setting != IMAGES else {})


def read_candidates(config) -> list[Candidate]:
    """List what a config searches; where two do equally well, the earlier one is chosen.

    Examples
    --------
    >>> from hybrid.config import read_config
    >>> config = read_config({"model": {"kind": "logistic"}, "features": {"layers": "last"}})
    >>> [dict(candidate.params) for candidate in read_candidates(config)]
    [{'C': 0.1}, {'C': 0.01}, {'C': 1.0}]
    """
    if config.model.kind == "finetune":
        return [Candidate(*IMAGES, "finetune", ())]
    kinds = ("logistic", "svm") if config.model.kind == "auto" else (config.model.kind,)
    grids = {
        "logistic": {"C": config.logistic.C},
        "svm": {"C": config.svm.C, "gamma": config.svm.gamma, "kernel": config.svm.kernel},
    }
    found = [
        Candidate(layers, pooling, kind, tuple(zip(grids[kind], values, strict=True)))
        for layers, pooling, kind in product(layers_of(config), config.features.pooling, kinds)
        for values in product(*grids[kind].values())
    ]
    fits = len(found) * inner_folds(config)
    if len(found) > 1 and fits > config.search.max_fits:
        raise ValueError(
            f"Got {len(found)} candidates x {inner_folds(config)} folds = {fits} fits a search, but expected "
            f"search.max_fits={config.search.max_fits} at most. Search less, or set search.max_fits={fits}."
        )
    return found


def layers_of(config) -> list[tuple[str, ...]]:
    """The layers that are searched; "auto" stands for the last, the stage before it, and both."""
    layers = config.features.layers
    if ("auto",) in layers:
        stages = [stage.name for stage in find(config.features.backbone).stages]
        auto = [("last",), (stages[-2],), (stages[-2], "last")] if len(stages) > 1 else [("last",)]
        layers = [*auto, *(one for one in layers if one not in auto and one != ("auto",))]
    return list(layers)


def inner_folds(config) -> int:
    return 1 if config.search.validation == "split" else config.search.folds


def scaler(candidate: Candidate, config):
    return SCALERS[getattr(config, candidate.kind).scaler]()


def classifier(candidate: Candidate, config, **changes):
    """Return the candidate's classifier, without probabilities where it has none of its own."""
    params = dict(candidate.params) | changes
    if candidate.kind == "svm":
        return SVC(**params)
    return LogisticRegression(**params, max_iter=config.logistic.max_iter)


def fit(candidate: Candidate, config, X, y, weights=None, probabilities=True) -> Pipeline:
    """Fit scaler and classifier on a matrix; an SVC is calibrated for its probabilities."""
    if candidate.setting == IMAGES:
        return Pipeline([("classifier", finetuned(config, X.store))]).fit(
            X, y, classifier__sample_weight=balanced(y, weights, config)
        )
    model = classifier(candidate, config)
    if candidate.kind == "svm" and probabilities:
        X, y, weights = with_pairs(X, y, weights)
        cv = int(min(CALIBRATION_FOLDS, np.unique(y, return_counts=True)[1].min()))
        model = CalibratedClassifierCV(model, method=CALIBRATION, cv=cv, ensemble=False)
    pipeline = Pipeline([("scaler", scaler(candidate, config)), ("classifier", model)])
    return pipeline.fit(X, y, classifier__sample_weight=balanced(y, weights, config))


def finetuned(config, store):
    """Return the classifier that takes images."""
    from hybrid.finetune.classifier import FineTunedClassifier

    features = config.features.model_dump(exclude={"layers", "pooling"})
    seed = config.seed if config.features.weights is None else None
    return FineTunedClassifier(
        **features, **config.finetune.model_dump(), store=store, seed=seed, random_state=config.seed
    )


def balanced(y, weights, config):
    """Return the images' weights, so that all classes weigh the same where the config wants it."""
    if config.model.class_weight == "none":
        return weights
    balance = compute_sample_weight("balanced", y)
    return balance if weights is None else balance * weights


def with_pairs(X, y, weights):
    """Split an image that is alone in its class into two of half the weight: calibration needs two."""
    classes, counts = np.unique(y, return_counts=True)
    lonely = np.flatnonzero(np.isin(y, classes[counts == 1]))
    if not len(lonely):
        return X, y, weights
    weights = np.ones(len(y)) if weights is None else weights.copy()
    weights[lonely] /= 2
    rows = np.r_[np.arange(len(y)), lonely]
    return X[rows], y[rows], weights[rows]
