"""What a reduced precision costs: an engine and its float32 sibling in, the cosine of their features out."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hybrid.engines.conversions import identity, make_folder, networks_folder
from hybrid.engines.engine import Engine, Part
from hybrid.sources.source import Network

PROBES = 8


def measure(
    network: Network,
    parts: Sequence[Part],
    engine: Engine,
    load_exact: Callable[[], Engine],
    digest: str | None = None,
) -> float:
    """Return the worst part's mean cosine to float32 on the probes, measured once and kept on disk."""
    path = networks_folder() / f"{identity(network, digest)}.json"
    names = [f"{engine.name} {engine.precision} {layer} {pooling}" for layer, pooling in parts]
    known = read(path)
    if not all(name in known for name in names):
        batch = probes(network.size)
        (reduced,), (exact,) = engine.run([batch]), load_exact().run([batch])
        if all(map(np.array_equal, reduced, exact)) and any(rows.any() for rows in exact):
            raise ValueError(
                f"Engine {engine.name!r} ignored precision={engine.precision!r} on this processor: "
                "its features are the float32 ones. Pass precision='float32' or 'auto'."
            )
        known |= dict(zip(names, map(cosine, reduced, exact), strict=True))
        keep(path, known)
    return min(known[name] for name in names)


def probes(size: tuple[int, int]) -> np.ndarray:
    """Smooth coloured noise, the same in every process."""
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, 256, (PROBES, 8, 8, 3), dtype=np.uint8)
    return np.stack([Image.fromarray(seed).resize(size[::-1], Image.Resampling.BICUBIC) for seed in seeds])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The mean cosine of rows; two rows of zeros are alike."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = (a * b).sum(axis=1)
    same = (a == b).all(axis=1)
    return float(np.where(same, 1.0, products / np.where(lengths > 0, lengths, 1)).mean())


def read(path: Path) -> dict[str, float]:
    try:
        known = json.loads(path.read_text())
        return {str(name): float(value) for name, value in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep(path: Path, known: dict[str, float]) -> None:
    """Replace the file at once; where that is impossible, the next process measures again."""
    temporary = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        make_folder()
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(known, indent=1))
        os.replace(temporary, path)
