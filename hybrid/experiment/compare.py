"""Labelled images and several configs in; their scores on the same folds, and paired tests, out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid.config import Config, read_config
from hybrid.experiment.baselines import baselines
from hybrid.experiment.candidates import read_candidates, said
from hybrid.experiment.crossval import CrossValidation, cross_validate
from hybrid.experiment.outcome import jsonable
from hybrid.experiment.prepare import Prepared, outer_folds, prepare
from hybrid.experiment.selection import Fold
from hybrid.statistics.intervals import corrected_ttest, holm

if TYPE_CHECKING:
    from hybrid.experiment.prepare import Table

SHARED = ("seed", "data", "cv")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What several configs scored on the same folds."""

    models: tuple[dict, ...]  # name, scores and best parameters of each, the best one first
    tests: tuple[dict, ...]  # of each pair: a, b, difference, low, high, p, p_holm
    baselines: dict  # name -> scores on the same folds
    score: str  # what the models are ordered and tested by
    folds: int
    passes: int
    warnings: tuple[str, ...]
    validations: dict[str, CrossValidation] = field(repr=False)

    def table(self) -> list[dict]:
        """Return a row a model and baseline: its name, and mean, low and high of the score."""
        scores = {one["name"]: one["scores"] for one in self.models} | self.baselines
        return [{"model": name} | own[self.score] for name, own in scores.items() if self.score in own]

    def to_json(self) -> dict:
        """Return what `hybrid compare --json` prints."""
        names = ("models", "tests", "baselines", "score", "folds", "passes", "warnings")
        return jsonable({name: getattr(self, name) for name in names})


def compare(
    frame: Table, configs: list | dict, *, score: str = "accuracy", store: Any = "auto", verbose: int = 0
) -> Comparison:
    """Cross-validate several configs on the same folds, and test their differences.

    Parameters
    ----------
    frame : DataFrame, path or "sample"
        Labelled images.
    configs : list or dict
        Whatever :func:`hybrid.config.read_config` takes, two or more; a dict names them. The seed, data and
        cv of the first one hold for all.
    score : str, default="accuracy"
        What is tested.
    store : "auto", path, FeatureStore or None, default="auto"
    verbose : int, default=0

    Returns
    -------
    Comparison
        Tests are the paired t-test of Nadeau and Bengio on the folds, corrected for their number by Holm.

    Examples
    --------
    >>> from hybrid import load_sample
    >>> common = {"features": {"backbone": "tiny", "layers": "last"}, "model": {"kind": "svm"}}
    >>> configs = {"stiff": common | {"svm": {"C": 1e-4}}, "supple": common | {"svm": {"C": 10}}}
    >>> result = compare(load_sample(n_per_class=10), configs)
    >>> [row["model"] for row in result.table()]
    ['supple', 'stiff', 'majority', 'raw_pixels']
    """
    configs = named(configs)
    first = next(iter(configs.values()))
    ready = prepare(frame, list(configs.values()), store, verbose)
    folds, notes = outer_folds(ready.data, ready.train, first)
    validations = _validate_all(configs, ready, folds, store, verbose)
    models = _ranked(configs, validations, score)
    by_fold = {model["name"]: validations[model["name"]].fold_scores()[score] for model in models}
    left = dict.fromkeys(note for config in configs.values() for note in said(config, len(ready.train)))
    return Comparison(
        models=tuple(models),
        tests=tuple(_paired_tests(by_fold, folds)),
        baselines=baselines(ready.data.y, ready.pixels, folds) if first.cv.baselines else {},
        score=score,
        folds=len(folds),
        passes=ready.passes,
        warnings=(*ready.warnings, *notes, *left, *_differing(configs)),
        validations=validations,
    )


def _validate_all(
    configs: dict[str, Config], ready: Prepared, folds: list[Fold], store: Any, verbose: int
) -> dict[str, CrossValidation]:
    """Cross-validate every config on the same folds."""
    found = {}
    for (name, config), matrices in zip(configs.items(), ready.matrices, strict=True):
        candidates = read_candidates(config, store, len(ready.train))
        found[name] = cross_validate(
            ready.data, matrices, candidates, folds, config, ready.train, verbose=verbose, store=store
        )
    return found


def _ranked(
    configs: dict[str, Config], validations: dict[str, CrossValidation], score: str
) -> list[dict[str, Any]]:
    """Return name, scores and best parameters of every model, the best one first."""
    models = [
        {
            "name": name,
            "scores": one.scores(),
            "best": one.best.to_dict() | {"backbone": configs[name].features.backbone},
        }
        for name, one in validations.items()
    ]
    known = models[0]["scores"]
    if score not in known:
        raise ValueError(f"Got score={score!r}, but expected one of {', '.join(map(repr, known))}.")
    # The least log loss and calibration error are the best.
    sign = 1 if score in ("log_loss", "calibration_error") else -1
    return sorted(models, key=lambda model: sign * model["scores"][score]["mean"])


def named(configs: Any) -> dict[str, Config]:
    """Return configs by name: a file's own, or a number."""
    if not isinstance(configs, Mapping):
        configs = [configs] if isinstance(configs, str | os.PathLike) else list(configs)
        names = [
            Path(one).stem if isinstance(one, str | os.PathLike) else f"model {number}"
            for number, one in enumerate(configs, 1)
        ]
        counts = Counter(names)
        names = [f"{name} ({i})" if counts[name] > 1 else name for i, name in enumerate(names, 1)]
        configs = dict(zip(names, configs, strict=True))
    if len(configs) < 2:
        raise ValueError(f"Got {len(configs)} config, but expected at least two to compare.")
    return {str(name): read_config(config) for name, config in configs.items()}


def _differing(configs: dict[str, Config]) -> list[str]:
    """Say where a config's own seed, data or cv is overruled."""
    (first, leading), *others = configs.items()
    notes = []
    for name, config in others:
        keys = [key for key in SHARED if getattr(config, key) != getattr(leading, key)]
        if keys:
            notes.append(f"{', '.join(keys)} of {name!r} differ from {first!r}'s, which hold for all models.")
    return notes


def _paired_tests(scores: dict[str, np.ndarray], folds: list[Fold]) -> list[dict[str, Any]]:
    """Test every pair of models on their scores, fold by fold."""
    n_train, n_test = (float(np.mean([len(fold[i]) for fold in folds])) for i in (0, 1))
    pairs = list(combinations(scores, 2))
    found = [corrected_ttest(scores[a], scores[b], n_train, n_test) for a, b in pairs]
    adjusted = holm([p for *_, p in found])
    return [
        {"a": a, "b": b, "difference": difference, "low": low, "high": high, "p": p, "p_holm": float(p_holm)}
        for (a, b), (difference, low, high, p), p_holm in zip(pairs, found, adjusted, strict=True)
    ]
