"""What commands print: a record in; lines and tables, or JSON, on stdout out.

Each function below `emit` says what people see of one kind of record: text is a line, a list of dicts a table.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid.archive.place import whole
from hybrid.spelling import cell, counted, plain

if TYPE_CHECKING:
    from hybrid.experiment.compare import Comparison
    from hybrid.experiment.findings import Findings

# Three decimals, and no -0.000.
SHARE = "z.3f"


def emit(found: object, as_json: bool, show: Callable[[object], Iterable[str | list[dict]]]):
    """Print what a command found: its record for a program, or what `show` makes of it for people."""
    if as_json:
        print(json.dumps(found.to_json() if hasattr(found, "to_json") else found, default=str))
        return
    for part in show(found):
        print(plain(part, "\n\t")) if isinstance(part, str) else print_table(part)


def print_table(rows: list[dict]):
    """Print records of the same keys; what does not fit goes on in the next line, and is never cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table()
    for key in rows[0]:
        grid.add_column(Text(plain(str(key))), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(text(value)) for value in row.values()))
    Console().print(grid)


def text(value: object) -> str:
    """Return a value as people read it: floats with three decimals, whole numbers in groups of three, text plainly."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format(value, SHARE)
    return format(value, ",") if isinstance(value, int) else plain(str(value))


def wide(rows: list[dict]) -> Iterator[str]:
    """Show a line a record, as long as it is."""
    cells = [list(map(text, rows[0])), *([text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def networks(rows: list[dict]) -> Iterator[list[dict]]:
    """Show of networks what 80 columns hold."""
    yield [
        {key: row[key] for key in ("name", "size", "width", "parameters", "weights at hand")} for row in rows
    ]


def values(record: dict) -> Iterator[str]:
    """Show a line a value."""
    for key, value in record.items():
        yield f"{key:10} {text(value)}"


def lines(found: Findings) -> list[str]:
    """Show what a check found."""
    return found.lines()


def scores(found: dict) -> list[dict]:
    """Turn {"accuracy": {"mean": ..}} into rows."""
    return [{"score": name.replace("_", " ")} | numbers for name, numbers in found.items()]


def _model(best: dict) -> str:
    """Return a model in a line: its kind, what it reads, then its parameters."""
    params = dict(best)
    text = params.pop("model")
    if "layers" in params:
        text += f" on {'+'.join(params.pop('layers'))} ({'+'.join(params.pop('pooling'))})"
    if "backbone" in params:
        text += f" of {params.pop('backbone')}"
    return plain(", ".join([text, *(f"{key}={value}" for key, value in params.items())]))


def outcome(found: dict) -> Iterator[str | list[dict]]:
    """Show what training found: scores beside baselines, then a line for everything else worth knowing."""
    yield scores(found["scores"])
    models = {"this model": found["scores"]} | found["baselines"]
    rows = [{"model": name.replace("_", " ")} | own["accuracy"] for name, own in models.items()]
    if len(rows) > 1:
        yield rows
    yield f"best: {_model(found['best'])}"
    copies = found["duplicates"]
    if copies["groups"]:
        yield (
            f"near duplicates: {counted(copies['images'], 'image')} in {counted(copies['groups'], 'group')}; accuracy "
            f"{copies['accuracy']['mean']:{SHARE}} with each group in one fold, "
            f"{copies['accuracy_with_leak']['mean']:{SHARE}} with the leak"
        )
    if found["curve"]:
        yield found["curve"]["sentence"]
    yield from warnings(found)
    if "prediction" in found:
        yield from predictions([found["prediction"]])


def evaluation(found: dict) -> Iterator[str | list[dict]]:
    """Show scores, then a row a class, then what was left out."""
    yield scores(found["scores"])
    yield found["classes"]
    yield from warnings(found)


def warnings(found: dict) -> Iterator[str]:
    """Show a line a warning."""
    yield from (f"warning: {warning}" for warning in found["warnings"])


def comparison(found: Comparison) -> Iterator[list[dict]]:
    """Show a row a model, then a row a test."""
    yield found.table()
    yield list(found.tests)


def labels(found: dict) -> Iterator[str]:
    """Show each image, and below it its likeliest classes."""
    for image, names in found.items():
        yield plain(image)
        yield from (f"  {probability:{SHARE}}  {name}" for name, probability in names)


def predictions(records: list[dict]) -> Iterator[str]:
    """Show a line an image that could be read: its name, class and whatever else is known of it, between tabs."""
    for record in records:
        if "error" in record:
            continue
        columns = [record["image"], str(record["label"])]
        if "probability" in record:
            columns.append(f"{record['probability']:{SHARE}}")
        if record.get("none of these"):
            columns.append("unlike all training images")
        if "set" in record:
            columns.append("{" + ", ".join(map(str, record["set"])) + "}")
        columns += [f"like {one['image']} ({one['label']})" for one in record.get("neighbours", ())]
        yield "\t".join(map(plain, columns))


def explanation(found: dict) -> Iterator[str]:
    """Show which class a picture explains, and what its decision value is against."""
    decisions = f"decision {found['decision']:{SHARE}}, on average {found['average_decision']:{SHARE}}"
    yield f"{found['image']}\t{found['label']}\t{decisions}\t{found['path']}"


def write_csv(records: list[dict], path: Path):
    """Write predictions, a row an image; lists as JSON, no text that a spreadsheet would run."""
    with whole(path, "utf-8") as file:
        columns = dict.fromkeys(chain(*sorted(records, key=len, reverse=True)))
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for record in records:
            cells = {k: json.dumps(v) if isinstance(v, (list, dict)) else cell(v) for k, v in record.items()}
            writer.writerow(cells)
