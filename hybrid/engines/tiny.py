"""The engine of networks that are NumPy alone: exact, in the thread that asks."""

from __future__ import annotations

from functools import partial

import numpy as np

from hybrid.engines.engine import Calibration, Part
from hybrid.engines.graph import pooled_axes
from hybrid.sources.catalogue import source
from hybrid.sources.network import Network


def choose_precision(precision: str) -> str:
    """Return float32, which is all there is."""
    if precision not in ("auto", "float32"):
        raise ValueError(f"Got precision={precision!r}, but the tiny network computes in 'float32' only.")
    return "float32"


def load(
    network: Network, parts: tuple[Part, ...], precision: str, limit: int, calibration: Calibration
) -> TinyEngine:
    return TinyEngine(network, parts)


def pool(maps: np.ndarray, layer: str, pooling: str | None) -> np.ndarray:
    axes = pooled_axes(layer, maps.ndim, pooling)
    if pooling == "avg":
        return maps.mean(axes)
    if pooling == "max":
        return maps.max(axes)
    if pooling == "gem":
        return (np.maximum(maps, np.float32(1e-6)) ** 3).mean(axes) ** np.float32(1 / 3)
    return maps.reshape(len(maps), -1)


class TinyEngine:
    """A network and what is read of it."""

    name = "tiny"
    precision = "float32"
    drift = 1.0

    def __init__(self, network, parts):
        record = network.backbone
        self._compute_maps = partial(source(record).maps, network)
        self._parts = [(record.own_name(layer), pooling) for layer, pooling in parts]
        blank = np.zeros((1, *network.size, 3), np.uint8)
        known = self._compute_maps(blank)
        for (own, _), (layer, _) in zip(self._parts, parts, strict=True):
            if own not in known:
                raise record.unknown_layer(layer, known)
        self.widths = tuple(vectors.shape[1] for vectors in self._compute(blank))

    def run(self, batches):
        """Yield, for each uint8 batch, one float32 array a part."""
        for batch in batches:
            yield self._compute(batch)

    def _compute(self, batch):
        maps = self._compute_maps(batch)
        return [pool(maps[layer], layer, pooling) for layer, pooling in self._parts]
