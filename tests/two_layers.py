"""A kind of network as a newcomer would add it: one file, with weights from an .npz, for test_catalogue.py."""

from pathlib import Path

import numpy as np

from hybrid.sources.record import Backbone, Stage
from hybrid.weights.files import Weights, file_digest
from hybrid.weights.fill import assign, fill

FILE = Path("two_layers.npz")


def records():
    stages = Stage("stage1", "first", 4), Stage("stage2", "second", 6)
    last = Stage("last", "second", 6)
    return (
        Backbone("two_layers", "two_layers", __name__, (16, 16), stages, last, scale=1 / 255, min_size=4),
    )


def own_weights(record, top):
    return Weights(FILE, file_digest(FILE), published=True)


def at_hand(record):
    return FILE.is_file()


def build(network):
    import keras

    inputs = keras.Input((*network.size, 3))
    first = keras.layers.Conv2D(4, 1, strides=2, activation="relu", name="first")
    second = keras.layers.Conv2D(6, 1, strides=2, activation="relu", name="second")
    model = keras.Model(inputs, second(first(inputs)))
    if network.weights.path is None:
        fill(model, network.backbone.name, network.weights)
    else:
        arrays = np.load(network.weights.path)
        pairs = [
            ((one, one.weights), [arrays[f"{one.name}_w"], arrays[f"{one.name}_b"]])
            for one in (first, second)
        ]
        assign(network.backbone.name, network.weights.path, pairs)
    return model
