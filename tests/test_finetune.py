"""FineTunedClassifier: heads on the tiny network, tuning on EfficientNet-Lite0 at 32 pixels."""

import pickle
import zipfile
from io import BytesIO

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from hybrid import FeatureStore, FineTunedClassifier, ResNetFeaturizer, load_sample, prefetch
from hybrid.bundle.loading import load
from hybrid.bundle.saving import save
from hybrid.engines import opened
from hybrid.finetune.augment import augment
from hybrid.finetune.course import Plan, Task
from hybrid.finetune.head import Learner, draw_head, standardise, train_head
from hybrid.sources.catalogue import find

SIZE = 32
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn: weight 2 is not the same as twice",
}


class RowClassifier(FineTunedClassifier):
    """Each row of a table becomes a small picture: its values, squeezed into 0..1, side by side."""

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y)
        return super().fit(self._pictures(X), y, sample_weight)

    def predict_proba(self, X):
        check_is_fitted(self)
        return super().predict_proba(self._pictures(validate_data(self, X, reset=False)))

    @staticmethod
    def _pictures(X):
        squeezed = np.rint(255 / (1 + np.exp(-np.asarray(X, np.float64)))).astype(np.uint8)
        return squeezed[:, :, None, None].repeat(3, axis=3)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.string = False
        return tags


@parametrize_with_checks(
    [
        RowClassifier(
            backbone="tiny", store=None, image_size=16, resize="squash", learning_rate=0.01, random_state=0
        )
    ],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def sample():
    table = load_sample(n_per_class=8, size=48)
    return np.stack(table["image"]), table["label"].to_numpy(str)


@pytest.fixture(scope="module")
def few(sample):
    """Four classes that are hard to tell apart at this size."""
    X, y = sample
    chosen = np.isin(y, ["bricks", "checks", "dots", "waves"])
    return X[chosen], y[chosen]


def tiny(**params):
    return FineTunedClassifier(**{"backbone": "tiny", "random_state": 0, "epochs": 10} | params)


def lite(**params):
    settings = {
        "backbone": "efficientnet_lite0",
        "engine": "tensorflow",
        "image_size": SIZE,
        "random_state": 0,
    }
    return FineTunedClassifier(**settings | params)


@pytest.fixture(scope="module")
def tuned():
    """A network tuned on 32 pixels, for which its own last stage is too coarse."""
    table = load_sample(n_per_class=12, size=48)
    classifier = lite(unfreeze="stage4", tuning_epochs=8, tuning_rate=3e-4)
    return classifier.fit(np.stack(table["image"]), table["label"].to_numpy(str))


def test_a_head_on_stored_features_makes_no_forward_pass(sample, tmp_path):
    X, y = sample
    ResNetFeaturizer("tiny", store=tmp_path).fit_transform(X)
    before = FeatureStore(tmp_path).stats()["passes"]
    classifier = tiny(store=tmp_path, patience=3).fit(X, y)
    classifier.score(X, y)
    assert FeatureStore(tmp_path).stats()["passes"] == before == len(X)


def test_prefetch_finds_what_a_grid_of_heads_needs(sample, tmp_path):
    X, y = sample
    grid = {"hidden": [(), (16,)], "resize": ["crop", "squash"]}
    search = GridSearchCV(tiny(store=tmp_path, epochs=2), grid, cv=2)
    assert prefetch(search, X) == 2 * len(X)
    search.fit(X, y)
    assert FeatureStore(tmp_path).stats()["passes"] == 2 * len(X)


def test_what_trains_from_scratch_has_nothing_to_prefetch(sample):
    assert prefetch(lite(weights=None, seed=0, unfreeze="all"), sample[0]) == 0


def test_the_head_finds_what_is_there_to_find(sample):
    X, y = sample
    classifier = tiny(epochs=200).fit(X, y)
    assert classifier.score(X, y) > 0.95
    assert cross_val_score(tiny(epochs=200), X, y, cv=4).mean() > 0.2


@pytest.mark.parametrize("hidden", [(), (7,), (6, 5)])
def test_the_gradient_is_the_slope_of_the_loss(hidden):
    rng = np.random.default_rng(0)
    x, codes, weights = rng.normal(size=(9, 4)), rng.integers(0, 3, 9), rng.uniform(0.5, 2, 9)
    targets = np.eye(3)[codes] * 0.9 + 0.1 / 3
    task = Task(targets, weights, np.arange(9), np.arange(9))
    plan = Plan("head", 1, 1e-3, 0.0, 0.0, 9, None, 0, 0)
    learner = Learner(draw_head(4, hidden, 3, rng), x, task, plan)
    learner.backward(learner.forward(learner.x), targets, weights)
    found = learner.gradient.copy()
    for i in range(0, len(found), 3):
        value, losses = learner.values[i], []
        for step in (-1e-2, 1e-2):
            learner.values[i] = value + step
            losses.append(learner.evaluate()[0] * weights.sum() / 9)
        learner.values[i] = value
        assert found[i] == pytest.approx((losses[1] - losses[0]) / 2e-2, abs=2e-3)


def test_a_feature_that_never_varies_is_no_trouble():
    x = np.c_[np.full(6, 3.0), np.arange(6.0)].astype(np.float32)
    head = draw_head(2, (4,), 2, np.random.default_rng(0))
    standardise(head, x)
    assert np.isfinite(1 / head.scale[0])
    assert np.isfinite(head.probabilities(x)).all()


def test_patience_ends_training_and_gives_the_best_weights_back():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 60)
    x = np.float32(rng.normal(size=(60, 30)) + 0.4 * rng.normal(size=(3, 30))[codes])
    task = Task(np.eye(3, dtype=np.float32)[codes], np.ones(60, np.float32), np.arange(40), np.arange(40, 60))
    plan = Plan("head", 100, 1e-2, 0.0, 0.0, 8, 4, 0, 0)
    head = draw_head(30, (16,), 3, rng)
    records = train_head(head, x, task, plan)
    held_out = [record["val_loss"] for record in records]
    truth = head.probabilities(x[40:])[np.arange(20), codes[40:]]
    assert len(records) < 100
    assert -np.log(truth).mean() <= min(held_out) + 1e-5
    assert held_out[-5] == min(held_out)


