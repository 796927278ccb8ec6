"""What a bundle keeps beside its model for sets, neighbours, "none of these" and heat maps: names, and what fits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

CONFORMITY, MEMORY, IMAGES, LABELS, MEAN = "conformity", "memory", "images", "labels", "mean"
# What hybrid.report.facts gathered; checked where a page is made of it.
REPORT = "report"
PLAIN = (str, int, float, type(None))


def check_extras(extras: Mapping, width: int):
    """Raise ValueError for extras that no command could use, with features of this width."""
    if CONFORMITY in extras and not _is_column(extras[CONFORMITY]):
        raise ValueError(f"extras whose {CONFORMITY!r} is no array of numbers")
    if MEAN in extras and not (_is_column(extras[MEAN]) and len(extras[MEAN]) == width):
        raise ValueError(f"extras whose {MEAN!r} is no array of {width} numbers")
    if MEMORY not in extras:
        return
    memory = extras[MEMORY]
    if not isinstance(memory, Mapping) or not _is_rows(memory.get("features"), width):
        raise ValueError(f"extras whose {MEMORY!r} has no 'features' of {width} columns")
    count = len(memory["features"])
    if not _is_column(memory.get("distances")) or len(memory["distances"]) > count:
        raise ValueError(f"extras whose {MEMORY!r} has no 'distances' of up to {count} images")
    for name in (IMAGES, LABELS):
        found = extras.get(name)
        if (
            not isinstance(found, list)
            or len(found) != count
            or not all(isinstance(one, PLAIN) for one in found)
        ):
            raise ValueError(f"extras whose {name!r} is no list of {count}")


def _is_column(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f" and len(value) > 0


def _is_rows(value: object, width: int) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind == "f"
        and value.ndim == 2
        and value.shape[1] == width
        and len(value) > 0
    )
