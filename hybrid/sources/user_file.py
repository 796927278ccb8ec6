"""A user's own network in, with a small TOML beside it; its record out.

It is a .keras file, a SavedModel folder (see saved_model.py), an .onnx file or an OpenVINO .xml (exchange.py).
The TOML says what nothing in the file does, such as the range of pixels: see EXAMPLE.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
import zipfile
from numbers import Real
from pathlib import Path

from hybrid.sources import exchange, saved_model
from hybrid.sources.record import Backbone, Stage
from hybrid.sources.signature import Signature, last_and_others, layer_name

EXAMPLE = """\
size = 224                  # pixels, or [height, width]; optional where the file fixes it
range = [0, 1]              # what the network wants pixels in: [0, 1], [-1, 1] or [0, 255]
# or instead of range, (pixel * scale - mean) / std by channel:
# scale = 0.00392156862745098
# mean = [0.485, 0.456, 0.406]
# std = [0.229, 0.224, 0.225]
# bgr = false               # blue first
# margin = 1.143            # "crop" resizes to margin x size first
# interpolation = "bilinear"
# licence = "MIT"
# signature = "default"     # of a SavedModel that has several
# output = "feature_vector" # the one that layer "last" is, of several
# [stages]
# stage4 = "the name of a layer"
"""
UNSAFE = ("Lambda", "TFSMLayer", "TorchModuleWrapper")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
KEYS = (
    *("size", "range", "scale", "mean", "std", "bgr", "margin", "interpolation", "licence"),
    *("signature", "output", "stages"),
)
# The keys that say nothing of a kind of file.
WITHOUT = {"keras": ("signature", "output"), "onnx": ("signature",), "openvino": ("signature",)}
SUFFIXES = (".keras", *exchange.FAMILIES)
KINDS = "a .keras file, a SavedModel folder, an .onnx file or an OpenVINO .xml file"


def looks_like_a_path(name) -> bool:
    """Say whether a backbone is named by its file or folder."""
    path = Path(name)
    return not isinstance(name, str) or path.suffix in SUFFIXES or path.name != name or path.is_dir()


def read(name) -> Backbone:
    """Return the record of a user's network, without loading it."""
    path = Path(name).expanduser()
    if path.is_file() and path.suffix in SUFFIXES:
        description = path.with_name(path.name + ".toml")
    elif (path / saved_model.FILE).is_file():
        description = path / "hybrid.toml"
    else:
        raise ValueError(
            f"Got backbone={os.fspath(name)!r}, but expected a name from hybrid.backbones(), "
            f"{KINDS}: {'it is none of these' if path.exists() else 'there is no such file'}."
        )
    if not description.is_file():
        # What cannot be read, or used at all, needs no description.
        _signature(path, None)
        raise ValueError(
            f"Backbone {os.fspath(name)!r} does not say what it expects. "
            f"Write {str(description)!r} (TF Hub's networks take range = [0, 1]), such as:\n\n{EXAMPLE}"
        )
    return _record(path, description)


def load(record, size):
    """Return the Keras model of a user's file; a SavedModel is wrapped as one."""
    if record.path.suffix in exchange.FAMILIES and record.path.is_file():
        raise ValueError(
            f"{record.name!r} is no Keras model and runs on engine 'openvino' only: pass engine='openvino', or "
            "name the network's .keras file or SavedModel folder."
        )
    return saved_model.load(record, size) if record.path.is_dir() else _load_keras(record)


def _family(path):
    return "saved model" if path.is_dir() else exchange.FAMILIES.get(path.suffix, "keras")


def _signature(path, asked) -> Signature:
    """Return what the file itself says."""
    if path.is_dir():
        return saved_model.describe(path, asked)
    return exchange.describe(path) if path.suffix in exchange.FAMILIES else Signature(size=_static_size(path))


def _record(path, description):
    """Read the TOML into a record."""
    try:
        values = tomllib.loads(description.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"Cannot read {str(description)!r}: {exc}.") from exc
    for key in values:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(KEYS)}."
            raise ValueError(f"Got the key {key!r} in {str(description)!r}: {hint}")
    family = _family(path)
    for key in ("signature", "output"):
        if not isinstance(values.get(key, ""), str):
            raise ValueError(f"Got {key}={values[key]!r} in {str(description)!r}, but expected a name.")
        if key in values and key in WITHOUT.get(family, ()):
            raise ValueError(
                f"Got {key}={values[key]!r} in {str(description)!r}, but {path.name!r} has none: leave it out."
            )
    found = _signature(path, values.get("signature"))
    fixed = found.size
    last, others = last_and_others(found.widths, values.get("output"), description)
    if "size" not in values and not fixed:
        raise ValueError(
            f"{str(path)!r} takes images of any size: write size = 224, or another, in {str(description)!r}."
        )
    size = _size(values.get("size", fixed), description)
    if fixed and size != fixed:
        raise ValueError(f"Got size={size} in {str(description)!r}, but the network takes {fixed} only.")
    return Backbone(
        name=path.name,
        family=family,
        size=size,
        stages=(*_stages(values, found.widths, description), *others),
        last=last,
        licence=values.get("licence", ""),
        bgr=bool(values.get("bgr", False)),
        margin=_margin(values, description),
        interpolation=_interpolation(values, description),
        min_size=1,
        fixed_size=fixed is not None,
        function=found.name,
        path=path.absolute(),
        description=description.absolute(),
        **_scaling(values, description),
    )


