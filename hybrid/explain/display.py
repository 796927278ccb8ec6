"""An explanation in, a picture in a notebook out."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from hybrid.explain.explanation import Explanation, explain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pyplot() -> ModuleType:
    """Return what draws."""
    try:
        import matplotlib.pyplot
    except ImportError as exc:
        raise ImportError("A display needs Matplotlib: pip install matplotlib") from exc
    return matplotlib.pyplot


class ExplanationDisplay:
    """Which places of a picture speak for a class (orange) and which against it (blue).

    Parameters
    ----------
    explanation : Explanation
        What :func:`hybrid.explain.explanation.explain` found.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        Where it was drawn.

    Examples
    --------
    >>> from hybrid import ExplanationDisplay, build_pipeline, load_sample
    >>> sample = load_sample(4)
    >>> model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    >>> ExplanationDisplay.from_estimator(model, sample["image"][0]).explanation.label
    'bricks'
    """

    def __init__(self, explanation: Explanation):
        self.explanation = explanation

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        image: object,
        label: object = None,
        *,
        mean: ArrayLike | None = None,
        ax: Axes | None = None,
    ) -> ExplanationDisplay:
        """Explain an image and draw it.

        Parameters
        ----------
        estimator : Pipeline
            Fitted, such as :func:`hybrid.build_pipeline` gives.
        image : path, bytes, PIL image or array
        label : optional
            The class to explain; by default the predicted one.
        mean : array of shape (n_features,), optional
            The mean training vector; by default what the scaler tells of it.
        ax : Axes, optional

        Returns
        -------
        display : ExplanationDisplay
        """
        return cls(explain(estimator, image, label, mean)).plot(ax)

    def plot(self, ax: Axes | None = None) -> ExplanationDisplay:
        """Draw it, on axes of its own where none are given."""
        self.ax_ = pyplot().subplots()[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        found = self.explanation
        self.ax_.imshow(found.draw())
        self.ax_.set_title(f"{found.label}: decision {found.value:.2f}, on average {found.start:.2f}")
        self.ax_.set_axis_off()
        return self
