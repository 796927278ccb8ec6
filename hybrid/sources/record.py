"""What a network expects and what it gives: one frozen record, off which everything else is read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from hybrid.weights.files import WeightsFile


@dataclass(frozen=True)
class Stage:
    """The last layer of one stride: `stage3` is the last one whose map is 1/8 of the input."""

    name: str
    layer: str
    # None where only the network itself knows: a user's own.
    width: int | None = None


@dataclass(frozen=True)
class Backbone:
    """One network: size, colours, resize protocol, layers, widths, licence.

    A pixel x in 0..255 reaches the network as ``(x * scale - mean) / std``, its channels reversed first
    where ``bgr`` is true. "crop" resizes the shorter side to ``margin`` times the size and cuts out the
    centre, with ``interpolation``.
    """

    name: str
    family: str
    # The module that knows its weights and builds it: see source.py.
    source: str
    size: tuple[int, int]
    stages: tuple[Stage, ...] = ()
    last: Stage | None = None
    classes: int = 0
    parameters: int = 0
    licence: str = ""
    bgr: bool = False
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    margin: float = 256 / 224
    interpolation: str = "bilinear"
    min_size: int = 32
    # The engines that run it, and what it is where it cannot be trained: "an ONNX file".
    engines: tuple[str, ...] = ("tensorflow", "openvino")
    frozen: str = ""
    # The layers that only the network with its head has.
    head: tuple[str, ...] = ()
    # The network takes its own size only; or its head does, which flattens the last map.
    fixed_size: bool = False
    fixed_head: bool = False
    # It holds no other layers than those that have names here.
    closed: bool = False
    # What builds it: a function of keras.applications, or a SavedModel's signature.
    function: str = ""
    weights: WeightsFile | None = None
    weights_top: WeightsFile | None = None
    # A user's own network, and the file beside it that says what it expects.
    path: Path | None = None
    description: Path | None = None

    @property
    def is_keras(self) -> bool:
        """Whether it can be built as a Keras model."""
        return "tensorflow" in self.engines

    def layers(self, top: bool = True) -> tuple[str, ...]:
        """Return the layers' usual names, with "predictions" where there are classes and the head is on."""
        ends = ["last"] * bool(self.last or not self.closed) + ["predictions"] * bool(self.classes and top)
        return *(stage.name for stage in self.stages), *ends

    def usual_name(self, layer: str) -> str:
        """Return a layer's usual name, where it has one besides its own."""
        return next((stage.name for stage in self._named() if stage.layer == layer), layer)

    def own_name(self, layer: str) -> str:
        """Return the name that a layer has in the network itself."""
        return next((stage.layer for stage in self._named() if stage.name == layer), layer)

    def width(self, layer: str) -> int | None:
        """Return a layer's number of channels, where the record knows it."""
        if layer == "predictions":
            return self.classes
        return next((stage.width for stage in self._named() if layer in (stage.name, stage.layer)), None)

    def needs_head(self, layers: Iterable[str]) -> bool:
        """Say whether one of the layers is only there when the network is built with its head."""
        return any(layer == "predictions" or layer in self.head for layer in layers)

    def unknown_layer(self, layer: str, own: Iterable[str] = ()) -> ValueError:
        """Return the error for a layer that is not there; `own` are the names in the network itself."""
        own, named = tuple(own), self.layers()
        near = difflib.get_close_matches(layer, [*named, *own], n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        if self.closed:
            hint += " Name the network itself, as in backbone='resnet50'."
        return ValueError(
            f"Got layers={layer!r}, but {os.fspath(self.path or self.name)!r} "
            f"{'holds only' if self.closed else 'has the layers'} {', '.join(map(repr, named))}"
            f"{' and those of its own that have names' if own else ''}.{hint}"
        )

    def class_names(self) -> tuple[str, ...]:
        """Return the names of its classes: ImageNet's where it knows 1000."""
        return _imagenet() if self.classes == 1000 else tuple(f"class_{i}" for i in range(self.classes))

    def _named(self):
        return *self.stages, *([self.last] if self.last else [])


@cache
def _imagenet():
    return tuple(files(__package__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8").split())
