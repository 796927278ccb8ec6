"""Labelled images and a config in; a fitted model with honest scores out."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from hybrid.config import read_config
from hybrid.experiment.baselines import baselines
from hybrid.experiment.candidates import (
    Candidate,
    featurizer,
    fit,
    fit_quick,
    read_candidates,
    said,
)
from hybrid.experiment.crossval import CrossValidation, at_once, cross_validate
from hybrid.experiment.evaluation import assess
from hybrid.experiment.outcome import Outcome
from hybrid.experiment.prepare import FEW, Prepared, n_repeats, outer_folds, prepare, taken
from hybrid.experiment.work import one_thread_a_core
from hybrid.statistics.curve import FRACTIONS, forecast, learning_curve
from hybrid.statistics.duplicates import members, merge_groups

if TYPE_CHECKING:
    from hybrid.config import Config, ConfigSource
    from hybrid.datasets.labelled import Labelled
    from hybrid.experiment.prepare import Table
    from hybrid.statistics.linear import Axes

# Above `FEW` images, a curve of fewer points tells as much.
FEW_FRACTIONS = 0.125, 0.25, 0.5, 1.0


def train(frame: Table, config: ConfigSource = None, *, store: Any = "auto", verbose: int = 0) -> Outcome:
    """Search, cross-validate and fit.

    Parameters
    ----------
    frame : DataFrame, path or "sample"
        Labelled images: the columns image and label, and group, weight and split if there are such. Images of
        the split "test" are kept out and scored at the end.
    config : path, dict, Config or None, default=None
        See :func:`hybrid.config.read_config`. None searches logistic regressions and SVCs on two layers.
    store : "auto", path, FeatureStore or None, default="auto"
        Where features are kept.
    verbose : int, default=0
        1 shows progress bars on stderr.

    Examples
    --------
    >>> from hybrid import load_sample
    >>> sample = load_sample(n_per_class=10)
    >>> outcome = train(sample, {"features": {"backbone": "tiny"}, "model": {"kind": "svm"}})
    >>> outcome.scores["accuracy"]["mean"] > outcome.baselines["majority"]["accuracy"]["mean"]
    True
    >>> outcome.model.predict([outcome.images[0]])
    array(['bricks'], dtype='<U8')
    """
    started = time.perf_counter()
    config = read_config(config)
    ready = prepare(frame, [config], store, verbose)
    data, rows = ready.data, ready.train
    folds, notes = outer_folds(data, rows, config)
    candidates = read_candidates(config, store, len(rows))
    validation = cross_validate(
        data, ready.matrices[0], candidates, folds, config, rows, verbose=verbose, store=store
    )
    best, X = validation.best, ready.matrices[0][validation.best.setting]
    model, late = _final_model(best, config, data.take(rows), taken(X, rows), store, validation.axes)
    return Outcome(
        model=model,
        scores=validation.scores(),
        best=best.to_dict() | {"backbone": config.features.backbone},
        test=_held_out_scores(model, X, data, ready.test),
        warnings=(*ready.warnings, *notes, *said(config, len(rows)), *late),
        fits=validation.fits + 1,
        config=config,
        validation=validation,
        **_training_part(ready, X if best.setting else None),
        **_surroundings(ready, validation, config),
        seconds=time.perf_counter() - started,
    )


def _training_part(ready: Prepared, features: np.ndarray | None) -> dict[str, Any]:
    """Return what is known of the images that the model is fitted on."""
    rows = ready.train
    return {
        "images": [ready.data.images[row] for row in rows],
        "labels": ready.data.y[rows],
        "classes": dict(Counter(ready.data.y[rows].tolist())),
        "features": None if features is None else taken(features, rows),
        "groups": ready.copies[rows],
        "skipped": ready.skipped,
        "passes": ready.passes,
    }


def _surroundings(ready: Prepared, validation: CrossValidation, config: Config) -> dict[str, dict]:
    """Score what a model must beat, what near duplicates make of it, and what fewer images do."""
    data, best, folds = ready.data, validation.best, validation.folds
    is_quick = config.curve.on and best.setting is not None
    return {
        "baselines": baselines(data.y, ready.pixels, folds) if config.cv.baselines else {},
        "duplicates": duplicates(ready, validation, config),
        "curve": curve(data, ready.matrices[0][best.setting], validation, config) if is_quick else {},
    }


def _final_model(
    best: Candidate, config: Config, data: Labelled, X: np.ndarray, store: Any, axes: Axes | None = None
) -> tuple[Pipeline, list[str]]:
    """Fit the best candidate on all images; behind its featurizer, it takes images."""
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tail = fit(best, config, X, data.y, data.weights, axes=axes)
    notes = [str(warning.message) for warning in caught]
    if best.kind.takes_images:
        return tail, notes
    head = featurizer(config, best.setting, store).fit(data.images)
    return Pipeline([("featurizer", head), *tail.steps]), notes


def duplicates(ready: Prepared, validation: CrossValidation, config: Config) -> dict[str, Any]:
    """Count near duplicates; score with them kept together and with the leak: one is known, one is for the best."""
    rows, data = ready.train, ready.data
    copies = members(ready.copies[rows])
    found = {
        "groups": len(copies),
        "images": sum(map(len, copies)),
        "across_labels": sum(len(np.unique(data.y[rows][group])) > 1 for group in copies),
        "threshold": config.cv.threshold,
        "kept_together": config.cv.keep_duplicates_together,
        "accuracy": None,
        "accuracy_with_leak": None,
    }
    if copies:
        own = np.arange(len(data)) if ready.own_groups is None else ready.own_groups
        kept = config.cv.keep_duplicates_together
        held = replace(data, groups=own if kept else merge_groups(own, ready.copies))
        folds, _ = outer_folds(held, rows, config)
        other = cross_validate(
            held,
            ready.matrices[0],
            [validation.best],
            folds,
            config,
            probabilities=False,
            axes=validation.axes,
        )
        scores = [one.scores()["accuracy"] for one in (validation, other)]
        found["accuracy"], found["accuracy_with_leak"] = scores if kept else reversed(scores)
    return found


def curve(data: Labelled, X: np.ndarray, validation: CrossValidation, config: Config) -> dict[str, Any]:
    """Return the learning curve of the chosen parameters, and what more images would bring."""
    best, folds = validation.best, validation.folds
    folds = folds[: len(folds) // n_repeats(config, len(data))]

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        model = fit_quick(best, config, X[train], data.y[train], None, False, validation.axes)
        return model.predict(X[test])

    fractions = FEW_FRACTIONS if len(data) > FEW else FRACTIONS
    with one_thread_a_core(at_once([best], {best.setting: X})):
        found = learning_curve(predict, data.y, folds, fractions, config.seed)
    if not found.sizes:
        return {"sizes": [], "accuracy": [], "sentence": "There are too few images for a learning curve."}
    told = forecast(found, config.curve.factor)
    means = [float(np.mean(values)) for values in found.values]
    return {"sizes": list(found.sizes), "accuracy": means} | asdict(told)


def _held_out_scores(
    model: Pipeline, X: np.ndarray, data: Labelled, rows: np.ndarray
) -> dict[str, Any] | None:
    """Score the table's own test part."""
    if not len(rows):
        return None
    classes, tail = model.classes_, model[1:] if len(model) > 1 else model
    known = rows[np.isin(data.y[rows], classes)]
    unknown = dict(Counter(data.y[np.setdiff1d(rows, known)].tolist()))
    if not len(known):
        return {"images": 0, "unknown": unknown}
    found = assess(data.y[known], tail.predict(X[known]), tail.predict_proba(X[known]), classes)
    return found | {"unknown": unknown}
