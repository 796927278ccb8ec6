"""FineTunedClassifier: heads on the tiny network, tuning on EfficientNet-Lite0 at 32 pixels."""

import pickle
import sys
import zipfile
from io import BytesIO
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
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
from hybrid.finetune.optimizer import NAMES, new_optimizer
from hybrid.images.pixels import ImageError
from hybrid.sources.catalogue import find

SIZE = 32
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn: weight 2 is not the same as twice",
}


class RowClassifier(FineTunedClassifier):
    """Each row of a table becomes a small picture: its values, squeezed into 0..1, side by side."""

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, multi_output=np.asarray(y).ndim == 2)
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


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("hidden", [(), (7,), (6, 5)])
def test_the_gradient_is_the_slope_of_the_loss(hidden, exclusive):
    rng = np.random.default_rng(0)
    x, codes, weights = rng.normal(size=(9, 4)), rng.integers(0, 3, 9), rng.uniform(0.5, 2, 9)
    targets = np.eye(3)[codes] * 0.9 + 0.1 / 3
    task = Task(targets, weights, np.arange(9), np.arange(9))
    plan = Plan("head", 1, 1e-3, 0.0, 0.0, 9, None, 0, 0)
    learner = Learner(draw_head(4, hidden, 3, rng, exclusive), x, task, plan)
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
        ({"optimizer": "best"}, "Got optimizer='best', but expected 'adadelta'.* or a keras.Optimizer"),
        ({"callbacks": [print]}, "Got callbacks=.*, but expected a list of keras.callbacks.Callback"),
        ({"on_error": "skip"}, "Got on_error='skip'"),
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
    from hybrid.sources.network import headless, locate, named

    recipe = tuned.featurizer_._recipe()
    model = headless(locate(find("efficientnet_lite0"), "imagenet", None, (SIZE, SIZE), False))
    cut = model.layers.index(model.get_layer("block4a_expand_relu6")) + 1
    above = {id(variable) for layer in model.layers[cut:] for variable in layer.weights}
    variables, before = named(model), arrays(model)
    after = arrays(headless(recipe.network))
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
    broken.featurizer_.set_params(store=None).tune({name: np.zeros((1, 2), np.float32)})
    with pytest.raises(ValueError, match=r"Cannot tune 'efficientnet_lite0' as it was: it has no weights"):
        broken.predict(few[0])


def test_stages_named_by_every_record_can_be_unfrozen():
    from hybrid.finetune.checks import check_unfreeze

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


def test_a_tuned_network_goes_into_a_bundle_converted(sample, tuned, tmp_path, monkeypatch):
    X, _ = sample
    exact = clone(tuned.featurizer_).set_params(precision="float32", store=None).fit(X)
    expected = exact.tune(tuned.base_weights_).transform(X)
    path = save(tuned, tmp_path / "model.hybrid", include_network=True)
    assert tuned.base_weights_
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    loaded = load(path)
    assert loaded.base_weights_ == {}
    assert loaded.featurizer_.engine_ == "openvino"
    loaded.featurizer_.set_params(precision="float32", store=None)
    assert np.allclose(loaded.featurizer_.transform(X), expected, rtol=1e-3, atol=1e-4)
    again = load(save(loaded, tmp_path / "again", include_network=True))
    assert np.allclose(again.predict_proba(X), loaded.predict_proba(X), atol=1e-6)
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    assert sizes["network-0.bin"] > 5 * sizes["model.skops"]


def test_a_bundle_holds_no_objects_of_keras(few, tmp_path):
    import keras

    model = lite(unfreeze=1, tuning_epochs=1, optimizer=keras.optimizers.SGD(0.1), callbacks=[Recorder()])
    loaded = load(save(model.fit(*few), tmp_path / "model.hybrid"))
    assert loaded.optimizer == "sgd"
    assert loaded.callbacks == ()


def indicator(y):
    return (y[:, None] == np.unique(y)).astype(int)


