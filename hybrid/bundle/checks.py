"""What an estimator would be made of in, with its line of the table; a ValueError where anything does not fit.

A spec is a kind and its sizes, such as "float k f"; alternatives are divided by " | ". A size is a number, a name
that stands for the same number throughout the estimator, one of DERIVED, or "p:0,pairs": one of these.
"<k" bounds whole numbers from above, "=s" is what they sum to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real

import numpy as np


class NotChecked(ValueError):
    """An estimator that is in no table: only a reader who trusts its maker has it."""


PLAIN = (str, bool, int, float, type(None), np.generic)
# No name, or list of names and parameters, is longer; no number of jobs is larger.
MOST_TEXT, MOST_JOBS = 10_000, 64
DERIVED: dict[str, Callable] = {
    "k-1": lambda known: known["k"] - 1,
    "pairs": lambda known: known["k"] * (known["k"] - 1) // 2,
    # Two classes share one row of coefficients.
    "d": lambda known: known["k"] if known["k"] > 2 else 1,
}
COMMON = {
    "n_features_in_?": "count f",
    "feature_names_in_?": "names f",
    "_sklearn_output_config?": "any",
    "n_jobs?": "jobs",
}


def check_state(kind: type, table: Mapping[str, str], state: Mapping):
    """Raise ValueError unless an estimator's attributes are the table's, each as its spec says."""
    params = kind._get_param_names() if hasattr(kind, "_get_param_names") else ()
    specs = {name.rstrip("?"): spec for name, spec in (COMMON | table).items()}
    for name in params:
        if name not in state or not _is_param(state[name]):
            raise ValueError(f"{kind.__name__} with {name}={state.get(name)!r:.80}")
    fitted = state.keys() - set(params)
    strange = fitted - specs.keys()
    if strange:
        raise ValueError(f"{kind.__name__} with the attribute {min(strange, key=str)!r:.80}")
    needed = {name for name in table if not name.endswith("?")} - set(params)
    if needed & fitted and not needed <= fitted:
        raise ValueError(f"{kind.__name__} without {min(needed - fitted)!r}")
    known = {}
    for name, spec in specs.items():
        if name in state and not fits(state[name], spec, known):
            shape = getattr(state[name], "shape", "")
            raise ValueError(
                f"{kind.__name__} whose {name!r} is no {spec!r}: {state[name]!r:.80} {shape}".strip()
            )


def fits(value: object, spec: str, known: dict) -> bool:
    """Say whether a value is what a spec says; remember the sizes that it names."""
    for alternative in spec.split(" | "):
        kind, *arguments = alternative.split()
        trial = dict(known)
        if KINDS[kind](value, arguments, trial):
            known.update(trial)
            return True
    return False


def _is_size(value: int, size: str, known: dict) -> bool:
    """Say whether a number is the one that a size stands for; a new name stands for it from now on."""
    name, _, choice = size.partition(":")
    if choice and not any(_is_size(value, one, known) for one in choice.split(",")):
        return False
    if name.isdigit():
        return value == int(name)
    if name in DERIVED:
        return value == DERIVED[name](known)
    return known.setdefault(name, value) == value


def is_count(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is a whole number, and of the size that is asked for."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral) or not 0 <= value < 2**62:
        return False
    return all(_is_size(int(value), size, known) for size in arguments)


def is_number(value: object, arguments: Sequence[str], known: dict) -> bool:
    return isinstance(value, Real) and bool(np.isfinite(value))


def _is_array(kinds: str, name: str | None = None) -> Callable:
    """Return the check of an array of these kinds of numbers, all finite."""

    def check(value: object, arguments: Sequence[str], known: dict) -> bool:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
            return False
        if (name and value.dtype.name != name) or value.dtype.itemsize > 8:
            return False
        sizes = [one for one in arguments if one[0] not in "<="]
        if value.ndim != len(sizes) or not all(
            _is_size(n, one, known) for n, one in zip(value.shape, sizes, strict=True)
        ):
            return False
        if not np.isfinite(value).all() or (value.dtype.kind == "i" and value.size and value.min() < 0):
            return False
        return all(_is_bounded(value, one, known) for one in arguments if one[0] in "<=")

    return check


def _is_bounded(value: np.ndarray, bound: str, known: dict) -> bool:
    limit = known[bound[1:]]
    return value.sum() == limit if bound[0] == "=" else not value.size or value.max() < limit


def _is_labels(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is an array of different labels in order, as np.unique gives."""
    if not isinstance(value, np.ndarray) or value.ndim != 1 or not len(value):
        return False
    try:
        ordered = bool((value[:-1] < value[1:]).all())
    except TypeError:
        return False
    return ordered and _is_size(len(value), arguments[0], known)


