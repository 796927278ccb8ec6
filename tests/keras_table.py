"""Measure the networks of keras.applications: the rows of hybrid/sources/keras_applications.csv.

Rebuild the file with ``python tests/keras_table.py`` (some minutes, 8 GB), after a new Keras for example.
"""

import csv
import inspect
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np

CSV = Path(__file__).resolve().parents[1] / "hybrid" / "sources" / "keras_applications.csv"


def functions():
    """Return the names of the functions of keras.applications that build a network."""
    import keras

    named = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, function in named if "include_top" in inspect.signature(function).parameters]


def measure(function):
    """Return the row of one network."""
    top, file_top = _build(function, include_top=True)
    # MobileNetV3 alone leaves its size open; the names of its files say 224.
    size = top.input_shape[1] or 224
    classes, names = top.output_shape[-1], [layer.name for layer in top.layers]
    del top
    model, file = _build(function, include_top=False, input_shape=(size, size, 3))
    last = model.layers[-1]
    stages = _stages(model, size)
    return {
        "name": function.lower(),
        "function": function,
        "family": file["family"],
        "colours": _colours(file["family"]),
        "size": size,
        "min_size": file["min_size"],
        "classes": classes,
        "parameters": model.count_params(),
        "last": f"{last.name}:{last.output.shape[-1]}",
        **{f"stage{k}": stages.get(k, "") for k in range(1, 6)},
        "head": " ".join(name for name in names if name not in {layer.name for layer in model.layers}),
        "weights_file": file["name"],
        "url": file["url"],
        "hash": file["hash"],
        "weights_file_top": file_top["name"],
        "url_top": file_top["url"],
        "hash_top": file_top["hash"],
    }


def _build(function, **arguments):
    """Build a network as Keras would with its ImageNet weights; note the file it asks for, do not load it.

    In a thread of its own, where Keras numbers the layers from zero.
    """
    import keras
    from keras.src.applications import imagenet_utils
    from keras.src.utils import file_utils

    build = getattr(keras.applications, function)
    asked = {"family": build.__module__.rpartition(".")[2], "min_size": 32}
    obtain = imagenet_utils.obtain_input_shape

    def get_file(name, origin, file_hash=None, **_):
        asked.update(name=name, url=origin, hash=file_hash)
        return name

    def obtain_input_shape(*args, **kwargs):
        asked["min_size"] = kwargs["min_size"]
        return obtain(*args, **kwargs)

    with (
        mock.patch.object(file_utils, "get_file", get_file),
        mock.patch.object(imagenet_utils, "obtain_input_shape", obtain_input_shape),
        mock.patch.object(keras.Model, "load_weights"),
        ThreadPoolExecutor(1) as fresh,
    ):
        return fresh.submit(build, weights="imagenet", **arguments).result(), asked


def _stages(model, size):
    """Map k to "layer:width": the last layer of stride 2^k that everything passes through.

    A NASNet cell reads the two cells before it, so nothing between its ends is such a layer: there it is the
    last layer that ends a cell.
    """
    import keras

    padding = (keras.layers.InputLayer, keras.layers.ZeroPadding2D, keras.layers.Cropping2D)
    stages = {}
    for layer, passed in _everything_passes(model):
        if isinstance(layer, padding) or len(layer.output.shape) != 4 or layer.output.shape[1] < 2:
            continue
        if passed or "_concat_" in layer.name:
            k = round(math.log2(size / layer.output.shape[1]))
            stages[k] = f"{layer.name}:{layer.output.shape[-1]}"
    return stages


def _everything_passes(model):
    """Yield each layer in order, and whether no edge of the graph jumps over it."""
    position = {id(layer.output): i for i, layer in enumerate(model.layers)}
    reach = list(range(len(model.layers)))
    for i, layer in enumerate(model.layers):
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        for tensor in inputs:
            if id(tensor) in position:
                source = position[id(tensor)]
                reach[source] = max(reach[source], i)
    furthest = 0
    for i, layer in enumerate(model.layers):
        yield layer, furthest <= i
        furthest = max(furthest, reach[i])


def _colours(family):
    """Return which of Keras's three preprocessings the family uses, or "none"."""
    import keras

    module = getattr(keras.applications, family)
    pixels = np.array([[[[10.0, 60.0, 250.0]]]], "float32")
    got = module.preprocess_input(pixels.copy())
    for mode in ("caffe", "tf", "torch"):
        if np.allclose(got, keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)):
            return mode
    return "none"


def main():
    rows = []
    for function in functions():
        rows.append(measure(function))
        print(rows[-1], file=sys.stderr, flush=True)
    with CSV.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
