"""An optimizer's name, or an optimizer of Keras, in; a new one of Keras, unused, out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

NAMES = (
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lion", "nadam", "rmsprop", "sgd",
)  # fmt: skip


def is_optimizer(value: object) -> bool:
    """Say whether a value is one or the other; Keras is not imported to ask."""
    return value in NAMES if isinstance(value, str) else hasattr(value, "apply_gradients")


def new_optimizer(optimizer: str | keras.Optimizer, rate: float, weight_decay: float) -> keras.Optimizer:
    """Return an optimizer of this name, rate and decay; of Keras's own a copy, which keeps what it says."""
    import keras

    if isinstance(optimizer, str):
        config = {"learning_rate": rate, "weight_decay": weight_decay}
        return keras.optimizers.get({"class_name": optimizer, "config": config})
    return type(optimizer).from_config(optimizer.get_config())
