"""Records in; what people and programs read of them out."""

import csv
import json

import numpy as np
import pytest

from hybrid import show
from hybrid.spelling import plain

SCORES = {
    "accuracy": {"mean": 0.5, "low": 0.25, "high": 0.75},
    "macro_f1": {"mean": 0.5, "low": None, "high": 1},
}
OUTCOME = {
    "scores": SCORES,
    "baselines": {"majority": SCORES},
    "best": {"model": "svm", "C": 10.0},
    "duplicates": {
        "groups": 2,
        "images": 5,
        "accuracy": SCORES["accuracy"],
        "accuracy_with_leak": SCORES["accuracy"],
    },
    "curve": {"sentence": "More would help."},
    "warnings": ["Few images."],
    "prediction": {"image": "a.png", "label": "ant", "probability": 0.9},
}


class Record:
    def to_json(self):
        return {"rows": 1234}


@pytest.mark.parametrize("found", [Record(), {"rows": 1234}])
def test_a_program_gets_the_record(found, capsys):
    show.emit(found, True, show.values)
    assert json.loads(capsys.readouterr().out) == {"rows": 1234}


def test_people_get_lines_and_tables(capsys):
    show.emit([{"a": 1}], False, lambda rows: ["a line", rows, "another"])
    first, *table, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("a line", "another")
    assert "a" in table[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (1234567, "1,234,567"),
        (0.12345, "0.123"),
        (-1e-4, "0.000"),
        ("0.1", "0.1"),
    ],
)
def test_values_are_written_for_people(value, expected):
    assert show.text(value) == expected


def test_nothing_is_cut_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"label": "x" * 200, **{f"column {i}": float(i) for i in range(6)}}]
    show.emit(rows, False, lambda rows: [rows])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert printed.count("x") == 200
    assert "…" not in printed


def test_what_users_wrote_is_no_markup(capsys):
    """A class called "[/]b" ended in a MarkupError."""
    show.print_table([{"label": "[/]b", "[red]": "[red]"}])
    printed = capsys.readouterr().out
    assert "[/]b" in printed
    assert printed.count("[red]") == 2


EVIL = (
    "[/red]",
    "[red]",
    "[link=http://x]y[/link]",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "a\nwarning: none",
    "\u202eexe",
    "\udce9",
)
PRINTED = {
    "tables": lambda name: [[{name: name, "n": 1}]],
    "wide": lambda name: show.wide([{name: name, "n": 1}]),
    "values": lambda name: show.values({"path": name}),
    "best": lambda name: show.outcome(OUTCOME | {"best": {"model": "svm", "C": name}}),
    "prediction": lambda name: show.outcome(OUTCOME | {"prediction": {"image": name, "label": name}}),
    "classes": lambda name: show.evaluation({"scores": SCORES, "classes": [{"label": name}], "warnings": []}),
    "labels": lambda name: show.labels({name: [("tench", 0.5)]}),
    "predictions": lambda name: show.predictions(
        [{"image": name, "label": name, "set": [name], "neighbours": [{"image": name, "label": name}]}]
    ),
}


@pytest.mark.parametrize("where", PRINTED)
@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_names_are_shown_and_not_obeyed(name, where, capsys, monkeypatch):
    """Escape sequences went to the terminal as they were, and a line break in a name made a line of its own."""
    monkeypatch.setenv("COLUMNS", "300")
    show.emit(name, False, PRINTED[where])
    printed = capsys.readouterr().out
    assert plain(name) in printed
    assert not [line for line in printed.splitlines() if line.startswith("warning: none")]
    assert plain(printed, "\n\t") == printed


def test_a_warning_of_several_lines_keeps_them(capsys):
    show.emit(None, False, lambda _: ["one\n\ttwo\x1b"])
    assert capsys.readouterr().out == "one\n\ttwo\\x1b\n"


def test_training_shows_scores_beside_baselines_and_what_else_is_worth_knowing():
    scores, models, *lines = show.outcome(OUTCOME)
    assert [row["score"] for row in scores] == ["accuracy", "macro f1"]
    assert [row["model"] for row in models] == ["this model", "majority"]
    assert lines == [
        "best: svm, C=10.0",
        "near duplicates: 5 images in 2 groups; accuracy 0.500 with each group in one fold, 0.500 with the leak",
        "More would help.",
        "warning: Few images.",
        "a.png\tant\t0.900",
    ]


def test_one_is_not_several():
    copies = OUTCOME["duplicates"] | {"groups": 1, "images": 2}
    told = list(show.outcome(OUTCOME | {"duplicates": copies}))
    assert any(str(line).startswith("near duplicates: 2 images in 1 group; accuracy") for line in told)


def test_an_evaluation_no_longer_keeps_its_warnings_to_itself():
    found = {"scores": SCORES, "classes": [{"label": "ant"}], "warnings": ["Left out 3 images."]}
    assert list(show.evaluation(found))[-1] == "warning: Left out 3 images."


def test_wide_lines_stand_in_columns():
    rows = [{"name": "a", "size": 1000}, {"name": "longer", "size": 1}]
    assert list(show.wide(rows)) == ["name    size", "a       1,000", "longer  1"]


def test_a_csv_holds_a_row_an_image_and_lists_as_json(tmp_path):
    show.write_csv([{"image": "a, b.png", "set": ["ant"]}], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == ["image,set", '"a, b.png","[""ant""]"']


def test_a_csv_has_the_columns_of_all_records_those_of_most_first(tmp_path):
    records = [{"image": "a", "label": None, "error": "b"}, {"image": "c", "label": "d", "e": 1, "f": 2}]
    show.write_csv(records, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == ["image,label,e,f,error", "a,,,,b", "c,d,1,2,"]


def test_a_csv_holds_nothing_that_a_spreadsheet_runs(tmp_path):
    record = {
        "image": "=cmd().png",
        "label": "@a",
        "probability": -0.5,
        "none of these": False,
        "set": ["+1+1"],
    }
    show.write_csv([record, record | {"image": "\udce9.png", "label": "-3"}], tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["'=cmd().png", r"\xe9.png"]
    assert [row["label"] for row in rows] == ["'@a", "-3"]
    assert rows[0]["probability"] == "-0.5"
    assert json.loads(rows[0]["set"]) == ["+1+1"]


def test_of_a_csv_that_fails_nothing_stays(tmp_path):
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(TypeError, match="not JSON serializable"):
        show.write_csv([{"image": "a"}, {"image": ["b", object()]}], tmp_path / "out.csv")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_floats_of_numpy_have_three_decimals():
    assert show.text(np.float64(0.12345)) == "0.123"