def test_one_hot_labels_are_classes_that_exclude_each_other(sample):
    X, y = sample
    classifier = tiny(patience=3).fit(X, indicator(y))
    assert classifier.target_ == "one-hot"
    assert classifier.classes_.tolist() == list(range(10))
    by_name = tiny(patience=3).fit(X, y)
    assert np.array_equal(classifier.predict_proba(X), by_name.predict_proba(X))
    assert classifier.predict(X).shape == (80, 10)
    assert classifier.score(X, indicator(y)) == by_name.score(X, y)
    weighted = tiny(class_weight={3: 20}).fit(X, indicator(y).astype(np.float32))
    assert weighted.predict_proba(X)[:, 3].mean() > 1.5 * classifier.predict_proba(X)[:, 3].mean()


def test_several_labels_an_image_have_a_sigmoid_each(sample):
    X, y = sample
    several = indicator(y)
    several[:, 0] |= several[:, 1] | several[:, 2]
    several[y == y[-1]] = 0
    settings = {"epochs": 200, "label_smoothing": 0.1, "learning_rate": 3e-3}
    classifier = tiny(**settings).fit(X, several)
    assert classifier.target_ == "labels"
    assert classifier.score(X, several) > 0.9
    assert classifier.predict_proba(X)[several[:, 1] == 1].sum(axis=1).mean() > 1.6
    assert classifier.predict_proba(X)[several.sum(axis=1) == 0].sum(axis=1).mean() < 1
    assert tiny(patience=1).fit(X, several).history_["val_accuracy"][-1] > 0.7
    sparse = tiny(**settings).fit(X, csr_array(several))
    assert np.array_equal(classifier.predict(X), sparse.predict(X))
    with pytest.raises(ValueError, match="Got class_weight='balanced', but images have several labels each"):
        tiny(class_weight="balanced").fit(X, several)


STILL = {
    "unfreeze": 1,
    "tuning_epochs": 1,
    "tuning_rate": 1e-9,
    "augment": (),
    "dropout": 0,
    "precision": "float32",
}


def test_tuning_goes_on_from_the_loss_of_the_head(few, tmp_path):
    X, y = few
    several = indicator(y)
    several[:, 0] |= several[:, 1]
    params = {"layers": ["stage4", "stage3"], "pooling": ["gem", "flatten", "max"]}
    classifier = lite(**STILL, **params).fit(X, several)
    probabilities = classifier.predict_proba(X)
    truth = np.log(np.where(several, probabilities, 1 - probabilities))
    assert classifier.history_["loss"][-1] == pytest.approx(-truth.mean(), rel=1e-3)
    assert classifier.history_["accuracy"][-1] == pytest.approx(
        (classifier.predict(X) == several).mean(), abs=1e-6
    )
    loaded = load(save(classifier, tmp_path / "model.hybrid"))
    assert np.allclose(loaded.predict_proba(X), probabilities, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full((80, 3), 2), r"Got y of shape \(80, 3\) with .*2.*, but expected a class an image"),
        (np.full((80, 3), 0.5), "but expected a class an image, or a column a class of 0 and 1"),
        ([["a"], ["a", "b"]] * 40, "MultiLabelBinarizer"),
    ],
)
def test_other_matrices_of_labels_are_refused(sample, y, message):
    with pytest.raises(ValueError, match=message):
        tiny().fit(sample[0], y)


def test_validation_data_is_held_out(sample):
    X, y = sample
    part = np.arange(80) % 4 > 0
    classifier = tiny().fit(X[part], y[part], validation_data=(list(X[~part]), y[~part]))
    truth = classifier.predict_proba(X[~part])[np.arange(20), np.searchsorted(classifier.classes_, y[~part])]
    assert classifier.history_["val_loss"][-1] == pytest.approx(-np.log(truth).mean(), rel=1e-4)
    assert np.array_equal(classifier.predict_proba(X), tiny().fit(X[part], y[part]).predict_proba(X))
    patient = tiny(patience=2, epochs=300, learning_rate=0.01)
    patient.fit(X[part], y[part], validation_data=(X[~part], y[~part]))
    assert len(patient.history_["val_loss"]) < 300
    hot = indicator(y)
    one_hot = tiny().fit(X[part], hot[part], validation_data=(X[~part], hot[~part]))
    assert one_hot.history_ == classifier.history_


