"""Images and what a model says of them in, the report's pictures in a notebook out: its worst errors, and a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.pipeline import Pipeline

from hybrid.explain.display import pyplot
from hybrid.images.items import as_items
from hybrid.images.pixels import ImageError
from hybrid.report.pictures import COLOURS, small
from hybrid.statistics.doubts import errors
from hybrid.statistics.neighbours import directions
from hybrid.statistics.plane import plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

COLUMNS = 4
MARKERS = "osD^Xp*v"
# More names than these cannot be read on a map.
MOST_NAMED = 30


class ErrorsDisplay:
    """The images that a model gets wrong, those first that it was surest of.

    Parameters
    ----------
    images : list of images
    y_true, y_pred : array of shape (n_images,)
    probability : array of shape (n_images,), optional
        That of the predicted class.

    Attributes
    ----------
    rows_ : ndarray
        The rows of the errors, in order.
    axes_, figure_ : ndarray of Axes, Figure
        Where they were drawn.

    Examples
    --------
    >>> from hybrid import ErrorsDisplay, build_pipeline, load_sample
    >>> sample, new = load_sample(4), load_sample(8, seed=1)
    >>> model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    >>> display = ErrorsDisplay.from_estimator(model, new["image"], new["label"])
    >>> bool((model.predict(new["image"][display.rows_]) != new["label"][display.rows_]).all())
    True
    """

    def __init__(
        self, images: Sequence, y_true: ArrayLike, y_pred: ArrayLike, probability: ArrayLike | None = None
    ):
        self.images, self.y_true, self.y_pred, self.probability = images, y_true, y_pred, probability

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, X: Sequence, y: ArrayLike, *, n: int = 12
    ) -> ErrorsDisplay:
        """Predict images and draw the worst errors.

        Parameters
        ----------
        estimator : classifier
            Fitted, such as :func:`hybrid.build_pipeline` gives.
        X : images
            That the estimator has not seen.
        y : array of shape (n_images,)
        n : int, default=12
            How many to draw.

        Returns
        -------
        display : ErrorsDisplay
        """
        if not hasattr(estimator, "predict_proba"):
            return cls.from_predictions(X, y, estimator.predict(X), n=n)
        rows = estimator.predict_proba(X)
        return cls.from_predictions(X, y, estimator.classes_[rows.argmax(axis=1)], rows.max(axis=1), n=n)

    @classmethod
    def from_predictions(
        cls,
        X: Sequence,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        probability: ArrayLike | None = None,
        *,
        n: int = 12,
    ) -> ErrorsDisplay:
        """Draw the worst errors of predictions, such as those of `cross_val_predict`.

        Parameters
        ----------
        X : images
        y_true, y_pred : array of shape (n_images,)
        probability : array of shape (n_images,), optional
            That of the predicted class; without it, errors come in the order of the images.
        n : int, default=12
            How many to draw.

        Returns
        -------
        display : ErrorsDisplay
        """
        return cls(as_items(X), np.asarray(y_true), np.asarray(y_pred), probability).plot(n)

    def plot(self, n: int = 12) -> ErrorsDisplay:
        """Draw the first n errors."""
        self.rows_ = errors(self.y_true, self.y_pred, self.probability)
        shown = self.rows_[:n]
        lines = max(1, -(-len(shown) // COLUMNS))
        size = (2.2 * COLUMNS, 2.6 * lines)
        self.figure_, self.axes_ = pyplot().subplots(
            lines, COLUMNS, figsize=size, squeeze=False, layout="constrained"
        )
        self.figure_.suptitle(f"{len(self.rows_)} of {len(self.y_true)} are wrong")
        for ax in self.axes_.flat:
            ax.set_axis_off()
        for ax, row in zip(self.axes_.flat, shown, strict=False):
            sure = "" if self.probability is None else f" {np.asarray(self.probability)[row]:.0%}"
            title = f"{self.y_pred[row]}{sure},\nis {self.y_true[row]}"
            ax.set_title(title, fontsize="medium", parse_math=False)
            try:
                ax.imshow(small(self.images[row]))
            except ImageError:
                ax.text(0.5, 0.5, "no picture", ha="center")
        return self


class FeatureMapDisplay:
    """A map of images: those that a network finds alike lie together. Rings are errors.

    Parameters
    ----------
    points : array of shape (n_images, 2)
    y : array of shape (n_images,), optional
        The class of each, shown as its colour and mark.
    wrong : array of bool of shape (n_images,), optional

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        Where it was drawn.

    Examples
    --------
    >>> from hybrid import FeatureMapDisplay, ResNetFeaturizer, load_sample
    >>> sample = load_sample(4)
    >>> featurizer = ResNetFeaturizer("tiny").fit(sample["image"])
    >>> FeatureMapDisplay.from_estimator(featurizer, sample["image"], sample["label"]).points.shape
    (40, 2)
    """

    def __init__(self, points: ArrayLike, y: ArrayLike | None = None, wrong: ArrayLike | None = None):
        self.points, self.y, self.wrong = points, y, wrong

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, X: Sequence, y: ArrayLike | None = None, *, ax: Axes | None = None
    ) -> FeatureMapDisplay:
        """Compute features of images and draw their map.

        Parameters
        ----------
        estimator : ResNetFeaturizer or Pipeline
            Fitted; of a pipeline, the first step gives the features, and what a classifier behind it gets wrong
            has a ring.
        X : images
        y : array of shape (n_images,), optional
        ax : Axes, optional

        Returns
        -------
        display : FeatureMapDisplay
        """
        if not isinstance(estimator, Pipeline):
            return cls.from_features(estimator.transform(X), y, ax=ax)
        features = estimator[0].transform(X)
        judged = y is not None and len(estimator) > 1 and is_classifier(estimator)
        return cls.from_features(features, y, estimator[1:].predict(features) if judged else None, ax=ax)

    @classmethod
    def from_features(
        cls,
        features: ArrayLike,
        y: ArrayLike | None = None,
        y_pred: ArrayLike | None = None,
        *,
        ax: Axes | None = None,
    ) -> FeatureMapDisplay:
        """Draw the map of features.

        Parameters
        ----------
        features : array of shape (n_images, n_features)
        y, y_pred : array of shape (n_images,), optional
            Classes, and what was predicted, such as `cross_val_predict` does.
        ax : Axes, optional

        Returns
        -------
        display : FeatureMapDisplay
        """
        if len(features) < 2 or np.shape(features)[1] < 2:
            raise ValueError(
                f"Got features of shape {np.shape(features)}, but expected two or more of two or more."
            )
        wrong = None if y_pred is None else np.asarray(y) != np.asarray(y_pred)
        return cls(plane(directions(features)), None if y is None else np.asarray(y), wrong).plot(ax)

    def plot(self, ax: Axes | None = None) -> FeatureMapDisplay:
        """Draw it, on axes of its own where none are given."""
        self.ax_ = pyplot().subplots(layout="constrained")[1] if ax is None else ax
        from matplotlib.patheffects import withStroke

        self.figure_ = self.ax_.figure
        labels = np.zeros(len(self.points)) if self.y is None else self.y
        classes = np.unique(labels)
        for k, label in enumerate(classes):
            here = self.points[labels == label]
            marker = MARKERS[k // len(COLOURS) % len(MARKERS)]
            self.ax_.scatter(
                *here.T, s=24, color=COLOURS[k % len(COLOURS)], marker=marker, alpha=0.85, label=str(label)
            )
        if self.y is not None and len(classes) <= MOST_NAMED:
            for label in classes:
                place = np.median(self.points[labels == label], axis=0)
                name = self.ax_.annotate(str(label), place, ha="center", weight="bold", parse_math=False)
                name.set_path_effects([withStroke(linewidth=3, foreground="white")])
        if self.wrong is not None:
            rings = self.points[self.wrong]
            self.ax_.scatter(*rings.T, s=90, facecolors="none", edgecolors="black")
        self.ax_.set_axis_off()
        return self
