"""The networks of keras.applications: the rows of keras_applications.csv in, records and Keras models out.

The file is measured, not typed: see tests/keras_table.py.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from hybrid.sources.record import Backbone, Stage, WeightsFile

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


@cache
def records() -> tuple[Backbone, ...]:
    """Return the record of every network, in the order of the file."""
    text = files(__package__).joinpath("keras_applications.csv").read_text(encoding="utf-8")
    return tuple(_record(row) for row in csv.DictReader(text.splitlines()))


def build(record, size, top):
    """Return the Keras model without its published weights."""
    import keras

    function = getattr(keras.applications, record.function)
    return function(include_top=top, weights=None, input_shape=(*size, 3))


def _record(row):
    family, size = row["family"], int(row["size"])
    return Backbone(
        name=row["name"],
        family=family,
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
