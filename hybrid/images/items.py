"""Anything a user calls a batch of images in; a sequence of single images, each with a name for messages, out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from hybrid.images.pixels import ImageError
from hybrid.images.source import DATA, ENCODED, NO_FILE, encoded, is_folder, is_image, is_pattern, is_wrapped

# Of one cause, so many images are named; and so many causes.
LISTED = 10
WAY_OUT = "pass on_error='nan' if all later steps take NaN"
# What tells two images of one cause apart.
NUMBER = re.compile(r"[+-]?\d[\d.e+-]*")
EXPECTED = "a list of paths, bytes, PIL images or arrays, an array (n, h, w, 3), or a DataFrame of one column"


def as_items(X: object) -> Sequence:
    """Return a batch as a sequence of single images, without copying any.

    Parameters
    ----------
    X : sequence, Series, array, tensor or DataFrame
        Paths, URLs, encoded bytes, PIL images, arrays or tensors, of any sizes and mixed; an array or tensor
        (n, h, w, 3 | 1 | 4) or (n, h, w); a DataFrame of one column. An array (a, b, 3) is refused:
        it may be one colour picture, or many grey ones. docs/inputs.md lists every kind.

    Examples
    --------
    >>> as_items(["cat.jpg", "dog.png"])
    ['cat.jpg', 'dog.png']
    >>> as_items(np.zeros((10, 480, 640, 3), np.uint8))[7].shape
    (480, 640, 3)
    """
    refuse(X)
    if hasattr(X, "columns"):
        X = X[X.columns[0]]
    if hasattr(X, "__array__"):
        X = _as_rows(np.asarray(X))
    if len(X) == 0:
        raise ValueError(f"Got no images, but expected at least one in {EXPECTED}.")
    # To look at an item of another sequence may be to decode it: reading will tell.
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.ndim == 1):
        for i, item in enumerate(X):
            if not is_image(item):
                raise TypeError(
                    f"Got {name(item)} as item {i}, but expected a path, bytes, PIL image or array."
                )
    return X


def refuse(X: object):
    """Raise for what is no batch of images, and name the way to one."""
    if isinstance(X, (str, os.PathLike, *ENCODED, Image.Image)):
        raise TypeError(alone(X))
    if type(X).__name__ == "LazyFrame":
        raise TypeError(f"Got a LazyFrame, but expected {EXPECTED}. Collect it first: X.collect().")
    if hasattr(X, "column_names"):
        raise TypeError(
            f"Got a {type(X).__name__} of the columns {list(X.column_names)!r:.200}, but expected {EXPECTED}. "
            "Select the column of the images: X['image']."
        )
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            raise ValueError(
                f"Got a DataFrame of {len(X.columns)} columns {list(X.columns)!r:.200}, but expected one. "
                "Select that of the images, as in X[['image']], or use a ColumnTransformer."
            )
    elif not isinstance(X, Sequence) and not hasattr(X, "__array__"):
        stream = isinstance(X, Iterable) and not isinstance(X, Mapping)
        way_out = " If it gives one image after another, pass list(X)." if stream else ""
        raise TypeError(f"Got {name(X)}, but expected {EXPECTED}.{way_out}")


def alone(X: object) -> str:
    """Say how to make a batch of one image, a folder or a pattern."""
    kind = "a folder" if is_folder(X) else "a pattern" if is_pattern(X) else "one image"
    wrap, listing = (
        "Wrap it in a list: [X].",
        f"List its images: hybrid.load_folder({str(X)!r:.200})['image'].",
    )
    return f"Got {kind}, {name(X)}, but expected {EXPECTED}. {wrap if kind == 'one image' else listing}"


def _as_rows(X: np.ndarray) -> np.ndarray:
    """Return an array with one image an item."""
    got = f"Got an array of shape {X.shape} and dtype {X.dtype}, but expected"
    if X.dtype.kind in "OUT":
        X = X[:, 0] if X.shape[1:] == (1,) else X
        if X.ndim != 1:
            raise ValueError(f"{got} one image a row. Select the image column.")
        return X
    if X.dtype.kind not in "biuf":
        # Among them NumPy's byte strings, which drop trailing zeros.
        raise TypeError(f"{got} numbers, or objects such as paths.")
    if X.ndim == 3 and X.shape[2] in (3, 4):
        raise ValueError(
            f"{got} (n, h, w, channels) or (n, h, w). Pass [X] if it is one colour picture, "
            f"X[..., None] if it is {len(X)} grey ones of width {X.shape[2]}."
        )
    if X.ndim == 4 and X.shape[3] not in (1, 3, 4):
        way_out = "Use np.moveaxis(X, 1, -1)." if X.shape[1] in (1, 3, 4) else "Select them."
        raise ValueError(f"{got} 1, 3 or 4 channels, last. {way_out}")
    if X.ndim not in (3, 4):
        raise ValueError(
            f"{got} images (n, h, w, channels) or (n, h, w). "
            "Reshape rows of pixels to pictures; wrap one grey picture in a list."
        )
    return X


def name(item: object) -> str:
    """Return what to call an image in a message.

    Examples
    --------
    >>> name("cats/7.jpg"), name(np.zeros((3, 4)))
    ("'cats/7.jpg'", 'array (3, 4) float64')
    """
    if is_wrapped(item):
        return name(item["bytes"] if item.get("path") is None else item["path"])
    if isinstance(item, str) and DATA.match(item):
        return f"{item[:40]!r} and so on"
    if isinstance(item, (str, os.PathLike)):
        return repr(str(os.fsdecode(item)))
    if isinstance(item, ENCODED):
        return f"{len(encoded(item))} bytes"
    if hasattr(item, "__array__") and getattr(item, "shape", ()):
        kind = "array" if isinstance(item, np.ndarray) else type(item).__name__
        return f"{kind} {tuple(item.shape)} {getattr(item, 'dtype', '')}"
    if isinstance(item, Image.Image):
        filename = getattr(item, "filename", "")
        return f"PIL image {item.mode} {item.width}x{item.height}" + (f" {filename!r}" if filename else "")
    return f"{item!r:.80}"


def shown(item: object, i: int) -> str:
    """Return what to call an image in a table: its path, or what it is and its number."""
    return os.fspath(item) if isinstance(item, (str, os.PathLike)) else f"{name(item)} {i}"


def raise_for(failures: Sequence[tuple[int, object, str]], way_out: str = WAY_OUT):
    """Raise one ImageError for all (index, item, reason)."""
    one = len(failures) == 1
    fix = "Remove it" if one else "Remove them"
    if all(reason == NO_FILE for _, _, reason in failures):
        fix = "Check its path" if one else "Check their paths"
    error = ImageError(f"{listing(failures)} {fix}, or {way_out}.")
    error.failures = tuple(failures)
    raise error


def listing(failures: Sequence[tuple[int, object, str]]) -> str:
    """Name bad images (index, item, reason), a line a cause; the first of many."""
    causes: dict[str, list[tuple[int, object, str]]] = {}
    for failure in failures:
        causes.setdefault(NUMBER.sub("", failure[2]), []).append(failure)
    lines = []
    for own in causes.values():
        named: dict[str, list[str]] = {}
        for index, item, _ in own[:LISTED]:
            named.setdefault(name(item), []).append(str(index))
        names = ", ".join(
            f"{one} ({'item' if len(rows) == 1 else 'items'} {', '.join(rows)})"
            for one, rows in named.items()
        )
        more = f" and {len(own) - LISTED} more" if len(own) > LISTED else ""
        lines.append(f"Cannot decode {names}{more}: {own[0][2]}.")
    if len(lines) > LISTED:
        lines[LISTED:] = [f"... and {len(lines) - LISTED} more causes."]
    return "\n".join(lines)
