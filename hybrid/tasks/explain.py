"""A bundle and an image in; a picture of what speaks for and against a class out: what `hybrid explain` writes."""

from __future__ import annotations

import os
from pathlib import Path

from hybrid.archive import place
from hybrid.archive.manifest import Key
from hybrid.bundle.extras import MEAN
from hybrid.bundle.loading import read
from hybrid.explain.explanation import explain
from hybrid.images.items import shown

SUFFIXES = (".png", ".jpg", ".webp")
SIZE = 448


def write_explanation(
    model: str | os.PathLike,
    image: str | os.PathLike,
    out: str | os.PathLike,
    label: str | None = None,
    key: Key = None,
) -> dict:
    """Draw which places of an image speak for a class, and which against it.

    Parameters
    ----------
    model : path
        A bundle; from those that `hybrid train` wrote comes the mean training vector.
    image : path
    out : path
        A picture: .png, .jpg or .webp.
    label : str, optional
        The class to explain; by default the predicted one.
    key : bytes or path of a file, optional
        Refuse a bundle that was not signed with this key.

    Returns
    -------
    found : dict
        "image", "label", "decision" (its value for that class), "average_decision" (that of the mean training
        vector), "parts" (row by row; where "adds_up", their sum is the difference of both) and "path".
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"Got {str(out)!r}, but expected a name that ends in {' or '.join(SUFFIXES)}.")
    place.check(out)
    bundle = read(model, key)
    found = explain(bundle.model, image, named(label, bundle.model.classes_), bundle.extras.get(MEAN))
    found.draw(SIZE).save(out)
    return {
        "image": shown(image, 0),
        "label": getattr(found.label, "item", lambda: found.label)(),
        "decision": found.value,
        "average_decision": found.start,
        "adds_up": found.adds_up,
        "parts": found.parts.tolist(),
        "path": str(out),
    }


def named(label: str | None, classes: object) -> object:
    """Return the class that was typed, which may be a number."""
    return next((one for one in classes if str(one) == label), label)
