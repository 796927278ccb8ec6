import os
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hybrid import ResNetFeaturizer
from hybrid.datasets.folder import IMAGE_SUFFIXES, load_folder
from hybrid.datasets.labelled import check_classes, read_labelled
from hybrid.datasets.load import load_images
from hybrid.datasets.sample import load_sample
from hybrid.images import opening as images

AWKWARD = [
    "two words",
    'it\'s "quoted"',
    "comma, semi;colon",
    "line\nbreak",
    "жук",
    "蟻",
    "NA",
    "001",
    "a.b",
    "~",
]
linked = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


def fill(root, *names):
    """Write a small picture under each name, and anything else as text."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg", ".PNG", ".JPEG"):
            Image.new("RGB", (4, 4)).save(path, "png")
        else:
            path.write_text("text")
    return root


def listed(frame, root):
    return [
        (Path(image).relative_to(root).as_posix(), label)
        for image, label in zip(frame.image, frame.label, strict=True)
    ]


def test_a_sub_folder_is_a_class(tmp_path):
    fill(tmp_path, "cat/2.png", "cat/1.jpg", "ant/9.PNG", "ant/8.JPEG")
    frame = load_folder(tmp_path)
    assert list(frame.columns) == ["image", "label"]
    assert listed(frame, tmp_path) == [
        ("ant/8.JPEG", "ant"),
        ("ant/9.PNG", "ant"),
        ("cat/1.jpg", "cat"),
        ("cat/2.png", "cat"),
    ]
    assert [type(image) for image in frame["image"]] == [str] * 4


def test_images_deeper_in_a_class_belong_to_it(tmp_path):
    fill(tmp_path, "cat/1.png", "cat/b/2.png", "cat/a/x/3.png", "dog/only/deep.png")
    assert listed(load_folder(tmp_path), tmp_path) == [
        ("cat/1.png", "cat"),
        ("cat/a/x/3.png", "cat"),
        ("cat/b/2.png", "cat"),
        ("dog/only/deep.png", "dog"),
    ]


def test_a_relative_folder_gives_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path, "set/cat/1.png"))
    assert load_folder("set")["image"].tolist() == [os.path.join("set", "cat", "1.png")]


def test_hidden_and_system_files_are_passed_over_silently(tmp_path):
    fill(
        tmp_path,
        "cat/1.png",
        ".DS_Store",
        ".git/x.png",
        "__MACOSX/cat/._1.png",
        "cat/Thumbs.db",
        "cat/._1.png",
    )
    fill(tmp_path, "cat/desktop.ini", "cat/.hidden/2.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert listed(load_folder(tmp_path), tmp_path) == [("cat/1.png", "cat")]


def test_other_files_are_named_in_a_warning(tmp_path):
    fill(
        tmp_path, "cat/1.png", "cat/notes.txt", "README.md", "loose.png", *(f"cat/{i}.pdf" for i in range(9))
    )
    with pytest.warns(
        UserWarning,
        match=r"Passed over 12 of 13 files .*suffix.*README\.md.*loose\.png.* and 7 more\. Images end in",
    ):
        frame = load_folder(tmp_path)
    assert len(frame) == 1


def test_every_suffix_belongs_to_a_format_that_can_be_read():
    formats = Image.registered_extensions()
    assert {formats[suffix] for suffix in IMAGE_SUFFIXES} <= {*images.FORMATS}


def test_labels_are_names_as_they_are(tmp_path):
    names = [*AWKWARD, unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é") + "2"]
    if sys.platform == "win32":
        names = ["two words", "it's", "comma, semi;colon", "жук", "蟻", "NA", "001"]
    fill(tmp_path, *(f"{name}/1.png" for name in names))
    frame = load_folder(tmp_path)
    assert sorted(frame["label"]) == sorted(names)
    assert all(
        Path(image).parent.name == label for image, label in zip(frame.image, frame.label, strict=True)
    )


def test_splits_are_recognised(tmp_path):
    fill(
        tmp_path,
        "Train/cat/1.png",
        "Train/dog/2.png",
        "validation/cat/3.png",
        "test/dog/4.png",
        "test/dog/5.png",
    )
    frame = load_folder(tmp_path)
    assert frame[["label", "split"]].to_numpy().tolist() == [
        ["cat", "train"],
        ["dog", "train"],
        ["dog", "test"],
        ["dog", "test"],
        ["cat", "val"],
    ]
    assert load_folder(tmp_path, part="valid")["label"].tolist() == ["cat"]


def test_one_split_can_be_read_where_the_others_hold_no_classes(tmp_path):
    fill(tmp_path, "train/cat/1.png", "test/1.png", "unlabelled/2.png")
    assert load_folder(tmp_path, part="train")["label"].tolist() == ["cat"]


def test_train_may_be_a_class(tmp_path):
    fill(tmp_path, "train/1.png", "bus/2.png", "car/3.png")
    frame = load_folder(tmp_path)
    assert frame["label"].tolist() == ["bus", "car", "train"]
    assert "split" not in frame


def test_splits_beside_other_folders_are_not_guessed(tmp_path):
    fill(tmp_path, "train/cat/1.png", "unlabelled/2.png")
    with pytest.raises(
        ValueError, match=r"Cannot tell splits from classes.*'train', 'unlabelled'.*part='train'"
    ):
        load_folder(tmp_path)


@pytest.mark.parametrize("part", ["val", "holdout", 3])
def test_a_split_that_is_not_there_is_named(tmp_path, part):
    fill(tmp_path, "train/cat/1.png")
    with pytest.raises(ValueError, match=rf"Got part={part!r}, but expected train, val or test, .*'train'"):
        load_folder(tmp_path, part=part)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"Expected a sub-folder for each class, but .* \(and 0 files\)"),
        (["train/cat/1.png", "test/1.png"], r"Expected a sub-folder for each class, but '.*test' has none"),
        ([".hidden/1.png"], r"Expected a sub-folder for each class"),
        (["cat/1.png", "train/1.png", "test/x/1.png"], r"Cannot tell splits"),
    ],
)
def test_a_folder_without_classes_is_an_error(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        load_folder(fill(tmp_path, *names))


def test_a_folder_without_sub_folders_is_no_longer_an_error_but_has_no_labels(tmp_path):
    fill(tmp_path, "2.png", "1.jpg", ".hidden.png")
    frame = load_folder(tmp_path)
    assert list(frame.columns) == ["image"]
    assert frame["image"].tolist() == [str(tmp_path / "1.jpg"), str(tmp_path / "2.png")]
    with pytest.raises(
        ValueError, match=r"Expected a sub-folder for each class, but .* \(and 2 files\).*CSV"
    ):
        load_folder(tmp_path, labels=True)
    with pytest.raises(ValueError, match=r"Got images without labels.*Give each class a sub-folder"):
        read_labelled(tmp_path)


def test_labels_can_be_left_out(tmp_path):
    fill(tmp_path, "cat/1.png", "dog/deep/2.png", "3.png", "notes.txt")
    with pytest.warns(UserWarning, match=r"Passed over 1 of 4 files .*notes\.txt"):
        frame = load_folder(tmp_path, labels=False)
    assert [Path(image).relative_to(tmp_path).as_posix() for image in frame["image"]] == [
        "3.png",
        "cat/1.png",
        "dog/deep/2.png",
    ]
    assert list(frame.columns) == ["image"]


def test_a_pattern_lists_what_it_matches(tmp_path):
    fill(tmp_path, "a/1.png", "a/b/2.png", "a/3.jpg", "a/notes.txt", "c.png/4.png")
    frame = load_folder(tmp_path / "**" / "*.png")
    assert [Path(image).name for image in frame["image"]] == ["1.png", "2.png", "4.png"]
    assert load_images(str(tmp_path / "a" / "*.jpg"))["image"].tolist() == [str(tmp_path / "a" / "3.jpg")]
    with pytest.raises(ValueError, match=r"found none in '.*nothing\*'\. Images end in"):
        load_folder(tmp_path / "nothing*")


def test_unlabelled_images_go_straight_into_features(tmp_path):
    fill(tmp_path, "1.png", "2.png")
    for X in (load_folder(tmp_path), load_folder(tmp_path)["image"]):
        assert ResNetFeaturizer("tiny", store=None).fit_transform(X).shape == (2, 64)


def test_classes_without_images_are_named_all_at_once(tmp_path):
    fill(tmp_path, "cat/1.png", "dog/.hidden.png")
    (tmp_path / "cow").mkdir()
    with pytest.raises(ValueError, match=r"found none in '.*cow', '.*dog'\. Fill or remove them"):
        load_folder(tmp_path)


def test_a_missing_folder_and_a_file_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a folder .*nowhere' does not exist"):
        load_folder(tmp_path / "nowhere")
    fill(tmp_path, "cat.png")
    with pytest.raises(ValueError, match=r"Expected a folder .*cat\.png' is a file"):
        load_folder(tmp_path / "cat.png")


@linked
@pytest.mark.parametrize("target", [".", "cat", "..", "cat/deep"])
def test_a_loop_of_links_is_an_error(tmp_path, target):
    root = fill(tmp_path / "root", "cat/1.png", "cat/deep/2.png")
    (root / "cat/deep/again").symlink_to(root / target)
    with pytest.raises(ValueError, match=r"'.*again' leads back up to .*Remove the link"):
        load_folder(root)


@linked
def test_two_folders_that_link_to_each_other_are_an_error(tmp_path):
    root = fill(tmp_path, "a/1.png", "b/1.png")
    (root / "a/b").symlink_to(root / "b")
    (root / "b/a").symlink_to(root / "a")
    with pytest.raises(ValueError, match="leads back up"):
        load_folder(root)


@linked
def test_links_that_end_are_followed(tmp_path):
    fill(tmp_path, "store/1.png", "store/2.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/cat").symlink_to(tmp_path / "store")
    (tmp_path / "set/dog").mkdir()
    (tmp_path / "set/dog/3.png").symlink_to("3.png")
    assert load_folder(tmp_path / "set")["label"].tolist() == ["cat", "cat", "dog"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    fill(tmp_path, "cat/1.png")
    scandir = os.scandir

    def guarded(folder):
        if os.path.basename(folder) == "cat":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(ValueError, match=r"Cannot list '.*cat': Permission denied"):
        load_folder(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_text_can_be_opened(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    with open(folder + b"/\xff.png", "wb"):
        pass
    assert [os.path.isfile(image) for image in load_folder(tmp_path)["image"]] == [True]


def test_load_images_reads_folders_tables_and_the_sample(tmp_path):
    fill(tmp_path, "set/train/cat/1.png", "set/train/dog/1.png")
    folder = load_images(str(tmp_path / "set"), part="train", group=None)
    folder.to_csv(tmp_path / "list.CSV", index=False)
    pd.testing.assert_frame_equal(load_images(tmp_path / "list.CSV"), folder)
    pd.testing.assert_frame_equal(load_images(folder, label="label"), folder)
    sample = load_images("sample", part=None)
    assert np.array_equal(sample["image"][0], load_sample(n_per_class=1)["image"][0])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            "nowhere",
            ValueError,
            r"Expected a folder .*\.csv, \.tsv, \.parquet.* 'sample', but 'nowhere' does not exist",
        ),
        ("nowhere.csv", ValueError, r"'nowhere\.csv' does not exist"),
        (__file__, ValueError, r"test_datasets\.py' is none of these"),
        (3, TypeError, r"Got data of type int, but expected a folder"),
        (None, TypeError, r"Got data of type NoneType"),
    ],
)
def test_anything_else_is_told_what_is_accepted(data, error, message):
    with pytest.raises(error, match=message):
        load_images(data)


def test_an_option_that_means_nothing_is_refused(tmp_path):
    fill(tmp_path, "cat/1.png")
    with pytest.raises(ValueError, match=r"Got group='patient', but a folder takes only part"):
        load_images(tmp_path, group="patient")
    with pytest.raises(ValueError, match=r"Got part='train', but the built-in sample takes no options"):
        load_images("sample", part="train")
    with pytest.raises(
        ValueError, match=r"Got part='train', but a table takes only image, label, group, weight"
    ):
        load_images(pd.DataFrame({"image": ["a"], "label": ["b"]}), part="train")


def test_importing_datasets_does_not_import_pandas():
    code = "import sys, hybrid.datasets; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_class_whose_folder_is_not_utf_8_is_spelt(tmp_path):
    os.makedirs(os.fsencode(tmp_path) + b"/caf\xe9")
    with open(os.fsencode(tmp_path) + b"/caf\xe9/a.png", "wb"):
        pass
    frame = load_folder(tmp_path)
    assert frame["label"].tolist() == [r"caf\xe9"]
    assert os.path.isfile(frame["image"][0])


def test_one_class_in_two_spellings_is_one_class():
    """Two classes that look the same competed with each other."""
    both = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    assert len(set(both)) == 2
    assert set(read_labelled(pd.DataFrame({"image": ["a", "b"], "label": both})).y) == {both[0]}


def test_a_table_of_the_test_split_alone_is_told_so():
    """It ended in an IndexError."""
    with pytest.raises(ValueError, match="no image to train on, for the split of each is 'test'"):
        check_classes(np.array([], str))
