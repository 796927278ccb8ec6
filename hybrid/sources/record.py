"""What a network expects and what it gives: one frozen record, off which everything else is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """The last layer of one stride: `stage3` is the last one whose map is 1/8 of the input."""

    name: str
    layer: str
    # None where only the network itself knows: a user's own.
    width: int | None = None


@dataclass(frozen=True)
class WeightsFile:
    """A file of published weights: its name, where it is had, and its MD5 or SHA-256 where that is known."""

    name: str
    url: str = ""
    hash: str = ""


@dataclass(frozen=True)
class Backbone:
    """One network: size, colours, resize protocol, layers, widths, licence.

    A pixel x in 0..255 reaches the network as ``(x * scale - mean) / std``, its channels reversed first
    where ``bgr`` is true. "crop" resizes the shorter side to ``margin`` times the size and cuts out the
    centre, with ``interpolation``.
    """

    name: str
    family: str
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
    # The layers that only the network with its head has.
    head: tuple[str, ...] = ()
    # The network takes its own size only; or its head does, which flattens the last map.
    fixed_size: bool = False
    fixed_head: bool = False
    # What builds it: a function of keras.applications, or a SavedModel's signature.
    function: str = ""
    # The package its weights come in, and the extra that installs it.
    package: str = ""
    weights: WeightsFile | None = None
    weights_top: WeightsFile | None = None
    # A user's own network, and the file beside it that says what it expects.
    path: Path | None = None
    description: Path | None = None
