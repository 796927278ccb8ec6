"""Training as a user sees it, on the tiny network: honest scores, clear errors, the same for the same seed."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hybrid import FeatureStore, load_sample, save
from hybrid.bundle.loading import read
from hybrid.config import read_config
from hybrid.datasets.labelled import read_labelled
from hybrid.experiment import candidates
from hybrid.experiment.candidates import fit, read_candidates
from hybrid.experiment.compare import compare
from hybrid.experiment.evaluation import evaluate
from hybrid.experiment.prepare import n_repeats
from hybrid.experiment.train import train
from hybrid.images.pixels import ImageError
from hybrid.kinds import CALIBRATION

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
QUICK = {
    "features": {"backbone": "tiny", "layers": "last"},
    "model": {"kind": "logistic"},
    "logistic": {"C": 0.1},
    "cv": {"folds": 3, "repeats": 1, "baselines": False},
    "curve": {"on": False},
}


def quick(**sections):
    """The quick config with some sections extended."""
    return QUICK | {name: QUICK.get(name, {}) | values for name, values in sections.items()}


def picture(colour, rng, noise=90, size=24):
    """A noisy picture of one colour, with soft blotches that tell it from all others."""
    blotches = rng.normal(0, noise, (4, 4, 3)).repeat(size // 4, axis=0).repeat(size // 4, axis=1)
    pixels = np.array(colour) + blotches + rng.normal(0, 20, (size, size, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def coloured(n=12, seed=0, noise=90):
    """A table of pictures that are easy to tell apart, by their colour."""
    rng = np.random.default_rng(seed)
    rows = [(picture(colour, rng, noise), name) for name, colour in COLOURS.items() for _ in range(n)]
    return pd.DataFrame(rows, columns=["image", "label"])


@pytest.fixture(scope="module")
def table():
    return coloured()


@pytest.fixture(scope="module")
def outcome(table):
    return train(table, {"features": {"backbone": "tiny"}})


def test_the_default_gives_a_model_with_probabilities_and_every_score(table, outcome):
    assert set(outcome.scores) == {
        "accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc", "calibration_error",
    }  # fmt: skip
    for score in outcome.scores.values():
        assert score["low"] <= score["mean"] <= score["high"]
    assert outcome.scores["accuracy"]["mean"] > 0.9
    probabilities = outcome.model.predict_proba(list(table["image"]))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (outcome.model.predict(list(table["image"])) == table["label"]).mean() > 0.95
    assert list(outcome.model.named_steps) == ["featurizer", "scaler", "classifier"]


def test_the_default_searches_both_classifiers_two_layers_and_c_within_the_stated_fits(outcome):
    config = outcome.config
    searches = config.cv.folds * n_repeats(config, 36) + 1
    assert outcome.fits <= searches * (config.search.max_fits + 1)
    assert outcome.best["model"] in ("rbf", "logistic")
    assert outcome.best["layers"] in (["last"], ["stage2"], ["stage2", "last"])


def test_baselines_are_scored_on_the_same_folds(outcome):
    assert outcome.baselines["majority"]["accuracy"]["mean"] == pytest.approx(1 / 3, abs=0.1)
    assert outcome.baselines["raw_pixels"]["accuracy"]["mean"] > 0.5


def test_what_is_printed_is_plain_json(outcome):
    printed = json.loads(json.dumps(outcome.to_json(), allow_nan=False))
    assert set(printed["scores"]["accuracy"]) == {"mean", "low", "high"}
    assert printed["seed"] == 0
    assert printed["classes"] == {"red": 12, "green": 12, "blue": 12}
    assert printed["config"]["features"]["backbone"] == "tiny"
    assert "sentence" in printed["curve"]


def test_the_same_seed_repeats_everything_and_another_one_does_not(table):
    first, second = (train(table, QUICK, store=None) for _ in range(2))
    other = train(table, QUICK | {"seed": 1}, store=None)
    assert first.scores == second.scores
    images = list(table["image"])
    assert np.array_equal(first.model.predict_proba(images), second.model.predict_proba(images))
    assert first.scores != other.scores


def test_the_network_runs_once_an_image_and_then_never_again(tmp_path):
    table = coloured(4, seed=5)
    config = quick(features={"layers": ["last", "stage2", ["stage1", "last"]], "pooling": ["avg", "max"]})
    assert train(table, config, store=tmp_path).passes == 12
    assert train(table, config, store=tmp_path).passes == 0
    assert FeatureStore(tmp_path).stats()["passes"] == 12


def test_a_support_vector_machine_keeps_its_choices_when_it_is_calibrated(table):
    svm = quick(model={"kind": "svm"}, svm={"C": 10}, features={"layers": "stage1"})
    model = train(table, svm).model
    images = list(table["image"])
    probabilities = model.predict_proba(images)
    assert np.array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(images))
    assert type(model[-1].estimator).__name__ == "LinearSVC"


def test_a_model_pickles_small_and_predicts_the_same(table, outcome):
    images = list(table["image"])
    data = pickle.dumps(outcome.model)
    assert len(data) < 1 << 20
    assert np.array_equal(pickle.loads(data).predict(images), outcome.model.predict(images))


def test_duplicates_across_folds_are_counted_and_kept_together():
    table = coloured(20, seed=1)
    # Once more as they are, and in another size.
    copies = table.iloc[[0, 25, 50]].copy()
    copies["image"] = [Image.fromarray(image).resize((36, 36)) for image in copies["image"]]
    doubled = pd.concat([table, copies, table.iloc[[3, 33]]], ignore_index=True)
    outcome = train(doubled, quick(cv={"folds": 5}))
    for original, copy in [(0, 60), (25, 61), (50, 62), (3, 63), (33, 64)]:
        assert outcome.groups[original] == outcome.groups[copy]
    assert 5 <= outcome.duplicates["groups"] <= 7
    for train_rows, test_rows in outcome.validation.folds:
        assert not set(outcome.groups[train_rows]) & set(outcome.groups[test_rows])


def test_the_leak_is_told_by_what_it_would_score():
    rng = np.random.default_rng(0)
    table = coloured(10, seed=2)
    # Labels that mean nothing can be known by heart only, from the copies.
    table["label"] = rng.permutation(np.repeat(["a", "b"], 15))
    doubled = pd.concat([table, table], ignore_index=True)
    config = quick(model={"kind": "rbf"}, rbf={"C": 100, "gamma": 1.0}, cv={"folds": 5})
    honest = train(doubled, config)
    leaking = train(doubled, config | {"cv": config["cv"] | {"keep_duplicates_together": False}})
    assert honest.duplicates["accuracy_with_leak"]["mean"] > 0.8
    assert honest.scores["accuracy"]["mean"] < 0.7
    assert leaking.scores["accuracy"]["mean"] > 0.8
    assert leaking.duplicates["accuracy"]["mean"] < 0.7


def test_groups_of_the_table_stay_together(table):
    grouped = table.assign(group=[f"patient {i % 6}" for i in range(len(table))])
    outcome = train(grouped, QUICK)
    groups = grouped["group"].to_numpy()
    for train_rows, test_rows in outcome.validation.folds:
        assert not set(groups[train_rows]) & set(groups[test_rows])


def test_a_test_split_is_kept_out_and_scored(table):
    split = table.assign(split=np.where(np.arange(len(table)) % 4 == 0, "test", "train"))
    outcome = train(split, QUICK)
    assert outcome.test["images"] == 9
    assert len(outcome.images) == 27
    assert outcome.test["scores"]["accuracy"]["mean"] > 0.6
    assert train(table, QUICK).test is None


def test_a_near_duplicate_in_the_test_split_is_told(table):
    split = pd.concat([table, table.iloc[[0]]], ignore_index=True).assign(split="train")
    split.loc[len(table), "split"] = "test"
    assert "1 of 1 test images are near duplicates" in " ".join(train(split, QUICK).warnings)


def test_the_linear_probe_chooses_c_on_the_validation_rows():
    # With the least C, every image is called red.
    table = pd.concat([coloured(20).query("label == 'red'"), coloured(7, seed=1)], ignore_index=True)
    split = table.assign(split=np.where(np.arange(len(table)) % 3 == 0, "val", "train"))
    config = quick(search={"validation": "split"}, logistic={"C": [1e-6, 0.1], "scaler": "none"})
    for frame in (split, table):
        outcome = train(frame, config)
        assert outcome.best["C"] == 0.1
        assert outcome.fits == 4 * 2 + 3 + 1


def test_balanced_classes_help_the_rare_one():
    many, few = coloured(20, noise=140), coloured(4, noise=140, seed=1)
    table = pd.concat([many.query("label == 'red'"), few.query("label == 'blue'")])
    plain = train(table, quick(logistic={"C": 0.001}))
    balanced = train(table, quick(logistic={"C": 0.001}, model={"class_weight": "balanced"}))
    assert balanced.scores["balanced_accuracy"]["mean"] > plain.scores["balanced_accuracy"]["mean"]


@pytest.mark.skipif(CALIBRATION != "temperature", reason="sigmoids know a bound of their own")
@pytest.mark.parametrize("kind", ["svm", "rbf"])
def test_where_no_error_is_seen_nothing_is_certain(kind, monkeypatch):
    n = 24
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = (4 * rng.normal(size=(2, 30))[y] + rng.normal(size=(n, 30))).astype(np.float32)
    config = read_config({"model": {"kind": kind}})
    candidate = read_candidates(config)[0]
    weights = np.linspace(0.5, 2, n)
    bounded = fit(candidate, config, X, y, weights)
    monkeypatch.setattr(candidates, "bound_certainty", lambda *parts: None)
    certain = fit(candidate, config, X, y, weights)
    assert (bounded.predict(X) == certain.predict(X)).all()
    assert certain.predict_proba(X).max(axis=1).min() > 1 - 1e-6
    # Of 24 right of 24, 25 of 26; these were trained on, too, so that it may be a little more.
    assert (n + 1) / (n + 2) - 0.02 <= bounded.predict_proba(X).max(axis=1).mean() <= 0.99


@pytest.mark.parametrize("kind", ["svm", "logistic"])
def test_images_of_no_weight_do_not_count(kind):
    table = coloured(8)
    wrong = table.assign(label=np.roll(table["label"], 8), weight=0.0)
    both = pd.concat([table.assign(weight=1.0), wrong], ignore_index=True)
    model = train(
        both, quick(model={"kind": kind}, svm={"C": 10}, cv={"keep_duplicates_together": False})
    ).model
    assert (model.predict(list(table["image"])) == table["label"]).mean() > 0.9


LABELS = ["two words", "\"quoted\" 'twice'", "a, b; c", "line\nbreak", "日本 ёж ﷺ", " spaces ", "-1", "nan"]


def test_labels_of_any_text_come_out_as_they_went_in():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (len(LABELS), 3))
    rows = [(picture(c, rng), label) for c, label in zip(colours, LABELS, strict=True) for _ in range(6)]
    table = pd.DataFrame(rows, columns=["image", "label"])
    outcome = train(table, quick(cv={"folds": 2}))
    assert set(outcome.model.classes_) == set(LABELS)
    assert set(json.loads(json.dumps(outcome.to_json()))["classes"]) == set(LABELS)
    assert set(outcome.model.predict(list(table["image"]))) <= set(LABELS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 1], [0, 1, 1]),
        ([True, False, True], ["True", "False", "True"]),
        ([0.5, 1.5, 0.5], ["0.5", "1.5", "0.5"]),
        ([1, "1", "b"], ["1", "1", "b"]),
        (pd.Categorical(["x", "y", "x"]), ["x", "y", "x"]),
    ],
)
def test_labels_are_integers_or_text(values, expected):
    assert read_labelled(pd.DataFrame({"image": ["a", "b", "c"], "label": values})).y.tolist() == expected


def test_a_missing_label_or_column_is_named(table):
    with pytest.raises(ValueError, match=r"found none in rows \[1\]"):
        read_labelled(pd.DataFrame({"image": ["a", "b"], "label": ["x", None]}))
    with pytest.raises(ValueError, match="images without labels, such as a folder without sub-folders"):
        read_labelled(table[["image"]])
    with pytest.raises(ValueError, match=r"columns \['image', 'kind'\], but no label"):
        read_labelled(table[["image"]].assign(kind="x"))
    with pytest.raises(ValueError, match="without rows"):
        read_labelled(table.iloc[:0])
    with pytest.raises(ValueError, match=r"weight=-1\.0 in row 0"):
        read_labelled(table.assign(weight=-1.0))


def test_one_class_is_refused(table):
    with pytest.raises(ValueError, match="one class, 'red', but expected at least two"):
        train(table.query("label == 'red'"), QUICK)


def test_a_class_of_one_image_is_refused_with_a_way_out(table):
    with pytest.raises(ValueError, match=r"'green'.*Add images, or leave the class out"):
        train(pd.concat([table.query("label != 'green'"), table.query("label == 'green'").iloc[:1]]), QUICK)


def test_a_class_smaller_than_the_folds_trains_with_a_warning(table):
    few = pd.concat([table.query("label != 'green'"), table.query("label == 'green'").iloc[:2]])
    for kind in ("rbf", "logistic"):
        outcome = train(few, quick(cv={"folds": 5}, model={"kind": kind}, svm={"C": [1, 10]}))
        assert "'green'" in " ".join(outcome.warnings)
        assert set(outcome.model.classes_) == set(COLOURS)


def test_folds_are_lowered_where_no_class_has_enough_images():
    outcome = train(coloured(3), quick(cv={"folds": 5}))
    assert "3 folds instead of 5" in " ".join(outcome.warnings)
    assert len(outcome.validation.folds) == 3


def test_bad_images_are_all_named_or_left_out(table, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    bad = table.copy()
    bad.loc[2, "image"], bad.loc[30, "image"] = str(tmp_path / "broken.jpg"), str(tmp_path / "absent.png")
    with pytest.raises(ImageError, match=r"data\.on_error=skip") as caught:
        train(bad, QUICK)
    assert all(name in str(caught.value) for name in ("broken.jpg", "absent.png", "item 30"))
    outcome = train(bad, quick(data={"on_error": "skip"}))
    assert [row for row, _, _ in outcome.skipped] == [2, 30]
    assert "Left out 2 images" in outcome.warnings[0]
    assert len(outcome.images) == 34


def test_prediction_sets_and_neighbours_find_what_they_need(outcome):
    from hybrid.statistics.neighbours import neighbours
    from hybrid.statistics.sets import prediction_sets

    extras = outcome.extras()
    assert len(extras["conformity"]) == len(outcome.images) == len(extras["images"]) == len(extras["labels"])
    nearest, distances = neighbours(extras["memory"], outcome.features[:1], k=1)
    assert nearest[0, 0] == 0
    assert distances[0, 0] < 1e-5
    assert (
        prediction_sets(outcome.model.predict_proba(outcome.images[:5]), extras["conformity"])
        .any(axis=1)
        .all()
    )


def test_the_sample_and_a_folder_can_be_named(tmp_path):
    for i, row in coloured(4).iterrows():
        (tmp_path / row["label"]).mkdir(exist_ok=True)
        Image.fromarray(row["image"]).save(tmp_path / row["label"] / f"{i}.png")
    assert set(train(str(tmp_path), QUICK).classes) == set(COLOURS)


def test_an_unknown_layer_is_answered_before_any_work(table):
    with pytest.raises(ValueError, match="stage9"):
        train(table, quick(features={"layers": "stage9"}))


def test_evaluation_names_labels_that_the_model_does_not_know(outcome):
    fresh = coloured(5, seed=9)
    found = evaluate(outcome.model, fresh)
    assert found["images"] == 15
    assert found["scores"]["accuracy"]["mean"] > 0.8
    assert [row["images"] for row in found["classes"]] == [5, 5, 5]
    assert np.sum(found["confusion"]["counts"]) == 15
    assert found["unknown"] == {}
    strange = fresh.replace({"label": {"red": "Red "}})
    found = evaluate(outcome.model, strange)
    assert found["unknown"] == {"Red ": 5}
    assert found["images"] == 10
    assert "Is 'Red ' meant to be 'red'?" in found["warnings"][0]
    with pytest.raises(ValueError, match="the model knows only 'blue', 'green', 'red'"):
        evaluate(outcome.model, strange.query("label == 'Red '"))
    json.dumps(found, allow_nan=False)


def test_training_images_are_told_by_an_evaluation_of_a_bundle(tmp_path):
    table, fresh = load_sample(8), load_sample(2, seed=1)
    outcome = train(table, QUICK)
    save(outcome.model, tmp_path / "known.hybrid", extras=outcome.extras())
    save(outcome.model, tmp_path / "plain.hybrid")
    bundle = read(tmp_path / "known.hybrid")
    found = evaluate(bundle, fresh)
    assert found["warnings"] == []
    assert found["scores"] == evaluate(outcome.model, fresh)["scores"]
    (warning,) = evaluate(bundle, pd.concat([fresh, table[:7]]))["warnings"]
    assert warning.startswith(f"7 of {len(fresh) + 7} images are training images")
    assert evaluate(read(tmp_path / "plain.hybrid"), table)["warnings"] == []


def test_integers_and_their_text_are_the_same_label(table):
    numbers = table.assign(label=table["label"].map({"red": 0, "green": 1, "blue": 2}))
    model = train(numbers, QUICK).model
    assert model.predict([numbers["image"][0]]).tolist() == [0]
    assert evaluate(model, numbers.assign(label=numbers["label"].astype(str)))["unknown"] == {}


def test_the_whole_sample_beats_the_majority():
    outcome = train(load_sample(n_per_class=8), quick(cv={"baselines": True}))
    assert outcome.scores["accuracy"]["mean"] > 2 * outcome.baselines["majority"]["accuracy"]["mean"]


def test_a_config_record_is_taken_as_it_is(table):
    config = read_config(QUICK)
    assert train(table, config).config is not None
    assert train(table, config).config == config


@pytest.mark.parametrize("store", ["auto", None])
def test_a_head_is_trained_and_compared_like_any_model(table, store):
    head = quick(model={"kind": "finetune"}, finetune={"epochs": 20}, curve={"on": True})
    outcome = train(table, head, store=store)
    assert outcome.best == {"model": "finetune", "backbone": "tiny"}
    assert outcome.scores["accuracy"]["mean"] > 0.8
    images = list(table["image"])
    assert (outcome.model.predict(images) == table["label"]).mean() > 0.9
    assert set(outcome.extras()) == {"conformity"}
    result = compare(table, {"head": head, "logistic": QUICK}, store=store)
    assert {row["model"] for row in result.table()} == {"head", "logistic"}
    assert len(result.tests) == 1
