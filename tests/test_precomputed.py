"""Rows by path and by number, without a network; what is not there is named."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from hybrid import FeatureStore, ResNetFeaturizer, build_pipeline, load_sample, save
from hybrid.precomputed import PrecomputedFeatures
from hybrid.tasks.featurize import write_features

GRID = {"classifier__C": [1, 30]}


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Labelled images in files."""
    sample, folder = load_sample(n_per_class=6), tmp_path_factory.mktemp("photos")
    paths = [folder / f"{i}.png" for i in range(len(sample))]
    for path, image in zip(paths, sample["image"], strict=True):
        Image.fromarray(image).save(path)
    return pd.DataFrame({"image": list(map(str, paths)), "label": sample["label"]})


@pytest.fixture(scope="module")
def table(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "features.parquet"
    write_features(frame, path, ResNetFeaturizer("tiny"))
    return path


@pytest.fixture
def features(frame):
    return ResNetFeaturizer("tiny").fit_transform(frame["image"])


def refused(message):
    return pytest.raises((TypeError, ValueError), match=re.escape(message))


def test_rows_come_by_path(frame, table, features):
    some = frame["image"][[7, 3, 7]]
    for X in (some, some.tolist(), some.to_numpy(), some.to_frame()):
        assert np.array_equal(PrecomputedFeatures(table).fit_transform(X), features[[7, 3, 7]])


def test_rows_come_by_number(table, features):
    for X in ([7, 3], np.array([[7], [3]]), pd.Series([7, 3])):
        assert np.array_equal(PrecomputedFeatures(table).fit_transform(X), features[[7, 3]])


def test_a_folder_is_read_in_the_order_of_its_names(frame, table, features, tmp_path):
    rows = pd.read_parquet(table)
    rows[:9].to_parquet(tmp_path / "part-1.parquet")
    rows[9:].to_parquet(tmp_path / "part-0.parquet")
    (tmp_path / "_errors.parquet").write_bytes(b"not looked at")
    found = PrecomputedFeatures(tmp_path).fit_transform(np.arange(len(frame)))
    assert np.array_equal(found, np.vstack([features[9:], features[:9]]))


def test_a_column_of_lists_is_as_good(frame, features, tmp_path):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    lists = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    write_table(pa.table({"path": frame["image"].tolist(), "features": lists}), tmp_path / "a.parquet")
    first = PrecomputedFeatures(tmp_path).fit(frame["image"])
    assert np.array_equal(first.transform(frame["image"]), features)
    assert first.get_feature_names_out()[1] == "features_1"


def test_a_search_runs_no_network_and_finds_the_same(frame, table, tmp_path):
    plain = GridSearchCV(build_pipeline(backbone="tiny"), GRID, cv=3).fit(frame["image"], frame["label"])
    passes = FeatureStore().stats()["passes"]
    for X in (frame["image"], np.arange(len(frame))):
        search = GridSearchCV(build_pipeline(features=table), GRID, cv=3).fit(X, frame["label"])
        assert np.array_equal(search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    assert FeatureStore().stats()["passes"] == passes


def test_a_clone_and_a_pickle_hold_no_table(frame, table, features):
    first = PrecomputedFeatures(str(table)).fit(frame["image"])
    assert clone(first).get_params() == {"table": str(table)}
    assert len(pickle.dumps(first)) < 500
    assert np.array_equal(pickle.loads(pickle.dumps(first)).transform([5]), features[[5]])


def test_another_process_reads_it_again(frame, table, tmp_path):
    model = build_pipeline(features=str(table)).fit(frame["image"], frame["label"])
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    code = "import pickle, sys; print(*pickle.load(open(sys.argv[1], 'rb')).predict([0, 7]))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "model"], capture_output=True, text=True)
    assert done.stdout.split() == list(model.predict([0, 7]))


def test_a_table_that_was_written_again_is_read_again(frame, table, tmp_path):
    rows, path = pd.read_parquet(table), tmp_path / "features.parquet"
    rows.to_parquet(path)
    first = PrecomputedFeatures(path).fit(frame["image"])
    rows[::-1].to_parquet(path)
    assert np.array_equal(first.transform([0]), PrecomputedFeatures(table).fit_transform([len(frame) - 1]))


def test_a_path_without_a_row_is_named(frame, table):
    with refused("Got 'photos/new.jpg' (item 1), which has no row in"):
        PrecomputedFeatures(table).fit_transform([frame["image"][0], "photos/new.jpg"])


@pytest.mark.parametrize("number", [-1, 60])
def test_a_number_without_a_row_is_named(table, number):
    with refused(f"Got {number} (item 1), but expected 0 to 59"):
        PrecomputedFeatures(table).fit_transform([0, number])


@pytest.mark.parametrize("X", [np.zeros((2, 8, 8, 3)), [1.5], [True], np.zeros((3, 2), int)])
def test_what_is_neither_is_refused(table, X):
    with refused("but expected paths, or numbers of rows"):
        PrecomputedFeatures(table).fit_transform(X)


def test_what_is_no_table_is_refused(tmp_path):
    for make, message in (
        (lambda path: None, "but expected a Parquet file, or a folder of some."),
        (lambda path: path.write_bytes(b"PAR1" * 9), "Cannot read"),
        (lambda path: pd.DataFrame({"path": ["a"], "n": [1]}).to_parquet(path), "`path` and float32"),
    ):
        make(tmp_path / "a.parquet")
        with refused(message):
            PrecomputedFeatures(tmp_path).fit(["a"])


def test_features_and_a_network_exclude_each_other(table):
    with refused("Got features= and backbone=, but expected either"):
        build_pipeline(features=table, backbone="tiny")


def test_a_bundle_needs_a_network(frame, table, tmp_path):
    model = build_pipeline(features=table).fit(frame["image"], frame["label"])
    with refused("expected a model with a fitted ResNetFeaturizer inside"):
        save(model, tmp_path / "model.hybrid")
    whole = build_pipeline(backbone="tiny").fit(frame["image"], frame["label"])
    swapped = type(model)([("featurizer", whole[0]), *model.steps[1:]])
    assert np.array_equal(swapped.predict(frame["image"]), whole.predict(frame["image"]))
    save(swapped, tmp_path / "model.hybrid")
