"""What commands print: records in, tables, lines or JSON on stdout out."""

from __future__ import annotations

import csv
import json

SHARE = ".3f"


def show(rows, formats=None):
    """Print records as a table; floats without a format of their own have three decimals."""
    from rich.console import Console
    from rich.table import Table

    formats = formats or {}
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(text(value, formats.get(key)) for key, value in row.items()))
    Console().print(table)


def text(value, pattern=None) -> str:
    if value is None:
        return ""
    return format(value, pattern or (SHARE if isinstance(value, float) else ""))


def show_record(record, as_json):
    """Print one record, a line a value, or as JSON."""
    if as_json:
        print(json.dumps(record, default=str))
    else:
        for key, value in record.items():
            print(f"{key:10} {value:,}" if isinstance(value, int) else f"{key:10} {value}")


def score_rows(scores) -> list[dict]:
    """Turn {"accuracy": {"mean": ..}} into rows."""
    return [{"score": name.replace("_", " ")} | numbers for name, numbers in scores.items()]


def show_scores(scores):
    show(score_rows(scores))


def show_outcome(outcome):
    """Print what training found: scores beside baselines, then a line for everything else worth knowing."""
    show_scores(outcome["scores"])
    models = {"this model": outcome["scores"]} | outcome["baselines"]
    rows = [{"model": name.replace("_", " ")} | scores["accuracy"] for name, scores in models.items()]
    if len(rows) > 1:
        show(rows)
    print("best:", ", ".join(f"{key}={value}" for key, value in outcome["best"].items()))
    copies = outcome["duplicates"]
    if copies["groups"]:
        print(
            f"near duplicates: {copies['images']} images in {copies['groups']} groups; accuracy "
            f"{copies['accuracy']['mean']:{SHARE}} with each group in one fold, "
            f"{copies['accuracy_with_leak']['mean']:{SHARE}} with the leak"
        )
    if outcome["curve"]:
        print(outcome["curve"]["sentence"])
    for warning in outcome["warnings"]:
        print("warning:", warning)
    if "prediction" in outcome:
        print(*prediction(outcome["prediction"]), sep="\t")


def prediction(record) -> list[str]:
    """The columns of one predicted image."""
    columns = [record["image"], str(record["label"])]
    if "probability" in record:
        columns.append(f"{record['probability']:{SHARE}}")
    if record.get("none of these"):
        columns.append("unlike all training images")
    if "set" in record:
        columns.append("{" + ", ".join(map(str, record["set"])) + "}")
    columns += [f"like {one['image']} ({one['label']})" for one in record.get("neighbours", ())]
    return columns


def write_csv(records, path):
    """Write predictions, a row an image; lists as JSON."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        for record in records:
            cells = {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in record.items()}
            writer.writerow(cells)
