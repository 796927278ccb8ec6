"""An estimator and images in; every feature that fitting will ask for in the store, by one pass a network."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.pipeline import FeatureUnion, Pipeline

from hybrid.features.embed import caution
from hybrid.features.passes import Request, fill, grouped, read_request
from hybrid.featurizer import ResNetFeaturizer
from hybrid.finetune.classifier import FineTunedClassifier
from hybrid.images.pixels import ImageError

LATER = "Its features are stored when they are first asked for."


def prefetch(estimator: object, X: object, verbose: int = 0) -> int:
    """Compute every feature that fitting will ask for, in one forward pass a network.

    `fit` alone costs one pass an image, too, for the stages and poolings that a pass keeps by itself (see
    :class:`ResNetFeaturizer`). This adds what it does not: layers of your own, "flatten", more images than the
    store's limit allows for. Afterwards ``estimator.fit(X, y)`` finds each vector in the store, at any
    ``n_jobs``, and its workers load no network. What cannot be known before `fit` is skipped with a warning.

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
    if not _is_estimator(estimator):
        swapped = " The estimator comes first: prefetch(estimator, X)." if _is_estimator(X) else ""
        kind = type(estimator).__name__
        raise TypeError(f"Got a {kind} as the estimator, but expected one with `get_params`.{swapped}")
    if not _holds_featurizer(estimator):
        caution(f"Nothing to prefetch: there is no ResNetFeaturizer inside {estimator!r:.200}.", UserWarning)
    found, errors = requests_of(estimator, X)
    passes, groups, filled = 0, grouped(found), False
    while groups:
        group = groups.pop(0)
        try:
            passes, filled = passes + fill(group, verbose), True
        except ImageError:
            raise
        except ValueError as exc:
            # That a network lacks a layer is known when it is opened: then it goes on without that one.
            if len(group) == 1:
                errors.append(exc)
            else:
                groups += [[one] for one in group]
    if errors and not filled:
        raise errors[0]
    for text in dict.fromkeys(map(str, errors)):
        caution(f"Part of the search is not prefetched: {text}", UserWarning)
    return passes


def requests_of(estimator: object, X: object) -> tuple[list[Request], list[Exception]]:
    """What fitting will ask the store for, and why some of it cannot be told."""
    found, errors = [], []
    for featurizer, images in _sightings(estimator, X):
        try:
            found.append(wanted(featurizer, images))
        except (TypeError, ValueError) as exc:
            errors.append(exc)
    return found, errors


def wanted(featurizer: ResNetFeaturizer, X: object) -> Request:
    """What a featurizer that will be fitted on `X` asks the store for."""
    if featurizer._params()["store"] is None:
        raise ValueError("Got store=None, but prefetch needs a store to put features in. Pass store='auto'.")
    return read_request(X, featurizer._params())


def _sightings(estimator: object, X: object) -> Iterator[tuple[ResNetFeaturizer, object]]:
    """Yield every featurizer that fitting `estimator` on `X` would run, and the images that it would see."""
    if not _holds_featurizer(estimator):
        return
    if isinstance(estimator, ResNetFeaturizer):
        yield estimator, X
    elif isinstance(estimator, FineTunedClassifier):
        if (featurizer := estimator.featurizer()) is not None:
            yield featurizer, X
    elif isinstance(estimator, Pipeline):
        yield from _sightings(_first_step(estimator), X)
    elif spaces := _spaces_of(estimator):
        for candidate in candidates(estimator, spaces):
            yield from _sightings(candidate, X)
    else:
        chooses = hasattr(estimator, "transform") and not hasattr(estimator, "predict")
        shown = watch(estimator, X) if chooses and not isinstance(estimator, FeatureUnion) else []
        for inner, images in shown or [(inner, X) for inner in _estimators_in(estimator)]:
            yield from _sightings(inner, images)


def _first_step(pipeline: Pipeline) -> object:
    """The step that sees X itself; what lies behind another step sees something else."""
    steps = [(name, step) for name, step in pipeline.steps if step is not None and step != "passthrough"]
    for name, step in steps[1:]:
        if _holds_featurizer(step):
            caution(
                f"Step {name!r} is not prefetched: it sees what step {steps[0][0]!r} makes of the images. {LATER}",
                UserWarning,
            )
    return steps[0][1] if steps else None


