"""Pictures for notebooks, drawn for real: the errors that are worst, and a map with a ring around each of them."""

import io
import sys

import matplotlib
import numpy as np
import pytest
from sklearn.model_selection import cross_val_predict
from sklearn.svm import LinearSVC

from hybrid import ErrorsDisplay, ExplanationDisplay, FeatureMapDisplay, build_pipeline, load_sample

matplotlib.use("agg")


@pytest.fixture(scope="module")
def sample():
    return load_sample(6)


@pytest.fixture(scope="module")
def model():
    known = load_sample(2, seed=1)
    return build_pipeline("logistic", backbone="tiny").fit(known["image"], known["label"])


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def size(display):
    file = io.BytesIO()
    display.figure_.savefig(file)
    return file.tell()


def test_the_worst_errors_come_first_and_say_what_they_are(model, sample):
    display = ErrorsDisplay.from_estimator(model, sample["image"], sample["label"], n=5)
    said, rows = model.predict(sample["image"]), model.predict_proba(sample["image"])
    wrong = np.flatnonzero(said != sample["label"])
    assert set(display.rows_) == set(wrong)
    assert (np.diff(rows.max(axis=1)[display.rows_]) <= 0).all()
    first = display.rows_[0]
    title = f"{said[first]} {rows[first].max():.0%},\nis {sample['label'][first]}"
    assert display.axes_[0, 0].get_title() == title
    assert [len(ax.images) for ax in display.axes_.flat] == [1] * 5 + [0] * 3
    assert display.figure_.get_suptitle() == f"{len(wrong)} of 60 are wrong"
    assert size(display) > 10_000


def test_errors_without_probabilities_and_unreadable_images_are_drawn_too(sample, tmp_path):
    (tmp_path / "$bad.jpg").write_bytes(b"no picture")
    display = ErrorsDisplay.from_predictions(
        [str(tmp_path / "$bad.jpg"), sample["image"][1]], ["$a$", "b"], ["b", "$^$"]
    )
    assert display.rows_.tolist() == [0, 1]
    assert display.axes_[0, 0].texts[0].get_text() == "no picture"
    assert size(display) > 1_000


def test_a_classifier_without_probabilities_has_its_errors_drawn(sample):
    model = build_pipeline(LinearSVC(), backbone="tiny").fit(sample["image"], sample["label"])
    labels = np.roll(sample["label"], 3)
    display = ErrorsDisplay.from_estimator(model, sample["image"], labels)
    assert display.rows_.tolist() == np.flatnonzero(model.predict(sample["image"]) != labels).tolist()
    assert size(display) > 10_000


def test_a_map_has_a_name_a_class_and_a_ring_an_error(model, sample):
    display = FeatureMapDisplay.from_estimator(model, sample["image"], sample["label"])
    assert display.wrong.tolist() == (model.predict(sample["image"]) != sample["label"]).tolist()
    assert [one.get_text() for one in display.ax_.texts] == sorted(set(sample["label"]))
    rings = display.ax_.collections[-1]
    assert len(rings.get_offsets()) == display.wrong.sum() > 0
    assert sum(len(one.get_offsets()) for one in display.ax_.collections[:-1]) == 60
    assert size(display) > 5_000


def test_a_map_of_features_shows_what_cross_validation_got_wrong(model, sample):
    features = model[0].transform(sample["image"])
    said = cross_val_predict(model[1:], features, sample["label"], cv=3)
    ax = matplotlib.pyplot.subplots()[1]
    display = FeatureMapDisplay.from_features(features, sample["label"], said, ax=ax)
    assert display.ax_ is ax
    assert display.wrong.sum() == (said != sample["label"]).sum()
    bare = FeatureMapDisplay.from_estimator(model[0], sample["image"])
    assert bare.wrong is None
    assert not bare.ax_.texts
    np.testing.assert_allclose(bare.points, display.points)
    with pytest.raises(ValueError, match="but expected two or more"):
        FeatureMapDisplay.from_features(features[:1])


def test_what_draws_is_named_where_it_is_missing(model, sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (
        lambda: FeatureMapDisplay.from_estimator(model, sample["image"]),
        lambda: ErrorsDisplay.from_estimator(model, sample["image"], sample["label"]),
        lambda: ExplanationDisplay.from_estimator(model, sample["image"][0]),
    ):
        with pytest.raises(ImportError, match="needs Matplotlib: pip install matplotlib"):
            draw()
