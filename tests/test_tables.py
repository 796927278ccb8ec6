import csv
import io
import os
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hybrid.datasets.load import load_images
from hybrid.datasets.tables import load_table
from hybrid.spelling import cell, spelt


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("1.png", "2.png", "sub/3.png", "comma, semi;colon.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def write(folder, text, name="list.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def test_paths_are_relative_to_the_csv(folder, monkeypatch):
    path = write(folder, f"image,label\n1.png,a\nsub/3.png,b\n{folder / '2.png'},c\n")
    frame = load_table(path)
    assert list(frame.columns) == ["image", "label"]
    assert frame["image"].tolist() == [
        str(folder / "1.png"),
        str(folder / "sub/3.png"),
        str(folder / "2.png"),
    ]
    monkeypatch.chdir(folder)
    assert load_table("list.csv")["image"][0] == "1.png"


@pytest.mark.parametrize("image", ["image", "path", "file", "filename", "FilePath"])
@pytest.mark.parametrize("label", ["label", "class", "target", "Y"])
def test_columns_are_found_by_their_names(folder, image, label):
    frame = load_table(write(folder, f"id,{label}, {image}\n7,a,1.png\n"))
    assert frame.to_numpy().tolist() == [[str(folder / "1.png"), "a"]]


def test_columns_can_be_named(folder):
    path = write(folder, "photo,species,image,patient,trust\n1.png,a,x,p1,0.5\n2.png,b,y,p2,2\n")
    frame = load_table(path, image="photo", label="species", group="patient", weight="trust")
    assert list(frame.columns) == ["image", "label", "group", "weight"]
    assert frame["group"].tolist() == ["p1", "p2"]
    assert frame["weight"].tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (
            "image,path,label",
            {},
            r"column called image or path .*found 'image', 'path' among .*Name it: image=\.\.\.",
        ),
        ("image,label,y", {}, r"column called label or class .*found 'label', 'y' among"),
        ("photo,label,x", {}, r"column called image or path .*found none among 'photo', 'label', 'x'"),
        ("image,species,x", {}, r"column called label .*found none"),
        (
            "image,label,x",
            {"label": "species"},
            r"Got label='species', but expected one of .*'image', 'label', 'x'",
        ),
        (
            "image,label,x",
            {"group": "patient"},
            r"Got group='patient', but expected one of the table's columns",
        ),
        ("image,label,label", {}, r"Got several columns called 'label', but expected one of each name"),
        ("image,Label,label", {}, r"found 'Label', 'label'"),
    ],
)
def test_columns_that_cannot_be_told_are_an_error(folder, header, options, message):
    with pytest.raises(ValueError, match=message):
        load_table(write(folder, f"{header}\n1.png,a,b\n"), **options)


def test_labels_are_text_letter_by_letter(folder):
    labels = [
        "NA",
        "None",
        "null",
        "nan",
        "001",
        "1.0",
        "1e5",
        "True",
        " a ",
        "жук",
        "蟻",
        "a\nb",
        'a "b"',
        "a,b;c",
    ]
    pd.DataFrame({"image": "1.png", "label": labels}).to_csv(folder / "list.csv", index=False)
    assert load_table(folder / "list.csv")["label"].tolist() == labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.csv", b"\xef\xbb\xbfimage,label\n1.png,a\n"),
        ("crlf.csv", b"image,label\r\n1.png,a\r\n\r\n"),
        ("quoted.csv", b'"image","label"\n"1.png","a"'),
        ("semicolons.csv", b"\xef\xbb\xbfimage;label;weight,percent\n1.png;a;3,5\n"),
        ("tabs.csv", b"image\tlabel\n1.png\ta\n"),
        ("bars.csv", b"image|label\n1.png|a\n"),
        ("TABS.TSV", b"image\tlabel\n1.png\ta\n"),
    ],
)
def test_dialects_are_understood(folder, name, text):
    assert load_table(write(folder, text, name)).to_numpy().tolist() == [[str(folder / "1.png"), "a"]]


