"""A table of labelled images in; images and labels as scikit-learn takes them out."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hybrid.datasets.load import load_images
from hybrid.images.source import missing

if TYPE_CHECKING:
    import pandas as pd

OPTIONAL = ("group", "weight", "split")

PARTS = ("y", "rows", "groups", "weights", "split")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images and what is known of them; `rows` are their places in the table they came from."""

    images: list
    y: np.ndarray
    rows: np.ndarray
    groups: np.ndarray | None = None
    weights: np.ndarray | None = None
    split: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_test(self) -> np.ndarray:
        """Say of each image whether it belongs to the table's own test part."""
        return np.zeros(len(self), bool) if self.split is None else self.split == "test"

    def take(self, rows: ArrayLike) -> Labelled:
        """Keep some rows, given as numbers or as a mask."""
        rows = np.arange(len(self))[rows]
        parts = {name: getattr(self, name) for name in PARTS}
        parts = {name: None if part is None else part[rows] for name, part in parts.items()}
        return replace(self, images=[self.images[row] for row in rows], **parts)


def read_labelled(frame: pd.DataFrame | str | os.PathLike) -> Labelled:
    """Check a table's columns and labels.

    Parameters
    ----------
    frame : DataFrame, path or "sample"
        With the columns image and label, and maybe group, weight and split. Anything else goes through
        :func:`hybrid.datasets.load_images`.

    Returns
    -------
    Labelled
        Labels are integers where all are, or else text, whose accents may be written in either way (NFC, NFD).

    Examples
    --------
    >>> import pandas as pd
    >>> read_labelled(pd.DataFrame({"image": ["a.png", "b.png"], "label": [1, "two"]})).y
    array(['1', 'two'], dtype='<U3')
    """
    if not hasattr(frame, "columns"):
        frame = load_images(frame)
    absent = [name for name in ("image", "label") if name not in frame.columns]
    if list(frame.columns) == ["image"]:
        raise ValueError(
            "Got images without labels, such as a folder without sub-folders holds, but expected a label for "
            "each. Give each class a sub-folder, or name a table's column of labels: label=, --label."
        )
    if absent:
        raise ValueError(
            f"Got a table with the columns {list(map(str, frame.columns))}, but no {' and no '.join(absent)}. "
            "Rename the columns, or name them as load_table's image and label."
        )
    if len(frame) == 0:
        raise ValueError("Got a table without rows, but expected at least one image.")
    optional = {name: frame[name].to_numpy() for name in OPTIONAL if name in frame.columns}
    weights = optional.get("weight")
    return Labelled(
        images=frame["image"].tolist(),
        y=_as_labels(frame["label"].tolist()),
        rows=np.arange(len(frame)),
        groups=None if "group" not in optional else optional["group"].astype(object),
        weights=None if weights is None else _as_weights(weights),
        split=None if "split" not in optional else optional["split"].astype(object),
    )


def _as_labels(values: list) -> np.ndarray:
    """Return labels of any kind as integers where all are, or else as text."""
    empty = [i for i, value in enumerate(values) if missing(value)]
    if empty:
        more = f" and {len(empty) - 20} more" if len(empty) > 20 else ""
        raise ValueError(f"Expected a label for each image, but found none in rows {empty[:20]}{more}.")
    if all(isinstance(value, Integral) and not isinstance(value, bool | np.bool_) for value in values):
        return np.array([int(value) for value in values])
    return np.array([unicodedata.normalize("NFC", str(value)) for value in values])


def _as_weights(values: ArrayLike) -> np.ndarray:
    weights = np.asarray(values, float)
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        got = f"Got weight={weights[bad[0]]} in row {bad[0]}"
        raise ValueError(f"{got}, but expected finite weights, none below 0.")
    return weights


def check_classes(y: np.ndarray):
    """Refuse labels from which nothing can be learned."""
    classes = np.unique(y)
    if not len(classes):
        raise ValueError(
            "Got no image to train on, for the split of each is 'test'. Mark some as 'train', or leave the "
            "column out; a model that is there is scored by `hybrid evaluate`."
        )
    if len(classes) < 2:
        raise ValueError(
            f"Got {len(y)} images of one class, {classes[0].item()!r}, but expected at least two classes. "
            "Add images of another class; in a folder, each class has a sub-folder."
        )
