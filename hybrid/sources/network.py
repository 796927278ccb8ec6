"""A record, weights and a size in, a frozen Keras model without its head out.

TensorFlow is imported inside functions: looking a network up costs no import.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid.sources.catalogue import source
from hybrid.sources.record import Backbone
from hybrid.sources.source import Network
from hybrid.weights.files import Weights, drawn, given

if TYPE_CHECKING:
    from keras import Model
    from tensorflow import Tensor


# What a user may say of weights: "imagenet", None or a path.
Asked = str | os.PathLike | None


def locate(backbone: Backbone, weights: Asked, seed: int | None, size: tuple[int, int], top: bool) -> Network:
    """Look up a network without loading it; refuse a size that it does not take, or weights not to be had."""
    size = tuple(size)
    if min(size) < backbone.min_size:
        raise ValueError(
            f"Got image_size={size}, but {backbone.name!r} needs at least {backbone.min_size} pixels a side."
        )
    if size != backbone.size and (backbone.fixed_size or (top and backbone.fixed_head)):
        raise ValueError(_fixed_size_reason(backbone, size))
    if top and not backbone.classes:
        raise ValueError(f"{backbone.name!r} has no layer 'predictions': it knows no classes.")
    return Network(backbone, locate_weights(backbone, weights, seed, top), size, bool(top))


def locate_weights(record: Backbone, weights: Asked, seed: int | None = None, top: bool = False) -> Weights:
    """Return the weights of a network, downloaded first where they are not at hand: see `hybrid.network`."""
    if weights is None:
        if record.path is not None:
            raise ValueError(f"Got weights=None, but {record.name!r} brings its own: leave out `weights`.")
        return drawn(record.name, seed)
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f"Got weights={weights!r}, but expected 'imagenet', None (with a seed) or a path.")
    if weights == "imagenet":
        return source(record).own_weights(record, top)
    if record.path is not None or not record.is_keras:
        raise ValueError(f"Got weights={os.fspath(weights)!r}, but {record.name!r} takes no weights file.")
    return given(Path(weights).expanduser(), (record.weights, record.weights_top))


def headless(network: Network):
    """Build the frozen Keras model; its input is what `preprocess` gives.

    Its first output is layer "last"; with the head, the second is "predictions".
    """
    record = network.backbone
    if not record.is_keras:
        raise ValueError(
            f"{record.name!r} is {record.frozen}: it is no Keras model and runs on engine "
            f"{' or '.join(map(repr, record.engines))} only."
        )
    model = _aside(source(record).build, network)
    model.trainable = False
    if network.weights.changes:
        change(model, record, network.weights.changes)
    return model


def named(model: Model) -> dict:
    """Return a model's weights by place and path: in a user's own network, two may share a path."""
    return {f"{i}/{variable.path}": variable for i, variable in enumerate(model.weights)}


def change(model: Model, record: Backbone, values: dict[str, np.ndarray]) -> None:
    """Put fine-tuned arrays over a model's weights."""
    variables = named(model)
    for name, value in values.items():
        if name not in variables or variables[name].shape != value.shape:
            raise ValueError(
                f"Cannot tune {record.name!r} as it was: it has no weights {name!r} of shape {value.shape}. "
                "Use the network, and the version of Keras, that it was fitted with, or fit again."
            )
        variables[name].assign(value)


def preprocess(record: Backbone, x: Tensor) -> Tensor:
    """Return what the network expects for RGB pixels in 0..255: a new float32 tensor."""
    from keras import ops

    x = ops.cast(x, "float32")
    if record.bgr:
        x = ops.flip(x, axis=-1)
    if record.scale != 1:
        x = x * record.scale
    if any(record.mean):
        x = x - np.float32(record.mean)
    if any(value != 1 for value in record.std):
        x = x / np.float32(record.std)
    return x


def layer_outputs(record: Backbone, model: Model, layers: Iterable[str]) -> list:
    """Return the model's tensors for layers named as users name them."""
    return [_output(record, model, layer) for layer in layers]


def _output(record, model, layer):
    name, known = record.own_name(layer), [one.name for one in model.layers]
    if layer == "last" or (record.last and name == record.last.layer):
        return model.outputs[0]
    if layer == "predictions" and len(model.outputs) > 1:
        return model.outputs[1]
    if name not in known:
        raise record.unknown_layer(layer, known)
    return model.get_layer(name).output


def _fixed_size_reason(backbone, size):
    if backbone.fixed_size:
        return f"Got image_size={size}. {backbone.name!r} takes {backbone.size} only: leave out image_size."
    return (
        f"Got image_size={size}. The head of {backbone.name!r} takes {backbone.size} only: its dense layers flatten "
        "the last map, so that the shape of their weights depends on the size. Leave out image_size; without "
        "the head, as in layers='last', any size will do."
    )


def _aside(function, *arguments):
    """Call in a thread of its own, where Keras counts layers from zero, with none of the caller's policies.

    Layers such as InceptionV3's are known by that count alone. Keras draws seeds from `random`.
    """
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function, *arguments).result()
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
