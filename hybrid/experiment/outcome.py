"""What an experiment found: one record, and the dictionary that is printed of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from hybrid.config import Config
from hybrid.experiment.crossval import CrossValidation
from hybrid.images.items import name
from hybrid.statistics.neighbours import remember
from hybrid.statistics.sets import conformity

PRINTED = (
    "scores", "baselines", "best", "duplicates", "curve", "test", "classes",
    "warnings", "passes", "fits", "seconds", "seed",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Outcome:
    """A model, and what is honestly known of it."""

    model: Pipeline  # featurizer, scaler, classifier: fitted on all images but the test part
    scores: dict  # name -> mean, low, high, by cross-validation
    baselines: dict  # name -> scores on the same folds
    best: dict  # the parameters chosen on all images
    duplicates: dict  # how many near duplicates, and the accuracy with them kept together and parted
    curve: dict  # the learning curve, and what more images would bring
    test: dict | None  # what `evaluate` says of the table's own test part
    classes: dict  # label -> images
    skipped: tuple  # images that cannot be read: (row, image, reason)
    warnings: tuple[str, ...]
    passes: int  # images that went through the network
    fits: int  # models fitted
    seconds: float
    config: Config
    validation: CrossValidation = field(repr=False)
    images: list = field(repr=False)  # that the model was fitted on, with their labels, features and groups
    labels: np.ndarray = field(repr=False)
    features: np.ndarray | None = field(repr=False)
    groups: np.ndarray = field(repr=False)

    @property
    def seed(self) -> int:
        return self.config.seed

    def extras(self) -> dict[str, Any]:
        """Return what prediction sets, neighbours, "none of these" and explanations need: see `hybrid.tasks`."""
        rows, probabilities = self.validation.out_of_fold()
        classes = self.validation.classes
        found = {"conformity": conformity(self.validation.y[rows], probabilities, classes)}
        if self.features is not None and len(np.unique(self.groups)) > 1:
            found["memory"] = remember(self.features, self.groups)
            found["mean"] = self.features.mean(axis=0, dtype=float)
            found["images"] = [
                str(one) if isinstance(one, str | os.PathLike) else f"training image {number}"
                for number, one in enumerate(self.images)
            ]
            found["labels"] = self.labels.tolist()
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what `hybrid train --json` prints; a score that is not defined is None."""
        found = {name: getattr(self, name) for name in PRINTED}
        found["skipped"] = [{"row": row, "image": name(it), "reason": why} for row, it, why in self.skipped]
        return jsonable(found | {"config": self.config.model_dump()})


def jsonable(value: Any) -> Any:
    """Return plain lists, dicts and numbers, with None for NaN."""
    if isinstance(value, dict):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