@pytest.mark.parametrize(
    ("validation_data", "message"),
    [
        (7, "Got validation_data=7, but expected a pair"),
        (([1], [2], [3]), "but expected a pair: images and their labels"),
        ((np.zeros((2, 9, 9, 3), np.uint8), ["dots"]), "Got 2 images, but 1 labels"),
        (
            (np.zeros((1, 9, 9, 3), np.uint8), ["cat"]),
            "Got validation_data with the class 'cat', which y has not",
        ),
        ((np.zeros((1, 9, 9, 3), np.uint8), [1]), "Got validation_data with the class 1, which y has not"),
        ((np.zeros((1, 9, 9, 3), np.uint8), np.eye(10)[:1]), r"y of shape \(1, 10\), but expected \(1,\)"),
    ],
)
def test_wrong_validation_data_is_refused(sample, validation_data, message):
    with pytest.raises(ValueError, match=message):
        tiny().fit(*sample, validation_data=validation_data)


@pytest.mark.parametrize(
    "params", [{"layers": "stage3"}, {"layers": ["stage2", "last"], "pooling": ["avg", "max"]}]
)
def test_a_head_sees_the_layers_that_it_is_given(sample, params):
    X, y = sample
    classifier = tiny(**params).fit(X, y)
    assert len(classifier.mean_) == ResNetFeaturizer("tiny", **params).fit(X).n_features_out_
    assert classifier.score(X, y) > 0.2


def test_what_is_tuned_lies_before_the_layers_that_are_read(few):
    X, y = few
    between = lite(layers=["stage4", "stage3"], unfreeze="stage4", tuning_epochs=1).fit(X, y)
    names = {name.split("/")[1][:7] for name in between.base_weights_}
    assert names == {"block4a", "block4b", "block4c", "block5a", "block5b", "block5c", "block6a"}
    last = lite(layers="stage3", unfreeze=1, tuning_epochs=1).fit(X, y)
    assert all("block4a_expand" in name for name in last.base_weights_)
    with pytest.raises(
        ValueError, match=r"Got unfreeze='stage5', but there .* no weights .*'stage3' depends on"
    ):
        lite(layers="stage3", unfreeze="stage5").fit(X, y)


class Recorder:
    """A callback by its methods alone: Keras is not imported where tests are collected."""

    def __init__(self):
        self.calls, self.model = [], None

    def set_params(self, params):
        self.params = params

    def set_model(self, model):
        self.model = model

    def on_train_begin(self):
        self.calls.append("begin")

    def on_train_end(self):
        self.calls.append("end")

    def on_epoch_begin(self, epoch):
        self.calls.append(epoch)

    def on_epoch_end(self, epoch, logs):
        self.calls.append(sorted(logs))


def test_callbacks_follow_the_tuning(few):
    X, y = few
    recorder = Recorder()
    classifier = lite(unfreeze=1, tuning_epochs=2, epochs=3, callbacks=[recorder])
    classifier.fit(X, y, validation_data=(X[:4], y[:4]))
    names = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert recorder.calls == ["begin", 0, names, 1, names, "end"]
    assert recorder.params["epochs"] == 2
    assert recorder.model is None
    assert pickle.loads(pickle.dumps(classifier)).history_ == classifier.history_