def _is_classes(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is labels, of two classes at least."""
    return _is_labels(value, arguments, known) and len(value) > 1


def _is_names(value: object, arguments: Sequence[str], known: dict) -> bool:
    plain = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "UO"
    return plain and all(isinstance(one, str) for one in value) and _is_size(len(value), arguments[0], known)


def _is_powers(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is the parameters of a distance: the power of Minkowski's, if any, and no weights."""
    if not isinstance(value, dict) or not set(value) <= {"p", "w"}:
        return False
    return value.get("w") is None and is_number(value.get("p", 2), (), known)


def _is_jobs(value: object, arguments: Sequence[str], known: dict) -> bool:
    return value is None or (type(value) is int and abs(value) <= MOST_JOBS)


def _is_any(value: object, arguments: Sequence[str] = (), known: dict | None = None) -> bool:
    """Say whether a value is plain, or made of plain ones and arrays."""
    if isinstance(value, np.ndarray) or is_plain(value) or isinstance(value, slice):
        return True
    if isinstance(value, Mapping):
        return all(is_plain(key) for key in value) and all(_is_any(one) for one in value.values())
    return isinstance(value, (list, tuple)) and all(map(_is_any, value))


def is_plain(value: object) -> bool:
    return isinstance(value, PLAIN) and (not isinstance(value, str) or len(value) <= MOST_TEXT)


def _is_param(value: object) -> bool:
    """Say whether a value is what a constructor takes: plain, an estimator, or lists of them."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_param, value))
    if isinstance(value, Mapping):
        return all(is_plain(key) and _is_param(one) for key, one in value.items())
    return _is_any(value) or is_model(value)


def is_model(value: object, arguments: Sequence[str] = (), known: dict | None = None) -> bool:
    """Say whether a value is an estimator, which was checked when it was built; of these names if any."""
    name = type(value).__name__
    return (hasattr(value, "get_params") or name == "_CalibratedClassifier") and (
        not arguments or name in arguments
    )


def _is_models(value: object, arguments: Sequence[str], known: dict) -> bool:
    values = list(value.values()) if isinstance(value, Mapping) else value
    dropped = ("drop", "passthrough")
    return isinstance(values, list) and all(one in dropped or is_model(one, arguments) for one in values)


def _is_columns(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is what a ColumnTransformer keeps: tuples of a name, an estimator and columns."""
    return isinstance(value, list) and all(
        isinstance(one, tuple) and len(one) == 3 and is_plain(one[0]) and _is_param(one) for one in value
    )


def _is_tree(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is a tree, built by `trees.build_tree`, of these many features and classes."""
    if type(value).__name__ != "Tree":
        return False
    sizes = value.n_features, int(value.n_classes[0])
    return all(_is_size(found, one, known) for found, one in zip(sizes, arguments, strict=True))


def _is_forest(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is fitted trees of one size, which a forest hands its images without a look."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(is_model(one, ("DecisionTreeClassifier", "ExtraTreeClassifier")) for one in value)
        and all(hasattr(one, "tree_") and _is_tree(one.tree_, arguments, known) for one in value)
    )


def _is_arrays(value: object, arguments: Sequence[str], known: dict) -> bool:
    """Say whether a value is a list, or a dict by name, of arrays of finite floats."""
    values = list(value.values()) if isinstance(value, Mapping) else value
    return isinstance(values, list) and all(
        isinstance(one, np.ndarray) and one.dtype.kind == "f" and bool(np.isfinite(one).all())
        for one in values
    )


KINDS: dict[str, Callable] = {
    "any": _is_any,
    "arrays": _is_arrays,
    "classes": _is_classes,
    "columns": _is_columns,
    "count": is_count,
    "f8": _is_array("f", "float64"),
    "false": lambda value, arguments, known: value is False,
    "flag": lambda value, arguments, known: isinstance(value, (bool, np.bool_)),
    "float": _is_array("f"),
    "forest": _is_forest,
    "i4": _is_array("i", "int32"),
    "int": _is_array("iu"),
    "jobs": _is_jobs,
    "labels": _is_labels,
    "model": is_model,
    "models": _is_models,
    "names": _is_names,
    "none": lambda value, arguments, known: value is None,
    "number": is_number,
    "one": lambda value, arguments, known: isinstance(value, str) and value in arguments,
    "param": lambda value, arguments, known: _is_param(value),
    "powers": _is_powers,
    "text": lambda value, arguments, known: isinstance(value, str),
    "tree": _is_tree,
}
