"""Pipelines and searches: build them, and compute every feature they will ask for in one pass a network."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from numbers import Integral

from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.pipeline import Pipeline

from hybrid.features.passes import Request, fill, read_request
from hybrid.featurizer import ResNetFeaturizer
from hybrid.finetune.classifier import FineTunedClassifier


def prefetch(estimator, X, verbose=0):
    """Compute every feature that fitting will ask for, in one forward pass a network.

    All layers and poolings of a network share its pass. Afterwards ``estimator.fit(X, y)`` finds each
    vector in the feature store, at any ``n_jobs``, and its workers load no network.

    Parameters
    ----------
    estimator : estimator
        A featurizer, pipeline, search, or anything nested from those.
    X : images
        What `fit` will be given.
    verbose : int, default=0
        1 shows a progress bar a network.

    Returns
    -------
    passes : int
        The number of images that went through a network.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from hybrid import build_pipeline, load_sample, prefetch
    >>> sample = load_sample().groupby("label").head(2)
    >>> grid = {"featurizer__pooling": ["avg", "max"], "classifier__C": [1, 10]}
    >>> search = GridSearchCV(build_pipeline("svm", backbone="tiny"), grid, cv=2)
    >>> prefetch(search, sample["image"])
    20
    >>> prefetch(search, sample["image"])
    0
    """
    return fill(requests(estimator, X), verbose)


def wanted(featurizer: ResNetFeaturizer, X: object) -> Request:
    """What a featurizer that will be fitted on `X` asks the store for."""
    if featurizer.store is None:
        raise ValueError("Got store=None, but prefetch needs a store to put features in. Pass store='auto'.")
    return read_request(X, featurizer.get_params(deep=False))


def requests(estimator: object, X: object) -> Iterator[Request]:
    """Yield a Request for every featurizer that fitting `estimator` on `X` would run."""
    if isinstance(estimator, ResNetFeaturizer):
        yield wanted(estimator, X)
    elif isinstance(estimator, FineTunedClassifier):
        yield from requests(estimator.featurizer(), X)
    elif isinstance(estimator, Pipeline):
        yield from first_step(estimator, X)
    elif isinstance(estimator, ColumnTransformer):
        for _, transformer, chosen in estimator.transformers:
            yield from requests(transformer, select(X, chosen))
    elif hasattr(estimator, "param_grid") or hasattr(estimator, "param_distributions"):
        for candidate in candidates(estimator):
            yield from requests(candidate, X)
    elif hasattr(estimator, "get_params"):
        for value in estimator.get_params(deep=False).values():
            for part in value if isinstance(value, (list, tuple)) else [value]:
                inner = part[1] if isinstance(part, tuple) and len(part) == 2 else part
                yield from requests(inner, X)


def first_step(pipeline: Pipeline, X: object) -> Iterator[Request]:
    """Follow the step that sees X itself; what lies behind another step sees something else."""
    steps = [(name, step) for name, step in pipeline.steps if step is not None and step != "passthrough"]
    if not steps:
        return
    yield from requests(steps[0][1], X)
    for name, step in steps[1:]:
        if any(True for _ in requests(step, X)):
            warnings.warn(
                f"Step {name!r} is not prefetched: it sees what step {steps[0][0]!r} makes of the images. "
                "Its features are stored when they are first asked for.",
                UserWarning,
                stacklevel=2,
            )


def candidates(search: BaseEstimator) -> Iterator[BaseEstimator]:
    """Yield the search's estimator under each setting that changes what its featurizers are asked for."""
    owners = search.estimator.get_params(deep=True)
    settings = {}
    for candidate in settings_of(search):
        matters = {key: value for key, value in candidate.items() if touches(owners, search.estimator, key)}
        settings.setdefault(repr(sorted(matters.items(), key=lambda pair: pair[0])), matters)
    for setting in settings.values():
        yield clone(search.estimator).set_params(
            **{key: clone(value, safe=False) for key, value in setting.items()}
        )


def settings_of(search: BaseEstimator) -> Iterable[dict]:
    """The parameter settings that a search will try; a warning where chance will choose them."""
    if hasattr(search, "param_grid"):
        return ParameterGrid(search.param_grid)
    spaces = search.param_distributions
    spaces = [spaces] if isinstance(spaces, dict) else spaces
    if isinstance(search.random_state, Integral) and isinstance(getattr(search, "n_iter", None), Integral):
        return ParameterSampler(spaces, search.n_iter, random_state=search.random_state)
    lists = [{key: value for key, value in space.items() if not hasattr(value, "rvs")} for space in spaces]
    owners = search.estimator.get_params(deep=True)
    for key in sorted({key for space in spaces for key, value in space.items() if hasattr(value, "rvs")}):
        if touches(owners, search.estimator, key):
            warnings.warn(
                f"{key!r} is drawn from a distribution: its values cannot be known before the search. Give the "
                "search an integer random_state, or its features are stored when they are first asked for.",
                UserWarning,
                stacklevel=2,
            )
    return ParameterGrid(lists)


def touches(owners: dict, estimator: BaseEstimator, key: str) -> bool:
    """Whether a parameter belongs to a featurizer, or to something that holds one."""
    owner, _, _ = key.rpartition("__")
    owner = owners.get(owner, estimator) if owner else estimator
    return holds_featurizer(owner) or holds_featurizer(owners.get(key))


def holds_featurizer(estimator: object) -> bool:
    if not hasattr(estimator, "get_params") or isinstance(estimator, type):
        return False
    kinds = ResNetFeaturizer, FineTunedClassifier
    return any(isinstance(one, kinds) for one in (estimator, *estimator.get_params(deep=True).values()))


def select(X: object, columns: object) -> object:
    """The columns of X that a ColumnTransformer hands on."""
    columns = columns(X) if callable(columns) else columns
    if not hasattr(X, "iloc"):
        return X[:, columns]
    by_name = isinstance(columns, str) or (
        isinstance(columns, (list, tuple)) and all(isinstance(c, str) for c in columns)
    )
    return X[columns] if by_name else X.iloc[:, columns]
