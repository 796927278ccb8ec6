"""Number of images and a seed in; a small labelled set of textures and shapes out, drawn on the spot.

Every picture differs in scale, tilt, place, stretch, colours, light and background, so that a class is easy
to see and hard to read off raw pixels. Only +, -, *, /, sqrt and floor touch the pixels, and random numbers
are scaled by hand: the same bytes come out on every platform.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

OVERSAMPLING = 2
# Each drawn between two values: lengths in half widths of the picture, light as a change from centre to edge.
SHIFT, TILT, STRETCH = (-0.1, 0.1), (-0.25, 0.25), (0.85, 1.18)
PERIOD, RADIUS = (0.25, 0.6), (0.4, 0.8)
LIGHT = (-0.25, 0.25)
GREY, TINT = (50, 205), 40
CONTRAST, GRAIN = 45, 12
COS72 = (math.sqrt(5) - 1) / 4
COS36 = (math.sqrt(5) + 1) / 4
SIN72, SIN36 = math.sqrt(1 - COS72 * COS72), math.sqrt(1 - COS36 * COS36)
# The sides' normals, outward; v points down.
TRIANGLE = ((0, 1), (math.sqrt(0.75), -0.5), (-math.sqrt(0.75), -0.5))
STAR = ((0, -1), (SIN72, -COS72), (SIN36, COS36), (-SIN36, COS36), (-SIN72, -COS72))

Random = np.random.Generator
Field = np.ndarray


def between(rng: Random, low: float, high: float) -> float:
    """Draw evenly; `rng.uniform` may be compiled to a fused multiply-add, which rounds otherwise."""
    return low + (high - low) * rng.random()


def fraction(u: Field) -> Field:
    return u - np.floor(u)


def stripes(u: Field, v: Field, rng: Random) -> Field:
    return fraction(u) < between(rng, 0.3, 0.7)


def checks(u: Field, v: Field, rng: Random) -> Field:
    return (np.floor(2 * u) + np.floor(2 * v)) % 2 == 0


def dots(u: Field, v: Field, rng: Random) -> Field:
    shifted = v + np.floor(u) * between(rng, 0, 1)
    across, along = fraction(u) - 0.5, fraction(shifted) - 0.5
    return np.sqrt(across * across + along * along) < between(rng, 0.22, 0.38)


def rings(u: Field, v: Field, rng: Random) -> Field:
    return fraction(np.sqrt(u * u + v * v)) < between(rng, 0.3, 0.7)


def mesh(u: Field, v: Field, rng: Random) -> Field:
    thickness = between(rng, 0.1, 0.25)
    return (fraction(u) < thickness) | (fraction(v) < thickness)


def bricks(u: Field, v: Field, rng: Random) -> Field:
    joint = between(rng, 0.1, 0.2)
    along = fraction(u / 2 + np.floor(v) / 2)
    return (fraction(v) > joint) & (along > joint / 2)


def waves(u: Field, v: Field, rng: Random) -> Field:
    half = fraction(u) * 2 - 1
    arc = 4 * half * (1 - np.abs(half))
    return fraction(v + between(rng, 0.25, 0.45) * arc) < between(rng, 0.35, 0.65)


def cross(u: Field, v: Field, rng: Random) -> Field:
    arm = between(rng, 0.2, 0.4)
    return np.minimum(np.abs(u), np.abs(v)) < arm * (np.maximum(np.abs(u), np.abs(v)) < 1)


def triangle(u: Field, v: Field, rng: Random) -> Field:
    return sum(a * u + b * v < 0.5 for a, b in TRIANGLE) == 3


def star(u: Field, v: Field, rng: Random) -> Field:
    # A point of the pentagram lies on the inner side of at least four of its five lines.
    return sum((a * u + b * v < COS72).astype(np.int8) for a, b in STAR) >= 4


TEXTURES: dict[str, Callable] = {f.__name__: f for f in (bricks, checks, dots, mesh, rings, stripes, waves)}
SHAPES: dict[str, Callable] = {f.__name__: f for f in (cross, star, triangle)}
CLASSES = sorted(TEXTURES | SHAPES)


def smooth(rng: Random, size: int, knots: int) -> Field:
    """Draw a soft field in -1..1, (size, size, 3): random knots joined by straight lines."""
    grid = 2 * rng.random((knots + 1, knots + 1, 3)) - 1
    place = np.arange(size) * (knots / size)
    left = place.astype(int)
    share = (place - left)[:, None, None]
    rows = grid[left] * (1 - share) + grid[left + 1] * share
    share = share.reshape(1, -1, 1)
    return rows[:, left] * (1 - share) + rows[:, left + 1] * share


def draw(name: str, rng: Random, size: int) -> Field:
    """Return one picture of class `name`, uint8 (size, size, 3)."""
    fine = (np.arange(size * OVERSAMPLING) + 0.5) * (2 / (size * OVERSAMPLING)) - 1
    x, y = fine[None, :] - between(rng, *SHIFT), fine[:, None] - between(rng, *SHIFT)
    tilt = between(rng, *TILT)
    cos = 1 / math.sqrt(1 + tilt * tilt)
    sin = tilt * cos
    period = between(rng, *(PERIOD if name in TEXTURES else RADIUS))
    stretch = between(rng, *STRETCH)
    u, v = (cos * x + sin * y) * (stretch / period), (cos * y - sin * x) / (stretch * period)
    inside = (TEXTURES | SHAPES)[name](u, v, rng).reshape(size, OVERSAMPLING, size, OVERSAMPLING)
    cover = inside.sum(axis=(1, 3))[..., None] / OVERSAMPLING**2
    dark, bright = colours(rng)
    surface = dark + (bright - dark) * cover + 30 * smooth(rng, size, 5) + 15 * smooth(rng, size, 20)
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    light = 1 + between(rng, *LIGHT) * axis[None, :, None] + between(rng, *LIGHT) * axis[:, None, None]
    grain = rng.integers(-GRAIN, GRAIN + 1, (size, size, 3))
    return np.clip(surface * light + grain, 0, 255).astype(np.uint8)


def colours(rng: Random) -> tuple[Field, Field]:
    """Draw two colours, the darker first."""
    while True:
        one, other = (between(rng, *GREY) + TINT * (2 * rng.random(3) - 1) for _ in range(2))
        contrast = other.sum() - one.sum()
        if abs(contrast) > 3 * CONTRAST:
            return (one, other) if contrast > 0 else (other, one)


def load_sample(n_per_class: int = 24, seed: int = 0, size: int = 128) -> pd.DataFrame:
    """Draw the built-in labelled images: ten classes of textures and shapes.

    They are easy for deep features and hard for raw pixels. Nothing is downloaded or kept. The same arguments
    give the same images on every platform, and a larger set begins each class with the smaller one's images.

    Parameters
    ----------
    n_per_class : int, default=24
        Images a class.
    seed : int, default=0
        Another seed draws other images of the same classes.
    size : int, default=128
        Height and width in pixels.

    Returns
    -------
    DataFrame
        Columns image (uint8 arrays of shape (size, size, 3)) and label, class by class.

    Examples
    --------
    >>> from hybrid import load_sample
    >>> sample = load_sample(n_per_class=2, size=32)
    >>> sample["image"][0].shape
    (32, 32, 3)
    >>> sample["label"].unique().tolist()
    ['bricks', 'checks', 'cross', 'dots', 'mesh', 'rings', 'star', 'stripes', 'triangle', 'waves']
    """
    import pandas as pd

    for name, value, least in ("n_per_class", n_per_class, 1), ("seed", seed, 0), ("size", size, 16):
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"Got {name}={value!r}, but expected an integer of at least {least}.")
    keys = [(k, i) for k in range(len(CLASSES)) for i in range(n_per_class)]
    images = [draw(CLASSES[k], np.random.default_rng([seed, k, i]), size) for k, i in keys]
    return pd.DataFrame({"image": images, "label": [CLASSES[k] for k, _ in keys]}, dtype=object)
