"""What every kind of network answers: a module of this folder each, listed in catalogue.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hybrid.sources.record import Backbone
from hybrid.weights.files import Weights

if TYPE_CHECKING:
    import keras
    import numpy as np
    import openvino


@dataclass(frozen=True)
class Network:
    """A backbone with its weights located, at one image size; `top` has the head, too."""

    backbone: Backbone
    weights: Weights
    size: tuple[int, int]
    top: bool = False

    @property
    def fingerprint(self) -> str:
        """Digest of the weights, and of the record where it is the user's."""
        return self.weights.fingerprint


class Source(Protocol):
    """A kind of network, a module of this folder: its weights, and what of the following is true of it."""

    __name__: str

    def own_weights(self, record: Backbone, top: bool) -> Weights:
        """Return what "imagenet" stands for: the published weights, or those that a file brings."""


class Named(Source, Protocol):
    """Its networks have names; their own weights are at hand, or can be had."""

    def records(self) -> tuple[Backbone, ...]: ...
    def at_hand(self, record: Backbone) -> bool: ...


class Filed(Source, Protocol):
    """Its networks are files or folders, such as `KIND` says; their records are read without loading them."""

    KIND: str

    def reads(self, path: Path) -> bool: ...
    def read(self, path: Path) -> Backbone: ...


class _KerasSource(Source, Protocol):
    """Engine "tensorflow" runs it, and "openvino" by converting it."""

    def build(self, network: Network) -> keras.Model:
        """Return the model with its weights: layer "last" first, with the head "predictions" second."""


class _OpenVINOSource(Source, Protocol):
    """Engine "openvino" alone runs it."""

    def read_model(self, core: openvino.Core, network: Network, layers: tuple[str, ...]) -> openvino.Model:
        """Return its float32 model: one uint8 image in, the map of each layer as one output."""


class _NumPySource(Source, Protocol):
    """Engine "tiny" runs it."""

    def maps(self, network: Network, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Return the maps of every layer by its own name."""
