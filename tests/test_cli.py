"""The real command, in a process of its own: what it prints, writes and exits with."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from hybrid import load_sample
from hybrid.bundle.loading import read
from hybrid.cli import app
from hybrid.datasets.tables import load_table

TINY = ["--set", "features.backbone=tiny", "--set", "curve.on=false"]


def hybrid(*arguments, **options):
    command = [sys.executable, "-m", "hybrid.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of pictures: three classes whose names are awkward."""
    folder = tmp_path_factory.mktemp("photos")
    sample = load_sample(12)
    names = {"bricks": "two words, and a comma", "star": "Stern ★ 星", "waves": 'quo"tes'}
    for old, new in names.items():
        (folder / new).mkdir()
        for i, pixels in enumerate(sample[sample["label"] == old]["image"]):
            Image.fromarray(pixels).save(folder / new / f"{i:02} photo.png")
    return folder


@pytest.fixture(scope="module")
def model(photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.hybrid"
    result = hybrid("train", photos, *TINY, "-o", path, "--json")
    assert result.returncode == 0, result.stderr
    return path, json.loads(result.stdout)


def test_training_prints_scores_with_intervals_and_writes_a_bundle(model):
    path, printed = model
    accuracy = printed["scores"]["accuracy"]
    assert accuracy["low"] <= accuracy["mean"] <= accuracy["high"]
    assert {"majority", "raw_pixels"} <= set(printed["baselines"])
    assert path.stat().st_size > 0


def test_training_writes_a_page_and_the_bundle_gives_it_again(model, tmp_path):
    page = model[0].with_suffix(".html")
    assert "Stern ★ 星" in page.read_text(encoding="utf-8")
    told = json.loads(hybrid("report", model[0], "-o", tmp_path / "model.html", "--json").stdout)
    assert told == {"path": str(tmp_path / "model.html"), "bytes": page.stat().st_size}
    assert (tmp_path / "model.html").read_bytes() == page.read_bytes()


def test_training_writes_no_page_where_none_is_wanted(photos, tmp_path):
    path = tmp_path / "bare.hybrid"
    result = hybrid("train", photos, *TINY, "-o", path, "--no-report")
    assert result.returncode == 0
    assert "pictures" not in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["bare.hybrid"]
    assert not {"report", "pictures"} & read(path).extras.keys()
    assert "use `hybrid train`" in hybrid("report", path, "-o", tmp_path / "report.html").stderr


def test_an_explanation_is_drawn_for_the_class_that_was_asked_for(model, photos, tmp_path):
    image, out = next(photos.glob("Stern*/*.png")), tmp_path / "heat.png"
    printed = hybrid("explain", model[0], image, "-o", out, "--label", 'quo"tes').stdout
    assert printed.split("\t")[:2] == [str(image), 'quo"tes']
    assert Image.open(out).size == (448, 448)
    assert hybrid("explain", model[0], image, "--label", "dragon").returncode == 1


def test_a_second_training_runs_no_network(photos, model):
    assert json.loads(hybrid("train", photos, *TINY, "--json").stdout)["passes"] == 0


def test_training_says_that_it_saved_nothing(photos, model):
    result = hybrid("train", photos, *TINY)
    assert result.stderr.endswith("The model was not saved: name a place for it, such as -o model.hybrid.\n")


def test_a_first_training_tells_of_every_pass_those_before_its_plan_too(photos, tmp_path):
    result = hybrid("train", photos, *TINY, "--json", env=os.environ | {"HYBRID_STORE": str(tmp_path)})
    assert result.stderr.startswith("36 images, 36 of them to go through tiny")
    assert json.loads(result.stdout)["passes"] == 36


def test_prediction_prints_a_line_an_image_and_writes_csv(model, photos, tmp_path):
    images = sorted(photos.glob("*/*.png"))[:5]
    lines = hybrid("predict", model[0], *images, "--neighbours", 1).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(image) for image in images]
    assert hybrid("predict", model[0], *images, "--csv", tmp_path / "out.csv", "--sets", 0.9).returncode == 0
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} <= {image.parent.name for image in photos.glob("*/*.png")}
    assert all(json.loads(row["set"]) for row in rows)


