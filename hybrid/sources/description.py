"""What a user's TOML says of a network in a file in, its record out.

The TOML says what nothing in the file does, such as the range of pixels: see EXAMPLE.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Sequence
from math import isfinite
from numbers import Real
from pathlib import Path

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
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
KEYS = (
    *("size", "range", "scale", "mean", "std", "bgr", "margin", "interpolation", "licence"),
    *("signature", "output", "stages"),
)


def read(
    path: Path, describe: Callable[[str | None], Signature], without: Sequence[str] = (), **fields: object
) -> Backbone:
    """Return the record of a user's network by hybrid.toml in its folder, or <file>.toml beside its file.

    `describe` gives what the network itself says of the signature that the TOML names, `without` are the keys
    that say nothing of this kind of network, and `fields` is what the records of this kind have in common.
    """
    description = path / "hybrid.toml" if path.is_dir() else path.with_name(path.name + ".toml")
    if not description.is_file():
        # What cannot be read, or used at all, needs no description.
        describe(None)
        raise ValueError(
            f"Backbone {str(path)!r} does not say what it expects. "
            f"Write {str(description)!r} (TF Hub's networks take range = [0, 1]), such as:\n\n{EXAMPLE}"
        )
    values = _values(path, description, without)
    found = describe(values.get("signature"))
    last, others = last_and_others(found.widths, values.get("output"), description)
    return Backbone(
        name=path.name,
        size=_size(path, values, found.size, description),
        stages=(*_stages(values, found.widths, description), *others),
        last=last,
        licence=values.get("licence", ""),
        bgr=_flag(values, "bgr", description),
        margin=_margin(values, description),
        interpolation=_interpolation(values, description),
        min_size=1,
        fixed_size=found.size is not None,
        function=found.name,
        path=path.absolute(),
        description=description.absolute(),
        **_scaling(values, description),
        **fields,
    )


def _values(path, description, without):
    """Return what the TOML says; refuse keys that say nothing."""
    try:
        values = tomllib.loads(description.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"Cannot read {str(description)!r}: {exc}.") from exc
    for key in values:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(KEYS)}."
            raise ValueError(f"Got the key {key!r} in {str(description)!r}: {hint}")
    for key in ("signature", "output"):
        if not isinstance(values.get(key, ""), str):
            raise ValueError(f"Got {key}={values[key]!r} in {str(description)!r}, but expected a name.")
        if key in values and key in without:
            raise ValueError(
                f"Got {key}={values[key]!r} in {str(description)!r}, but {path.name!r} has none: leave it out."
            )
    return values


def _size(path, values, fixed, description):
    """Return the size that the network takes: its own, or the one that the TOML says."""
    value = values.get("size", fixed)
    if value is None:
        raise ValueError(
            f"{str(path)!r} takes images of any size: write size = 224, or another, in {str(description)!r}."
        )
    pair = (value, value) if not isinstance(value, (list, tuple)) else tuple(value)
    if len(pair) != 2 or not all(type(n) is int and n > 0 for n in pair):
        told = f"Got size={value!r} in {str(description)!r}"
        raise ValueError(f"{told}, but expected pixels or [height, width].")
    if fixed and pair != fixed:
        raise ValueError(f"Got size={pair} in {str(description)!r}, but the network takes {fixed} only.")
    return pair


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
    scale, std = values.get("scale", 1.0), values.get("std", [1, 1, 1])
    found = {
        "scale": _numbers([scale], 1, "scale", description)[0],
        "mean": _numbers(values.get("mean", [0, 0, 0]), 3, "mean", description),
        "std": _numbers(std, 3, "std", description),
    }
    if not found["scale"] or min(found["std"]) <= 0:
        raise ValueError(
            f"Got scale={scale!r} and std={std!r} in {str(description)!r}, but expected a scale other than 0, "
            "and deviations above 0."
        )
    return found


def _flag(values, key, description):
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"Got {key}={value!r} in {str(description)!r}, but expected true or false.")
    return value


def _numbers(value, count, key, description):
    plain = isinstance(value, list) and len(value) == count
    if not plain or not all(isinstance(n, Real) and type(n) is not bool and isfinite(n) for n in value):
        raise ValueError(f"Got {key}={value!r} in {str(description)!r}, but expected {count} numbers.")
    return tuple(float(n) for n in value)
