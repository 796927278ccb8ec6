"""Names and labels that others chose in; what a terminal, a spreadsheet or any file may have of them out."""

import csv
import io
import os

import pytest

from hybrid.spelling import cell, meant, plain, spelt, uncell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Stern ★ 星 [/red] 👩‍👩‍👧", "Stern ★ 星 [/red] 👩‍👩‍👧"),
        ("\x1b]0;title\x07\x1b[31m", r"\x1b]0;title\x07\x1b[31m"),
        ("a\rb\nc\td\x7f\x9b", r"a\rb\nc\td\x7f\x9b"),
        ("\u202egpj.exe\u2066\u2028", r"\u202egpj.exe\u2066\u2028"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_terminals_obey_is_spelt(text, shown):
    assert plain(text) == shown


def test_lines_may_be_kept():
    assert plain("a\nb\x1b", "\n") == "a\nb\\x1b"


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+SUM(A1)", "-1+1", "@a", "\tx", "\rx", "\n=x", "'=x", "''@"]
)
def test_what_spreadsheets_run_gets_an_apostrophe_and_is_read_as_it_was(text):
    written = cell(text)
    assert written == f"'{text}"
    assert uncell(written) == text
    file = io.StringIO()
    csv.writer(file).writerow([written])
    assert uncell(next(csv.reader(io.StringIO(file.getvalue(), newline="")))[0]) == text


@pytest.mark.parametrize(
    "value", ["-1.5", "+3e5", "-inf", -1.5, 7, None, "a=b", "'tis", "''", "", "1-1", "ünï"]
)
def test_numbers_and_other_cells_stay(value):
    assert cell(value) == value
    assert not isinstance(value, str) or uncell(value) == value


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xff\xfe", b"ok.jpg", "é".encode(), b"\x80\xc3"])
def test_a_name_that_is_not_utf_8_can_be_written_and_found_again(name):
    text = os.fsdecode(name)
    assert spelt(text).encode()
    assert os.fsencode(meant(spelt(text))) == name
