"""What training found in; all that its report shows out: plain values and arrays, as a bundle holds them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid.bundle.probes import versions
from hybrid.experiment.candidates import read_candidates
from hybrid.experiment.outcome import jsonable
from hybrid.features.recipe import read_recipe
from hybrid.report.pictures import heats, packed, thumbnails
from hybrid.statistics.doubts import doubts, errors
from hybrid.statistics.neighbours import directions, nearest
from hybrid.statistics.plane import plane
from hybrid.statistics.sets import conformity, prediction_sets

if TYPE_CHECKING:
    from hybrid.experiment.crossval import CrossValidation
    from hybrid.experiment.outcome import Outcome

NEAREST = 3
# Pictures are kept of so many images, those first that a reader will want to see.
MOST_PICTURES = 1200
# Of the worst errors: all that are listed.
HEATS = 24
COVERAGES = (0.8, 0.9, 0.95, 0.99)
BINS = 10
# An image is an outlier where its nearest one is this many times as far as usual.
FAR = 2.5
MOST_OUTLIERS = 24


def facts(outcome: Outcome) -> dict[str, Any]:
    """Gather what the report of an experiment shows; the network sees the few images with a heat map again.

    Parameters
    ----------
    outcome : Outcome

    Returns
    -------
    dict
        "summary" (what `hybrid train --json` prints), "names", "classes", "truth", "predicted" and
        "probabilities" (-1 and zeros for images that no fold tested), "copies", "points", "nearest", "outliers",
        "doubtful", "coverage", "calibration", "search", "recipe", and "pictures" and "heats" as JPEG files.
    """
    classes = outcome.validation.classes
    tested, probabilities = _placed(outcome)
    truth = np.searchsorted(classes, outcome.labels)
    predicted = np.where(tested, probabilities.argmax(axis=1), -1)
    doubtful = doubts(truth, np.where(tested[:, None], probabilities, 1), np.arange(len(classes)))
    found = {
        "summary": outcome.to_json(),
        "names": [named(image, i) for i, image in enumerate(outcome.images)],
        "classes": classes.tolist(),
        "truth": truth,
        "predicted": predicted,
        "probabilities": probabilities.astype(np.float32),
        "copies": np.asarray(outcome.groups),
        "doubtful": doubtful,
        "coverage": coverage(outcome.validation),
        "calibration": calibration(truth[tested], probabilities[tested]),
        "search": searched(outcome),
        "recipe": recipe(outcome),
        **likeness(outcome),
    }
    return found | pictures(outcome, found)


def _placed(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the outcome's images were tested, and their probabilities from a model without them."""
    rows, probabilities = outcome.validation.out_of_fold()
    trained = np.unique(np.concatenate(outcome.validation.folds[0]))
    places = np.searchsorted(trained, rows)
    tested, found = (
        np.zeros(len(outcome.images), bool),
        np.zeros((len(outcome.images), probabilities.shape[1])),
    )
    tested[places], found[places] = True, probabilities
    return tested, found


def named(image: object, number: int) -> str:
    return str(image) if isinstance(image, str | os.PathLike) else f"training image {number}"


def likeness(outcome: Outcome) -> dict[str, Any]:
    """Place the images on a plane, and say which are near which and which are near to none."""
    n, groups = len(outcome.images), np.asarray(outcome.groups)
    if outcome.features is None or len(np.unique(groups)) <= NEAREST:
        return {"points": np.zeros((0, 2)), "nearest": np.zeros((n, 0), int), "outliers": np.zeros(0, int)}
    unit = directions(outcome.features)
    near, distances = nearest(unit, unit, NEAREST, (groups, groups))
    # Of a crowd of copies, there may be fewer others than asked for.
    near[distances > 1.9] = -1
    far = np.argsort(-distances[:, 0], kind="stable")[:MOST_OUTLIERS]
    return {
        "points": plane(unit),
        "nearest": near,
        "outliers": far[distances[far, 0] > FAR * np.median(distances[:, 0])],
    }


