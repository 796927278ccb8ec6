"""A picture in; its views in the size that a network sees out, as uint8 RGB."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hybrid.images.pixels import Range, flat

ORIENTATION = 274
# What turns the stored picture upright, and where its axes lie then.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPED, FROM_RIGHT, FROM_BOTTOM = {5, 6, 7, 8}, {2, 3, 7, 8}, {3, 4, 6, 7}
# Source pixels for one of the result: with fewer, a reduced decode would show.
OVERSAMPLING = 2

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """The size that a network sees, and how a picture gets there.

    Parameters
    ----------
    size : (height, width)
    resize : "crop", "squash" or "pad"
        "crop" scales the picture until it just covers `margin` times the frame and takes the centre: the
        evaluation protocol of most networks. "squash" distorts the whole picture to the frame; "pad" fits the
        whole picture into it, centred on black. A picture that has the frame's size is taken as it is, bit for
        bit; its corners are cut from the scaled picture all the same.
    margin : float
        Canvas over frame, at least 1 and below 2. "squash" and "pad" use it for the corners only.
    interpolation : str
        "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos"; all but "nearest" are antialiased.
    views : int
        How many, 1 to 10, of: the centre, its mirror, then the top left, top right, bottom left and bottom
        right corners, each followed by its mirror.

    Examples
    --------
    >>> Frame(size=(224, 224)).windows(width=512, height=256)
    [(144.0, 16.0, 368.0, 240.0)]
    """

    size: tuple[int, int]
    resize: str = "crop"
    margin: float = 256 / 224
    interpolation: str = "bicubic"
    views: int = 1

    def windows(self, width: int, height: int) -> list[Box]:
        """Return the part of a picture (left, top, right, bottom) that each unmirrored view shows."""
        h, w = self.size
        if self.resize == "crop":
            across, down = self.canvas(width, height)
            x_unit, y_unit = width / across, height / down
            left, top, right, bottom = 0.0, 0.0, width, height
            part_w, part_h = w * x_unit, h * y_unit
            x, y = round((across - w) / 2) * x_unit, round((down - h) / 2) * y_unit
            windows = [(x, y, x + part_w, y + part_h)]
            if (height, width) == self.size:
                windows = [(0.0, 0.0, float(width), float(height))]
        else:
            unit = max(width / w, height / h)
            across, down = (width, height) if self.resize == "squash" else (w * unit, h * unit)
            left, top = (width - across) / 2, (height - down) / 2
            right, bottom = left + across, top + down
            part_w, part_h = across / self.margin, down / self.margin
            windows = [(left, top, right, bottom)]
        for y in (top, bottom - part_h):
            windows += [(x, y, x + part_w, y + part_h) for x in (left, right - part_w)]
        return windows[: (self.views + 1) // 2]

    def canvas(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the scaled picture that "crop" cuts from, rounded as torchvision rounds it."""
        h, w = round(self.margin * self.size[0]), round(self.margin * self.size[1])
        if w * height >= h * width:
            return w, w * height // width
        return h * width // height, h


def views(image: Image.Image, frame: Frame, value_range: Range = None) -> np.ndarray:
    """Return the views (n, h, w, 3) of a picture; a JPEG that is not loaded yet may be decoded smaller."""
    turn, (width, height) = orientation(image), image.size
    size = frame.size if turn in SWAPPED else frame.size[::-1]
    windows = frame.windows(height, width) if turn in SWAPPED else frame.windows(width, height)
    windows = [stored(window, turn, width, height) for window in windows]
    shrink = 1 if frame.interpolation == "nearest" else _reduce(image, windows[0], size)
    picture = flat(image, value_range)
    out = np.empty((frame.views, *frame.size, 3), np.uint8)
    for i, window in enumerate(windows):
        view = cut(picture, window, size, frame.interpolation, shrink, (width, height))
        if turn in TURNS:
            view = view.transpose(TURNS[turn])
        out[2 * i] = np.atleast_3d(np.asarray(view))
    out[1::2] = out[: frame.views // 2 * 2 : 2, :, ::-1]
    return out


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; broken EXIF says nothing of the pixels and counts as none."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1


def stored(window: Box, turn: int, width: int, height: int) -> Box:
    """Return where a window of the upright picture lies in the stored one."""
    left, top, right, bottom = window
    if turn in SWAPPED:
        left, top, right, bottom = top, left, bottom, right
    if turn in FROM_RIGHT:
        left, right = width - right, width - left
    if turn in FROM_BOTTOM:
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _reduce(image: Image.Image, window: Box, size: tuple[int, int]) -> float:
    """Have a JPEG decoded at half, a quarter or an eighth, if that is enough; return by how much."""
    left, top, right, bottom = window
    spare = min((right - left) / size[0], (bottom - top) / size[1]) / OVERSAMPLING
    if spare < 2:
        return 1
    width = image.width
    reduced = image.draft(None, tuple(math.ceil(n / spare) for n in image.size))
    return width / reduced[1][2] if reduced else 1


def cut(
    picture: Image.Image,
    window: Box,
    size: tuple[int, int],
    interpolation: str,
    shrink: float,
    full_size: tuple[int, int],
) -> Image.Image:
    """Resize a window of a picture that was reduced from its full size; what lies outside is black."""
    left, top, right, bottom = (edge / shrink for edge in window)
    width, height = (edge / shrink for edge in full_size)
    box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    x_scale, y_scale = size[0] / (right - left), size[1] / (bottom - top)
    x, x_end = round((box[0] - left) * x_scale), round((box[2] - left) * x_scale)
    y, y_end = round((box[1] - top) * y_scale), round((box[3] - top) * y_scale)
    part_size = max(x_end - x, 1), max(y_end - y, 1)
    part = picture.resize(part_size, Image.Resampling[interpolation.upper()], box)
    if part_size == size:
        return part
    view = Image.new(part.mode, size)
    view.paste(part, (x, y))
    return view
