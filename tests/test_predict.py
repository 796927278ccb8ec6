import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.svm import SVC
from typer.testing import CliRunner

import hybrid
from hybrid import ResNetFeaturizer, build_pipeline, load_sample, save
from hybrid.bundle import loading as bundle
from hybrid.cli import app
from hybrid.images.pixels import ImageError
from hybrid.sources.catalogue import find
from hybrid.statistics.neighbours import remember
from hybrid.statistics.sets import conformity
from hybrid.tasks import predict as task
from hybrid.tasks.predict import predict, spare_pandas


@pytest.fixture(scope="module")
def sample():
    return load_sample(6)


@pytest.fixture(scope="module")
def path(sample, tmp_path_factory):
    """A bundle with all that `hybrid train` puts into it."""
    X, y = sample["image"], sample["label"]
    model = build_pipeline("logistic", backbone="tiny").fit(X, y)
    features = model[0].transform(X)
    probabilities = cross_val_predict(model[1:], features, y, cv=3, method="predict_proba")
    extras = {
        "conformity": conformity(y, probabilities, model.classes_),
        "memory": remember(features),
        "images": [f"{i}.jpg" for i in range(len(X))],
        "labels": y.tolist(),
    }
    return save(model, tmp_path_factory.mktemp("predict") / "model.hybrid", extras=extras)


def test_a_record_an_image(path, sample):
    records = predict(path, sample["image"][:3])
    model = bundle.load(path)
    assert [record["label"] for record in records] == model.predict(sample["image"][:3]).tolist()
    for record, row in zip(records, model.predict_proba(sample["image"][:3]), strict=True):
        assert record["probability"] == pytest.approx(record["probabilities"][record["label"]])
        assert list(record["probabilities"].values()) == pytest.approx(row.tolist())
        assert record["none of these"] is False
    assert json.loads(json.dumps(records)) == records


def test_sets_hold_the_label_and_grow_with_the_coverage(path, sample):
    narrow, wide = (predict(path, sample["image"][:20], sets=coverage) for coverage in (0.5, 0.99))
    for a, b in zip(narrow, wide, strict=True):
        assert a["label"] in a["set"]
        assert set(a["set"]) <= set(b["set"])
    assert sum(len(record["set"]) for record in narrow) < sum(len(record["set"]) for record in wide)


def test_neighbours_are_training_images(path, sample):
    (record,) = predict(str(path), sample["image"][:1], neighbours=2)
    first, second = record["neighbours"]
    assert first == {"image": "0.jpg", "label": "bricks", "distance": pytest.approx(0, abs=1e-5)}
    assert first["distance"] <= second["distance"]


def test_an_image_like_no_other_is_none_of_these(path):
    black = np.zeros((32, 32, 3), np.uint8)
    assert predict(path, [black])[0]["none of these"] is True


def test_images_are_named_by_their_paths(path, sample, tmp_path):
    file = tmp_path / "a b.png"
    Image.fromarray(sample["image"][0]).save(file)
    records = predict(path, [str(file), sample["image"][1]])
    assert records[0]["image"] == str(file)
    assert "array" in records[1]["image"]


def test_a_model_in_memory_predicts_too(sample):
    X, y = sample["image"], sample["label"]
    plain = build_pipeline(SVC(), backbone="tiny").fit(X, y)
    assert predict(plain, X[:1]) == [{"image": "array (128, 128, 3) uint8 0", "label": "bricks"}]
    nested = CalibratedClassifierCV(build_pipeline(SVC(), backbone="tiny"), cv=2).fit(X.tolist(), y)
    assert predict(nested, X[:1])[0]["label"] == nested.predict(X[:1].tolist())[0]


def test_what_the_bundle_does_not_hold_is_said(sample):
    model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    with pytest.raises(ValueError, match=r"sets=0.9, but this model was saved without what sets stand on"):
        predict(model, sample["image"][:1], sets=0.9)
    with pytest.raises(
        ValueError, match="neighbours=3, but this model was saved without its training images"
    ):
        predict(model, sample["image"][:1], neighbours=3)


@pytest.fixture
def holed(sample, tmp_path):
    """Images of which two cannot be read."""
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    X = sample["image"]
    return [str(tmp_path / "absent.jpg"), X[0], str(tmp_path / "broken.jpg"), X[40]]


def test_bad_images_have_an_error_and_stop_no_other(path, sample, holed):
    absent, first, broken, last = predict(path, holed, sets=0.9, neighbours=1)
    assert absent == {"image": holed[0], "label": None, "error": "no such file"}
    assert broken["image"] == holed[2]
    assert "damaged" in broken["error"] or "truncated" in broken["error"]
    assert last["image"] == "array (128, 128, 3) uint8 3"
    expected = predict(path, sample["image"].iloc[[0, 40]], sets=0.9, neighbours=1)
    assert [first | {"image": ""}, last | {"image": ""}] == [one | {"image": ""} for one in expected]