def test_evaluation_scores_images_and_says_which_are_no_other_ones(model, photos):
    result = json.loads(hybrid("evaluate", model[0], photos, "--json").stdout)
    assert result["scores"]["accuracy"]["mean"] > 0.9
    assert result["warnings"] == [
        "36 of 36 images are training images (or near copies of them): their scores say nothing about new ones."
    ]
    told = hybrid("evaluate", model[0], photos).stdout
    assert "accuracy" in told
    assert "warning: 36 of 36" in told


def test_comparison_prints_one_table_with_tests(photos, tmp_path):
    for name in ("svm", "logistic"):
        text = f'[model]\nkind = "{name}"\n[features]\nbackbone = "tiny"\nlayers = "last"\n'
        (tmp_path / f"{name}.toml").write_text(text)
    configs = ["--config", tmp_path / "svm.toml", "--config", tmp_path / "logistic.toml"]
    page = tmp_path / "page.html"
    result = hybrid("compare", photos, *configs, "--json", "-o", page)
    assert result.returncode == 0, result.stderr
    assert {"svm", "logistic"} <= set(json.dumps(json.loads(result.stdout)).replace('"', " ").split())
    assert "svm" in page.read_text(encoding="utf-8")
    (tmp_path / "empty").mkdir()
    assert "svm" in hybrid("compare", photos, *configs, cwd=tmp_path / "empty").stdout
    assert not list((tmp_path / "empty").iterdir())
    assert hybrid("compare", photos, *configs, "-o", tmp_path / "absent" / "page.html").returncode == 1


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_features_are_written_with_path_label_and_names(photos, tmp_path, suffix):
    out = tmp_path / f"features{suffix}"
    result = hybrid("featurize", photos, "-o", out, "--backbone", "tiny", "--json")
    assert json.loads(result.stdout)["features"] == 64
    table = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out)
    assert list(table.columns[:3]) == ["path", "label", "last_avg_0"]
    assert len(table) == 36
    assert np.isfinite(table.filter(like="last_avg")).all(axis=None)
    assert [file.name for file in tmp_path.iterdir()] == [out.name]


