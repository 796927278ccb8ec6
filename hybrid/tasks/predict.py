"""A bundle and images in, one record an image out, of bad ones the reason: what `hybrid predict` prints.

Whatever can wait is imported where it is needed: most of a single prediction's time is imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from hybrid.archive.manifest import Key, read_manifest
from hybrid.bundle.extras import CONFORMITY, IMAGES, LABELS, MEMORY
from hybrid.engines.choose import choose
from hybrid.engines.opened import open_engine
from hybrid.images.items import as_items, raise_for, shown
from hybrid.images.pixels import ImageError
from hybrid.sources.catalogue import find
from hybrid.sources.network import locate

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from hybrid.bundle.loading import Bundle


def predict(
    model: str | os.PathLike | Bundle | BaseEstimator,
    images: object,
    sets: float | None = None,
    neighbours: int = 0,
    key: Key = None,
) -> list[dict]:
    """Predict the class of each image.

    Parameters
    ----------
    model : path, Bundle or estimator
        A bundle's extras bring sets (`sets.conformity` under "conformity"), neighbours and "none of these"
        (`neighbours.remember` under "memory", with the training "images" and "labels").
    images : list of images
    sets : float, optional
        The share of images whose set of classes shall hold the right one, such as 0.9.
    neighbours : int, default=0
        How many of the most similar training images to name.
    key : bytes or path of a file, optional
        Refuse a bundle that was not signed with this key.

    Returns
    -------
    records : list of dict
        "image", "label", "probability" and "probabilities" by class (where the model gives them), "set",
        "neighbours", and "none of these" (where the bundle knows its training images). An image that cannot be
        read has the label None and an "error"; if none can, that is raised.

    Examples
    --------
    >>> from hybrid import build_pipeline, load_sample
    >>> sample = load_sample(4)
    >>> model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    >>> predict(model, sample["image"][:1])[0]["label"]
    'bricks'
    """
    model, extras = opened(model, key)
    images = as_items(images)

    def answer(part: Sequence) -> list[dict]:
        features, head = split(model, part)
        columns = classify(head, features)
        if sets is not None:
            columns["set"] = _label_sets(head, columns, extras, sets)
        if neighbours:
            columns["neighbours"] = similar(features, extras, neighbours)
        if MEMORY in extras:
            from hybrid.statistics.neighbours import unlike

            columns["none of these"] = unlike(extras[MEMORY], features).tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    found = _answer_readable(answer, images)
    return [
        {"image": shown(image, i)} | one for i, (image, one) in enumerate(zip(images, found, strict=True))
    ]


def _answer_readable(answer: Callable[[Sequence], list[dict]], images: Sequence) -> list[dict]:
    """Return an answer an image; to those that cannot be read, the reason; raise where none can."""
    answers: dict[int, dict] = {}
    while left := [i for i in range(len(images)) if i not in answers]:
        try:
            found = answer([images[i] for i in left] if answers else images)
        except ImageError as exc:
            if not exc.failures:
                raise
            answers |= {left[row]: {"label": None, "error": reason} for row, _, reason in exc.failures}
        else:
            answers |= zip(left, found, strict=True)
            return [answers[i] for i in range(len(images))]
    raise_for([(i, image, answers[i]["error"]) for i, image in enumerate(images)])


def spare_pandas():
    """Import scikit-learn without pandas, which it would import only to know its version."""
    if "sklearn" in sys.modules or "pandas" in sys.modules:
        return
    sys.modules["pandas"] = None
    try:
        import sklearn.utils.fixes  # noqa: F401
    finally:
        del sys.modules["pandas"]


def opened(model: str | os.PathLike | Bundle | BaseEstimator, key: Key) -> tuple[BaseEstimator, dict]:
    """Return a model and what is known beside it; its networks are opened beside the long imports."""
    thread = Thread(target=open_networks, args=(model, key))
    if isinstance(model, (str, os.PathLike)):
        thread.start()
    import sklearn.svm  # noqa: F401

    from hybrid.bundle.loading import Bundle, read
    from hybrid.bundle.portable import featurizers

    if isinstance(model, (str, os.PathLike)):
        thread.join()
        model = read(model, key)
        for one in chain(*featurizers(model.model)):
            one.set_params(on_error="raise")
    return (model.model, model.extras) if isinstance(model, Bundle) else (model, {})


def open_networks(path: str | os.PathLike, key: Key):
    """Open the networks inside a bundle as its featurizers will; what is wrong with it, they will say."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        path = Path(path).expanduser().absolute()
        _, manifest = read_manifest(path, key)
        for recipe in manifest["recipes"]:
            if recipe.get("network") in manifest["networks"]:
                record = find(path / recipe["network"])
                parts = tuple(tuple(part) for part in recipe["parts"])
                has_head = any(layer == "predictions" for layer, _ in parts)
                network = locate(record, "imagenet", None, record.size, has_head)
                open_engine(network, parts, *choose(network, precision=recipe["asked"]))


def split(model: BaseEstimator, images: Sequence) -> tuple[Sequence, BaseEstimator]:
    """Return the features by a pipeline's first step, and the other steps; else the images and the model."""
    from sklearn.pipeline import Pipeline

    if isinstance(model, Pipeline) and len(model) > 1:
        return model[0].transform(images), model[1:]
    return images, model


def classify(model: BaseEstimator, features: Sequence) -> dict[str, list]:
    """Return labels, and probabilities where the model gives them."""
    if not hasattr(model, "predict_proba"):
        return {"label": model.predict(features).tolist()}
    rows, classes = model.predict_proba(features), model.classes_
    # A classifier may choose otherwise than by its probabilities, as SVC does.
    labels = model.predict(features)
    chosen = rows[np.arange(len(rows)), np.searchsorted(classes, labels)]
    return {
        "label": labels.tolist(),
        "probability": chosen.tolist(),
        "probabilities": [dict(zip(classes.tolist(), row, strict=True)) for row in rows.tolist()],
    }


def _label_sets(model: BaseEstimator, columns: dict[str, list], extras: dict, coverage: float) -> list[list]:
    """Return the classes that hold the right one as often as asked."""
    from hybrid.statistics.sets import prediction_sets

    if CONFORMITY not in extras or "probabilities" not in columns:
        raise ValueError(
            f"Got sets={coverage!r}, but this model was saved without what sets stand on: use `hybrid train`."
        )
    rows = np.array([list(row.values()) for row in columns["probabilities"]])
    return [model.classes_[row].tolist() for row in prediction_sets(rows, extras[CONFORMITY], coverage)]


def similar(features: Sequence, extras: dict, k: int) -> list[list[dict]]:
    """Return the k most similar training images of each."""
    from hybrid.statistics.neighbours import neighbours

    if MEMORY not in extras:
        raise ValueError(
            f"Got neighbours={k!r}, but this model was saved without its training images' features."
        )
    names, labels = extras[IMAGES], extras[LABELS]
    return [
        [
            {"image": names[i], "label": labels[i], "distance": distance}
            for i, distance in zip(row, distances, strict=True)
        ]
        for row, distances in zip(
            *(part.tolist() for part in neighbours(extras[MEMORY], features, k)), strict=True
        )
    ]