def coverage(validation: CrossValidation) -> list[dict[str, float]]:
    """Say how often sets held the right class, each fold's by what the other folds know."""
    rows, probabilities = validation.out_of_fold()
    y, classes = validation.y[rows], validation.classes
    fold = np.full(len(rows), -1)
    for number, (_, test) in reversed(list(enumerate(validation.folds))):
        fold[np.isin(rows, test)] = number
    found = []
    for asked in COVERAGES:
        sets = np.ones((len(rows), len(classes)), bool)
        for number in np.unique(fold):
            here = fold == number
            if not here.all():
                known = conformity(y[~here], probabilities[~here], classes)
                sets[here] = prediction_sets(probabilities[here], known, asked)
        held = sets[np.arange(len(rows)), np.searchsorted(classes, y)]
        sizes = sets.sum(axis=1)
        row = {"asked": asked, "held": float(held.mean()), "size": float(sizes.mean())}
        found.append(row | {"single": float(np.mean(sizes == 1))})
    return found


def calibration(truth: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float]]:
    """Say, bin by bin, how probable the predicted class was, and how often it was right."""
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((top * BINS).astype(int), BINS - 1)
    return [
        {"said": float(top[here].mean()), "right": float(right[here].mean()), "images": int(here.sum())}
        for here in (bins == number for number in np.unique(bins))
    ]


def searched(outcome: Outcome) -> list[dict[str, Any]]:
    """Return what every candidate scored in the search, and in how many folds it was chosen."""
    scores = outcome.validation.searched
    if scores is None:
        return []
    searched_on = read_candidates(outcome.config, images=len(outcome.images))
    return [
        candidate.to_dict() | {"score": score, "chosen": outcome.validation.chosen.count(candidate)}
        for candidate, score in zip(searched_on, scores.tolist(), strict=True)
    ]


def recipe(outcome: Outcome) -> dict[str, Any]:
    """Say which network ran, and how."""
    reader = outcome.model[0]
    reader = getattr(reader, "featurizer_", reader)
    read = read_recipe(reader.get_params(deep=False))
    record = read.network.backbone
    return jsonable(
        {
            "backbone": record.name,
            "fingerprint": reader.fingerprint_,
            "licence": record.licence,
            "size": list(read.frame.size),
            "resize": read.frame.resize,
            "views": read.frame.views,
            "layers": [f"{layer}, {pooling}" for layer, pooling in read.parts],
            "engine": read.engine,
            "precision": read.precision,
            "drift": reader.drift_,
            "versions": versions(),
        }
    )


def pictures(outcome: Outcome, found: dict[str, Any]) -> dict[str, Any]:
    """Draw the images that a reader will want to see first, and what misled the model in the worst of them."""
    # What no fold tested is no error.
    said = np.where(found["predicted"] < 0, found["truth"], found["predicted"])
    wrong = errors(found["truth"], said, found["probabilities"].max(axis=1))
    copies, counts = np.unique(found["copies"], return_counts=True)
    twice = np.flatnonzero(np.isin(found["copies"], copies[counts > 1]))
    first = [wrong, found["doubtful"], found["nearest"][wrong[:HEATS]].ravel(), found["outliers"], twice]
    others = np.random.default_rng(0).permutation(len(outcome.images))
    order = dict.fromkeys(np.concatenate([*first, others]).astype(int).tolist())
    rows = [row for row in order if row >= 0][:MOST_PICTURES]
    small = dict(
        zip(
            rows,
            thumbnails([outcome.images[row] for row in rows], outcome.config.features.value_range),
            strict=True,
        )
    )
    mean = None if outcome.features is None else outcome.features.mean(axis=0, dtype=float)
    images = [outcome.images[row] for row in wrong[:HEATS]]
    labels = [found["classes"][k] for k in found["predicted"][wrong[:HEATS]]]
    return {
        "pictures": packed([small.get(row, b"") for row in range(len(outcome.images))]),
        "worst": wrong,
        "heats": packed(heats(outcome.model, images, labels, mean)),
    }
