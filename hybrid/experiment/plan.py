"""Labelled images and a config in; what training will cost out, from a little of the work that is done to see."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import cpu_count

from hybrid.config import read_config
from hybrid.datasets.labelled import check_classes, read_labelled
from hybrid.experiment.candidates import Candidate, featurizer, inner_folds, read_candidates, said
from hybrid.experiment.cost import Size, search_seconds
from hybrid.experiment.prepare import FEW, LIKENESS, n_repeats
from hybrid.experiment.selection import VALIDATION_FOLDS
from hybrid.experiment.train import FEW_FRACTIONS
from hybrid.features.embed import kept
from hybrid.features.passes import compute
from hybrid.features.recipe import read_recipe
from hybrid.images.decoding import digest
from hybrid.images.pixels import ImageError
from hybrid.images.source import read
from hybrid.statistics.curve import FRACTIONS
from hybrid.store.feature_store import open_store

if TYPE_CHECKING:
    from hybrid.config import Config, ConfigSource
    from hybrid.datasets.labelled import Labelled
    from hybrid.experiment.prepare import Table
    from hybrid.features.recipe import Recipe

# How many images are looked up in the store; of more, the share is estimated.
LOOKED_UP = 512
THUMBNAIL = 32 * 32 * 3


@dataclass(frozen=True)
class Plan:
    """What an experiment will cost, before it begins."""

    images: int
    backbone: str
    passes: int  # images to go through the network, those probed among them
    probed: int  # of these, the ones that went to measure it, and are in the store by now
    seconds: float  # for the others
    search: float  # seconds for all the rest
    fits: int  # models to fit, at most
    memory: int  # bytes for features and thumbnails
    disk: int  # bytes that the store will grow by
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        passes = f"{self.passes} of them to go through {self.backbone}" if self.passes else "all in the store"
        about = f", about {_duration(self.seconds)}" if self.passes > self.probed else ""
        megabytes = [f"{one / 1e6:,.0f} MB" for one in (self.memory, self.disk)]
        room = f"{megabytes[0]} of memory for features, {megabytes[1]} of disk in the store"
        return "\n".join(
            [
                f"{self.images} images, {passes}{about}",
                f"{self.fits} models to fit at most, about {_duration(self.search)}",
                *([room] if megabytes != ["0 MB", "0 MB"] else []),
                *self.notes,
            ]
        )

    def to_json(self) -> dict:
        """Return what a program would read."""
        return asdict(self)


def plan(frame: Table, config: ConfigSource = None, *, store: Any = "auto") -> Plan:
    """Find out what training will cost.

    Two batches of images that are not in the store go through the network and stay there; one is timed. So is a
    moment of the search, on stand-ins.

    Parameters
    ----------
    frame : DataFrame, path or "sample"
        Labelled images.
    config : path, dict, Config or None, default=None
    store : "auto", path, FeatureStore or None, default="auto"

    Returns
    -------
    Plan
        Print it for a few lines.

    Examples
    --------
    >>> print(plan("sample", {"features": {"backbone": "tiny", "layers": "last"}}, store=None))
    240 images, 240 of them to go through tiny, about ... s
    143 models to fit at most, about ... s
    1 MB of memory for features, 0 MB of disk in the store
    """
    config = read_config(config)
    data = read_labelled(frame)
    check_classes(data.y[~data.is_test])
    images = data.images
    candidates = read_candidates(config, store, len(images))
    settings = dict.fromkeys([*(candidate.setting or LIKENESS for candidate in candidates), LIKENESS])
    wanted = [featurizer(config, setting, store).get_params(deep=False) for setting in settings]
    recipes = [read_recipe(params) for params in wanted]
    together = recipes[0].join(recipes[1:])
    sample = [images[i] for i in np.linspace(0, len(images) - 1, min(len(images), LOOKED_UP)).astype(int)]
    absent = missing(sample, together, store)
    run, rate = probe(absent, wanted, config.features.batch_size)
    probed = run if store is not None else 0
    passes = round(len(images) * len(absent) / len(sample))
    whole = kept(together, len(images), open_store(store))
    parts = config.cv.folds * n_repeats(config, len(images))
    widths = [sum(read_recipe(one).widths()) for one in wanted]
    searched = len(candidates) * inner_folds(config) * (parts + 1) if len(candidates) > 1 else 0
    return Plan(
        images=len(images),
        backbone=config.features.backbone,
        passes=passes,
        probed=probed,
        seconds=rate * (passes - probed),
        search=search_seconds(size(config, candidates, tuple(widths), parts, data)),
        fits=searched + parts + 1,
        memory=len(images) * (4 * sum(sum(one.widths()) for one in recipes) + THUMBNAIL),
        disk=4 * passes * sum(whole.widths()) if store is not None else 0,
        notes=tuple(said(config, len(images))),
    )


def size(
    config: Config, candidates: list[Candidate], widths: tuple[int, ...], parts: int, data: Labelled
) -> Size:
    """Say all that tells how long the search takes."""
    inner = inner_folds(config)
    images = len(data.images)
    fractions = FEW_FRACTIONS if images > FEW else FRACTIONS
    return Size(
        images=images,
        classes=len(np.unique(data.y)),
        widths=widths[: len({candidate.setting for candidate in candidates})],
        candidates=candidates,
        parts=parts,
        inner=inner,
        share=1 - 1 / (inner if inner > 1 else VALIDATION_FOLDS),
        curve=config.cv.folds * sum(fractions) if config.curve.on else 0,
        baselines=config.cv.baselines,
    )


def missing(items: list, recipe: Recipe, store: Any) -> list:
    """Return the images whose features are not in the store; what cannot be read is not among them."""
    kept = open_store(store)
    if kept is None:
        return items
    files = [i for i, item in enumerate(items) if isinstance(item, str | os.PathLike)]
    digests = dict(zip(files, kept.known([items[i] for i in files]), strict=True))
    with ThreadPoolExecutor(cpu_count()) as pool:
        unknown = [i for i in range(len(items)) if digests.get(i) is None]
        digests |= zip(unknown, pool.map(lambda i: content(items[i], recipe), unknown), strict=True)
    places = [i for i in range(len(items)) if digests[i] is not None]
    found = np.ones(len(places), bool)
    for part in recipe.parts:
        found &= kept.get(recipe.text(part), [digests[i] for i in places], recipe.width(part), count=False)[1]
    return [items[i] for i, there in zip(places, found, strict=True) if not there]


def content(item: Any, recipe: Recipe) -> bytes | None:
    try:
        return digest(read(item), recipe.value_range)
    except ImageError:
        return None


def probe(items: list, wanted: list[dict], batch_size: int) -> tuple[int, float]:
    """Run two batches; return how many images these were, and the seconds an image of the second one took."""
    rate = 0.0
    first, second = items[:batch_size], items[batch_size : 2 * batch_size]
    for batch in (first, second):
        if batch:
            start = time.perf_counter()
            compute(batch, wanted)
            rate = (time.perf_counter() - start) / len(batch)
    return len(first) + len(second), rate


def _duration(seconds: float) -> str:
    """Name a time in the unit that fits it.

    Examples
    --------
    >>> _duration(42), _duration(5400)
    ('42 s', '90 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
