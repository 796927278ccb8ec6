"""Explanations: the parts add up, for a linear head they are the terms of its sum, and other poolings are covered."""

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from hybrid import ExplanationDisplay, FeatureStore, ResNetFeaturizer, build_pipeline, load_sample, save
from hybrid.explain.cells import laid_out, read_maps, spread, steps
from hybrid.explain.decisions import decision
from hybrid.explain.explanation import explain, walk
from hybrid.statistics.neighbours import remember
from hybrid.tasks.explain import write_explanation

HEADS = {
    "logistic": "logistic",
    "linear svm": "svm",
    "calibrated svm": CalibratedClassifierCV(LinearSVC(), cv=3, ensemble=False),
    "rbf svm": "rbf",
    "calibrated rbf": CalibratedClassifierCV(SVC(C=10, gamma=0.25), cv=3, ensemble=False),
    "calibrated ensemble": CalibratedClassifierCV(LinearSVC(), cv=3),
    "forest": RandomForestClassifier(20, random_state=0),
    "neighbours": KNeighborsClassifier(3),
    "nested": make_pipeline(StandardScaler(), LogisticRegression()),
}


@pytest.fixture(scope="module")
def sample():
    return load_sample(8)


def fitted(sample, head="logistic", **params):
    return build_pipeline(head, **{"backbone": "tiny"} | params).fit(sample["image"], sample["label"])


def mean_of(model, sample):
    return model[0].transform(sample["image"]).mean(axis=0, dtype=float)


@pytest.mark.parametrize("layers", ["last", ["stage2", "last"]])
@pytest.mark.parametrize("head", HEADS)
def test_the_parts_add_up_to_the_difference_of_decisions(sample, head, layers):
    model = fitted(sample, HEADS[head], layers=layers)
    mean = mean_of(model, sample)
    for image in sample["image"][[0, 20]]:
        found = explain(model, image, mean=mean)
        vector = model[0].transform([image]).astype(float)
        decide = decision(model[1:], found.label)
        assert found.label == model.predict([image])[0]
        assert found.adds_up
        assert found.value == pytest.approx(decide(vector)[0], abs=1e-3)
        assert found.start == pytest.approx(decide(mean[None])[0])
        assert found.parts.sum() == pytest.approx(found.value - found.start, abs=1e-3)