def test_random_state_repeats_the_fit_exactly(sample):
    X, y = sample
    one, other = (tiny(patience=3).fit(X, y) for _ in range(2))
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))
    assert one.history_ == other.history_
    assert not np.array_equal(tiny(random_state=1).fit(X, y).predict_proba(X), one.predict_proba(X))


def test_weight_zero_is_absence(sample):
    X, y = sample
    weights = np.tile([1, 0, 1, 1], 20)
    weighted = tiny().fit(X, y, weights)
    part = tiny().fit(X[weights > 0], y[weights > 0])
    assert np.array_equal(weighted.predict_proba(X), part.predict_proba(X))


def test_class_weights_and_smoothing_move_the_answers(sample):
    X, y = sample
    plain = tiny().fit(X, y).predict_proba(X)
    dots = list(np.unique(y)).index("dots")
    assert (
        tiny(class_weight={"dots": 20}).fit(X, y).predict_proba(X)[:, dots].mean()
        > plain[:, dots].mean() * 1.5
    )
    assert tiny(label_smoothing=0.3).fit(X, y).predict_proba(X).max(axis=1).mean() < plain.max(axis=1).mean()


@pytest.mark.parametrize("names", [[False, True], [3, 7], ["a", "b"]])
def test_two_classes_keep_their_type(sample, names):
    X, y = sample
    y = np.array(names)[(y == "dots").astype(int)]
    classifier = tiny(epochs=2).fit(X, y)
    assert classifier.predict(X).dtype == y.dtype
    assert classifier.predict_proba(X).shape == (len(X), 2)


def test_warm_start_goes_on_where_the_last_fit_ended(sample):
    X, y = sample
    classifier = tiny(warm_start=True).fit(X, y)
    first = classifier.history_["loss"]
    classifier.fit(X, y)
    assert classifier.history_["loss"][:10] == first
    assert classifier.history_["loss"][10] < first[0] * 0.9
    with pytest.raises(ValueError, match=r"Got classes=\[.*but warm_start goes on"):
        classifier.fit(X[:16], y[:16])
    with pytest.raises(ValueError, match=r"Got hidden=\(3,\), but warm_start goes on"):
        classifier.set_params(hidden=(3,)).fit(X, y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": 0}, "Got epochs=0, but expected a positive integer"),
        ({"patience": 1.5}, "Got patience=1.5, but expected a positive integer"),
        ({"dropout": 1}, "Got dropout=1, but expected a number from 0 to below 1"),
        ({"learning_rate": -1}, "Got learning_rate=-1, but expected a number above 0"),
        ({"weight_decay": -1}, "Got weight_decay=-1, but expected a number of 0 or more"),
        ({"hidden": 128}, r"Got hidden=128, but expected widths such as \(128,\)"),
        ({"augment": ["turn"]}, r"Got augment=\['turn'\], but expected"),
        ({"batch_size": 0}, "Got batch_size=0"),
        (
            {"patience": 3, "validation_fraction": 0.99},
            "Got validation_fraction=0.99, but 80 images cannot be split",
        ),
        ({"unfreeze": "all"}, "'tiny' is NumPy only and stays frozen"),
        (
            {"unfreeze": "stage9"},
            "Got unfreeze='stage9', but 'tiny' expects None, 'all', a number of layers, 'stage1'",
        ),
        ({"unfreeze": 0}, "Got unfreeze=0"),
    ],
)
def test_a_wrong_parameter_says_what_is_right(sample, params, message):
    with pytest.raises(ValueError, match=message):
        tiny(**params).fit(*sample)


