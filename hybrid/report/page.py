"""Facts in, one HTML file out that opens from disk: its pictures, charts and their library are inside."""

from __future__ import annotations

import base64
import gzip
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid.archive.place import whole
from hybrid.experiment.outcome import jsonable
from hybrid.report.pictures import COLOURS, unpacked
from hybrid.spelling import counted, spelt
from hybrid.statistics.duplicates import members

if TYPE_CHECKING:
    from jinja2 import Environment

    from hybrid.experiment.compare import Comparison

MISSING = "A report needs Jinja2 and Plotly: pip install 'hybrid-features[report]'"
LISTED = 24
# A matrix of more classes is no picture any more; the pairs that are mixed up are listed instead.
MOST_CLASSES, MOST_PAIRS = 40, 60
TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy (mean recall of the classes)",
    "macro_f1": "macro F1",
    "log_loss": "log loss, in nats (the less, the better)",
    "roc_auc": "area under the ROC curve, one against the rest",
    "calibration_error": "calibration error (the less, the better)",
}


def write_page(facts: dict[str, Any], path: str | os.PathLike, name: str = "") -> Path:
    """Write the report of what `facts` gathered; `name` is what the model is called."""
    view = shown(facts)
    return write(path, "report.html", name=name, titles=TITLES, **view)


def write_comparison(found: Comparison, path: str | os.PathLike, name: str = "") -> Path:
    """Write the report of a comparison; `name` is what the images are called."""
    told = found.to_json()
    data = {"models": found.table(), "score": found.score}
    return write(path, "comparison.html", name=name, titles=TITLES, data=jsonable(data), **told)


def write(path: str | os.PathLike, template: str, **values: Any) -> Path:
    """Render a template into a file, which appears when it is whole."""
    path = Path(path)
    text = templates().get_template(template).render(plotly=_packed_plotly(), **values)
    with whole(path, "utf-8") as file:
        file.write(spelt(text))
    return path


def templates() -> Environment:
    """Return the templates of this folder; whatever they are given is text, unless they say otherwise."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as exc:
        raise ImportError(MISSING) from exc
    loader = PackageLoader("hybrid.report", ".")
    found = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters |= {
        "share": share,
        "percent": percent,
        "number": number,
        "plain": plain,
        "counted": counted,
    }
    return found


@cache
def _packed_plotly() -> str:
    """Return Plotly's library, packed to a third: the page unpacks it."""
    try:
        code = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    except ImportError as exc:
        raise ImportError(MISSING) from exc
    return base64.b64encode(gzip.compress(code, mtime=0)).decode()


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def number(value: object) -> str:
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:,.1f}"
        if isinstance(value, float)
        else str(value)
    )


def plain(value: object) -> str:
    """Return a parameter as people write it."""
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(facts: dict[str, Any]) -> dict[str, Any]:
    """Turn facts into what the template shows, and what its script needs as `data`."""
    truth, predicted, classes = facts["truth"], facts["predicted"], [str(one) for one in facts["classes"]]
    probabilities = facts["probabilities"]
    counts = confusion(truth, predicted, len(classes))
    rows, folder = np.arange(len(truth)), _common_folder(facts["names"])
    data = {
        "classes": classes,
        "colours": COLOURS,
        "names": [name.removeprefix(folder) for name in facts["names"]],
        "truth": truth.tolist(),
        "predicted": predicted.tolist(),
        "probability": np.round(probabilities.max(axis=1), 3).tolist(),
        "own": np.round(probabilities[rows, truth], 3).tolist(),
        "points": facts["points"].T.round(2).tolist() if len(facts["points"]) else [],
        "thumbs": encoded(facts["pictures"]),
        "heats": dict(zip(facts["worst"].tolist(), encoded(facts["heats"]), strict=False)),
        "calibration": facts["calibration"],
        "curve": facts["summary"]["curve"],
        "factor": facts["summary"]["config"]["curve"]["factor"],
        "search": facts["search"],
    }
    return facts["summary"] | {
        "data": jsonable(data),
        "labels": classes,
        "folder": folder,
        "images": len(truth),
        "tested": int((predicted >= 0).sum()),
        "errors": int(counts.sum() - np.trace(counts)),
        "matrix": counts.tolist() if len(classes) <= MOST_CLASSES else None,
        "pairs": pairs(counts),
        "by_class": _by_class(counts),
        "wrong": [{"row": row, "near": near(facts, row)} for row in facts["worst"][:LISTED].tolist()],
        "doubtful": facts["doubtful"][:LISTED].tolist(),
        "n_doubtful": len(facts["doubtful"]),
        "copies": copies(facts["copies"]),
        "outliers": facts["outliers"].tolist(),
        "coverage": facts["coverage"],
        "search": sorted(facts["search"], key=lambda one: -one["score"]),
        "recipe": facts["recipe"],
    }


def _common_folder(names: list[str]) -> str:
    """Return the folder that all images are in, with the slash at its end, or nothing.

    Examples
    --------
    >>> _common_folder(["/photos/cats/1.jpg", "/photos/cars/2.jpg"])
    '/photos/'
    """
    start = os.path.commonprefix(names)  # noqa: RUF071
    return start[: max(start.rfind("/"), start.rfind("\\")) + 1]


def encoded(files: dict[str, np.ndarray]) -> list[str]:
    return [base64.b64encode(one).decode() for one in unpacked(files)]


def confusion(truth: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    counts = np.zeros((k, k), int)
    known = predicted >= 0
    np.add.at(counts, (truth[known], predicted[known]), 1)
    return counts


def pairs(counts: np.ndarray) -> list[dict[str, int]]:
    """Return the classes that are taken for another, those first that are so most often."""
    off = counts - np.diag(np.diag(counts))
    order = np.argsort(-off, axis=None, kind="stable")[: min(MOST_PAIRS, np.count_nonzero(off))]
    rows, columns = np.unravel_index(order, off.shape)
    return [
        {"true": int(i), "predicted": int(j), "images": int(off[i, j])}
        for i, j in zip(rows, columns, strict=True)
    ]


def _by_class(counts: np.ndarray) -> list[dict[str, Any]]:
    """Return images, recall and precision of every class, the one with the least recall first."""
    right, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    found = [
        {
            "class": k,
            "images": int(true[k]),
            "recall": float(right[k] / true[k]) if true[k] else None,
            "precision": float(right[k] / said[k]) if said[k] else None,
        }
        for k in range(len(counts))
    ]
    return sorted(found, key=lambda one: 2.0 if one["recall"] is None else one["recall"])


def near(facts: dict[str, Any], row: int) -> list[int]:
    """Return the images most like one."""
    return [int(one) for one in facts["nearest"][row] if one >= 0]


def copies(groups: np.ndarray) -> list[list[int]]:
    """Return the rows of each group of near duplicates, the largest groups first."""
    return [part.tolist() for part in sorted(members(groups), key=len, reverse=True)][:LISTED]
