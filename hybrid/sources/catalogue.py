"""The networks: a name or a user's own file in, its frozen record out."""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from functools import cache

from hybrid.sources import bundled, efficientnet_lite, hub, keras_applications, tiny, user_file
from hybrid.sources.record import Backbone


def find(name) -> Backbone:
    """Return the record of a network by its name, whatever its case, '-' and '_', or by its file's path.

    >>> find("ResNet-50").name
    'resnet50'
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"Got backbone={name!r}, but expected a name from hybrid.backbones() or a path.")
    record = _by_plain_name().get(_plain(os.fspath(name)))
    if record is not None:
        return record
    if hub.is_handle(name):
        return replace(user_file.read(hub.fetch(name)), name=name)
    if bundled.is_inside(name):
        return bundled.read(name)
    if user_file.looks_like_a_path(name):
        return user_file.read(name)
    names = [record.name for record in known()]
    near = difflib.get_close_matches(str(name).lower(), names, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        f"Got backbone={name!r}, but expected a name from hybrid.backbones(), {user_file.KINDS}.{hint}"
    )


def is_name(name) -> bool:
    """Say whether a network is known by this name, rather than by its file."""
    return isinstance(name, str) and _plain(name) in _by_plain_name()


@cache
def known() -> tuple[Backbone, ...]:
    """Return the records of all networks that have a name."""
    return (*efficientnet_lite.records(), tiny.RECORD, *keras_applications.records())


def backbones():
    """Return the table of networks that have a name.

    Returns
    -------
    table : DataFrame
        One row a network: name, family, size, width (of layer "last"), stages, parameters (without the
        head), licence (of the ImageNet weights), and whether the weights are at hand now.

    Examples
    --------
    >>> from hybrid import backbones
    >>> backbones().query("width < 100")[["name", "size", "width"]]
       name  size  width
    3  tiny    32     64
    """
    import pandas as pd

    from hybrid.weights.locate import at_hand

    rows = [
        {
            "name": record.name,
            "family": record.family,
            "size": record.size[0],
            "width": record.last.width,
            "stages": " ".join(stage.name for stage in record.stages),
            "parameters": record.parameters,
            "licence": record.licence,
            "weights at hand": at_hand(record),
        }
        for record in known()
    ]
    return pd.DataFrame(rows)


@cache
def _by_plain_name():
    return {_plain(record.name): record for record in known()}


def _plain(name):
    return name.lower().replace("-", "").replace("_", "")
