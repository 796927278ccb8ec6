"""A Keras model in, the same model with its weights out: from a file with or without a head, or by seed."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid.weights.files import Weights

if TYPE_CHECKING:
    from keras import Model


def fill(model: Model, name: str, weights: Weights) -> None:
    """Put weights into a model that was just built: those that a seed draws, or those of Keras's own file."""
    if weights.path is None:
        draw(model, weights.seed)
    else:
        _fill_from_file(model, name, weights.path)


def draw(model: Model, seed: int) -> None:
    """Redraw every weight that Keras drew, from NumPy's generator: the same in every process.

    Zeros and ones stay: biases, and the statistics of normalisations. The spread is He's, by fan-in.
    """
    for index, variable in enumerate(model.weights):
        value = variable.numpy()
        if value.size == 0 or (value.flat[0] in (0, 1) and (value == value.flat[0]).all()):
            continue
        # (height, width, channels, 1) is a kernel by channel.
        fan_in = np.prod(value.shape[:2] if value.ndim == 4 and value.shape[-1] == 1 else value.shape[:-1])
        generator = np.random.Generator(np.random.PCG64([seed, index]))
        noise = generator.standard_normal(value.shape, np.float32)
        variable.assign(noise * np.float32(np.sqrt(2 / max(fan_in, 1))))


def _fill_from_file(model, name, path):
    """Read Keras's legacy HDF5, its .weights.h5, or the weights inside a .keras archive."""
    import h5py

    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read("model.weights.h5"))
        else:
            source = path
        with h5py.File(source, "r") as file:
            pairs = _by_order(file, model) if _is_legacy(file) else _by_name(file, model)
            assign(name, path, pairs)
    except (OSError, KeyError, zipfile.BadZipFile) as exc:
        raise ValueError(
            f"Cannot read {os.fspath(path)!r} as weights of {name!r}: {str(exc).rstrip('.')}. "
            "Expected a .h5, .weights.h5 or .keras file that Keras saved."
        ) from exc


def _is_legacy(file):
    return "model_weights" in file or bool(_names(file, "layer_names"))


def _by_order(file, model):
    """Pair layers with a legacy file's, in order; what follows in the file is its head."""
    group = file.get("model_weights", file)
    saved = [group[name] for name in _names(group, "layer_names")]
    saved = [layer for layer in saved if _names(layer, "weight_names")]
    layers = [layer for layer in model.layers if layer.weights]
    for i, layer in enumerate(layers):
        variables = layer.trainable_weights + layer.non_trainable_weights
        names = _names(saved[i], "weight_names") if i < len(saved) else ()
        yield (layer, variables), [_dataset(file, saved[i], name) for name in names]


def _names(group, key):
    """Return a list of names; Keras splits a long one over several attributes."""
    keys = [key] if key in group.attrs else []
    while f"{key}{len(keys)}" in group.attrs:
        keys.append(f"{key}{len(keys)}")
    names = [name for key in keys for name in group.attrs[key]]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _by_name(file, model):
    """Pair layers with those of Keras 3's format, which names them by class and number.

    A network used as one layer of a larger one lies a level deeper.
    """
    prefix = "layers/functional/layers" if "layers/functional/layers" in file else "layers"
    for path, layer in _paths(model.layers, prefix):
        if layer.weights:
            saved = file.get(f"{path}/vars", {})
            yield (layer, layer.weights), [_dataset(file, saved, str(i)) for i in range(len(saved))]


def _paths(layers, prefix):
    """Yield (path, layer) as Keras 3 saves them, Sequential layers opened."""
    counts = {}
    for layer in layers:
        # Keras's own way from Conv2DTranspose to conv2d_transpose.
        name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
        number = counts[name] = counts.get(name, -1) + 1
        path = f"{prefix}/{name}_{number}" if number else f"{prefix}/{name}"
        if hasattr(layer, "layers"):
            yield from _paths(layer.layers, f"{path}/layers")
        else:
            yield path, layer


def _dataset(file, group, name):
    """Return a dataset that lies in the file itself: HDF5 can also point at other files."""
    import h5py

    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset):
        raise KeyError(f"its {name!r} holds no numbers")
    if dataset.external or dataset.is_virtual or dataset.file.filename != file.filename:
        raise KeyError(f"its {name!r} lies in another file")
    return dataset


def assign(name: str, path: Path, pairs: Iterable) -> None:
    """Assign arrays to the weights of layers, ((layer, variables), arrays); refuse what does not fit."""
    for (layer, variables), values in pairs:
        expected, got = [tuple(v.shape) for v in variables], [tuple(value.shape) for value in values]
        if expected != got:
            raise ValueError(
                f"Cannot use {os.fspath(path)!r} for {name!r}: layer {layer.name!r} expects "
                f"{_shapes(expected)}, but the file has {_shapes(got)}. Pass weights of this very network."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(np.asarray(value[...], np.float32))
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _shapes(shapes):
    return " and ".join(str(shape) for shape in shapes) or "nothing"
