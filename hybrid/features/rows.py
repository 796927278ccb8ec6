"""Images on their way and their vectors in; the rows of all images out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np
from PIL import Image

from hybrid.engines.engine import Part
from hybrid.features.recipe import Recipe


@dataclass(eq=False)
class Job:
    """One image on its way: where its row goes, and what is known of its content."""

    item: object
    positions: list[int]
    digest: bytes | None = None
    claim: bytes | None = None
    raw: bytes | Image.Image | np.ndarray | None = None
    computed: bool = False


Sink = Callable[[list[Job], list[np.ndarray]], None]


class Rows:
    """A sink: every image's vectors in its row, part beside part; NaN where none came."""

    def __init__(self, count: int, recipe: Recipe):
        self.recipe = recipe
        self.digests: list[bytes | None] = [None] * count
        self.passes = 0
        self._widths: list[int] = []
        self._matrix: np.ndarray | None = None

    def __call__(self, jobs: list[Job], vectors: list[np.ndarray]) -> None:
        if self._matrix is None:
            self._allocate([part.shape[1] for part in vectors])
        self.passes += sum(job.computed for job in jobs)
        source = np.repeat(np.arange(len(jobs)), [len(job.positions) for job in jobs])
        rows = list(chain.from_iterable(job.positions for job in jobs))
        for row, i in zip(rows, source, strict=True):
            self.digests[row] = jobs[i].digest
        self._matrix[rows] = (np.concatenate(vectors, axis=1) if len(vectors) > 1 else vectors[0])[source]

    def of(self, parts: tuple[Part, ...]) -> np.ndarray:
        """Return the columns of some parts; not copied where they lie side by side."""
        if self._matrix is None:
            self._allocate(self.recipe.widths())
        if parts == self.recipe.parts:
            return self._matrix
        edges = list(pairwise(accumulate(self._widths, initial=0)))
        columns = [self._matrix[:, slice(*edges[self.recipe.parts.index(part)])] for part in parts]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def _allocate(self, widths: list[int]) -> None:
        self._widths = widths
        self._matrix = np.full((len(self.digests), sum(widths)), np.nan, np.float32)
