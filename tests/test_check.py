"""Faults are planted; the check must find them, and the clean list must leave the right ones out."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hybrid import load_folder
from hybrid.datasets.tables import load_table
from hybrid.experiment.check import check
from hybrid.experiment.train import train
from tests.test_train import COLOURS, LABELS, coloured, picture


@pytest.fixture
def folder(tmp_path):
    """A folder of 12 pictures a class."""
    for i, row in coloured(12, seed=3).iterrows():
        (tmp_path / "data" / row["label"]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(row["image"]).resize((48, 40)).save(tmp_path / "data" / row["label"] / f"{i:02}.png")
    return tmp_path / "data"


def found(folder):
    return check(load_folder(folder), backbone="tiny", threshold=0.99)


def test_nothing_is_found_where_nothing_is_wrong(folder):
    findings = found(folder)
    assert findings.ok
    assert findings.lines() == ["Found nothing wrong with 36 images of 3 classes."]
    assert findings.removed() == {}


def test_every_unreadable_file_is_named(folder):
    (folder / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "blue" / "empty.png").write_bytes(b"")
    findings = found(folder)
    assert len(findings.unreadable) == 2
    heading, *lines = findings.lines()
    assert heading == "2 images of 38 cannot be read:"
    assert any("broken.jpg" in line for line in lines)
    assert any("empty file" in line for line in lines)


def test_a_long_list_is_no_longer_one_line_of_4000_characters(folder):
    for i in range(9):
        (folder / "red" / f"broken{i}.jpg").write_bytes(b"\xff\xd8\xff nothing")
        shutil.copy(folder / "blue" / "24.png", folder / "blue" / f"copy{i}.png")
    lines = found(folder).lines()
    assert lines[0] == "9 images of 54 cannot be read:"
    assert lines[6] == "  and 4 more"
    assert max(map(len, lines)) < 4 * (len(str(folder)) + 80)
    assert " and 7 more." in lines[7]


def test_identical_and_near_duplicates_are_told_apart(folder):
    (folder / "red" / "copy.png").write_bytes((folder / "red" / "00.png").read_bytes())
    Image.open(folder / "green" / "13.png").save(folder / "green" / "again.jpg", quality=60)
    findings = found(folder)
    names = [[findings.show_row(row).rpartition("/")[2] for row in rows] for rows in findings.exact]
    assert names == [["00.png'", "copy.png'"]]
    names = [{findings.show_row(row).rpartition("/")[2] for row in rows} for rows in findings.near]
    assert {"13.png'", "again.jpg'"} in names
    assert not findings.across


def test_one_image_under_two_labels_is_suspicious(folder):
    (folder / "blue" / "copy.png").write_bytes((folder / "red" / "00.png").read_bytes())
    findings = found(folder)
    assert len(findings.across) == 1
    assert "is 'blue' and" in " ".join(findings.lines())
    assert set(findings.removed().values()) == {"the same image has several labels"}


def test_mixed_up_labels_are_found():
    table = coloured(40, seed=6, noise=60)
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(table), 6, replace=False)
    others = {"red": "green", "green": "blue", "blue": "red"}
    table.loc[wrong, "label"] = table.loc[wrong, "label"].map(others)
    findings = check(table, backbone="tiny", threshold=0.999)
    doubted = {row for row, _, _ in findings.doubtful}
    assert len(doubted & set(wrong.tolist())) >= 5
    assert len(doubted - set(wrong.tolist())) <= 2
    assert f"{len(findings.doubtful)} labels may be mixed up:" in findings.lines()


def test_small_classes_and_one_image_are_no_obstacle(folder):
    (folder / "rare").mkdir()
    Image.new("RGB", (48, 40), "yellow").save(folder / "rare" / "one.png")
    findings = found(folder)
    assert findings.few == {"rare": 1}
    assert "'rare' 1" in " ".join(findings.lines())


def test_an_empty_class_folder_is_one_finding_among_others(folder):
    for name in ("cow", "rare"):
        (folder / name).mkdir()
    Image.new("RGB", (48, 40), "yellow").save(folder / "rare" / "one.png")
    findings = check(str(folder), backbone="tiny", threshold=0.99)
    assert not findings.ok
    assert findings.lines() == [
        f"1 class folder has no image: '{folder / 'cow'}'.",
        "1 class has fewer than 10 images: 'rare' 1.",
    ]
    assert findings.to_json()["empty"] == [str(folder / "cow")]
    with pytest.raises(ValueError, match=r"found none in '.*cow'"):
        train(str(folder))
    shutil.rmtree(folder / "cow")
    assert not check(str(folder), backbone="tiny", threshold=0.99).empty


def test_odd_sizes_are_told(folder):
    rng = np.random.default_rng(8)
    for name, size in (("huge", (480, 400)), ("thin", (140, 32)), ("speck", (20, 20))):
        Image.fromarray(picture(COLOURS["red"], rng)).resize(size).save(folder / "red" / f"{name}.png")
    sizes = {
        found(folder).data.images[row].rpartition("/")[2]: what for row, _, _, what in found(folder).sizes
    }
    assert sizes == {"huge.png": "large", "thin.png": "long", "speck.png": "under 32 pixels"}


def test_the_clean_list_leaves_out_what_is_surely_wrong_and_touches_no_image(folder):
    (folder / "red" / "broken.jpg").write_bytes(b"nothing")
    (folder / "red" / "copy.png").write_bytes((folder / "red" / "00.png").read_bytes())
    (folder / "blue" / "lie.png").write_bytes((folder / "green" / "13.png").read_bytes())
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    findings = found(folder)
    gone = findings.fix(folder / "clean.csv")
    assert len(gone) == 4
    table = load_table(folder / "clean.csv")
    assert len(table) == 39 - 4
    assert found_again(table).removed() == {}
    assert (folder / "clean.csv").read_text().splitlines()[1] == "blue/24.png,blue"
    assert {path: path.read_bytes() for path in before} == before


def found_again(table):
    return check(table, backbone="tiny", threshold=0.99)


def test_the_clean_list_keeps_labels_groups_weights_and_splits(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i, label in enumerate(LABELS):
        path = tmp_path / f'{i}, "a" ё.png'
        Image.fromarray(picture(rng.integers(0, 256, 3), rng)).resize((40, 40)).save(path)
        rows.append((str(path), label, f"p,{i}", 0.5 * i, "train"))
    table = pd.DataFrame(rows, columns=["image", "label", "group", "weight", "split"])
    check(table, backbone="tiny", threshold=1.0).fix(tmp_path / "clean.csv")
    clean = load_table(tmp_path / "clean.csv")
    for column in ("label", "group", "split", "weight"):
        assert clean[column].tolist() == table[column].tolist()


def test_a_list_is_never_written_over_a_file_or_of_images_without_a_path(folder, tmp_path):
    (tmp_path / "mine.csv").write_text("precious")
    with pytest.raises(ValueError, match="expected a new file"):
        found(folder).fix(tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "precious"
    with pytest.raises(ValueError, match="paths only"):
        check(coloured(2), backbone="tiny").fix(tmp_path / "new.csv")


def test_images_that_are_all_unreadable_are_findings_not_an_error(tmp_path):
    table = pd.DataFrame({"image": [str(tmp_path / "a.png"), str(tmp_path / "b.png")], "label": ["x", "y"]})
    findings = check(table, backbone="tiny")
    assert len(findings.unreadable) == 2
    with pytest.raises(ValueError, match="Nothing is left"):
        findings.fix(tmp_path / "clean.csv")


def test_what_is_printed_is_plain_json(folder):
    (folder / "red" / "broken.jpg").write_bytes(b"nothing")
    (folder / "red" / "copy.png").write_bytes((folder / "red" / "00.png").read_bytes())
    printed = json.loads(json.dumps(found(folder).to_json(), allow_nan=False))
    assert printed["ok"] is False
    assert printed["unreadable"][0]["reason"]
    assert len(printed["identical"][0]) == 2


def test_the_clean_list_holds_names_that_are_not_utf_8_and_nothing_that_spreadsheets_run(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i, label in enumerate(LABELS):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/=%d caf\xe9.png" % i)
        Image.fromarray(picture(rng.integers(0, 256, 3), rng)).resize((40, 40)).save(path)
        rows.append((path, f"={label}"))
    table = pd.DataFrame(rows, columns=["image", "label"], dtype=object)
    check(table, backbone="tiny", threshold=1.0).fix(tmp_path / "clean.csv")
    second = (tmp_path / "clean.csv").read_text(encoding="utf-8").splitlines()[1]
    assert second == rf"'=0 caf\xe9.png,'={LABELS[0]}"
    pd.testing.assert_frame_equal(load_table(tmp_path / "clean.csv"), table)


def test_of_a_clean_list_that_cannot_be_written_nothing_stays(folder, monkeypatch):
    findings, before = found(folder), set(folder.iterdir())

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hybrid.archive.place.flush", full)
    with pytest.raises(OSError, match="No space"):
        findings.fix(folder / "clean.csv")
    assert set(folder.iterdir()) == before
