"""Features, candidates and folds in; predictions for images that the model had not seen out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid.experiment.candidates import Candidate, Setting, fit_quick
from hybrid.experiment.runs import open_run
from hybrid.experiment.selection import Fold, choose
from hybrid.experiment.views import look
from hybrid.experiment.work import parallel, remote
from hybrid.statistics.scores import score_folds, summary
from hybrid.store.feature_store import open_store

if TYPE_CHECKING:
    from hybrid.config import Config
    from hybrid.datasets.labelled import Labelled
    from hybrid.statistics.linear import Axes

# Bytes of a feature matrix of which no two parts are fitted side by side.
MUCH = 1 << 28


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What nested cross-validation gave, fold by fold."""

    y: np.ndarray  # of all rows that the folds' numbers mean
    classes: np.ndarray
    folds: list[Fold]
    predictions: list[np.ndarray]
    probabilities: list[np.ndarray] | None
    chosen: list[Candidate]  # in each fold
    best: Candidate  # on all rows
    searched: np.ndarray | None  # the mean score of every candidate in the folds that it ran in
    fits: int
    axes: Axes | None = None  # where a linear model of the best may look first

    def scores(self) -> dict[str, dict[str, float]]:
        """Return every score as mean, low and high."""
        return summary(self.y, self.probabilities, self.predictions, self.folds, self.classes)

    def fold_scores(self) -> dict[str, np.ndarray]:
        """Return every score, fold by fold."""
        return score_folds(self.y, self.probabilities, self.predictions, self.folds, self.classes)

    def out_of_fold(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that were tested, each once, and their probabilities."""
        rows = np.concatenate([test for _, test in self.folds])
        rows, first = np.unique(rows, return_index=True)
        return rows, np.concatenate(self.probabilities)[first]


def cross_validate(
    data: Labelled,
    matrices: dict[Setting | None, np.ndarray],
    candidates: list[Candidate],
    folds: list[Fold],
    config: Config,
    rows: np.ndarray | None = None,
    probabilities: bool = True,
    verbose: int = 0,
    store: Any = None,
    axes: Axes | None = None,
) -> CrossValidation:
    """Search inside every training part, fit the best candidate on it, and predict the test part.

    Where there is one candidate, nothing is searched, and `axes` are where it may look first. `rows` are those
    to search once more for the final model.
    Parts that are done are kept beside the store until all are.
    """
    classes = np.unique(np.concatenate([data.y[part] for fold in folds for part in fold]))
    parts = folds if rows is None else [*folds, (rows, rows[:0])]
    several = len(candidates) > 1
    among = np.unique(np.concatenate([train for train, _ in parts]))
    views = look(matrices, data.y, candidates, among, config.seed) if several else None
    known = replace(data, images=[])  # which would travel for nothing

    def work(train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
        none = 0, np.zeros(len(candidates)), np.zeros(len(candidates), int)
        chosen, scores, ran = choose(known, views, candidates, train, config) if several else none
        found = {"chosen": np.array(chosen), "scores": scores, "ran": ran}
        first = views.of(candidates[chosen]).axes if views else axes
        if len(test):
            how = config, classes, probabilities, first
            found |= _score_part(known, matrices, candidates[chosen], *how, train, test)
        return found

    run = open_run(open_store(store), about(data, matrices, candidates, parts, config) if store else ())
    work, n_jobs = _placed(work, candidates, matrices, len(parts))
    tasks = [(str(i), partial(work, *part)) for i, part in enumerate(parts)]
    shown, weights = "search" if verbose else "", [len(train) for train, _ in parts]
    results = parallel(run.remember, tasks, shown, n_jobs, weights)
    run.finish()
    chosen = [candidates[int(found["chosen"])] for found in results]
    scores, ran = (sum(found[name] for found in results) for name in ("scores", "ran"))
    return CrossValidation(
        y=data.y,
        classes=classes,
        folds=folds,
        predictions=[found["predicted"] for found in results[: len(folds)]],
        probabilities=[found["columns"] for found in results[: len(folds)]] if probabilities else None,
        chosen=chosen[: len(folds)],
        best=chosen[-1],
        searched=scores / np.maximum(ran, 1) if several else None,
        fits=int(ran.sum()) + len(folds),
        axes=views.of(chosen[-1]).axes if views else axes,
    )


def _placed(
    work: Callable, candidates: list[Candidate], matrices: dict[Setting | None, np.ndarray], parts: int
) -> tuple[Callable, int | None]:
    """Return the work, on joblib's cluster where there is one and no fit runs a network, and how much of it at once."""
    away = None if any(candidate.kind.takes_images for candidate in candidates) else remote(work)
    return (away, parts) if away else (work, at_once(candidates, matrices))


def _score_part(
    data: Labelled,
    matrices: dict[Setting | None, np.ndarray],
    candidate: Candidate,
    config: Config,
    classes: np.ndarray,
    probabilities: bool,
    axes: Axes | None,
    train: np.ndarray,
    test: np.ndarray,
) -> dict[str, np.ndarray]:
    """Fit a candidate on a training part and predict the test part."""
    X, weights = matrices[candidate.setting], None if data.weights is None else data.weights[train]
    model = fit_quick(candidate, config, X[train], data.y[train], weights, probabilities, axes)
    found = {"predicted": model.predict(X[test])}
    if probabilities:
        # A class without an image in the training part has no column.
        found["columns"] = columns = np.zeros((len(test), len(classes)))
        columns[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(X[test])
    return found


def about(
    data: Labelled,
    matrices: dict[Setting | None, np.ndarray],
    candidates: list[Candidate],
    parts: list[Fold],
    config: Config,
) -> Iterator:
    """Yield all that the parts of a run depend on."""
    yield config.model_dump_json()
    yield [repr(candidate) for candidate in candidates]
    yield from (one for one in (data.y, data.groups, data.weights, data.split) if one is not None)
    yield from (matrices[setting] for setting in {candidate.setting: 0 for candidate in candidates})
    yield from (rows for part in parts for rows in part)


def at_once(candidates: list[Candidate], matrices: dict[Setting | None, np.ndarray]) -> int | None:
    """How many parts are worked on side by side: one, where it uses all cores by itself or much memory."""
    large = any(matrices[candidate.setting].nbytes > MUCH for candidate in candidates)
    return 1 if large or any(candidate.kind.takes_images for candidate in candidates) else None
