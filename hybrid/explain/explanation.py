"""A model and a picture in; what each place of the picture added to the decision for a class out."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import cycle, pairwise

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from hybrid.explain.cells import laid_out, read_maps, steps
from hybrid.explain.decisions import Decide, decision
from hybrid.features.recipe import read_recipe
from hybrid.featurizer import ResNetFeaturizer
from hybrid.images.decoding import decode
from hybrid.images.frame import Frame
from hybrid.images.source import read
from hybrid.normalise import FeatureNormalizer

ROUNDS = 24
PATCHES = 7
USUAL_SIZE = 224
# For and against, told apart by those who see no red or no green.
FOR, AGAINST = (214, 84, 20), (24, 104, 196)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which places speak for a class and which against it."""

    label: object
    value: float  # the decision value of the picture
    # That of the mean training vector; of a picture without its patches, where `adds_up` is False.
    start: float
    parts: np.ndarray = field(repr=False)  # (rows, columns): above 0 speaks for the class
    pixels: np.ndarray = field(repr=False)  # uint8 (h, w, 3): what the network saw
    adds_up: bool  # whether the parts' sum is value - start: a walk over cells, or else patches covered

    def draw(self, size: int = USUAL_SIZE) -> Image.Image:
        """Return the picture in grey, with what speaks for the class in orange and what against it in blue."""
        grey = Image.fromarray(self.pixels).convert("L").convert("RGB").resize((size, size))
        most = np.abs(self.parts).max() or 1.0
        scaled = Image.fromarray((self.parts / most).astype(np.float32))
        heat = np.clip(np.asarray(scaled.resize((size, size), Image.Resampling.BICUBIC)), -1, 1)[..., None]
        colour = np.where(heat > 0, FOR, AGAINST)
        strength = 0.75 * np.abs(heat)
        return Image.fromarray((np.asarray(grey) * (1 - strength) + colour * strength).astype(np.uint8))


def explain(
    model: BaseEstimator, image: object, label: object = None, mean: ArrayLike | None = None
) -> Explanation:
    """Trace what a model says of an image back to its places.

    An average-pooled vector is a mean over the cells of a map. From the mean training vector to the picture's
    leads a straight path; on it each cell makes its share of the way, and what the decision value changes by
    meanwhile is the cell's part (integrated gradients, whatever the head). The parts add up to the difference
    of the two decision values. The network runs once. Other poolings, several views and models that are
    no pipeline behind a featurizer have patches of the picture covered instead, one after the other.

    Parameters
    ----------
    model : Pipeline
        Fitted: a :class:`ResNetFeaturizer`, then a head that classifies.
    image : path, bytes, PIL image or array
    label : optional
        The class to explain; by default the predicted one.
    mean : array of shape (n_features,), optional
        The mean training vector. By default, what the head's scaler tells of it.

    Examples
    --------
    >>> from hybrid import build_pipeline, load_sample
    >>> sample = load_sample(4)
    >>> model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    >>> found = explain(model, sample["image"][0])
    >>> found.label, found.parts.shape, bool(abs(found.parts.sum() - found.value + found.start) < 1e-6)
    ('bricks', (4, 4), True)
    """
    featurizer, head = (model[0], model[1:]) if _is_headed(model) else (None, model)
    maps = None if featurizer is None else read_maps(featurizer, image)
    if maps is None:
        return covered(model, featurizer, head, image, label)
    vector = np.concatenate([one.mean(axis=(0, 1)) for one in maps])
    mean = _typical(head, vector) if mean is None else np.asarray(mean, float)
    label = head.predict(vector[None])[0] if label is None else label
    decide = decision(head, label)
    parts = walk(decide, mean, steps(maps, mean))
    start, value = decide(np.stack([mean, vector])).tolist()
    return Explanation(label, value, start, laid_out(parts, maps), seen(featurizer, image), True)


def is_traceable(model: BaseEstimator, image: object) -> bool:
    """Tell whether a model's decision can be traced back to cells; else fifty pictures have to be looked at."""
    return _is_headed(model) and read_maps(model[0], image) is not None


def _is_headed(model: BaseEstimator) -> bool:
    return isinstance(model, Pipeline) and isinstance(model[0], ResNetFeaturizer) and len(model) > 1


def walk(decide: Decide, start: np.ndarray, steps: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Go from a vector along all steps, a little of each in turn; return what each changes the decision by.

    The more rounds, the closer to the straight path. One goes forward through the steps, the next one backward, so
    that their order has no say, and the first and last are the smallest: roots at 0 are steep. A head without a
    gradient, such as trees, does no harm.

    Examples
    --------
    >>> walk(lambda X: X[:, 0] * X[:, 1], np.zeros(2), np.array([[2.0, 0.0], [0.0, 3.0]])).round(6)
    array([3., 3.])
    """
    s = np.linspace(0, 1, rounds + 1)
    times = s**3 * (10 - 15 * s + 6 * s**2)
    parts, way = np.zeros(len(steps)), steps.sum(axis=0)
    orders = cycle((slice(None), slice(None, None, -1)))
    for (before, after), order in zip(pairwise(times), orders, strict=False):
        at = start + before * way + np.cumsum(steps[order] * (after - before), axis=0)
        parts[order] += np.diff(decide(np.vstack([start + before * way, at])))
    return parts


def _typical(head: Pipeline, vector: np.ndarray) -> np.ndarray:
    """Return the mean training vector as far as the head's first step knows it, or else zeros."""
    first = head[0] if isinstance(head, Pipeline) else head
    mean = getattr(first, "mean_", None)
    if mean is None or np.shape(mean) != vector.shape:
        return np.zeros_like(vector)
    if not isinstance(first, FeatureNormalizer):
        return np.asarray(mean, float)
    # It takes off means of roots, of rows whose size it does not know: the picture's will do.
    squares = np.sign(mean) * np.square(mean)
    return squares * np.abs(vector).sum() / (np.abs(squares).sum() or 1.0)


def seen(featurizer: ResNetFeaturizer | None, image: object) -> np.ndarray:
    """Return the pixels that the network sees."""
    if featurizer is None:
        return decode(read(image), Frame((USUAL_SIZE, USUAL_SIZE)))[0]
    recipe = read_recipe(featurizer.get_params(deep=False))
    return decode(read(image), recipe.frame, recipe.value_range)[0]


def covered(
    model: BaseEstimator,
    featurizer: ResNetFeaturizer | None,
    head: BaseEstimator,
    image: object,
    label: object,
) -> Explanation:
    """Cover patch after patch of what the network sees; a part is what the decision loses by it."""
    pixels = seen(featurizer, image)
    rows, columns = (np.linspace(0, side, PATCHES + 1).astype(int) for side in pixels.shape[:2])
    pictures = [pixels]
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            picture = pixels.copy()
            picture[top:bottom, left:right] = pixels.mean(axis=(0, 1))
            pictures.append(picture)
    X = pictures if featurizer is None else unstored(featurizer).transform(pictures)
    label = head.predict(X[:1])[0] if label is None else label
    found = decision(head, label)(X)
    parts = (found[0] - found[1:]).reshape(PATCHES, PATCHES)
    return Explanation(label, float(found[0]), float(found[1:].mean()), parts, pixels, False)


def unstored(featurizer: ResNetFeaturizer) -> ResNetFeaturizer:
    """Return the featurizer without its store, where covered pictures are of no use to anybody."""
    return copy.copy(featurizer).set_params(store=None)
