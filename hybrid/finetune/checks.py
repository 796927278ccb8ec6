"""A classifier in; an error that names its first parameter that no training could use out."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator

from hybrid.finetune.augment import AUGMENTATIONS
from hybrid.finetune.optimizer import NAMES, is_optimizer

if TYPE_CHECKING:
    from hybrid.sources.record import Backbone


def is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) < float("inf")


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


RULES = {
    "epochs": (is_count, "a positive integer"),
    "tuning_epochs": (is_count, "a positive integer"),
    "patience": (lambda value: value is None or is_count(value), "a positive integer or None"),
    "learning_rate": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "tuning_rate": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "weight_decay": (lambda value: is_number(value) and value >= 0, "a number of 0 or more"),
    "dropout": (_is_share, "a number from 0 to below 1"),
    "label_smoothing": (_is_share, "a number from 0 to below 1"),
    "validation_fraction": (lambda value: _is_share(value) and value, "a number between 0 and 1"),
    "hidden": (lambda value: _is_list(value) and all(map(is_count, value)), "widths such as (128,), or ()"),
    "optimizer": (is_optimizer, f"{', '.join(map(repr, NAMES))} or a keras.Optimizer"),
    "callbacks": (
        lambda value: _is_list(value) and all(hasattr(one, "on_epoch_end") for one in value),
        "a list of keras.callbacks.Callback",
    ),
    "augment": (
        lambda value: _is_list(value) and set(value) <= set(AUGMENTATIONS),
        f"a list of {', '.join(map(repr, AUGMENTATIONS))}",
    ),
}


def check_params(classifier: BaseEstimator) -> None:
    """Refuse what no training could use; what the featurizer shares it checks itself."""
    for name, (is_right, expected) in RULES.items():
        value = getattr(classifier, name)
        if not is_right(value):
            raise ValueError(f"Got {name}={value!r}, but expected {expected}.")


def check_unfreeze(record: Backbone, unfreeze: str | int) -> None:
    """Refuse what names no part of the network; it is not loaded."""
    stages = [stage.name for stage in record.stages]
    if not is_count(unfreeze) and unfreeze != "all" and unfreeze not in stages:
        raise ValueError(
            f"Got unfreeze={unfreeze!r}, but {record.name!r} expects None, 'all', a number of layers"
            f"{''.join(f', {stage!r}' for stage in stages)}."
        )
    if record.frozen:
        raise ValueError(
            f"Got unfreeze={unfreeze!r}, but {record.name!r} is {record.frozen} and stays frozen. "
            "Pass unfreeze=None, or another backbone."
        )
