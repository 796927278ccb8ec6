"""A fitted model and labelled images in; scores with intervals, a line a class and the confusions out."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline

from hybrid.bundle.extras import MEMORY
from hybrid.bundle.loading import Bundle
from hybrid.datasets.labelled import read_labelled
from hybrid.spelling import counted
from hybrid.statistics.duplicates import groups
from hybrid.statistics.neighbours import directions
from hybrid.statistics.scores import summary

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from hybrid.experiment.prepare import Table

# Of three sets of photographs: 1 % of other images are taken for copies, and 79 % of copies in JPEG 75 found.
COPY = 0.95


def evaluate(model: BaseEstimator | Bundle, frame: Table) -> dict[str, Any]:
    """Score a model on images that it has not seen.

    Parameters
    ----------
    model : classifier or Bundle
        Fitted on images, such as `Outcome.model` or what :func:`hybrid.load` returns. A bundle that keeps the
        features of its training images (:func:`hybrid.bundle.loading.read`) has a warning told of those among
        the images.
    frame : DataFrame, path or "sample"
        Labelled images. Those whose label the model does not know are left out, counted and named.

    Returns
    -------
    dict
        ``images``; ``scores`` as name -> mean, low and high; ``classes``, a list of label, images, precision,
        recall and f1; ``confusion``, its ``counts`` with a row a true label and a column a predicted one in
        the order of its ``labels``; ``unknown``, a count for each unknown label; ``warnings``.

    Examples
    --------
    >>> from hybrid import build_pipeline, load_sample
    >>> sample = load_sample(n_per_class=6)
    >>> model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    >>> evaluate(model, sample)["scores"]["accuracy"]["mean"] > 0.8
    True
    """
    model, extras = (model.model, model.extras) if isinstance(model, Bundle) else (model, {})
    data = read_labelled(frame)
    labels = np.array([str(label) for label in model.classes_.tolist()])
    y = np.array([str(label) for label in data.y.tolist()])
    known = np.isin(y, labels)
    if not known.any():
        raise ValueError(
            f"Got the labels {some(y)}, but the model knows only {some(labels)}.{meant(y, labels)} "
            "Rename the labels, or name the right column."
        )
    images = [image for image, ok in zip(data.images, known, strict=True) if ok]
    notes = []
    if MEMORY in extras and isinstance(model, Pipeline):
        images, model = model[:1].transform(images), model[1:]
        notes += _known_images(extras[MEMORY]["features"], images)
    probabilities = model.predict_proba(images) if hasattr(model, "predict_proba") else None
    predicted = (
        model.predict(images) if probabilities is None else model.classes_[probabilities.argmax(axis=1)]
    )
    predicted = np.array([str(label) for label in predicted.tolist()])
    unknown = Counter(y[~known].tolist())
    if unknown:
        notes.append(
            f"Left out {counted(unknown.total(), 'image')} with labels that the model does not know: "
            f"{some(y[~known])}.{meant(y[~known], labels)}"
        )
    return assess(y[known], predicted, probabilities, labels) | {"unknown": dict(unknown), "warnings": notes}


def _known_images(trained: np.ndarray, features: np.ndarray) -> list[str]:
    """Say how many images the model was fitted on, or on near duplicates of."""
    alike = groups(np.concatenate([trained, directions(features)]), COPY, trained.mean(axis=0))
    count = np.isin(alike[len(trained) :], alike[: len(trained)]).sum()
    if not count:
        return []
    told = f"{count} of {len(features)} images are training images (or near copies of them)"
    return [f"{told}: their scores say nothing about new ones."]


def assess(
    y: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray
) -> dict[str, Any]:
    """Compare predictions with the truth."""
    rows = [(np.arange(0), np.arange(len(y)))]
    scores = summary(y, None if probabilities is None else [probabilities], [predicted], rows, labels)
    place = {label: i for i, label in enumerate(labels.tolist())}
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, ([place[one] for one in y.tolist()], [place[one] for one in predicted.tolist()]), 1)
    hits, true, called = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    table = [
        {
            "label": label,
            "images": int(true[i]),
            "precision": share(hits[i], called[i]),
            "recall": share(hits[i], true[i]),
            "f1": share(2 * hits[i], true[i] + called[i]),
        }
        for i, label in enumerate(labels.tolist())
    ]
    confusion = {"labels": labels.tolist(), "counts": counts.tolist()}
    return {"images": len(y), "scores": scores, "classes": table, "confusion": confusion}


def share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def some(labels: np.ndarray, limit: int = 5) -> str:
    """Name a few labels and count the others."""
    names = list(dict.fromkeys(labels.tolist()))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(repr, names[:limit])) + more


def meant(labels: np.ndarray, known: np.ndarray) -> str:
    """Suggest the known label that the first unknown one resembles."""
    plain = {label.strip().casefold(): label for label in known.tolist()}
    for label in dict.fromkeys(labels.tolist()):
        near = difflib.get_close_matches(label.strip().casefold(), plain, n=1)
        if near:
            return f" Is {label!r} meant to be {plain[near[0]]!r}?"
    return ""
