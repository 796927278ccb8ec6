"""A record, weights and a size in, a frozen Keras model without its head out.

TensorFlow is imported inside functions: looking a network up costs no import.
"""

from __future__ import annotations

import difflib
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as resources
from numbers import Integral

import numpy as np

from hybrid.sources import efficientnet_lite, keras_applications, user_file
from hybrid.sources.catalogue import find
from hybrid.sources.record import Backbone
from hybrid.weights.locate import Weights
from hybrid.weights.locate import locate as locate_weights

CONVNEXT_HEAD = "_head_gap", "_head_layernorm"


@dataclass(frozen=True)
class Network:
    """A backbone with its weights located, at one image size; `top` has the head, too."""

    backbone: Backbone
    weights: Weights
    size: tuple[int, int]
    top: bool = False

    @property
    def fingerprint(self) -> str:
        """Digest of the weights, and of the record where it is the user's."""
        return self.weights.fingerprint


def locate(backbone, weights, seed, size, top) -> Network:
    """Look up a network without loading it.

    Raises
    ------
    ValueError
        Where the weights cannot be had, or the network does not take this size.
    """
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


def _fixed_size_reason(backbone, size):
    if backbone.fixed_size:
        return f"Got image_size={size}. {backbone.name!r} takes {backbone.size} only: leave out image_size."
    return (
        f"Got image_size={size}. The head of {backbone.name!r} takes {backbone.size} only: its dense layers flatten "
        "the last map, so that the shape of their weights depends on the size. Leave out image_size; without "
        "the head, as in layers='last', any size will do."
    )


def needs_head(record, layers) -> bool:
    """Say whether one of the layers is only there when the network is built with its head."""
    return any(layer == "predictions" or layer in record.head for layer in layers)


def headless(network):
    """Build the frozen Keras model; its input is what `preprocess` gives.

    Its first output is layer "last"; with the head, the second is "predictions".
    """
    record = network.backbone
    if record.family == "tiny":
        raise ValueError("The tiny network is NumPy only, it is no Keras model: use engine='auto'.")
    model = _aside(_build, network)
    model.trainable = False
    if network.weights.changes:
        change(model, record, network.weights.changes)
    return model


def named(model) -> dict:
    """Return a model's weights by place and path: in a user's own network, two may share a path."""
    return {f"{i}/{variable.path}": variable for i, variable in enumerate(model.weights)}


def change(model, record, values):
    """Put fine-tuned arrays over a model's weights."""
    variables = named(model)
    for name, value in values.items():
        if name not in variables or variables[name].shape != value.shape:
            raise ValueError(
                f"Cannot tune {record.name!r} as it was: it has no weights {name!r} of shape {value.shape}. "
                "Use the network, and the version of Keras, that it was fitted with, or fit again."
            )
        variables[name].assign(value)


def preprocess(record, x):
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


def layer_outputs(record, model, layers) -> list:
    """Return the model's tensors for layers named as users name them."""
    return [_output(record, model, layer) for layer in layers]


def network(backbone, weights="imagenet", layers="last", pooling="avg", image_size=None, seed=None):
    """Build the featurizer's network as a frozen Keras model, to train a head on or to save.

    Parameters
    ----------
    backbone : str or path
        A name from :func:`hybrid.backbones`, a ``.keras`` file, a SavedModel folder (loading it runs its
        graph) or a "kaggle:" handle of one; not "tiny".
    weights : "imagenet", None or path, default="imagenet"
        None is a random network and needs `seed`.
    layers : str or list of str, default="last"
        "last", a stage such as "stage4", any layer's name, or "predictions".
    pooling : "avg", "max", "gem", "flatten", None or a list of them, default="avg"
        How a layer's map becomes a vector; None leaves the map.
    image_size : int, (height, width) or None, default=None
        The network's own size if None.
    seed : int or None, default=None
        The random network's seed.

    Returns
    -------
    model : keras.Model
        RGB pixels from 0 to 255 in, one vector an image out; scaling is inside.
    """
    import keras

    record = find(backbone)
    layers = [layers] if isinstance(layers, str) else list(layers)
    poolings = list(pooling) if isinstance(pooling, (list, tuple)) else [pooling]
    size = (image_size, image_size) if isinstance(image_size, Integral) else image_size or record.size
    base = headless(locate(record, weights, seed, size, needs_head(record, layers)))
    features = keras.Model(base.inputs, layer_outputs(record, base, layers), trainable=False)
    inputs = keras.Input((*size, 3))
    maps = features(preprocess(record, inputs))
    maps = maps if isinstance(maps, (list, tuple)) else [maps]
    vectors = [pool(x, how) for x in maps for how in (poolings if len(x.shape) == 4 else [None])]
    return keras.Model(inputs, vectors[0] if len(vectors) == 1 else keras.layers.Concatenate()(vectors))


def pool(x, how):
    """Make a vector of a map; what is a vector already stays."""
    from keras import layers, ops

    if how is None:
        return x
    if how == "gem":
        return ops.power(ops.mean(ops.power(ops.maximum(x, 1e-6), 3.0), axis=(1, 2)), 1 / 3)
    if how == "avg":
        return layers.GlobalAveragePooling2D()(x)
    if how == "max":
        return layers.GlobalMaxPooling2D()(x)
    if how == "flatten":
        return layers.Flatten()(x)
    raise ValueError(f"Got pooling={how!r}, but expected 'avg', 'max', 'gem' or 'flatten'.")


@cache
def class_names(record) -> tuple[str, ...]:
    """Return the names of a network's classes: ImageNet's where it knows 1000."""
    if record.classes != 1000:
        return tuple(f"class_{i}" for i in range(record.classes))
    text = resources(__package__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.split())


def _output(record, model, layer):
    named = {stage.name: stage.layer for stage in record.stages}
    name = named.get(layer, layer)
    if layer == "last" or (record.last and name == record.last.layer):
        return model.outputs[0]
    if layer == "predictions" and len(model.outputs) > 1:
        return model.outputs[1]
    known = [one.name for one in model.layers]
    if name in known:
        return model.get_layer(name).output
    near = difflib.get_close_matches(layer, known, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        f"Got layers={layer!r}, but {record.name!r} has the layers "
        f"{', '.join(map(repr, ('last', *named)))} and those of its own that have names.{hint}"
    )


def _build(network):
    record = network.backbone
    if record.path is not None:
        return user_file.load(record, network.size)
    module = efficientnet_lite if record.package else keras_applications
    import keras

    from hybrid.weights.fill import fill

    model = module.build(record, network.size, network.top)
    fill(model, record, network.weights, network.top)
    if network.top:
        return keras.Model(model.inputs, [_last_map(record, model), model.outputs[-1]], name=record.name)
    return model


def _last_map(record, model):
    """Return layer "last" of a model with its head.

    ConvNeXt normalises before pooling without the head, after it with the head: one layer, two places.
    """
    if record.family != "convnext":
        return model.get_layer(record.last.layer).output
    pooled, normalise = (next(one for one in model.layers if one.name.endswith(end)) for end in CONVNEXT_HEAD)
    return normalise(pooled.input)


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