def test_a_subclass_with_a_narrower_init_misses_no_epochs(sample):
    class Short(FineTunedClassifier):
        def __init__(self, hidden=(8,)):
            super().__init__("tiny", hidden=hidden, epochs=2)

    model = GridSearchCV(Short(), {"hidden": [(), (4,)]}, cv=2).fit(*sample)
    assert len(model.best_estimator_.history_["loss"]) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda y: np.full(len(y), "a"), ValueError, "Got y with one class only, 'a'"),
        (lambda y: np.array(["a", 1] * 40, object), TypeError, "Got labels y of mixed types, int and str"),
        (lambda y: y[:9], ValueError, "Got 80 images, but 9 labels"),
        (lambda y: None, ValueError, "requires y to be passed, but the target y is None"),
    ],
)
def test_wrong_labels_are_refused(sample, change, error, message):
    X, y = sample
    with pytest.raises(error, match=message):
        tiny().fit(X, change(y))


@pytest.mark.parametrize("weights", [np.zeros(80), -np.ones(80), np.full(80, np.inf), np.ones(3)])
def test_wrong_sample_weights_are_refused(sample, weights):
    with pytest.raises(ValueError, match="Got sample_weight"):
        tiny().fit(*sample, weights)


def test_augmentation_repeats_by_its_seed_and_leaves_the_picture_alone():
    canvas = np.random.default_rng(0).integers(0, 256, (36, 40, 3), dtype=np.uint8)
    before = canvas.copy()
    kinds = ("flip", "crop", "colour")
    seen = [augment(canvas, (32, 32), kinds, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert seen[0].shape == (32, 32, 3)
    assert seen[0].dtype == np.uint8
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    assert np.array_equal(canvas, before)
    assert augment(canvas, (36, 40), (), np.random.default_rng(0)) is canvas


def test_tuning_beats_the_frozen_network(tuned):
    table = load_sample(n_per_class=24, size=48)
    X, y = np.stack(table["image"]), table["label"].to_numpy(str)
    seen = np.arange(len(X)) % 24 < 12
    frozen = clone(tuned).set_params(unfreeze=None).fit(X[seen], y[seen])
    assert tuned.score(X[~seen], y[~seen]) > frozen.score(X[~seen], y[~seen]) + 0.03
    assert frozen.base_weights_ == {}


def test_only_unfrozen_layers_change_and_never_their_statistics(tuned):
    from hybrid.finetune.tuning import tuned as with_weights
    from hybrid.sources.network import headless, named

    recipe = tuned.featurizer_._recipe()
    model = headless(recipe.network)
    cut = model.layers.index(model.get_layer("block4a_expand_relu6")) + 1
    above = {id(variable) for layer in model.layers[cut:] for variable in layer.weights}
    variables, before = named(model), arrays(model)
    after = arrays(headless(with_weights(recipe, tuned.base_weights_, "auto", "auto").network))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == set(tuned.base_weights_)
    assert changed == {
        name for name, one in variables.items() if id(one) in above and "moving" not in one.path
    }
    assert all(np.array_equal(after[name], tuned.base_weights_[name]) for name in changed)


def arrays(model):
    from hybrid.sources.network import named

    return {name: variable.value.numpy() for name, variable in named(model).items()}


def test_tuning_repeats_by_random_state(few):
    one, other = (lite(unfreeze=4, tuning_epochs=2).fit(*few) for _ in range(2))
    assert one.history_ == other.history_
    assert np.array_equal(one.predict_proba(few[0]), other.predict_proba(few[0]))


def test_a_warm_head_learns_on_the_tuned_network(tuned):
    table = load_sample(n_per_class=2, size=48)
    X, y = np.stack(table["image"]), table["label"].to_numpy(str)
    classifier = pickle.loads(pickle.dumps(tuned)).set_params(warm_start=True, unfreeze=None, epochs=2)
    classifier.fit(X, y)
    assert classifier.history_["phase"][-3:] == ["tuning", "head", "head"]
    assert classifier.base_weights_.keys() == tuned.base_weights_.keys()
    assert not np.array_equal(classifier.predict_proba(X), tuned.predict_proba(X))


def test_to_predict_a_tuned_network_is_not_built_again(few, monkeypatch):
    def refuse(network):
        raise AssertionError("the network was built again")

    classifier = lite(unfreeze=2, tuning_epochs=1, store=None).fit(*few)
    with monkeypatch.context() as patch:
        patch.setattr("hybrid.sources.network.headless", refuse)
        at_once = classifier.predict_proba(few[0])
    opened._opened.clear()
    assert np.allclose(classifier.predict_proba(few[0]), at_once, rtol=1e-5)


def test_tuning_without_gain_on_the_held_out_part_changes_nothing(few):
    X, y = few
    classifier = lite(unfreeze=2, tuning_epochs=2, tuning_rate=30.0, patience=1, validation_fraction=0.25)
    classifier.fit(X, y)
    assert classifier.history_["phase"][-1] == "tuning"
    assert classifier.base_weights_ == {}
    assert np.array_equal(
        classifier.predict_proba(X), clone(classifier).set_params(unfreeze=None).fit(X, y).predict_proba(X)
    )


def test_a_network_from_scratch_learns_all_its_weights(few):
    X, y = few
    classifier = lite(
        backbone="mobilenet",
        weights=None,
        seed=0,
        unfreeze="all",
        tuning_epochs=8,
        tuning_rate=3e-3,
        augment=(),
        batch_size=8,
    )
    classifier.fit(X, y)
    assert set(classifier.history_["phase"]) == {"tuning"}
    assert any(name.endswith("moving_mean") for name in classifier.base_weights_)
    assert classifier.history_["accuracy"][-1] > 0.5
    assert classifier.score(X, y) > 0.4


def test_the_fitted_state_is_plain_and_travels(few, tuned, tmp_path):
    X, _ = few
    expected = tuned.predict_proba(X)
    path = tmp_path / "model.joblib"
    joblib.dump(tuned, path)
    assert np.array_equal(joblib.load(path).predict_proba(X), expected)
    modules = set()

    class Watching(pickle.Unpickler):
        def find_class(self, module, name):
            modules.add(module.partition(".")[0])
            return super().find_class(module, name)

    assert np.array_equal(Watching(BytesIO(pickle.dumps(tuned))).load().predict_proba(X), expected)
    assert modules == {"hybrid", "numpy"}


def test_another_network_is_no_place_for_tuned_weights(few, tuned):
    broken = pickle.loads(pickle.dumps(tuned))
    name = next(iter(broken.base_weights_))
    broken.base_weights_[name] = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"Cannot tune 'efficientnet_lite0' as it was: it has no weights"):
        broken.set_params(store=None).predict(few[0])


def test_stages_named_by_every_record_can_be_unfrozen():
    from hybrid.finetune.tuning import check_unfreeze

    record = find("resnet50")
    for unfreeze in ("stage5", "stage1", "all", 3):
        check_unfreeze(record, unfreeze)


@pytest.mark.parametrize("is_tuned", [False, True])
def test_a_bundle_gives_the_same_probabilities(sample, tuned, tmp_path, is_tuned):
    X, y = sample
    model = tuned if is_tuned else tiny(store=tmp_path / "store").fit(X, y)
    loaded = load(save(model, tmp_path / "model.hybrid"))
    assert np.allclose(loaded.predict_proba(X), model.predict_proba(X), rtol=1e-5, atol=1e-7)
    assert loaded.store == loaded.featurizer_.store == "auto"
    with zipfile.ZipFile(tmp_path / "model.hybrid") as archive:
        names = archive.namelist()
    assert not any("pkl" in name or "pickle" in name or "keras" in name for name in names)


def test_a_tuned_network_does_not_go_into_a_bundle(tuned, tmp_path):
    with pytest.raises(ValueError, match="Got include_network=True, but a tuned network is not converted"):
        save(tuned, tmp_path / "model.hybrid", include_network=True)
