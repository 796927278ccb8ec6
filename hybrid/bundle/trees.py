"""Decision trees from a file: refused unless every step in them leads to a node and a feature that exist.

scikit-learn follows their numbers without looking, so that wrong ones read foreign memory or never end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

LEAF = -1
# Their trees are handed X without another check of its width.
UNCHECKED = ("sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._iforest")


def check_trees(objects: Iterable):
    """Raise ValueError for a tree that is not sound, or that no estimator of its width holds."""
    trees, sound = set(), set()
    for value in objects:
        kind = type(value)
        if kind.__name__ in ("Tree", "TreePredictor") and kind.__module__.startswith("sklearn."):
            trees.add(id(value))
            continue
        width = getattr(value, "n_features_in_", None) if hasattr(value, "__dict__") else None
        if kind.__module__ == "sklearn.tree._classes" and hasattr(value, "tree_"):
            sound.add(id(value.tree_))
            check_tree(value.tree_, width)
        elif "_predictors" in getattr(value, "__dict__", ()):
            for predictor in (one for stage in value._predictors for one in stage):
                sound.add(id(predictor))
                check_predictor(predictor, width)
        elif kind.__module__ in UNCHECKED and hasattr(value, "estimators_"):
            check_forest(value.estimators_, width)
    if trees - sound:
        raise ValueError("a tree outside of any estimator")


def check_forest(trees: ArrayLike, width: int | None):
    if {tree.n_features_in_ for tree in np.ravel(trees)} != {width}:
        raise ValueError("a forest whose trees see another number of features")


def check_tree(tree: Tree, width: int | None):
    """Check the nodes of a decision tree."""
    inner = tree.children_left != LEAF
    steps = np.stack([tree.children_left, tree.children_right])
    check_nodes(inner, steps, tree.feature, width)
    if tree.n_features != width:
        raise ValueError("a tree that sees another number of features than its estimator")


def check_predictor(predictor: TreePredictor, width: int | None):
    """Check the nodes of a tree of histogram gradient boosting."""
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    if nodes["is_categorical"][inner].any():
        raise ValueError("a tree with categories, which no features have")
    steps = np.stack([nodes["left"], nodes["right"]]).astype(np.int64)
    check_nodes(inner, steps, nodes["feature_idx"], width)


def check_nodes(inner: np.ndarray, steps: np.ndarray, features: np.ndarray, width: int | None):
    """Every step from an inner node leads onwards, so that each path ends."""
    here, count = np.flatnonzero(inner), len(inner)
    steps, features = steps[:, inner], features[inner]
    if not count or (steps <= here).any() or (steps >= count).any():
        raise ValueError("a tree whose nodes lead nowhere")
    if len(here) and (width is None or features.min() < 0 or features.max() >= width):
        raise ValueError("a tree that asks for features there are not")
