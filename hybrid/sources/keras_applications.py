"""The networks of keras.applications: the rows of keras_applications.csv in, records and Keras models out.

The file is measured, not typed: see tests/keras_table.py.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from hybrid.sources.record import Backbone, Stage
from hybrid.sources.source import Network
from hybrid.weights.download import places, published
from hybrid.weights.files import Weights, WeightsFile
from hybrid.weights.fill import fill

# What imagenet_utils.preprocess_input does in its three modes; "none": the network does it itself.
COLOURS = {
    "caffe": {"bgr": True, "mean": (103.939, 116.779, 123.68)},
    "tf": {"scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0)},
    "torch": {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "none": {},
}
# What https://keras.io/api/applications and the repositories the weights were converted from state.
LICENCES = {
    "convnext": "MIT",
    "densenet": "BSD-3-Clause",
    "resnet": "MIT",
    "resnet_v2": "BSD-3-Clause",
    "vgg16": "CC-BY-4.0",
    "vgg19": "CC-BY-4.0",
    "xception": "MIT",
}
BICUBIC = ("convnext", "efficientnet", "efficientnet_v2")
FLATTENS = ("vgg16", "vgg19")
CONVNEXT_HEAD = "_head_gap", "_head_layernorm"


@cache
def records() -> tuple[Backbone, ...]:
    """Return the record of every network, in the order of the file."""
    text = files(__package__).joinpath("keras_applications.csv").read_text(encoding="utf-8")
    return tuple(_record(row) for row in csv.DictReader(text.splitlines()))


def own_weights(record: Backbone, top: bool) -> Weights:
    return published(record.name, record.weights_top if top else record.weights)


def at_hand(record: Backbone) -> bool:
    return any(path.is_file() for path in places(record.weights))


def build(network: Network):
    """Return the Keras model with its weights."""
    import keras

    record, weights = network.backbone, network.weights
    function = getattr(keras.applications, record.function)
    model = function(include_top=network.top, weights=None, input_shape=(*network.size, 3))
    fill(model, record.name, weights)
    if record.family == "efficientnet" and weights.published:
        _undo_variance(model)
    if not network.top:
        return model
    return keras.Model(model.inputs, [_last_map(record, model), model.outputs[-1]], name=record.name)


def _record(row):
    family, size = row["family"], int(row["size"])
    return Backbone(
        name=row["name"],
        family=family,
        source=__name__,
        size=(size, size),
        stages=tuple(_stage(f"stage{k}", row[f"stage{k}"]) for k in range(1, 6) if row[f"stage{k}"]),
        last=_stage("last", row["last"]),
        classes=int(row["classes"]),
        head=tuple(row["head"].split()),
        parameters=int(row["parameters"]),
        licence=LICENCES.get(family, "Apache-2.0"),
        margin=_margin(row["name"], family, size),
        interpolation="bicubic" if family in BICUBIC else "bilinear",
        min_size=int(row["min_size"]),
        fixed_head=family in FLATTENS,
        function=row["function"],
        weights=WeightsFile(row["weights_file"], row["url"], row["hash"]),
        weights_top=WeightsFile(row["weights_file_top"], row["url_top"], row["hash_top"]),
        **COLOURS[row["colours"]],
    )


def _stage(name, text):
    layer, _, width = text.rpartition(":")
    return Stage(name, layer, int(width))


def _margin(name, family, size):
    """Return canvas / size of the published evaluation.

    256/224, which is also Inception's central 0.875; EfficientNets leave 16 pixels a side; the large
    EfficientNetV2 were evaluated on whole images.
    """
    if family == "efficientnet_v2" and name[-1] in "sml":
        return 1.0
    return (size + 32) / size if family.startswith("efficientnet") else 256 / 224


def _last_map(record, model):
    """Return layer "last" of a model with its head.

    ConvNeXt normalises before pooling without the head, after it with the head: one layer, two places.
    """
    if record.family != "convnext":
        return model.get_layer(record.last.layer).output
    pooled, normalise = (next(one for one in model.layers if one.name.endswith(end)) for end in CONVNEXT_HEAD)
    return normalise(pooled.input)


def _undo_variance(model):
    """Divide once more by the root of the deviation, as EfficientNet's ImageNet weights were trained.

    Keras adds a layer for that with weights="imagenet" only: https://github.com/tensorflow/tensorflow/issues/49930
    """
    layer = model.get_layer("normalization")
    _, variance, _ = layer.weights
    variance.assign(variance.numpy() * np.float32([0.229, 0.224, 0.225]))
    layer.finalize_state()