class _Watcher(TransformerMixin, BaseEstimator):
    """A transformer that remembers what it is shown; its clones are itself."""

    def __init__(self) -> None:
        self.shown: list[object] = []

    def __sklearn_clone__(self) -> _Watcher:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Sized, y: object = None) -> _Watcher:
        """Remember X."""
        self.shown.append(X)
        return self

    def transform(self, X: Sized) -> np.ndarray:
        """Return nothing of interest, in one column."""
        return np.zeros((len(X), 1))

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Name that column."""
        return np.array(["nothing"], dtype=object)


def watch(estimator: BaseEstimator, X: object) -> list[tuple[object, object]]:
    """Fit a copy in which watchers stand for all inner estimators; return each of these and what it would see.

    Which columns go where is the estimator's to say: names, slices, masks, selectors, kinds of columns.
    """
    pairs: list[tuple[object, _Watcher]] = []

    def stand_in(value: object) -> object:
        if _is_estimator(value):
            pairs.append((value, _Watcher()))
            return pairs[-1][1]
        return type(value)(map(stand_in, value)) if type(value) in (list, tuple) else value

    params = {name: stand_in(value) for name, value in estimator.get_params(deep=False).items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            type(estimator)(**params | ({"n_jobs": None} if "n_jobs" in params else {})).fit(X)
    except Exception as exc:
        # It is foreign code, on half of what it is used to.
        caution(f"{type(estimator).__name__} is not prefetched: {exc}. {LATER}", UserWarning)
        return [(None, None)]
    return [(inner, images) for inner, watcher in pairs for images in watcher.shown]


def _spaces_of(search: BaseEstimator) -> list[Mapping]:
    """The parameter spaces of a search, whatever it calls them; none for any other estimator."""
    params = search.get_params(deep=False)
    if not _is_estimator(params.get("estimator")):
        return []
    names = params["estimator"].get_params(deep=True)
    for value in params.values():
        spaces = list(value) if isinstance(value, (list, tuple)) else [value]
        # scikit-optimize takes pairs of a space and a number of tries.
        spaces = [space[0] if isinstance(space, tuple) and space else space for space in spaces]
        if spaces and all(isinstance(space, Mapping) for space in spaces):
            keys = {key for space in spaces for key in space}
            if any(isinstance(key, str) and key.partition("__")[0] in names for key in keys):
                return spaces
    return []


def candidates(search: BaseEstimator, spaces: list[Mapping]) -> Iterator[BaseEstimator]:
    """Yield the search's estimator under each setting that changes what its featurizers are asked for."""
    owners = search.estimator.get_params(deep=True)
    settings = {}
    for candidate in _settings_of(search, spaces):
        matters = {key: value for key, value in candidate.items() if touches(owners, search.estimator, key)}
        settings.setdefault(repr(sorted(matters.items(), key=lambda pair: pair[0])), matters)
    for setting in settings.values():
        yield clone(search.estimator).set_params(
            **{key: clone(value, safe=False) for key, value in setting.items()}
        )


def _settings_of(search: BaseEstimator, spaces: list[Mapping]) -> Iterable[dict]:
    """The parameter settings that a search will try; a warning for values that cannot be known."""
    is_sampled = hasattr(search, "param_distributions") and isinstance(
        getattr(search, "n_iter", None), Integral
    )
    drawn = all(hasattr(value, "rvs") or choices(value) for space in spaces for value in space.values())
    if is_sampled and drawn and isinstance(search.random_state, Integral):
        return ParameterSampler(spaces, search.n_iter, random_state=search.random_state)
    ranges = not hasattr(search, "param_grid") and not hasattr(search, "param_distributions")
    known = [{key: choices(value, ranges) for key, value in space.items()} for space in spaces]
    owners = search.estimator.get_params(deep=True)
    for key in sorted({key for space in known for key, values in space.items() if not values}):
        if touches(owners, search.estimator, key):
            hint = " Give the search an integer random_state." if is_sampled and drawn else ""
            caution(f"The values of {key!r} cannot be known before the search.{hint} {LATER}", UserWarning)
    return ParameterGrid([{key: values for key, values in space.items() if values} for space in known])


def choices(values: object, ranges: bool = False) -> list | None:
    """The values that a search may choose from, where they can be told; `ranges`: a pair of numbers is a range."""
    for name in ("choices", "categories"):  # Optuna's and scikit-optimize's
        if isinstance(getattr(values, name, None), (list, tuple)):
            return list(getattr(values, name))
    if ranges and isinstance(values, tuple) and all(type(one) in (int, float) for one in values[:2]):
        return None
    return list(values) if isinstance(values, (list, tuple, range, np.ndarray)) else None


def touches(owners: dict, estimator: BaseEstimator, key: str) -> bool:
    """Whether a parameter belongs to a featurizer, or to something that holds one."""
    owner, _, _ = key.rpartition("__")
    owner = owners.get(owner, estimator) if owner else estimator
    return _holds_featurizer(owner) or _holds_featurizer(owners.get(key))


def _is_estimator(value: object) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


def _estimators_in(value: object) -> Iterator[object]:
    """Yield the estimators among another's parameters, also in lists, pairs and dicts of such."""
    if _is_estimator(value):
        value = value.get_params(deep=False)
    for one in value.values() if isinstance(value, Mapping) else value:
        if _is_estimator(one):
            yield one
        elif isinstance(one, (list, tuple, Mapping)):
            yield from _estimators_in(one)


def _holds_featurizer(value: object) -> bool:
    """Whether it is one that runs a network, or has one among its parameters."""
    if isinstance(value, (ResNetFeaturizer, FineTunedClassifier)):
        return True
    return _is_estimator(value) and any(map(_holds_featurizer, _estimators_in(value)))