def test_a_field_may_hold_the_separator(folder):
    frame = load_table(write(folder, 'image,label\n"comma, semi;colon.png","a, b"\n'))
    assert frame.to_numpy().tolist() == [[str(folder / "comma, semi;colon.png"), "a, b"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"Cannot read '.*list\.csv': .*Expected a header"),
        (b"image,label\n", r"without rows"),
        (
            b"image,label\n1.png,a\n2.png,b,c\n\n1.png\n",
            r"Expected 2 fields .*but others in row 3, 5\. Put quotes",
        ),
        (b'image,label\n1.png,"a\n2.png,b\n', r"Cannot read .*unexpected end of data.*quotes in pairs"),
        ("image,label\n1.png,é\n".encode("latin-1"), r"Cannot read .*byte 18 is not UTF-8"),
        ("image,label\n1.png,a\n".encode("utf-16"), r"Cannot read .*byte 0 is not UTF-8"),
        (
            b"image,label\n1.png,\n2.png, \n1.png,a\n",
            r"value in column 'label', but found none: row 2 \(''\), row 3 \(' '\)\.",
        ),
        (b"image,label\n,a\n", r"value in column 'image', but found none: row 2"),
        (b"image,label,group\n1.png,a,\n", r"value in column 'group', but found none: row 2"),
    ],
)
def test_a_faulty_csv_is_told_where(folder, text, message):
    with pytest.raises(ValueError, match=message):
        load_table(write(folder, text))


def test_missing_files_are_named_in_one_error(folder):
    rows = "".join(f"gone{i}.png,a\n" for i in range(30))
    with pytest.raises(ValueError, match=r"Cannot find 30 of 31 images.*row 3 \('gone0\.png'\)") as caught:
        load_table(write(folder, f"image,label\n1.png,a\n{rows}"))
    assert str(folder) in str(caught.value)
    assert str(caught.value).count("gone") == 20
    assert " and 10 more. " in str(caught.value)


def test_a_folder_is_no_image(folder):
    with pytest.raises(ValueError, match=r"Cannot find 1 of 1 images.*row 2 \('sub'\)"):
        load_table(write(folder, "image,label\nsub,a\n"))


def test_addresses_are_left_as_they_are(folder):
    frame = load_table(
        write(folder, "image,label\nhttps://example.org/1.png,a\ns3://bucket/2.png,b\n"), urls=True
    )
    assert frame["image"].tolist() == ["https://example.org/1.png", "s3://bucket/2.png"]


@pytest.mark.parametrize("weight", ["-1", "nan", "inf", "heavy", "1,5", ""])
def test_a_wrong_weight_is_named(folder, weight):
    with pytest.raises(ValueError, match=rf"(weights|'weight').*row 3 \('{weight}'\)"):
        load_table(write(folder, f'image,label,weight\n1.png,a,1\n2.png,b,"{weight}"\n'))


def test_splits_of_a_table_are_kept(folder):
    path = write(folder, "image,label,split\n1.png,a,Train\n2.png,a,validation\n")
    assert load_table(path)["split"].tolist() == ["train", "val"]
    path = write(folder, "image,label,split\n1.png,a,train\n2.png,a,3\n")
    with pytest.raises(ValueError, match=r"one of the splits train, .*: row 3 \('3'\)"):
        load_table(path)


def test_a_parquet_file_keeps_its_types(folder):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"image": ["1.png", "2.png"], "label": [3, 1]}).to_parquet(folder / "list.parquet")
    frame = load_table(folder / "list.parquet")
    assert frame["label"].tolist() == [3, 1]
    assert frame["label"].dtype == np.int64
    assert frame["image"].tolist() == [str(folder / "1.png"), str(folder / "2.png")]


