"""A picture of any mode or dtype in; grey or RGB of 8 bits out, transparency over white, nothing guessed."""

from __future__ import annotations

import numpy as np
from PIL import Image

Range = tuple[float, float] | None
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262


class ImageError(ValueError):
    """Why an image cannot be used; `raise_for` in `hybrid.images.items` adds which ones: (index, item, reason)."""

    failures: tuple[tuple[int, object, str], ...] = ()


def flat(image: Image.Image, value_range: Range = None) -> Image.Image:
    """Return a picture in mode L or RGB."""
    mode, key = image.mode, image.info.get("transparency")
    if mode in ("I", "F") or mode.startswith("I;16"):
        return deep(image, key, value_range)
    if key is not None and mode in ("1", "L", "RGB"):
        return Image.fromarray(_keyed(np.array(image.convert("L") if mode == "1" else image), key))
    if image.has_transparency_data:
        # convert() knows no way from La to RGBA, and writes the transparency into the original's palette.
        image = (image.convert("LA") if mode == "La" else image.copy()).convert("RGBA")
        over = Image.new("RGB", image.size, "white")
        over.paste(image, mask=image)
        return over
    if mode == "1":
        return image.convert("L")
    return image if mode in ("L", "RGB") else image.convert("RGB")


def _keyed(pixels: np.ndarray, key: object) -> np.ndarray:
    """Whiten the one colour that is transparent."""
    hit = pixels == key
    pixels[hit.all(axis=-1) if pixels.ndim == 3 else hit] = np.iinfo(pixels.dtype).max
    return pixels


def deep(image: Image.Image, key: object, value_range: Range) -> Image.Image:
    """Scale one channel of 16 or 32 bits."""
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "I":
        values = integers(values, image.format, value_range)
    elif tags.get(BITS_PER_SAMPLE) == (12,):
        values = values * np.uint16(16) + values // np.uint16(256)
    if key is not None:
        values = _keyed(values.copy(), key)
    grey = _eight_bits(values, value_range)
    # Pillow turns white-is-zero round in TIFF files of up to 8 bits only.
    return Image.fromarray(255 - grey if tags.get(PHOTOMETRIC) == 0 else grey)


def integers(values: np.ndarray, format: str | None, value_range: Range) -> np.ndarray:
    """Return mode I as the 16 bits that it was made from, or as floats for the value range."""
    if format != "PPM":
        if value_range is not None:
            return values.astype(np.float64)
        least, most = values.min(), values.max()
        if least < 0 or 0 < most < 256 or most > 65535:
            raise ImageError(
                f"32-bit samples from {least} to {most} could mean any brightness: "
                "pass value_range, such as (0, 65535)"
            )
    return values.astype(np.uint16)


def from_array(array: np.ndarray, value_range: Range = None) -> Image.Image:
    """Return an array (h, w) or (h, w, 1 | 3 | 4) as a picture of 8 bits."""
    pixels = _eight_bits(array, value_range)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def _eight_bits(array: np.ndarray, value_range: Range = None) -> np.ndarray:
    """Return samples as uint8.

    Examples
    --------
    >>> _eight_bits(np.array([0, 257, 65535], np.uint16))
    array([  0,   1, 255], dtype=uint8)
    >>> _eight_bits(np.array([0, 0.2, 1]), value_range=(0, 1))
    array([  0,  51, 255], dtype=uint8)
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array * np.uint8(255)
    if array.dtype.type is np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind in "iu":
        return scaled(array, 0, 255, f"0 to 255, as expected of {array.dtype}; 16 bits come as uint16")
    if value_range is None:
        least, most = array.min(), array.max()
        if np.isnan(least):
            raise ImageError(f"{array.dtype} pixels hold NaN, but expected numbers: fill it in")
        raise ImageError(
            f"{array.dtype} pixels from {least:.6g} to {most:.6g} could mean any brightness: "
            "pass value_range=(0, 1) or (0, 255)"
        )
    low, high = value_range
    return scaled(array, low, high, f"value_range=({low:g}, {high:g})")


def scaled(array: np.ndarray, low: float, high: float, bounds: str) -> np.ndarray:
    """Return values between low and high as 0 to 255."""
    outside = ~((array >= low) & (array <= high))
    if outside.any():
        raise ImageError(f"pixel value {array[outside][0]:.6g} is outside {bounds}")
    wide = array.astype(np.result_type(array, np.float32), copy=False)
    return np.rint((wide - low) * (255 / (high - low))).astype(np.uint8)
