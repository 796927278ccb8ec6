"""Everything that determines a feature vector besides the image: parameters in, one frozen record out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real

from hybrid.engines.choose import choose
from hybrid.engines.engine import Engine, Part
from hybrid.engines.int8 import usual_calibration
from hybrid.engines.opened import open_engine
from hybrid.images.frame import Frame
from hybrid.sources.catalogue import find
from hybrid.sources.network import Network, locate

POOLINGS = ("avg", "max", "gem", "flatten")
# What a pass keeps of each layer besides what it was asked for.
KEPT_POOLINGS = POOLINGS[:3]
RESIZES = ("crop", "squash", "pad")
# From, to, and how a message names it.
WHOLE_NUMBERS = {
    "batch_size": (1, None, "a positive integer"),
    "views": (1, 10, "an integer from 1 to 10"),
    "verbose": (0, None, "0 or 1"),
    "seed": (0, None, "an integer of 0 or more, or None"),
}
MOST_PIXELS_A_SIDE = 4096
# Raise it whenever the same file would come out as other pixels, so that no stored vector is stale.
PREPROCESSING = 2


@dataclass(frozen=True)
class Recipe:
    """A network, the frame its pixels come in, and the parts of it that are read."""

    network: Network
    frame: Frame
    parts: tuple[Part, ...]
    engine: str
    precision: str
    value_range: tuple[float, float] | None = None
    calibration: str | None = None

    @cached_property
    def scope(self) -> str:
        """The forward pass: recipes with one scope share it."""
        network, frame = self.network, self.frame
        return json.dumps(
            {
                "backbone": network.backbone.name,
                "fingerprint": network.fingerprint,
                "pixels": PREPROCESSING,
                "size": frame.size,
                "resize": frame.resize,
                "margin": round(frame.margin, 6),
                "interpolation": frame.interpolation,
                "views": frame.views,
                "value_range": self.value_range,
                "engine": self.engine,
                "precision": self.precision,
                "calibration": self.calibration,
            },
            sort_keys=True,
        )

    def text(self, part: Part) -> str:
        """The canonical JSON of one part: what the store knows the vector by, whatever name it was asked by."""
        layer, pooling = part
        named = {"layer": self.network.backbone.own_name(layer), "pooling": pooling}
        return json.dumps(json.loads(self.scope) | named, sort_keys=True)

    @cached_property
    def whole(self) -> Recipe:
        """This recipe with every stage and pooling beside what it asks for: one pass has them all in its hands."""
        record, top = self.network.backbone, self.network.top
        names: dict[str, str] = {}
        for name in record.layers(top=False):
            names.setdefault(record.own_name(name), name)
        usual = [(name, pooling) for name in names.values() for pooling in KEPT_POOLINGS]
        usual += [("predictions", None)] * top
        known = {self.text(part) for part in usual}
        return replace(self, parts=(*usual, *(part for part in self.parts if self.text(part) not in known)))

    def width(self, part: Part) -> int | None:
        """The part's width where the record knows it."""
        layer, pooling = part
        return None if pooling == "flatten" else self.network.backbone.width(layer)

    def widths(self) -> list[int]:
        """The widths of all parts; those that only the network itself knows are asked of it."""
        widths = [self.width(part) for part in self.parts]
        return list(self.open().widths) if None in widths else widths

    def open(self) -> Engine:
        """Return the engine that runs this recipe."""
        return open_engine(self.network, self.parts, self.engine, self.precision, self.calibration)

    def join(self, others: Iterable[Recipe]) -> Recipe:
        """This recipe with the parts of others that share its forward pass."""
        recipes = [self, *others]
        parts = dict.fromkeys(part for recipe in recipes for part in recipe.parts)
        # The network with its head has all that the one without it has.
        network = next((recipe.network for recipe in recipes if recipe.network.top), self.network)
        return replace(self, network=network, parts=tuple(parts))


def read_recipe(params: Mapping[str, object]) -> Recipe:
    """Validate a featurizer's parameters and look up what they name; no network is loaded."""
    _check_plain(params)
    record = find(params["backbone"])
    layers, poolings = (
        _as_tuple("layers", params["layers"]),
        _as_tuple("pooling", params["pooling"], POOLINGS),
    )
    size = read_size(params["image_size"]) or record.size
    network = locate(record, params["weights"], params["seed"], size, record.needs_head(layers))
    engine, precision = choose(network, params["engine"], params["precision"])
    parts = [
        (layer, pooling) for layer in layers for pooling in ((None,) if layer == "predictions" else poolings)
    ]
    frame = Frame(size, params["resize"], record.margin, record.interpolation, params["views"])
    value_range = read_range(params["value_range"])
    calibration = usual_calibration(network) if precision == "int8" else None
    return Recipe(network, frame, tuple(parts), engine, precision, value_range, calibration)


def _check_plain(params: Mapping[str, object]) -> None:
    """Refuse what no network could ever accept."""
    for name, (low, high, expected) in WHOLE_NUMBERS.items():
        value = params[name]
        fits = isinstance(value, Integral) and not (isinstance(value, bool) and name != "verbose")
        if not (name == "seed" and value is None) and not (fits and low <= value <= (high or value)):
            raise ValueError(f"Got {name}={value!r}, but expected {expected}.")
    for name, allowed in (("resize", RESIZES), ("on_error", ("raise", "nan"))):
        if params[name] not in allowed:
            raise ValueError(
                f"Got {name}={params[name]!r}, but expected one of {', '.join(map(repr, allowed))}."
            )


def _as_tuple(name: str, value: object, allowed: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """A name or a list of names, without repeats."""
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not values or not all(isinstance(one, str) for one in values):
        raise ValueError(f"Got {name}={value!r}, but expected a name or a list of names.")
    if len(set(values)) < len(values):
        raise ValueError(f"Got {name}={value!r}, which names the same thing twice.")
    for one in values:
        if allowed and one not in allowed:
            raise ValueError(
                f"Got {name}={value!r}, but expected {', '.join(map(repr, allowed))} or a list of them."
            )
    return tuple(values)


def read_size(size: object) -> tuple[int, int] | None:
    """An image size as (height, width)."""
    pair = (size, size) if isinstance(size, Integral) and not isinstance(size, bool) else size
    if pair is None:
        return None
    if (
        not isinstance(pair, (list, tuple))
        or len(pair) != 2
        or not all(isinstance(n, Integral) and n > 0 for n in pair)
    ):
        raise ValueError(
            f"Got image_size={size!r}, but expected None, a positive integer or (height, width)."
        )
    if max(pair) > MOST_PIXELS_A_SIDE:
        raise ValueError(f"Got image_size={size!r}, but expected at most {MOST_PIXELS_A_SIDE} pixels a side.")
    return int(pair[0]), int(pair[1])


def read_range(value_range: object) -> tuple[float, float] | None:
    """The range of float pixels, such as (0, 1)."""
    if value_range is None:
        return None
    fits = isinstance(value_range, (list, tuple)) and len(value_range) == 2
    if not fits or not all(isinstance(n, Real) for n in value_range) or not value_range[0] < value_range[1]:
        raise ValueError(
            f"Got value_range={value_range!r}, but expected None or (low, high), such as (0, 1)."
        )
    return float(value_range[0]), float(value_range[1])