@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_bad_images_stop_no_other_whatever_reads_them(sample, holed, tmp_path, on_error):
    """A union read each image by two featurizers, a calibrated pipeline inside, and one was saved to give NaN."""
    X, y = sample["image"].tolist(), sample["label"]
    parts = [(name, ResNetFeaturizer("tiny", pooling=name, on_error=on_error)) for name in ("avg", "max")]
    union = make_pipeline(FeatureUnion(parts), LogisticRegression(max_iter=1000)).fit(X, y)
    nested = CalibratedClassifierCV(build_pipeline(SVC(), backbone="tiny", on_error=on_error), cv=2).fit(X, y)
    for i, model in enumerate((union, nested)):
        records = predict(save(model, tmp_path / f"{i}.hybrid"), holed)
        assert ["error" in record for record in records] == [True, False, True, False]
        assert [record["label"] for record in records][1::2] == model.predict([X[0], X[40]]).tolist()


def test_bad_images_alone_are_an_error(path, holed):
    with pytest.raises(ImageError, match=r"absent\.jpg(.|\n)*broken\.jpg"):
        predict(path, [holed[0], holed[2]])


def test_the_command_names_bad_files_and_predicts_the_others(path, sample, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for i in range(12):
        (folder / f"bad {i:02}.jpg").write_bytes(b"no image")
    Image.fromarray(sample["image"][0]).save(folder / "good.png")
    good = str(folder / "good.png")

    def call(*options):
        return CliRunner().invoke(app, ["predict", str(path), str(folder), *options])

    shown, told, written = call(), call("--json"), call("--csv", str(tmp_path / "out.csv"))
    assert shown.stdout.startswith(f"{good}\tbricks\t")
    assert len(shown.stdout.splitlines()) == 1
    lines = shown.stderr.splitlines()
    assert lines[0].startswith(f"hybrid: Cannot decode {str(folder / 'bad 00.jpg')!r}: not an image")
    assert lines[10:] == ["hybrid: ... and 2 more; --csv and --json name them all."]
    records = json.loads(told.stdout)
    assert [record["label"] for record in records] == [None] * 12 + ["bricks"]
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == [""] * 12 + ["bricks"]
    assert [row["error"] for row in rows] == [*(record["error"] for record in records[:12]), ""]
    assert [one.exit_code for one in (shown, told, written)] == [1, 1, 1]
    assert written.stdout == ""


def test_a_bad_bundle_is_named_once(tmp_path):
    (tmp_path / "a.hybrid").write_bytes(b"no zip")
    with pytest.raises(bundle.BundleError, match=r"a.hybrid.*damaged"):
        predict(tmp_path / "a.hybrid", ["a.jpg"])


def test_pandas_that_is_there_stays():
    import pandas

    spare_pandas()
    assert sys.modules["pandas"] is pandas


COMMAND = """
import sys
sys.argv = {argv!r}
from hybrid.cli import main
try:
    main()
finally:
    print([name for name in ("tensorflow", "keras", "pandas") if name in sys.modules], file=sys.stderr)
"""


def test_the_command_imports_neither_tensorflow_nor_pandas(path, sample, tmp_path):
    file = str(tmp_path / "a.png")
    Image.fromarray(sample["image"][0]).save(file)
    argv = ["hybrid", "predict", str(path), file, "--json", "--sets", "0.9", "--neighbours", "1"]
    environment = os.environ | {"HYBRID_STORE": str(tmp_path / "home")}
    environment["PYTHONPATH"] = str(Path(hybrid.__path__[0]).parent)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(argv=argv)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert json.loads(done.stdout)[0]["label"] == "bricks"


def test_networks_are_opened_in_the_precision_that_was_asked_for(sample, tmp_path, monkeypatch):
    """Not "auto", whatever the model was saved with, which opened each network twice."""
    manifest = {
        "networks": {"network-0": {}},
        "recipes": [{"network": "network-0", "parts": [["last", "avg"]], "asked": "float32"}],
    }
    asked = []
    monkeypatch.setattr(task, "read_manifest", lambda path, key: (None, manifest))
    monkeypatch.setattr(task, "find", lambda path: find("tiny"))
    monkeypatch.setattr(
        task, "choose", lambda network, **options: asked.append(options) or ("tiny", "float32")
    )
    task.open_networks(tmp_path / "model.hybrid", None)
    assert asked == [{"precision": "float32"}]


def test_a_saved_network_says_in_which_precision_it_was_asked_for(sample, tmp_path):
    model = build_pipeline("logistic", backbone="tiny", precision="float32").fit(
        sample["image"], sample["label"]
    )
    listed = bundle.read(save(model, tmp_path / "model.hybrid", include_network=True)).manifest
    assert listed["recipes"][0]["asked"] == "float32"
