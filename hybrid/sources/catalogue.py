"""The networks: a name or a user's own file in, its frozen record and the module that knows its kind out."""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path

from hybrid.sources import (
    bundled,
    efficientnet_lite,
    exchange,
    hub,
    keras_applications,
    keras_file,
    saved_model,
    tiny,
)
from hybrid.sources.record import Backbone
from hybrid.sources.source import Filed, Named, Source

NAMED: tuple[Named, ...] = (efficientnet_lite, tiny, keras_applications)
# A network inside a bundle has a path where there is no file.
FILED: tuple[Filed, ...] = (bundled, keras_file, saved_model, exchange)


def source(record: Backbone) -> Source:
    """Return the module that knows a network's kind."""
    return next(one for one in (*NAMED, *FILED) if one.__name__ == record.source)


def find(name: str | os.PathLike) -> Backbone:
    """Return the record of a network by its name, whatever its case, '-' and '_', or by its file's path.

    >>> find("ResNet-50").name
    'resnet50'
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"Got backbone={name!r}, but expected a name from hybrid.backbones() or a path.")
    record = _by_plain_name(name)
    if record is not None:
        return record
    path = hub.fetch(name) if hub.is_handle(name) else Path(name).expanduser()
    for one in FILED:
        if one.reads(path):
            return replace(one.read(path), name=name) if hub.is_handle(name) else one.read(path)
    names = [record.name for record in known()]
    near = difflib.get_close_matches(str(name).lower(), names, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    kinds = ", ".join(one.KIND for one in FILED)
    raise ValueError(
        f"Got backbone={os.fspath(name)!r}, but expected a name from hybrid.backbones(), or {kinds}: "
        f"{'it is none of these' if path.exists() else 'there is no such name and no such file'}.{hint}"
    )


def is_name(name: object) -> bool:
    """Say whether a network is known by this name, rather than by its file."""
    return isinstance(name, str) and _by_plain_name(name) is not None


def known() -> tuple[Backbone, ...]:
    """Return the records of all networks that have a name."""
    return tuple(record for one in NAMED for record in one.records())


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

    rows = [
        {
            "name": record.name,
            "family": record.family,
            "size": record.size[0],
            "width": record.width("last"),
            "stages": " ".join(stage.name for stage in record.stages),
            "parameters": record.parameters,
            "licence": record.licence,
            "weights at hand": one.at_hand(record),
        }
        for one in NAMED
        for record in one.records()
    ]
    return pd.DataFrame(rows)


def _by_plain_name(name):
    return {_plain(record.name): record for record in known()}.get(_plain(os.fspath(name)))


def _plain(name):
    return name.lower().replace("-", "").replace("_", "")