def _size(value, description):
    pair = (value, value) if isinstance(value, int) else value
    fits = isinstance(pair, (list, tuple)) and len(pair) == 2
    if not fits or not all(type(n) is int and n > 0 for n in pair):
        expected = "but expected pixels or [height, width]"
        raise ValueError(f"Got size={value!r} in {str(description)!r}, {expected}.")
    return tuple(pair)


def _stages(values, widths, description):
    """Return the layers that the user gave names."""
    stages = values.get("stages", {})
    if not isinstance(stages, dict) or not all(isinstance(layer, str) for layer in stages.values()):
        raise ValueError(f"Got stages={stages!r} in {str(description)!r}, but expected names of layers.")
    return [Stage(name, layer_name(layer), widths.get(layer)) for name, layer in stages.items()]


def _margin(values, description):
    (margin,) = _numbers([values.get("margin", 256 / 224)], 1, "margin", description)
    if not 1 <= margin < 2:
        raise ValueError(f"Got margin={margin} in {str(description)!r}, but expected a number from 1 to 2.")
    return margin


def _interpolation(values, description):
    name = values.get("interpolation", "bilinear")
    if name not in INTERPOLATIONS:
        expected = ", ".join(map(repr, INTERPOLATIONS))
        raise ValueError(f"Got interpolation={name!r} in {str(description)!r}, but expected {expected}.")
    return name


def _scaling(values, description):
    """Return scale, mean and std: as given, or from the range."""
    if "range" not in values and "scale" not in values and "mean" not in values:
        raise ValueError(f"{str(description)!r} has no 'range': write range = [0, 1], [-1, 1] or [0, 255].")
    if "range" in values:
        low, high = _numbers(values["range"], 2, "range", description)
        if not low < high or {"scale", "mean", "std"} & set(values):
            raise ValueError(
                f"Got range={values['range']!r} in {str(description)!r}, but expected [low, high] and then "
                "no scale, mean or std."
            )
        return {"scale": (high - low) / 255, "mean": (-low,) * 3}
    return {
        "scale": _numbers([values.get("scale", 1.0)], 1, "scale", description)[0],
        "mean": _numbers(values.get("mean", [0, 0, 0]), 3, "mean", description),
        "std": _numbers(values.get("std", [1, 1, 1]), 3, "std", description),
    }


def _numbers(value, count, key, description):
    if not isinstance(value, list) or len(value) != count or not all(isinstance(n, Real) for n in value):
        raise ValueError(f"Got {key}={value!r} in {str(description)!r}, but expected {count} numbers.")
    return tuple(float(n) for n in value)


def _config(path):
    """Return the configuration inside a .keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as exc:
        raise ValueError(f"Cannot read {str(path)!r} as a .keras file: {str(exc).rstrip('.')}.") from exc


def _static_size(path):
    """Return the size that a .keras file's input is fixed to, or None."""
    for part in _dicts(_config(path)):
        if part.get("class_name") == "InputLayer":
            shape = part["config"].get("batch_shape") or part["config"].get("batch_input_shape")
            return tuple(shape[1:3]) if len(shape) == 4 and None not in shape[1:3] else None
    return None


def _dicts(value):
    """Yield every dict inside nested dicts and lists."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _dicts(part)


def _load_keras(record):
    import keras

    for part in _dicts(_config(record.path)):
        name, module = part.get("class_name"), part.get("module")
        if name in UNSAFE or (name and module and module.split(".")[0] not in ("keras", "builtins")):
            raise ValueError(
                f"Cannot load {str(record.path)!r} safely: it holds {module}.{name}, which runs own code. "
                "Rebuild the network from Keras's own layers."
            )
    try:
        model = keras.saving.load_model(record.path, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError, KeyError) as exc:
        raise ValueError(f"Cannot load {str(record.path)!r}: {exc}") from exc
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise ValueError(f"{str(record.path)!r} takes inputs {shapes}, but expected one of (n, h, w, 3).")
    return model