def test_check_names_what_is_planted(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    first, second, third = sorted(folder.glob("*/*.png"))[:3]
    shutil.copy(first, folder / "lonely.png")
    (folder / "alone").mkdir()
    (folder / "lonely.png").rename(folder / "alone" / "copy.png")
    second.write_bytes(b"no image")
    (folder / "nothing").mkdir()
    result = hybrid("check", folder, "--backbone", "tiny", "--fix", tmp_path / "clean.csv")
    assert result.returncode == 0, result.stderr
    assert all(text in result.stdout for text in (second.name, "copy.png", "alone", "nothing"))
    assert str(second) not in (tmp_path / "clean.csv").read_text()
    assert second.read_bytes() == b"no image"
    assert third.exists()
    again = hybrid("check", folder, "--backbone", "tiny", "--json")
    assert again.returncode == 1
    assert [bad["image"] for bad in json.loads(again.stdout)["unreadable"]] == [repr(str(second))]


def test_label_works_out_of_the_box(photographs):
    tench = next(photographs.glob("imagenet_200/n01440764_tench/*"))
    names = json.loads(hybrid("label", tench, "--top", 2, "--json").stdout)
    assert names[str(tench)][0][0] == "tench"


def test_backbones_are_listed():
    rows = json.loads(hybrid("backbones", "--json").stdout)
    assert {"tiny", "resnet50", "efficientnet_lite0"} <= {row["name"] for row in rows}
    assert {"licence", "stages", "family"} <= rows[0].keys()


def test_names_of_backbones_are_no_longer_cut_in_80_columns():
    rows = json.loads(hybrid("backbones", "--json").stdout)
    for arguments in ([], ["--wide"]):
        text = hybrid("backbones", *arguments, env=os.environ | {"COLUMNS": "80"}).stdout
        assert "…" not in text
        assert {row["name"] for row in rows} <= set(text.split())
        assert arguments or max(map(len, text.splitlines())) <= 80
    assert "BSD-3-Clause" in text


def test_backbones_are_filtered_by_a_word():
    names = [row["name"] for row in json.loads(hybrid("backbones", "Lite", "--json").stdout)]
    assert names == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    result = hybrid("backbones", "nothing")
    assert result.returncode == 1
    assert "no network's name or family has that in it" in result.stderr


def test_label_no_longer_hides_a_missing_file_behind_advice_and_exit_0(photos, tmp_path):
    """It printed "or pass on_error='nan'" and went on as if nothing were."""
    good = next(photos.glob("*/*.png"))
    result = hybrid("label", tmp_path / "absent.jpg", good, "--json")
    assert result.returncode == 1
    assert (
        f"Cannot read '{tmp_path / 'absent.jpg'}' (item 0): no such file." in result.stderr.splitlines()[-1]
    )
    assert "on_error" not in result.stderr
    names = json.loads(result.stdout)
    assert names[str(tmp_path / "absent.jpg")] == []
    assert len(names[str(good)]) == 5


def test_a_folder_is_predicted_labelled_and_featurized(model, photos, tmp_path):
    records = json.loads(hybrid("predict", model[0], photos, "--json").stdout)
    assert [record["image"] for record in records] == sorted(str(path) for path in photos.glob("*/*.png"))
    flat = next(photos.iterdir())
    assert len(hybrid("label", flat, "--top", 1).stdout.splitlines()) == 24
    out = tmp_path / "features.csv"
    assert hybrid("featurize", flat, "-o", out, "--backbone", "tiny").returncode == 0
    assert list(pd.read_csv(out).columns[:2]) == ["path", "last_avg_0"]


def test_training_into_a_missing_folder_fails_before_it_begins(photos, tmp_path):
    result = hybrid("train", photos, *TINY, "-o", tmp_path / "absent" / "model.hybrid")
    assert result.returncode == 1
    assert result.stderr.startswith("hybrid: Cannot save to ")
    assert len(result.stderr.splitlines()) == 1


def test_the_store_is_shown_checked_and_emptied(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path))
    program = "import numpy, hybrid; hybrid.ResNetFeaturizer('tiny').fit_transform(numpy.eye(8)[None] > 0)"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert json.loads(hybrid("store", "info", "--json").stdout)["rows"] == 9  # 3 stages x 3 poolings
    assert json.loads(hybrid("store", "verify", "--json").stdout)["damaged"] == 0
    assert json.loads(hybrid("store", "clear", "--backbone", "resnet50", "--json").stdout)["removed"] == 0
    assert json.loads(hybrid("store", "clear", "--json").stdout)["removed"] == 9


@pytest.mark.parametrize(
    ("call", "status", "hint"),
    [
        (["nothing"], 2, "No such command"),
        (["train"], 2, "Missing argument"),
        (["train", "absent/"], 1, "absent"),
        (["train", "sample", "--set", "svm.Z=1"], 1, "svm.C"),
        (["train", "sample", "--config", "absent.toml"], 1, "absent.toml"),
        (["predict", "absent.hybrid", "a.jpg"], 1, "absent.hybrid"),
        (
            ["predict", "absent.hybrid", "a.jpg", "b.CSV"],
            1,
            "Got the table 'b.CSV', but expected image files",
        ),
        (
            ["report", "absent.hybrid", "-o", "absent/a.html"],
            1,
            "there is no such folder. Choose another place.",
        ),
        (["featurize", "sample", "-o", "features.xls"], 1, ".parquet"),
    ],
)
def test_a_wrong_call_exits_with_2_and_bad_data_with_1(call, status, hint):
    result = hybrid(*call)
    assert result.returncode == status
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


def test_an_empty_folder_is_named(tmp_path):
    result = hybrid("train", tmp_path)
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr


def test_a_folder_of_one_class_or_none_is_told_before_any_network_runs(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path / "store"))
    shutil.copytree(next(photos.iterdir()), tmp_path / "one" / "ants")
    one, none = (hybrid("train", tmp_path / folder, *TINY) for folder in ("one", "one/ants"))
    assert one.stderr.startswith(
        "hybrid: Got 12 images of one class, 'ants', but expected at least two classes."
    )
    assert none.stderr.startswith("hybrid: Got images without labels, such as a folder without sub-folders")
    assert (one.returncode, none.returncode) == (1, 1)
    assert not (tmp_path / "store").exists()


