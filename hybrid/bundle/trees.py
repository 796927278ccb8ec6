"""The parts of a decision tree from a file in; the tree out, if each step in it leads to what exists.

scikit-learn follows a tree's numbers without looking, so that wrong ones read foreign memory or never end.
"""

from __future__ import annotations

import numpy as np

LEAF = -1
MOST_DEPTH = 10_000


def build_tree(arguments: tuple, state: dict) -> object:
    """Return a scikit-learn tree; raise ValueError for one that is not sound, before compiled code sees it."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    width, classes, outputs = arguments
    nodes, values, count, depth = (state[name] for name in ("nodes", "values", "node_count", "max_depth"))
    sizes = (width, outputs, count, depth)
    if len(state) != 4 or not all(type(n) is int and 0 <= n < 2**31 for n in sizes) or outputs != 1:
        raise ValueError("a tree of other parts, or of several outputs")
    if (
        classes.dtype != np.intp
        or classes.shape != (1,)
        or nodes.dtype != NODE_DTYPE
        or nodes.shape != (count,)
    ):
        raise ValueError(f"a tree of {count} nodes that holds {nodes.shape}")
    if values.dtype != np.float64 or values.shape != (count, 1, classes[0]) or not np.isfinite(values).all():
        raise ValueError(f"a tree of {count} nodes with values of the shape {values.shape}")
    _check_nodes(nodes, width, depth)
    tree = Tree(width, classes, outputs)
    tree.__setstate__(state)
    return tree


def _check_nodes(nodes: np.ndarray, width: int, depth: int):
    """Every step from an inner node leads onwards to a node of its own, no deeper than the tree says."""
    inner = nodes["left_child"] != LEAF
    steps = np.stack([nodes["left_child"], nodes["right_child"]])[:, inner]
    here, features = np.flatnonzero(inner), nodes["feature"][inner]
    if not len(nodes) or (steps <= here).any() or (steps >= len(nodes)).any():
        raise ValueError("a tree whose nodes lead nowhere")
    if len(np.unique(steps)) != steps.size:
        raise ValueError("a tree whose nodes meet again")
    if len(here) and (features.min() < 0 or features.max() >= width):
        raise ValueError("a tree that asks for features there are not")
    level, rows = 0, np.zeros(1, int)
    while len(rows := rows[inner[rows]]):
        level += 1
        if level > min(depth, MOST_DEPTH):
            raise ValueError(f"a tree deeper than the {depth} levels it says")
        rows = np.concatenate([nodes["left_child"][rows], nodes["right_child"][rows]])
