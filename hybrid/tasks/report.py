"""An outcome, or the bundle that was made of it, in; its report as one HTML file out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid.archive import place
from hybrid.archive.files import refusal
from hybrid.archive.manifest import Key
from hybrid.bundle.extras import REPORT
from hybrid.bundle.loading import read
from hybrid.report.facts import facts
from hybrid.report.page import write_page
from hybrid.report.pictures import unpacked

if TYPE_CHECKING:
    from hybrid.experiment.outcome import Outcome


def write_report(model: str | os.PathLike, out: str | os.PathLike, key: Key = None) -> dict:
    """Write the report of a bundle that `hybrid train` made; the training images need not be there any more.

    Parameters
    ----------
    model : path
    out : path
        An .html file.
    key : bytes or path of a file, optional
        Refuse a bundle that was not signed with this key.

    Returns
    -------
    dict
        "path" and "bytes".
    """
    place.check(out)
    bundle = read(model, key)
    if REPORT not in bundle.extras:
        raise ValueError(
            f"Got {os.fspath(model)!r}, which was saved without what a report shows: use `hybrid train` (without "
            "--no-report)."
        )
    try:
        page = write_page(bundle.extras[REPORT], out, stem(model))
    except (OSError, ImportError):
        raise
    except Exception as exc:
        found = f"what it holds for a report does not fit together ({exc})"
        raise refusal(bundle.path, found, "what `hybrid train` writes") from exc
    return {"path": str(page), "bytes": page.stat().st_size}


def reported(outcome: Outcome, model: str | os.PathLike, note: Callable[[str], object]) -> dict:
    """Write the report beside a bundle that is about to be saved; return what the bundle has to hold for it."""
    found = facts(outcome)
    try:
        note(f"report: {write_page(found, Path(model).with_name(f'{stem(model)}.html'), stem(model))}")
    except ImportError as exc:
        note(f"no report: {exc}")
    count = sum(map(bool, unpacked(found["pictures"])))
    note(f"the bundle holds small pictures of {count} training images for it; --no-report leaves them out")
    return {REPORT: found}


def stem(model: str | os.PathLike) -> str:
    """Return what a bundle is called."""
    return Path(model).expanduser().absolute().name.removesuffix(".hybrid")
