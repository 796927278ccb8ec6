"""Golden probes: a few drawn images; what a model made of them when it was saved, and now.

Features are compared as closely as their precision allows. Outputs are computed from the features that were
saved, so that a difference in them is the classical part's alone.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from functools import cache

import numpy as np
from sklearn.base import BaseEstimator

from hybrid.archive.manifest import PACKAGE
from hybrid.bundle.portable import walk
from hybrid.datasets.sample import draw
from hybrid.features.embed import embed
from hybrid.features.recipe import Recipe
from hybrid.featurizer import ResNetFeaturizer
from hybrid.images.decoding import decode
from hybrid.images.frame import Frame

# The largest distance of a feature vector to the saved one, in its lengths.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.15, "int8": 0.5}
OUTPUT_TOLERANCE = 1e-4
METHODS = ("predict_proba", "decision_function", "predict", "transform")
PACKAGES = (PACKAGE, "numpy", "scikit-learn", "skops", "pillow", "openvino", "tensorflow", "keras")


class _Replay(ResNetFeaturizer):
    """A featurizer whose features are known."""

    def transform(self, X: list) -> np.ndarray:
        return self._features


@cache
def images() -> list[np.ndarray]:
    """Draw the probes: upright, wide, square and small, so that every way of resizing shows."""
    sizes = {"bricks": (160, 120), "star": (120, 160), "waves": (160, 160), "rings": (48, 64)}
    return [
        draw(name, np.random.default_rng(i), max(size))[: size[0], : size[1]]
        for i, (name, size) in enumerate(sizes.items())
    ]


def record(model: BaseEstimator, featurizers: Sequence[ResNetFeaturizer]) -> dict:
    """Return what a model makes of the probes; no outputs where it wants what no probe is."""
    features = [_features_of(one) for one in featurizers]
    try:
        outputs = outputs_of(model, featurizers, features)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        outputs = {}
    return {"features": features, "pixels": [_pixels_of(one) for one in featurizers], "outputs": outputs}


def check(probes: object, count: int):
    """Raise ValueError unless a bundle has the features, pixels and outputs of so many featurizers."""
    if not isinstance(probes, dict) or set(probes) != {"features", "pixels", "outputs"}:
        raise ValueError("it has no probes")
    features, outputs = probes["features"], probes["outputs"]
    arrays = isinstance(features, list) and isinstance(outputs, dict) and [*features, *outputs.values()]
    if (
        not arrays
        or not outputs
        or not all(isinstance(one, np.ndarray) and len(one) == len(images()) for one in arrays)
    ):
        raise ValueError("its probes have no features or no outputs")
    if len(features) != count or not all(one.ndim == 2 and one.dtype == np.float32 for one in features):
        raise ValueError(f"its probes are not those of {count} featurizers")


def _is_batch(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == len(images())


def _features_of(featurizer: ResNetFeaturizer) -> np.ndarray:
    """Compute the features anew, past the store."""
    return embed(images(), recipe_of(featurizer), None, batch_size=featurizer.batch_size)


def _pixels_of(featurizer: ResNetFeaturizer) -> str:
    """Digest the pixels that the network sees."""
    frame: Frame = recipe_of(featurizer).frame
    return hashlib.sha256(b"".join(decode(image, frame).tobytes() for image in images())).hexdigest()


def outputs_of(
    model: BaseEstimator, featurizers: Sequence[ResNetFeaturizer], features: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Compute all that a model says, from known features."""
    replays = {id(one): _replay(one, values) for one, values in zip(featurizers, features, strict=True)}
    model = copy.deepcopy(model, replays)
    inputs = table(model)
    inputs = images() if inputs is None else inputs
    return {name: np.asarray(getattr(model, name)(inputs)) for name in METHODS if hasattr(model, name)}


def table(model: BaseEstimator) -> object:
    """Return rows of zeros for a model that wants a table; its column of images is replayed, and not looked at."""
    columns = next((one.feature_names_in_ for one in walk(model) if hasattr(one, "transformers_")), None)
    if columns is None:
        return None
    import pandas as pd

    return pd.DataFrame(0.0, index=range(len(images())), columns=columns)


def _replay(featurizer: ResNetFeaturizer, features: np.ndarray) -> _Replay:
    twin = copy.copy(featurizer)
    twin.__class__, twin._features = _Replay, features
    return twin


def recipe_of(featurizer: ResNetFeaturizer) -> Recipe:
    """Return what a featurizer's vectors depend on now, whatever it was when it was fitted."""
    return featurizer._read()


def describe(featurizer: ResNetFeaturizer) -> dict:
    """Return everything that determines a featurizer's vectors."""
    recipe = recipe_of(featurizer)
    return json.loads(recipe.scope) | {"parts": [list(part) for part in recipe.parts]}


def versions() -> dict[str, str]:
    return {name: version for name in PACKAGES if (version := installed(name))}


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def moved(
    model: BaseEstimator, featurizers: Sequence[ResNetFeaturizer], probes: dict, manifest: dict
) -> tuple[str, str, str] | None:
    """Say what a model does now, what was expected, and what may be why; None if nothing moved."""
    packages = newer(manifest["versions"])
    for one, recipe, features, pixels in zip(
        featurizers, manifest["recipes"], probes["features"], probes["pixels"], strict=True
    ):
        now = describe(one)
        tolerance = max(TOLERANCE[which["precision"]] for which in (now, recipe))
        distance = drift(_features_of(one), features)
        if not distance <= tolerance:
            changed = [key for key in now if key != "fingerprint" and recipe.get(key) != now[key]]
            reasons = [f"{key} {recipe.get(key)!r} -> {now[key]!r}" for key in changed]
            reasons += ["the resized pixels"] * (_pixels_of(one) != pixels)
            found = f"the features of the probe images moved by {distance:.2g} of their length"
            expected = f"up to {tolerance:g} at {now['precision']}"
            return found, expected, ", ".join(reasons + packages) or "the network itself"
    outputs = probes["outputs"]
    found = outputs_of(model, featurizers, probes["features"]) if outputs else {}
    for name in METHODS:
        if (name in found) != (name in outputs) or (name in found and not same(found[name], outputs[name])):
            expected = f"those of the probe images to {OUTPUT_TOLERANCE:g}"
            return (
                f"other outputs of {name!r} for the same features",
                expected,
                ", ".join(packages) or "the model",
            )
    return None


def drift(now: np.ndarray, before: np.ndarray) -> float:
    """Return the largest distance of two vectors, in lengths of the one before."""
    if now.shape != before.shape:
        return float("inf")
    lengths = np.linalg.norm(before, axis=1)
    distances = np.linalg.norm(now.astype(np.float64) - before, axis=1)
    return float((distances / np.where(lengths > 0, lengths, 1)).max())


def same(now: np.ndarray, before: np.ndarray) -> bool:
    if now.shape != before.shape or before.dtype.kind not in "fiub":
        return np.array_equal(now, before)
    return np.allclose(now, before, rtol=OUTPUT_TOLERANCE, atol=OUTPUT_TOLERANCE, equal_nan=True)


def newer(before: dict[str, str]) -> list[str]:
    """List the packages whose versions changed."""
    now = versions()
    changed = [name for name in PACKAGES if before.get(name) != now.get(name)]
    return [f"{name} {before.get(name)} -> {now.get(name)}" for name in changed]
