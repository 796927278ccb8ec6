"""Feature matrices in; what candidates are compared by out: few rows, scaled once, with what all fits share.

Scalers learn from a column's mean and spread, never from labels. Where candidates are only compared, all rows
that are searched on share one scaling; every model that is scored or kept has its own, of its training rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.pipeline import Pipeline

from hybrid.experiment.candidates import COMPARED, Candidate, Setting
from hybrid.experiment.work import parallel
from hybrid.statistics.curve import stratified_order
from hybrid.statistics.kernels import half_distances, number_of, rbf
from hybrid.statistics.linear import LEFT_OUT, Axes, linear_path, softmax


@dataclass(frozen=True, eq=False)
class _View:
    """Rows on one scale, with their products, and how far apart they are; each where a candidate wants it."""

    rows: np.ndarray | None  # scaled features, or images
    axes: Axes | None
    placed: np.ndarray | None  # scaled features on the axes
    halves: np.ndarray | None  # of the squared distances
    gammas: dict[str, float]

    def predict(
        self, candidates: list[Candidate], y: np.ndarray, weights: dict, train: np.ndarray, test: np.ndarray
    ) -> list[np.ndarray]:
        """Fit candidates that differ in their classifier's parameters only; predict the test rows."""
        kind, params = candidates[0].kind, [candidate.params for candidate in candidates]
        if kind.loss:
            return self.linear(candidates, y, weights.get("sample_weight"), train, test)
        if not kind.has_kernel:
            models = (kind.build(one).fit(self.rows[train], y, **weights) for one in params)
            return [model.predict(self.rows[test]) for model in models]
        among, across = self.halves[np.ix_(train, train)], self.halves[np.ix_(test, train)]
        predicted = []
        for one in params:
            gamma = self.gammas.get(one["gamma"], one["gamma"])
            model = kind.build(one, kernel="precomputed").fit(rbf(among, gamma), y, **weights)
            predicted.append(model.predict(rbf(across, gamma)))
        return predicted

    def linear(
        self,
        candidates: list[Candidate],
        y: np.ndarray,
        weights: np.ndarray | None,
        train: np.ndarray,
        test: np.ndarray,
    ) -> list[np.ndarray]:
        """The same for linear models, each from the one before."""
        values = [candidate.params["C"] for candidate in candidates]
        classes, codes = np.unique(y, return_inverse=True)
        X, T = self.placed[train], self.placed[test]
        models = linear_path(X, codes, values, candidates[0].kind.loss, weights)
        return [classes[(T @ slopes + intercepts).argmax(axis=1)] for slopes, intercepts in models]


@dataclass(frozen=True, eq=False)
class Views:
    """The views of all candidates, on the same rows."""

    pool: np.ndarray  # row numbers, ascending
    by_key: dict[tuple, _View]

    def of(self, candidate: Candidate) -> _View:
        return self.by_key[key(candidate)]


def key(candidate: Candidate) -> tuple:
    """What candidates with one view have in common."""
    return candidate.setting, candidate.params.get("scaler")


def look(
    matrices: dict[Setting | None, np.ndarray],
    y: np.ndarray,
    candidates: list[Candidate],
    rows: np.ndarray,
    seed: int,
) -> Views:
    """Prepare rows, or some of them, for comparing candidates."""
    pool = np.sort(rows[stratified_order(y[rows], seed)[:COMPARED]])
    alike: dict[tuple, list[Candidate]] = {}
    for candidate in candidates:
        alike.setdefault(key(candidate), []).append(candidate)
    # The widest first, so that none is left when the others are done.
    tasks = sorted(alike.items(), key=lambda task: -np.shape(matrices[task[0][0]])[-1])
    found = parallel(lambda name, own: view(matrices[name[0]][pool], own), tasks)
    return Views(pool, {name: one for (name, _), one in zip(tasks, found, strict=True)})


def view(X: np.ndarray, candidates: list[Candidate]) -> _View:
    """Prepare what some candidates want of the rows."""
    kinds = [candidate.kind for candidate in candidates]
    if not kinds[0].takes_images:
        X = Pipeline(kinds[0].steps(candidates[0].params)[:1]).fit_transform(X).astype(np.float32, copy=False)
    kernel = any(kind.has_kernel for kind in kinds)
    losses = {kind.loss for kind in kinds if kind.loss}
    axes = Axes(LEFT_OUT if losses == {softmax} else 0).fit(X) if losses else None
    return _View(
        rows=X if any(not (kind.loss or kind.has_kernel) for kind in kinds) else None,
        axes=axes,
        placed=axes.transform(X) if axes else None,
        halves=half_distances(X, X) if kernel else None,
        gammas={name: number_of(name, X) for name in ("scale", "auto")} if kernel else {},
    )
