"""Rows of unit length in; two numbers a row, so that rows alike lie together on a plane, out."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

# t-SNE takes 10 s for so many rows; of more, there are two principal components.
MOST_UNFOLDED = 2000


def plane(unit: np.ndarray) -> np.ndarray:
    """Return two numbers a row, so that rows alike lie together."""
    # Where others compute, too, OpenMP's threads wait for each other: 54 s instead of 6.
    with threadpool_limits(1):
        return np.round(_unfolded(unit), 3).astype(np.float32)


def _unfolded(unit: np.ndarray) -> np.ndarray:
    """Unfold them by t-SNE, which keeps neighbours together, where there are neither too few nor too many."""
    reduced = PCA(min(50, *unit.shape), random_state=0).fit_transform(unit)
    if not 8 <= len(unit) <= MOST_UNFOLDED or not reduced[:, 0].std():
        return reduced[:, :2]
    # As its own start, but of a size that is not a crowd.
    start = reduced[:, :2] / reduced[:, 0].std() * 1e-4
    perplexity = min(30, (len(unit) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init=start, max_iter=500, random_state=0).fit_transform(reduced)
