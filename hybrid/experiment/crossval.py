"""Features, candidates and folds in; predictions for images that the model had not seen out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hybrid.experiment.candidates import Candidate, Setting, fit
from hybrid.experiment.selection import Fold, at_once, parallel, search
from hybrid.statistics.scores import score_folds, summary

if TYPE_CHECKING:
    from hybrid.config import Config
    from hybrid.datasets.labelled import Labelled


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
    searched: np.ndarray | None  # the mean score of every candidate in the search
    fits: int

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
) -> CrossValidation:
    """Search inside every training part, fit the best candidate on it, and predict the test part.

    Where there is one candidate, nothing is searched. `rows` are those to search once more for the final model.
    """
    classes = np.unique(np.concatenate([data.y[part] for fold in folds for part in fold]))
    parts = [train for train, _ in folds] + ([] if rows is None else [rows])
    chosen, searched, fits = search(data, matrices, candidates, parts, config, verbose)
    chosen = [candidates[i] for i in chosen]

    def run(candidate: Candidate, train: np.ndarray, test: np.ndarray) -> tuple:
        weights = None if data.weights is None else data.weights[train]
        X = matrices[candidate.setting]
        model = fit(candidate, config, X[train], data.y[train], weights, probabilities)
        if not probabilities:
            return model.predict(X[test]), None
        # A class without an image in the training part has no column.
        columns = np.zeros((len(test), len(classes)))
        columns[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(X[test])
        return model.predict(X[test]), columns

    tasks = [(candidate, *fold) for candidate, fold in zip(chosen, folds, strict=False)]
    results = parallel(run, tasks, "scores" if verbose else "", at_once(chosen))
    return CrossValidation(
        y=data.y,
        classes=classes,
        folds=folds,
        predictions=[predicted for predicted, _ in results],
        probabilities=[columns for _, columns in results] if probabilities else None,
        chosen=chosen[: len(folds)],
        best=chosen[-1],
        searched=searched,
        fits=fits + len(folds),
    )
