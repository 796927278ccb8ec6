"""A tiny convolutional network in NumPy: uint8 images in, one exact float32 map a layer out.

Weights and activations are whole numbers that float32 holds exactly, so that a result depends neither on
the batch nor on the order in which a processor adds. It sees colours and simple textures: for tests,
documents and first tries.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from hybrid.sources.record import Backbone, Stage
from hybrid.sources.source import Network
from hybrid.weights.files import Weights, drawn

KERNEL = 4
# Filters a stage. The first two keep both signs of each, the last does not: widths 32, 48, 64.
FILTERS = {"stage1": 16, "stage2": 24, "stage3": 64}
# Powers of two that bring the sums back to 0..255.
SHIFTS = {"stage1": 4, "stage2": 6, "stage3": 6}
LUMINANCE = np.array([2, 3, 1])
CHUNK_PIXELS = 1 << 17

RECORD = Backbone(
    name="tiny",
    family="tiny",
    source=__name__,
    size=(32, 32),
    stages=(Stage("stage1", "stage1", 32), Stage("stage2", "stage2", 48), Stage("stage3", "stage3", 64)),
    last=Stage("last", "stage3", 64),
    parameters=KERNEL**2 * (3 * 16 + 32 * 24 + 48 * 64),
    licence="BSD-3-Clause",
    min_size=8,
    engines=("tiny",),
    frozen="NumPy only",
)


def records() -> tuple[Backbone, ...]:
    return (RECORD,)


def own_weights(record: Backbone, top: bool) -> Weights:
    """Return those of seed 0."""
    return replace(drawn(record.name, 0), published=True)


def at_hand(record: Backbone) -> bool:
    return True


def maps(network: Network, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Return the maps of every layer for a batch of uint8 images (n, h, w, 3)."""
    step = max(1, CHUNK_PIXELS // (batch.shape[1] * batch.shape[2]))
    chunks = [_maps(network.weights.seed, batch[i : i + step]) for i in range(0, len(batch), step)]
    return {stage: np.concatenate([chunk[stage] for chunk in chunks]) for stage in FILTERS}


def _maps(seed, batch):
    x, found = batch.astype(np.float32), {}
    for stage, kernels in filters(seed).items():
        x = np.floor(_convolve(x, kernels) / np.float32(2 ** SHIFTS[stage]))
        if stage != "stage3":
            x = np.concatenate([x, -x], axis=-1)
        x = found[stage] = np.clip(x, 0, 255)
    return found


def _convolve(x, kernels):
    """Convolve with stride 2; the edges are repeated by one pixel."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    n, height, width, channels = x.shape
    # Rows of pixels are flat here, so that a window's rows are copied whole.
    rows = x.reshape(n, height, width * channels)
    windows = np.lib.stride_tricks.sliding_window_view(rows, (KERNEL, KERNEL * channels), axis=(1, 2))
    windows = windows[:, ::2, :: 2 * channels]
    n, height, width = windows.shape[:3]
    return (windows.reshape(n * height * width, -1) @ kernels).reshape(n, height, width, -1)


@lru_cache(maxsize=8)
def filters(seed: int) -> dict[str, np.ndarray]:
    """Draw the filters: (4 x 4 x inputs, filters) whole numbers from -7 to 7 a stage."""
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn, channels = {}, 3
    for stage, count in FILTERS.items():
        noise = generator.standard_normal((KERNEL * KERNEL, channels, count))
        if stage == "stage1":
            noise[..., :8] = _edges(generator, 8)
            # Colours: one mixture of them over the whole window.
            noise[..., 8:12] = noise[..., 8:12].mean(axis=0) * 4
        drawn[stage] = np.clip(np.rint(noise * 2), -7, 7).reshape(-1, count).astype(np.float32)
        channels = 2 * count
    return drawn


def _edges(generator, count):
    """Draw plane waves of even turns and seeded phases, in luminance."""
    y, x = np.mgrid[:KERNEL, :KERNEL].reshape(2, -1, 1) - (KERNEL - 1) / 2
    turn = np.pi * np.arange(count) / count
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * np.pi / 3 + generator.uniform(0, np.pi, count))
    return LUMINANCE[:, None] * (wave - wave.mean(axis=0))[:, None]
