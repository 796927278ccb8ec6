"""Views, candidates and a training part in; the best candidate for it out.

Candidates race: after each validation fold those stay behind that can hardly win any more.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from hybrid.experiment.candidates import Candidate, weighting
from hybrid.experiment.views import Views, key
from hybrid.statistics.duplicates import merge_groups
from hybrid.statistics.scores import score_folds
from hybrid.statistics.splits import folds, groups_by_class

if TYPE_CHECKING:
    from hybrid.config import Config
    from hybrid.datasets.labelled import Labelled

# Row numbers to train on and to test on.
Fold = tuple[np.ndarray, np.ndarray]
VALIDATION_FOLDS = 5
# A candidate is dropped where, of the images that it and the leader do not agree on, the leader has so many
# standard errors more right. The same candidates then won on all sets tried as without: see benchmarks/train.py.
BEHIND = 1.5


def validation_parts(data: Labelled, rows: np.ndarray, config: Config) -> list[Fold]:
    """Split a training part for the search: (train, test) row numbers, or nothing where that cannot be."""
    y = data.y[rows]
    groups = np.arange(len(rows))
    groups = groups if data.groups is None else merge_groups(data.groups[rows], groups)
    if config.search.validation == "split" and data.split is not None:
        validation = data.split[rows] == "val"
        if validation.any() and not validation.all():
            return [(rows[~validation], rows[validation])]
    labels, counts = groups_by_class(y, groups)
    # A class that is one image, or one group, can be trained on only.
    testable = np.flatnonzero(np.isin(y, labels[counts > 1]))
    if np.count_nonzero(counts > 1) < 2:
        return []
    split = config.search.validation == "split"
    n_splits = min(VALIDATION_FOLDS if split else config.search.folds, counts.max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        parts = folds(y[testable], groups[testable], n_splits, seed=config.seed)
    places = np.arange(len(rows))
    parts = [(np.setdiff1d(places, testable[test]), testable[test]) for _, test in parts]
    parts = [(rows[train], rows[test]) for train, test in (parts[:1] if split else parts)]
    return [(train, test) for train, test in parts if len(np.unique(data.y[train])) > 1]


def choose(
    data: Labelled, views: Views, candidates: list[Candidate], rows: np.ndarray, config: Config
) -> tuple[int, np.ndarray, np.ndarray]:
    """Find the best candidate for a training part by validation inside it.

    Parameters
    ----------
    data : Labelled
    views : Views
        Of the candidates.
    candidates : list of Candidate
    rows : array of int
        The part's row numbers; those that are in the views are searched on.
    config : Config

    Returns
    -------
    (chosen, scores, folds) : int, array, array
        The number of the best candidate; of every candidate, the sum of its scores and in how many folds it ran.
    """
    scores, ran = np.zeros(len(candidates)), np.zeros(len(candidates), int)
    alive, hits = np.arange(len(candidates)), None
    for train, test in validation_parts(data, np.intersect1d(rows, views.pool), config):
        predicted = predictions(data, views, candidates, alive, config, train, test)
        for j, labels in predicted.items():
            found = score_folds(data.y, None, [labels], [(train, test)], np.unique(data.y))
            scores[j] += found[config.search.score][0]
        right = np.array([predicted[j] == data.y[test] for j in alive])
        hits = right if hits is None else np.hstack([hits, right])
        ran[alive] += 1
        if config.search.race and config.search.score == "accuracy":
            kept = in_the_race(hits, scores[alive])
            alive, hits = alive[kept], hits[kept]
        if len(alive) == 1:
            break
    # Rounded, so that equal scores stay equal; where nothing could be compared, the first candidate it is.
    return int(alive[np.argmax(scores[alive].round(9))]), scores, ran


def in_the_race(hits: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Tell which candidates may still win: hits are a row a candidate, a column an image.

    Examples
    --------
    >>> hits = np.array([[True] * 20, [True] * 19 + [False], [False] * 10 + [True] * 10])
    >>> in_the_race(hits, hits.mean(axis=1))
    array([ True,  True, False])
    """
    leader = hits[scores.argmax()]
    better, worse = (leader & ~hits).sum(axis=1), (~leader & hits).sum(axis=1)
    return better - worse <= BEHIND * np.sqrt(better + worse)


def predictions(
    data: Labelled,
    views: Views,
    candidates: list[Candidate],
    alive: np.ndarray,
    config: Config,
    train: np.ndarray,
    test: np.ndarray,
) -> dict[int, np.ndarray]:
    """Predict the test rows by each candidate that is alive; what differs in few parameters is fitted together."""
    alike: dict[tuple, list[int]] = {}
    for j in alive.tolist():
        alike.setdefault((candidates[j].name, key(candidates[j])), []).append(j)
    y = data.y[train]
    weights = weighting(y, None if data.weights is None else data.weights[train], config)
    places = np.searchsorted(views.pool, train), np.searchsorted(views.pool, test)
    found = {}
    for numbers in alike.values():
        own = [candidates[j] for j in numbers]
        found |= zip(numbers, views.of(own[0]).predict(own, y, weights, *places), strict=True)
    return found
