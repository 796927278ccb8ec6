"""A handle of Kaggle Models, which replaced TF Hub, in; the folder with what it names out.

A handle is "kaggle:" and OWNER/MODEL/FRAMEWORK/VARIATION, with or without /VERSION.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from hybrid.home import home

PREFIX = "kaggle:"
PART = r"[A-Za-z0-9][\w.-]*"


def is_handle(name: object) -> bool:
    """Say whether a network is named by its handle."""
    return isinstance(name, str) and name.startswith(PREFIX)


@cache
def fetch(name: str) -> Path:
    """Return the folder of a model: put there by the user, or downloaded by Kaggle's own client."""
    handle = name.removeprefix(PREFIX)
    if not re.fullmatch(rf"{PART}(/{PART}){{3}}(/[0-9]+)?", handle):
        raise ValueError(
            f"Got backbone={name!r}, but expected 'kaggle:OWNER/MODEL/FRAMEWORK/VARIATION' or that with "
            "'/VERSION', such as 'kaggle:google/mobilenet-v2/tensorFlow2/035-128-feature-vector/2'."
        )
    folder = home() / "hub" / handle
    if folder.is_dir():
        return folder
    way_out = f"Or download https://www.kaggle.com/models/{handle} elsewhere, and unpack it into {folder}."
    try:
        import kagglehub
    except ImportError as exc:
        needs = "needs the package 'kagglehub': pip install \"hybrid-features[hub]\""
        raise ValueError(f"Backbone {name!r} {needs}. {way_out}") from exc
    try:
        return Path(kagglehub.model_download(handle))
    # Its own errors, those of requests and of the disk have nothing in common.
    except Exception as exc:
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise ValueError(
            f"Cannot download {name!r}: {reason:.300}. With a VERSION, one that was downloaded before is found "
            f"without internet. {way_out}"
        ) from exc
