"""The engine of the tiny network: NumPy alone, exact, in the thread that asks."""

from __future__ import annotations

import numpy as np

from hybrid.engines.graph import pooled_axes
from hybrid.sources import tiny


def choose_precision(precision) -> str:
    """Return float32, which is all there is."""
    if precision not in ("auto", "float32"):
        raise ValueError(f"Got precision={precision!r}, but the tiny network computes in 'float32' only.")
    return "float32"


def load(network, parts, precision, limit, calibration) -> TinyEngine:
    return TinyEngine(network, parts)


def pool(maps, layer, pooling):
    axes = pooled_axes(layer, maps.ndim, pooling)
    if pooling == "avg":
        return maps.mean(axes)
    if pooling == "max":
        return maps.max(axes)
    if pooling == "gem":
        return (np.maximum(maps, np.float32(1e-6)) ** 3).mean(axes) ** np.float32(1 / 3)
    return maps.reshape(len(maps), -1)


class TinyEngine:
    """The tiny network and what is read of it."""

    name = "tiny"
    precision = "float32"
    drift = 1.0

    def __init__(self, network, parts):
        self._network = network
        self._parts = [(usual_name(layer), pooling) for layer, pooling in parts]
        blank = np.zeros((1, *network.size, 3), np.uint8)
        self.widths = tuple(vectors.shape[1] for vectors in self._compute(blank))

    def run(self, batches):
        """Yield, for each uint8 batch, one float32 array a part."""
        for batch in batches:
            yield self._compute(batch)

    def _compute(self, batch):
        maps = tiny.maps(self._network, batch)
        return [pool(maps[layer], layer, pooling) for layer, pooling in self._parts]


def usual_name(layer) -> str:
    """A layer's name among the stages."""
    record = tiny.RECORD
    known = {record.last.name: record.last.layer} | {stage.name: stage.layer for stage in record.stages}
    if layer not in known:
        raise ValueError(f"Got layers={layer!r}, but the tiny network has {', '.join(map(repr, known))}.")
    return known[layer]