def test_interrupting_leaves_no_half_file(photos, tmp_path):
    command = [
        sys.executable,
        "-m",
        "hybrid.cli",
        "train",
        str(photos),
        *TINY,
        "-o",
        str(tmp_path / "m.hybrid"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0 or (tmp_path / "m.hybrid").exists()
    assert {file.name for file in tmp_path.iterdir()} <= {"m.hybrid", "m.html"}
    assert hybrid("store", "verify").returncode == 0


def test_a_place_that_cannot_be_written_is_told_before_the_training(photos):
    result = hybrid("train", photos, *TINY, "-o", "/sys/model.hybrid")
    assert result.returncode == 1
    assert result.stderr.startswith("hybrid: Cannot save to '/sys/model.hybrid': ")
    assert len(result.stderr.splitlines()) == 1


def test_results_are_printed_before_they_are_saved(photos, tmp_path, monkeypatch):
    """A disk that filled up during the training took the scores along."""

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hybrid.bundle.saving.save", full)
    result = CliRunner().invoke(
        app, ["train", str(photos), *TINY, "-o", str(tmp_path / "m.hybrid"), "--json"]
    )
    assert "No space left" in str(result.exception)
    assert json.loads(result.stdout)["scores"]


def test_prediction_of_a_missing_file_gives_no_advice_of_python(model, tmp_path):
    result = hybrid("predict", model[0], tmp_path / "absent.jpg")
    assert result.returncode == 1
    absent = str(tmp_path / "absent.jpg")
    assert result.stderr.splitlines() == [
        f"hybrid: Cannot decode {absent!r} (item 0): no such file. Check its path."
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_prediction_of_names_that_are_not_utf_8_or_obeyed_by_terminals(model, photos, tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \x1b[31m.png")
    shutil.copy(next(photos.glob("*/*.png")), place)
    result = hybrid("predict", model[0], place, "--csv", tmp_path / "out.csv")
    assert result.returncode == 0, result.stderr
    assert load_table(tmp_path / "out.csv")["image"].tolist() == [place]
    shown = hybrid("predict", model[0], place).stdout
    assert r"/caf\xe9 \x1b[31m.png" in shown
    assert "\x1b" not in shown
    wrong = hybrid("predict", model[0], place, "--csv", tmp_path / "absent" / "out.csv")
    assert wrong.returncode == 1
    assert "there is no such folder" in wrong.stderr
    Path(place).write_bytes(b"no image")
    failed = hybrid("predict", model[0], place)
    assert failed.returncode == 1
    assert "\x1b" not in failed.stderr


def test_classes_with_markup_and_escape_sequences_go_all_the_way(photos, tmp_path):
    frame = pd.DataFrame({"image": sorted(map(str, photos.glob("*/*.png")))})
    names = ["[/red]", "[red]\x1b[31m", "=cmd()"]
    frame["label"] = [names[i // 12] for i in range(36)]
    frame.to_csv(tmp_path / "list.csv", index=False)
    trained = hybrid("train", tmp_path / "list.csv", *TINY, "-o", tmp_path / "m.hybrid")
    assert trained.returncode == 0, trained.stderr
    evaluated = hybrid("evaluate", tmp_path / "m.hybrid", tmp_path / "list.csv")
    predicted = hybrid("predict", tmp_path / "m.hybrid", photos, "--sets", 0.9)
    checked = hybrid("check", tmp_path / "list.csv", "--backbone", "tiny")
    for one in (trained, evaluated, predicted, checked):
        assert "\x1b" not in one.stdout + one.stderr
    for one in (evaluated, predicted):
        assert all(name in one.stdout for name in ("[/red]", r"[red]\x1b[31m", "=cmd()"))
    frame["split"] = "test"
    frame.to_csv(tmp_path / "list.csv", index=False)
    result = hybrid("train", tmp_path / "list.csv", *TINY)
    assert result.returncode == 1
    assert "the split of each is 'test'" in result.stderr
