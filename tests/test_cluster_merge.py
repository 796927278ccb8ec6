"""Parts that a cluster made, in a store: what is imported makes runs warm, and what is not right goes nowhere."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from hybrid import FeatureStore, ResNetFeaturizer, build_pipeline, load_folder, load_sample
from hybrid.cli import app
from hybrid.cluster import featurize
from hybrid.cluster.merge import import_features

LAYERS = ["stage2", "last"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, sample = tmp_path_factory.mktemp("photos"), load_sample(n_per_class=4)
    for i, (image, label) in enumerate(zip(sample["image"], sample["label"], strict=True)):
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("features") / "out"
    featurize(photos, out, part_size=15, workers=1, backbone="tiny", layers=LAYERS)
    return out


@pytest.fixture
def parts(made, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(made, tmp_path / "parts")


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


def test_what_was_imported_is_not_computed_again(photos, made, store):
    images = load_folder(photos)["image"]
    found = import_features(made, store)
    assert found == {
        "store": str(store.path),
        "images": 40,
        "rows": 80,
        "backbone": "tiny",
        "engine": "tiny",
        "precision": "float32",
    }
    rows = ResNetFeaturizer("tiny", layers=LAYERS, store=store).fit_transform(images)
    assert store.stats()["passes"] == 0
    assert np.array_equal(rows, ResNetFeaturizer("tiny", layers=LAYERS, store=None).fit_transform(images))


def test_train_runs_no_network_after_an_import(photos, made, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path / "home"))
    call = CliRunner().invoke(app, ["store", "import", str(made), "--json"])
    assert json.loads(call.stdout)["rows"] == 80
    config = ["--backbone", "tiny", "--set", "features.layers=last", "--set", "cv.folds=2"]
    call = CliRunner().invoke(app, ["train", str(photos), "--json", *config])
    assert call.exit_code == 0, call.output
    assert FeatureStore().stats()["passes"] == 0


def test_an_image_that_changed_is_computed(photos, made, store, tmp_path):
    import_features(made, store)
    path = tmp_path / "0.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)
    ResNetFeaturizer("tiny", layers=LAYERS, store=store).fit_transform([path])
    assert store.stats()["passes"] == 1


def test_what_the_store_has_stays_as_it_is(photos, made, store):
    images = load_folder(photos)["image"]
    ResNetFeaturizer("tiny", store=store).fit_transform(images[:10])
    assert import_features(made, store)["rows"] == 60
    assert import_features(made, store)["rows"] == 0


def test_parts_are_a_table_of_precomputed_features(photos, made):
    frame = load_folder(photos)
    first = build_pipeline(features=made).fit(frame["image"], frame["label"])
    alone = build_pipeline(backbone="tiny", layers=LAYERS).fit(frame["image"], frame["label"])
    assert np.array_equal(first.predict_proba(frame["image"]), alone.predict_proba(frame["image"]))


def test_more_than_the_store_takes_is_refused(made, tmp_path):
    with pytest.raises(ValueError, match="Raise HYBRID_STORE_LIMIT"):
        import_features(made, FeatureStore(tmp_path, limit=10_000))


def rewrite(change):
    """Write a part again, its columns changed."""

    def apply(folder):
        file = folder / "part-00000001.parquet"
        table = parquet.read_table(file)
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        new = pa.table(columns | change(columns)).replace_schema_metadata(table.schema.metadata)
        parquet.write_table(new, file)

    return apply


def features(change):
    def apply(columns):
        matrix = np.stack(columns["features"].to_numpy(zero_copy_only=False)).copy()
        return {"features": change(matrix)}

    return rewrite(apply)


def spoilt(matrix):
    matrix[3, 5] = np.inf
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def thin(matrix):
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix[:, :9].ravel()), 9)


def double(matrix):
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel().astype(float)), matrix.shape[1])


def holed(matrix):
    return pa.array([None, *matrix[1:].tolist()], pa.list_(pa.float32(), matrix.shape[1]))


def manifest(change):
    def apply(folder):
        path = folder / "_manifest.json"
        said = json.loads(path.read_text())
        change(said)
        path.write_text(json.dumps(said))

    return apply


DAMAGES = {
    "an infinite feature": (features(spoilt), "a feature is no finite number"),
    "a row without features": (features(holed), "a feature is no finite number"),
    "rows of another width": (features(thin), "its columns are not"),
    "numbers of another kind": (features(double), "its columns are not"),
    "a digest that is none": (
        rewrite(lambda columns: {"digest": pa.array(["../../etc"] * len(columns["path"]))}),
        "a digest is not 32 hexadecimal digits",
    ),
    "no digest": (
        rewrite(lambda columns: {"digest": pa.nulls(len(columns["path"]), pa.string())}),
        "a digest is not 32 hexadecimal digits",
    ),
    "a torn part": (
        lambda folder: (folder / "part-00000001.parquet").write_bytes(b"PAR1 and no more"),
        "Cannot import",
    ),
    "a part of another folder": (manifest(lambda said: said.update(identity="0" * 32)), "no part of this"),
    "a width that is none": (manifest(lambda said: said["features"][0].update(width=-64)), "is damaged"),
    "a recipe of another network": (manifest(lambda said: said["recipe"].update(backbone="x")), "is damaged"),
    "a recipe that is none": (manifest(lambda said: said["features"][0].update(recipe="[]")), "is damaged"),
    "one recipe twice": (manifest(lambda said: said["features"].append(said["features"][0])), "is damaged"),
    "no recipe": (manifest(lambda said: said.pop("recipe")), "is damaged"),
    "a manifest of lists": (
        lambda folder: (folder / "_manifest.json").write_text("[]"),
        "but expected a fol",
    ),
    "no manifest": (lambda folder: (folder / "_manifest.json").unlink(), "but expected a folder"),
    "a later format": (manifest(lambda said: said.update(version=2)), "but expected a folder"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_not_imported(parts, store, damage):
    spoil, message = DAMAGES[damage]
    spoil(parts)
    with pytest.raises(ValueError, match=re.escape(message)):
        import_features(parts, store)
    assert store.stats()["rows"] <= 2 * 15
    assert store.verify()["damaged"] == 0
