"""One picture in, the same thing seen otherwise out: mirrored, cut elsewhere, in other light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from hybrid.images.frame import Frame

AUGMENTATIONS = ("flip", "crop", "colour")
# How much brightness, contrast and saturation change, each way.
COLOUR = 0.2
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def wide(frame: Frame, kinds: Sequence[str]) -> Frame:
    """Return the frame to decode for training: for "crop" the whole canvas that it is cut from."""
    if "crop" not in kinds:
        return replace(frame, views=1)
    height, width = (round(side * frame.margin) for side in frame.size)
    return replace(frame, size=(height, width), margin=1.0, views=1)


def augment(
    pixels: np.ndarray, size: tuple[int, int], kinds: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """Return a random variant of a picture (h, w, 3) in the given size, uint8.

    Examples
    --------
    >>> canvas = np.zeros((36, 36, 3), np.uint8)
    >>> augment(canvas, (32, 32), ("flip", "crop"), np.random.default_rng(0)).shape
    (32, 32, 3)
    """
    if "crop" in kinds:
        pixels = crop(pixels, size, rng)
    if "flip" in kinds and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if "colour" in kinds:
        pixels = colour(pixels, *rng.uniform(1 - COLOUR, 1 + COLOUR, 3))
    return pixels


def crop(pixels: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Cut a random window, between the frame and the whole canvas large, and resize it."""
    height, width = pixels.shape[:2]
    share = rng.uniform(max(size[0] / height, size[1] / width), 1)
    tall, broad = share * height, share * width
    top, left = rng.uniform(0, height - tall), rng.uniform(0, width - broad)
    box = left, top, min(left + broad, width), min(top + tall, height)
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR, box))


def colour(pixels: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Change the light."""
    x = pixels.astype(np.float32) * np.float32(brightness)
    x = (x - x.mean()) * np.float32(contrast) + x.mean()
    grey = (x @ LUMINANCE)[..., None]
    x = grey + (x - grey) * np.float32(saturation)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)