def test_the_parts_of_a_linear_head_are_the_terms_of_its_sum(sample):
    X, y = sample["image"], sample["label"]
    model = make_pipeline(ResNetFeaturizer("tiny"), StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(X, y)
    found = explain(model, X[0])
    (cells,) = read_maps(model[0], X[0])
    weights = model[-1].coef_[list(model.classes_).index(found.label)] / model[1].scale_
    terms = (cells - model[1].mean_) @ weights / (cells.shape[0] * cells.shape[1])
    np.testing.assert_allclose(found.parts, terms, atol=1e-9)


def test_the_walk_is_the_integral_of_the_gradient():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)), np.arange(60) % 2
    svc = SVC(C=10, gamma=0.1).fit(X, y)
    start, way = X[0], rng.normal(size=(5, 8))
    at = start + np.linspace(0, 1, 2001)[:, None] * way.sum(axis=0)
    at = (at[1:] + at[:-1]) / 2
    away = at[:, None] - svc.support_vectors_[None]
    kernel = np.exp(-0.1 * (away**2).sum(axis=2)) * svc.dual_coef_
    gradient = -2 * 0.1 * (kernel[..., None] * away).sum(axis=1)
    integral = gradient.mean(axis=0) @ way.T
    np.testing.assert_allclose(walk(decision(svc, 1), start, way), integral, rtol=0.02)
    np.testing.assert_allclose(walk(decision(svc, 1), start, way, rounds=240), integral, rtol=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_decisions_of_an_rbf_svm_are_those_of_scikit_learn(classes):
    X, y = np.random.default_rng(0).normal(size=(60, 8)), np.arange(60) % classes
    svc = SVC(C=10, gamma=0.2, decision_function_shape="ovo").fit(X, y)
    votes = svc.decision_function(X[:9]).reshape(9, -1)
    pairs = [(0, 1)] if classes == 2 else list(combinations(range(classes), 2))
    for column in range(classes):
        signs = [(column == first) - (column == second) for first, second in pairs]
        expected = votes @ signs / (-1 if classes == 2 else classes - 1)
        np.testing.assert_allclose(decision(svc, column)(X[:9]), expected)


def test_the_order_of_cells_has_no_say(sample):
    model = fitted(sample, "rbf")
    decide, mean = decision(model[1:], "star"), mean_of(model, sample)
    way = steps(read_maps(model[0], sample["image"][0]), mean)
    order = np.random.default_rng(0).permutation(len(way))
    found = walk(decide, mean, way)
    np.testing.assert_allclose(walk(decide, mean, way[order]), found[order], atol=0.03 * np.ptp(found))


def test_the_maps_are_those_behind_the_vector(sample):
    featurizer = ResNetFeaturizer("tiny", layers=["stage1", "last"], image_size=(32, 64)).fit(sample["image"])
    maps = read_maps(featurizer, sample["image"][3])
    assert [one.shape for one in maps] == [(16, 32, 32), (4, 8, 64)]
    vector = np.concatenate([one.mean(axis=(0, 1)) for one in maps])
    np.testing.assert_allclose(vector, featurizer.transform(sample["image"][3:4])[0], rtol=1e-5)


def test_what_speaks_for_a_class_lies_where_it_is():
    """Half of each picture is of its class, the other half is the same in all of them."""
    rng = np.random.default_rng(0)
    images = rng.integers(90, 110, (40, 32, 32, 3), dtype=np.uint8)
    images[:20, :, :16, 0] += 120
    images[20:, :, :16, 2] += 120
    labels = np.repeat(["red", "blue"], 20)
    model = build_pipeline("logistic", backbone="tiny", layers="stage2", store=None).fit(images, labels)
    parts = explain(model, images[0]).parts
    assert parts[:, :3].sum() > 5 * abs(parts[:, 5:].sum())


@pytest.mark.parametrize("params", [{"pooling": "max"}, {"views": 2}, {"pooling": ["avg", "gem"]}])
def test_other_poolings_and_views_have_patches_covered(sample, params):
    found = explain(fitted(sample, **params), sample["image"][0])
    assert not found.adds_up
    assert found.parts.shape == (7, 7)


def test_what_is_no_pipeline_behind_a_featurizer_has_patches_covered(sample):
    model = CalibratedClassifierCV(build_pipeline("svm", backbone="tiny"), cv=2, ensemble=False)
    found = explain(model.fit(list(sample["image"]), sample["label"]), sample["image"][0])
    assert found.label == "bricks"
    assert not found.adds_up


def test_nothing_of_an_explanation_is_stored(sample, tmp_path):
    store = FeatureStore(tmp_path)
    for pooling in ("avg", "max"):
        model = fitted(sample, pooling=pooling, store=store)
        rows = store.stats()["rows"]
        explain(model, sample["image"][0])
        assert store.stats()["rows"] == rows


def test_another_class_may_be_asked_for_and_an_unknown_one_is_named(sample):
    model = fitted(sample)
    assert explain(model, sample["image"][0], "star").value < explain(model, sample["image"][0]).value
    with pytest.raises(ValueError, match="label='dragon', but expected one of 'bricks'"):
        explain(model, sample["image"][0], "dragon")
    model = build_pipeline(backbone="tiny").fit(sample["image"], np.array(sample["label"], str))
    with pytest.raises(ValueError, match="label='dragon', but expected one of 'bricks', 'checks'"):
        explain(model, sample["image"][0], "dragon")


def test_a_mean_of_another_model_is_refused(sample):
    with pytest.raises(ValueError, match="mean of 3 features, but this model has 64"):
        explain(fitted(sample), sample["image"][0], mean=np.zeros(3))


def test_coarse_parts_lie_over_fine_ones_and_their_sum_stays():
    maps = [np.zeros((4, 4, 2)), np.zeros((3, 3, 5))]
    parts = np.arange(25.0)
    assert laid_out(parts, maps).shape == (4, 4)
    assert laid_out(parts, maps).sum() == pytest.approx(parts.sum())
    assert spread(np.ones((2, 2)), (4, 4)).tolist() == np.full((4, 4), 0.25).tolist()


def test_the_drawing_has_one_colour_for_and_another_against(sample):
    drawn = np.asarray(explain(fitted(sample), sample["image"][0]).draw(96)).astype(int)
    assert drawn.shape == (96, 96, 3)
    assert (drawn[..., 0] > drawn[..., 2] + 30).any()


def test_a_display_shows_it_in_a_notebook(sample):
    import matplotlib

    matplotlib.use("agg")
    display = ExplanationDisplay.from_estimator(fitted(sample), sample["image"][0])
    assert "bricks" in display.ax_.get_title()
    assert display.explanation.label == "bricks"
    display.figure_.savefig(io.BytesIO())


def test_the_task_writes_a_picture_and_says_what_is_in_it(sample, tmp_path):
    model = fitted(sample)
    extras = {"memory": remember(model[0].transform(sample["image"])), "mean": mean_of(model, sample)}
    extras |= {"images": ["a"] * len(sample), "labels": sample["label"].tolist()}
    path = save(model, tmp_path / "model.hybrid", extras=extras)
    image = tmp_path / "<b>.png"
    Image.fromarray(sample["image"][0]).save(image)
    found = write_explanation(path, image, tmp_path / "heat.png")
    assert Image.open(tmp_path / "heat.png").size == (448, 448)
    assert found["label"] == "bricks"
    assert found["adds_up"]
    assert sum(map(sum, found["parts"])) == pytest.approx(found["decision"] - found["average_decision"])
    assert found["average_decision"] == pytest.approx(
        decision(model[1:], "bricks")(mean_of(model, sample)[None])[0]
    )


def test_a_bundle_whose_mean_does_not_fit_is_refused(sample, tmp_path):
    with pytest.raises(ValueError, match="extras whose 'mean' is no array of 64 numbers"):
        save(fitted(sample), tmp_path / "model.hybrid", extras={"mean": np.zeros(3)})


def test_a_picture_in_no_known_format_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"heat.txt', but expected a name that ends in"):
        write_explanation(tmp_path / "absent.hybrid", "a.png", tmp_path / "heat.txt")


def test_a_picture_in_a_missing_folder_is_refused_before_any_work(tmp_path):
    with pytest.raises(
        ValueError, match=r"Cannot write .*heat.png': there is no such folder. Choose another"
    ):
        write_explanation(tmp_path / "absent.hybrid", "a.png", tmp_path / "absent" / "heat.png")
