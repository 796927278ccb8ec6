"""What an engine is: the protocol of its module, and that of a network which it has opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Protocol

import numpy as np

from hybrid.sources.network import Network

# What each engine needs, the fastest first; none is NumPy, in the thread that asks.
PRODUCTS = {"openvino": "OpenVINO", "tensorflow": "TensorFlow", "tiny": None}
Part = tuple[str, str | None]
# uint8 images (n, h, w, 3), or their digest.
Calibration = np.ndarray | str | None


class Engine(Protocol):
    """An opened network: `run` takes uint8 batches and gives one float32 array a part for each, in order.

    It pulls from `batches` only as far ahead as keeps the hardware busy, and several threads may run it.
    """

    name: str
    precision: str
    drift: float | None  # None where it was not measured
    widths: tuple[int, ...]

    def run(self, batches: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]: ...


class Kind(Protocol):
    """A module of this folder that bears its engine's name: tensorflow, openvino, tiny."""

    def choose_precision(self, precision: str) -> str:
        """Return the precision that "auto" stands for; refuse one that is not to be had here."""

    def load(
        self, network: Network, parts: tuple[Part, ...], precision: str, limit: int, calibration: Calibration
    ) -> Engine:
        """Open a network on at most `limit` threads, to read these parts (layer, pooling)."""


def kind(engine: str) -> Kind:
    """Return an engine's module; what it needs is imported only then."""
    return import_module(f"hybrid.engines.{engine}")
