"""The kinds of models that are trained: for each what a config may say of it, and how it is built.

`build_pipeline` and `train` both read them, so that their defaults are the same. A new kind is a section and an
entry in `KINDS`, and a line in `hybrid.config.Config`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import sklearn
from pydantic import BeforeValidator, Field
from scipy import special
from scipy.optimize import brentq
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from hybrid.fields import Absent, Gammas, Number, Numbers, Section, as_values, several
from hybrid.finetune.classifier import FineTunedClassifier
from hybrid.normalise import FeatureNormalizer
from hybrid.statistics.kernels import MOST_ROWS, RBFKernel
from hybrid.statistics.linear import Axes, Loss, QuickSVC, softmax, squared_hinge

SCALERS = {
    "normalizer": FeatureNormalizer,
    "standard": StandardScaler,
    "l2": Normalizer,
    "none": lambda: "passthrough",
}
Scalers = several(Literal[*SCALERS])
CALIBRATION_FOLDS = 5
# A temperature leaves the SVC's choices as they are; a sigmoid a class, all there was before 1.8, favours
# the frequent ones.
CALIBRATION = "temperature" if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8) else "sigmoid"


class Logistic(Section):
    """The quickest, with probabilities of its own."""

    scaler: Scalers = ("normalizer",)
    C: Numbers = (30.0, 3.0, 300.0)
    max_iter: int = Field(1000, ge=1)


class SVM(Section):
    """A linear one, a class against the rest: the best of all with a few images a class."""

    scaler: Scalers = ("normalizer",)
    C: Numbers = (1.0, 0.1, 10.0)


class RBF(Section):
    """An SVM with a kernel, a class against another: for some hundred images a class."""

    scaler: Scalers = ("normalizer",)
    C: Numbers = (10.0,)
    # Normalised rows have length 1 in the mean.
    gamma: Gammas = (0.25,)


class Finetune(Section):
    """A dense head on the last layer and, with `unfreeze`, the network tuned with it."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_values)] = (128,)
    dropout: float = Field(0.3, ge=0, lt=1)
    epochs: int = Field(50, ge=0)
    learning_rate: Number = 0.001
    unfreeze: Annotated[str | int | None, Absent] = None
    tuning_epochs: int = Field(10, ge=1)
    tuning_rate: Number = 0.0001
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    patience: Annotated[int, Field(ge=1)] | None = None


def calibrated(classifier: BaseEstimator, y: np.ndarray) -> BaseEstimator:
    """Return a classifier that has probabilities, too; each class of `y` has two images at least."""
    cv = int(min(CALIBRATION_FOLDS, np.unique(y, return_counts=True)[1].min()))
    return CalibratedClassifierCV(classifier, method=CALIBRATION, cv=cv, ensemble=False)


def bound_certainty(
    classifier: BaseEstimator, X: np.ndarray, y: np.ndarray, weights: dict[str, np.ndarray]
) -> None:
    """Make a calibrated classifier no surer, in the mean, than n images of which all were right can tell.

    Where it finds no error, a temperature ends where its search does, and all is certain. By the rule of
    succession, of more images (n + 1) / (n + 2) will be right.
    """
    calibrator, most = classifier.calibrated_classifiers_[0].calibrators[0], (len(y) + 1) / (len(y) + 2)
    if not hasattr(calibrator, "beta_") or classifier.predict_proba(X).max(axis=1).min() < most:
        return
    found = cross_val_predict(
        classifier.estimator, X, y, cv=classifier.cv, params=weights, method="decision_function"
    )
    scores = found if found.ndim > 1 else np.stack([-found, found], axis=1)

    def surplus(power: float) -> float:
        likely = special.softmax(np.exp(power) * scores, axis=1)
        return likely.max(axis=1).mean() - most

    power = np.log(calibrator.beta_)
    if surplus(power) > 0:
        calibrator.beta_ = np.exp(brentq(surplus, -10, power))


@dataclass(frozen=True)
class Kind:
    """How models of a kind are built, and what they may be given."""

    section: type[Section]  # of a config: what may be set, with the defaults
    classifier: Callable[..., BaseEstimator]  # takes what the section says, but for the scaler
    searched: tuple[str, ...] = ()  # keys of the section that hold several values
    needs_calibration: bool = False  # it has no probabilities of its own
    takes_images: bool = False  # instead of scaled features
    loss: Loss | None = None  # of a linear model, and of `linear_path` instead of it where C is chosen
    has_kernel: bool = False  # an SVC with an RBF kernel, which can be computed once for all fits

    def default(self) -> dict[str, Any]:
        """Return the parameters of a model that is not searched: the first value of each."""
        return {name: one[0] if name in self.searched else one for name, one in self.section()}

    def steps(self, params: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return scaler and classifier as steps of a Pipeline; what takes images has no scaler."""
        scaler = [] if self.takes_images else [("scaler", SCALERS[params["scaler"]]())]
        return [*scaler, ("classifier", self.build(params))]

    def is_slow(self, images: int) -> bool:
        """Tell whether, for so many images, there are steps that answer the same sooner."""
        return self.loss is squared_hinge or (self.has_kernel and images <= MOST_ROWS)

    def quick_steps(self, params: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return steps that answer the same sooner; they may hold the training rows, and are not saved."""
        steps = self.steps(params)
        if self.loss is squared_hinge:
            steps[-1:] = [("axes", Axes()), ("classifier", QuickSVC(params["C"]))]
        if self.has_kernel:
            steps[-1:] = [
                ("kernel", RBFKernel(params["gamma"])),
                ("classifier", self.build(params, kernel="precomputed")),
            ]
        return steps

    def build(self, params: dict[str, Any], **others: Any) -> BaseEstimator:
        """Return the classifier, unfitted."""
        return self.classifier(
            **{name: value for name, value in params.items() if name != "scaler"}, **others
        )


KINDS = {
    "logistic": Kind(
        Logistic,
        # Nearer the optimum than lbfgs, whose steps on so many coefficients wait for threads most of the time.
        partial(LogisticRegression, solver="newton-cg"),
        searched=("scaler", "C"),
        loss=softmax,
    ),
    "svm": Kind(
        SVM,
        # The primal takes several times as long on features.
        partial(LinearSVC, dual=True, max_iter=10_000),
        searched=("scaler", "C"),
        needs_calibration=True,
        loss=squared_hinge,
    ),
    "rbf": Kind(RBF, SVC, searched=("scaler", "C", "gamma"), needs_calibration=True, has_kernel=True),
    "finetune": Kind(Finetune, FineTunedClassifier, takes_images=True),
}
# What competes under kind = "auto"; where two do equally well, the earlier one is chosen.
AUTO = "logistic", "rbf"