def test_a_parquet_file_that_cannot_be_read_is_named(folder, monkeypatch):
    path = write(folder, b"PAR1 not", "list.parquet")
    with pytest.raises(ValueError, match=r"Cannot read '.*list\.parquet' as Parquet"):
        load_table(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install pyarrow"):
        load_table(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Cannot read '.*list\.csv': No such file"):
        load_table(tmp_path / "list.csv")
    with pytest.raises(ValueError, match=r"Cannot read '.*list\.parquet'"):
        load_table(tmp_path / "list.parquet")


def test_a_frame_may_hold_the_images_themselves():
    pixels = [np.zeros((4, 4, 3), np.uint8), Image.new("RGB", (5, 5)), b"encoded"]
    given = pd.DataFrame({"image": pixels, "label": [2.5, 1.0, 1.0], "group": list("xyx")}, index=[7, 7, 9])
    before = given.copy()
    frame = load_table(given)
    assert all(one is other for one, other in zip(frame["image"], pixels, strict=True))
    assert frame["label"].tolist() == [2.5, 1.0, 1.0]
    assert frame.index.tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(given, before)


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, ""])
def test_a_missing_label_of_a_frame_is_named_by_its_index(nothing):
    frame = pd.DataFrame({"image": [b"1", b"2"], "label": ["a", nothing]}, index=["x", "y"])
    with pytest.raises(ValueError, match=r"value in column 'label', but found none: row y"):
        load_table(frame)


def test_two_columns_of_one_name_are_refused_in_a_frame():
    frame = pd.DataFrame([[b"1", "a", "b"]], columns=["image", "label", "label"])
    with pytest.raises(ValueError, match="several columns called 'label'"):
        load_table(frame)


@pytest.mark.parametrize("table", [None, [("1.png", "a")], {"image": ["1.png"]}])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(TypeError, match="expected a path or a pandas DataFrame"):
        load_table(table)


def test_columns_may_be_numbers():
    frame = load_table(pd.DataFrame([[b"1", "a"]]), image=0, label=1)
    assert frame.to_numpy().tolist() == [[b"1", "a"]]


def test_urls_in_a_table_must_be_asked_for(tmp_path):
    url = "https://example.org/a.png"
    table = tmp_path / "list.csv"
    table.write_text(f"image,label\n{url},a\n")
    match = r"fetched only with urls=True, or --urls: row 2 \('https://example\.org/a\.png'\)"
    for read in (load_table, load_images):
        with pytest.raises(ValueError, match=match):
            read(table)
        assert read(table, urls=True)["image"].tolist() == [url]
    wrapped = tmp_path / "list.parquet"
    pd.DataFrame({"image": [{"bytes": None, "path": url}], "label": ["a"]}).to_parquet(wrapped)
    with pytest.raises(ValueError, match=r"fetched only with urls=True, or --urls: row 0 \('https"):
        load_table(wrapped)
    assert load_table(wrapped, urls=True)["image"].tolist() == [url]


@pytest.mark.parametrize("label", ["=cmd()", "@a", "+1+1", "'=quoted", "\t=tab"])
def test_what_was_made_harmless_for_spreadsheets_is_read_as_it_was(folder, label):
    file = io.StringIO()
    csv.writer(file).writerows([["image", "label"], ["1.png", cell(label)]])
    assert load_table(write(folder, file.getvalue()))["label"].tolist() == [label]


def test_a_file_whose_name_is_not_utf_8_is_found_as_it_was_spelt(folder):
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).touch()
    frame = load_table(write(folder, f"image,label\n{spelt(name)},x\n"))
    assert os.fsencode(frame["image"][0]).endswith(b"caf\xe9.png")
    (folder / spelt(name)).touch()
    frame = load_table(folder / "list.csv")
    assert frame["image"][0].endswith(r"caf\xe9.png")


def test_a_pipe_is_no_table_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match=r"pipe\.csv': it is no regular file"):
        load_table(tmp_path / "pipe.csv")