def test_callbacks_of_keras_work(few, tmp_path):
    from keras import callbacks

    X, y = few
    rates, path = [], tmp_path / "log.csv"
    found = [
        callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
        callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=10),
        callbacks.CSVLogger(path),
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(logs["learning_rate"])),
    ]
    classifier = lite(unfreeze=2, tuning_epochs=6, tuning_rate=0.1, precision="float32", callbacks=found)
    classifier.fit(X, y, validation_data=(X[:8], y[:8]))
    epochs = classifier.history_["phase"].count("tuning")
    assert 1 < epochs < 6
    assert len(path.read_text().splitlines()) == epochs + 1
    losses = classifier.history_["val_loss"][-epochs:]
    truth = classifier.predict_proba(X[:8])[np.arange(8), np.searchsorted(classifier.classes_, y[:8])]
    assert -np.log(truth).mean() == pytest.approx(min(losses), rel=1e-3)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_optimizers_have_names(name):
    assert type(new_optimizer(name, 0.01, 0.0)).__name__.lower() == name


def test_an_optimizer_of_keras_is_copied_and_keeps_its_rate(few):
    import keras

    X, y = few
    optimizer = keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.05, 20), momentum=0.9, use_ema=True
    )
    classifier = lite(unfreeze=1, tuning_epochs=2, optimizer=optimizer)
    one, other = clone(classifier).fit(X, y), pickle.loads(pickle.dumps(classifier)).fit(X, y)
    assert one.history_ == other.history_
    assert int(optimizer.iterations) == 0


def test_a_rate_that_a_callback_sets_holds(few):
    class Setter(Recorder):
        def on_epoch_end(self, epoch, logs):
            self.calls.append(float(self.model.optimizer.learning_rate.numpy()))
            self.model.optimizer.learning_rate = 0.25

    setter = Setter()
    lite(unfreeze=1, tuning_epochs=3, callbacks=[setter]).fit(*few)
    assert setter.calls[2] < 1e-4
    assert setter.calls[4::2] == [0.25, 0.25]


def test_callbacks_without_tuning_are_named(sample):
    with pytest.warns(UserWarning, match="Got callbacks, but unfreeze=None"):
        tiny(callbacks=[Recorder()]).fit(*sample)


@pytest.fixture
def holed(sample):
    """Images of which two cannot be read."""
    X, y = list(sample[0]), sample[1]
    X[3], X[70] = b"no image", "missing.jpg"
    return X, y, np.setdiff1d(np.arange(80), [3, 70])


def test_bad_images_are_left_out_of_fit_and_nan_in_predict_proba(sample, holed):
    X, y, good = holed
    with pytest.raises(ImageError, match=r"item 3.*\n.*item 70"):
        tiny().fit(X, y)
    classifier = tiny(on_error="nan", patience=3)
    with pytest.warns(RuntimeWarning, match="2 images are left out. Cannot decode 8 bytes"):
        classifier.fit(X, y)
    expected = tiny(patience=3).fit(sample[0][good], y[good])
    with pytest.warns(RuntimeWarning, match="2 rows are NaN"):
        probabilities = classifier.predict_proba(X)
    assert np.allclose(probabilities[good], expected.predict_proba(sample[0][good]), rtol=1e-9)
    assert np.isnan(probabilities[[3, 70]]).all()
    assert len(classifier.predict(sample[0])) == 80
    message = r"Got NaN for 2 images \(items \[3, 70\]\).* call predict_proba"
    with pytest.warns(RuntimeWarning), pytest.raises(ImageError, match=message):
        classifier.predict(X)


def test_bad_images_are_left_out_of_training_from_scratch(few):
    X, y = [b"no image", *few[0]], np.append("dots", few[1])
    classifier = lite(weights=None, seed=0, unfreeze="all", tuning_epochs=1, on_error="nan")
    with pytest.warns(RuntimeWarning, match="1 image is left out"):
        classifier.fit(X, y)
    with pytest.raises(ImageError, match="Cannot decode"):
        clone(classifier).fit([b"no image", b"nor this"], ["a", "b"])


def test_the_drift_of_a_tuned_network_is_not_measured(tuned, monkeypatch):
    monkeypatch.setattr(
        opened, "kind", lambda name: SimpleNamespace(load=lambda *all: SimpleNamespace(drift=1.0))
    )
    network = tuned.featurizer_._recipe().network
    assert opened.load(network, (("last", "avg"),), "tensorflow", "bfloat16").drift is None
