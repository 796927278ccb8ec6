"""What `fit` is given in; labelled images out, and what of them trains and what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid.features.embed import Failure, caution
from hybrid.finetune.course import Task
from hybrid.finetune.targets import Labels, hold_out, join, make_task, read_labels, read_sample_weight
from hybrid.images.items import as_items, listing, raise_for


@dataclass(frozen=True)
class Batch:
    """Labelled images; `own` marks those that the user holds out."""

    items: Sequence
    labels: Labels
    weights: np.ndarray
    own: np.ndarray

    def take(self, rows: np.ndarray) -> Batch:
        """Some of the images."""
        if len(rows) == len(self.items):
            return self
        items = [self.items[i] for i in rows]
        return Batch(items, self.labels.take(rows), self.weights[rows], self.own[rows])

    def readable(self, failures: Sequence[Failure]) -> np.ndarray:
        """Return the rows that are left without these images, and warn of them."""
        rows = np.setdiff1d(np.arange(len(self.items)), [row for row, *_ in failures])
        if self.own[rows].all():
            raise_for(failures, "pass others")
        if failures:
            them = "1 image is" if len(failures) == 1 else f"{len(failures)} images are"
            caution(f"{them} left out. {listing(failures)}", RuntimeWarning)
        return rows

    def task(self, class_weight: str | dict | None, smoothing: float, fraction: float, seed: int) -> Task:
        """Return what is to be learned; without the user's own, a fraction is held out."""
        held_out = np.flatnonzero(self.own)
        if fraction and not len(held_out):
            held_out = hold_out(self.labels, fraction, seed)
        return make_task(self.labels, self.weights, class_weight, smoothing, held_out)


def gather(X: Any, y: Any, sample_weight: Any, validation_data: Any) -> Batch:
    """Check labels and weights against the images; those that are held out come last."""
    items = as_items(X)
    n = count = len(items)
    weights = read_sample_weight(sample_weight, n)
    if validation_data is not None:
        if not isinstance(validation_data, (list, tuple)) or len(validation_data) != 2:
            raise ValueError(
                f"Got validation_data={validation_data!r:.200}, but expected a pair: images and their labels."
            )
        more = as_items(validation_data[0])
        items, y = [*items, *more], join(y, n, validation_data[1], len(more))
        count += len(more)
        weights = np.append(weights, np.ones(len(more)))
    return Batch(items, read_labels(y, count), weights, np.arange(count) >= n)
