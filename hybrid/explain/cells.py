"""A featurizer and an image in; the maps behind its average-pooled vector out, and their cells as steps to it."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import numpy as np

from hybrid.features.embed import embed
from hybrid.features.recipe import Recipe, read_recipe
from hybrid.featurizer import ResNetFeaturizer
from hybrid.images.items import as_items


def read_maps(featurizer: ResNetFeaturizer, image: object) -> list[np.ndarray] | None:
    """Return the map (h, w, channels) of each layer, or None where a vector is no mean over one."""
    recipe = read_recipe(featurizer.get_params(deep=False))
    if recipe.frame.views > 1 or any(pooling != "avg" for _, pooling in recipe.parts):
        return None
    flat = replace(recipe, parts=tuple((layer, "flatten") for layer, _ in recipe.parts))
    row = embed(as_items([image]), flat, None)[0].astype(float)
    ends = np.cumsum(flat.widths())
    parts = zip(np.split(row, ends[:-1]), recipe.widths(), strict=True)
    maps = [part.reshape(*grid(len(part) // width, recipe), width) for part, width in parts]
    return maps if all(one.shape[0] * one.shape[1] > 1 for one in maps) else None


def grid(cells: int, recipe: Recipe) -> tuple[int, int]:
    """Return the rows and columns of a map whose sides are as those of the frame."""
    height, width = recipe.frame.size
    fitting = [rows for rows in range(1, cells + 1) if cells % rows == 0] if height != width else []
    rows = min(fitting, key=lambda rows: abs(rows * width - cells // rows * height), default=isqrt(cells))
    return rows, cells // rows


def steps(maps: list[np.ndarray], mean: np.ndarray) -> np.ndarray:
    """Return what each cell adds to the way from the mean vector to the picture's, a row a cell."""
    widths = [one.shape[2] for one in maps]
    if sum(widths) != len(mean):
        raise ValueError(f"Got a mean of {len(mean)} features, but this model has {sum(widths)}.")
    rows, start = [], 0
    for one, width in zip(maps, widths, strict=True):
        cells = one.reshape(-1, width)
        wide = np.zeros((len(cells), len(mean)))
        wide[:, start : start + width] = (cells - mean[start : start + width]) / len(cells)
        rows.append(wide)
        start += width
    return np.concatenate(rows)


def laid_out(parts: np.ndarray, maps: list[np.ndarray]) -> np.ndarray:
    """Return the cells' parts on the finest of the layers' grids; their sum stays."""
    shapes = [one.shape[:2] for one in maps]
    finest = max(shapes)
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    grids = zip(np.split(parts, ends), shapes, strict=True)
    return sum(spread(part.reshape(shape), finest) for part, shape in grids)


def spread(parts: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Lay parts over a grid of another shape, each in proportion to where its cell comes to lie.

    Examples
    --------
    >>> spread(np.array([[4.0, 0.0]]), (2, 3)).round(2)
    array([[1.33, 0.67, 0.  ],
           [1.33, 0.67, 0.  ]])
    """
    rows, columns = (_overlaps(old, new) for old, new in zip(parts.shape, shape, strict=True))
    return rows.T @ parts @ columns


def _overlaps(old: int, new: int) -> np.ndarray:
    """Return the share of each of `old` equal stretches that lies in each of `new`."""
    before, after = np.arange(old + 1) / old, np.arange(new + 1) / new
    common = np.minimum(before[1:, None], after[None, 1:]) - np.maximum(before[:-1, None], after[None, :-1])
    return np.maximum(common, 0) * old
