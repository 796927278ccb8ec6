"""ResNetFeaturizer as scikit-learn uses it; everything here runs on the tiny network."""

import copy
import pickle
import re
import timeit
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from corpus import make_corpus
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from hybrid import FeatureStore, ResNetFeaturizer, network
from hybrid.images.pixels import ImageError


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory, images):
    from PIL import Image

    folder = tmp_path_factory.mktemp("files")
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return sorted(map(str, folder.iterdir()))


def tiny(**params):
    return ResNetFeaturizer(backbone="tiny", **params)


def test_every_kind_of_x_gives_the_same_rows(images, files):
    expected = tiny(store=None).fit_transform(images)
    opened = [Path(file).read_bytes() for file in files]
    for X in (files, pd.Series(files), np.array(files, object), np.array(files), opened, list(images)):
        assert np.array_equal(tiny(store=None).fit_transform(X), expected)
    assert np.array_equal(tiny(store=None).fit_transform(pd.DataFrame({"image": files})), expected)
    mixed = [files[0], opened[1], *images[2:]]
    assert np.array_equal(tiny(store=None).fit_transform(mixed), expected)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_row_depends_on_its_image_alone(images, batch_size):
    expected = tiny(store=None).fit_transform(images)
    order = np.random.default_rng(1).permutation(len(images))
    assert np.array_equal(
        tiny(store=None, batch_size=batch_size).fit_transform(images[order]), expected[order]
    )


def test_the_store_changes_no_bit(images, tmp_path):
    expected = tiny(store=None).fit_transform(images)
    for _ in range(2):
        assert np.array_equal(tiny(store=tmp_path).fit_transform(images), expected)


def test_nothing_is_written_into_the_callers_array(images):
    before = images.copy()
    tiny(store=None, views=2).fit_transform(images)
    assert np.array_equal(images, before)


def test_parts_are_concatenated_and_named():
    images = np.zeros((2, 32, 32, 3), np.uint8)
    featurizer = tiny(layers=["stage3", "last"], pooling=["avg", "max"]).fit(images)
    names = list(featurizer.get_feature_names_out())
    assert len(names) == featurizer.n_features_out_ == featurizer.transform(images).shape[1]
    prefixes = list(dict.fromkeys(re.sub(r"_\d+$", "", name) for name in names))
    assert prefixes == ["stage3_avg", "stage3_max", "last_avg", "last_max"]


def test_flatten_keeps_every_place(images):
    featurizer = tiny(pooling="flatten", image_size=64).fit(images)
    assert featurizer.transform(images).shape == (12, featurizer.n_features_out_)
    assert featurizer.n_features_out_ > tiny().fit(images).n_features_out_


def test_two_views_are_the_average_of_image_and_mirror(images):
    squash = {"resize": "squash", "image_size": 40}
    one, mirrored = (tiny(**squash).fit_transform(X) for X in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(tiny(views=2, **squash).fit_transform(images), (one + mirrored) / 2, rtol=1e-6)


def test_set_params_is_honoured_at_once(images):
    featurizer = tiny().fit(images)
    narrow = featurizer.set_params(layers="stage3").transform(images)
    assert np.array_equal(narrow, tiny(layers="stage3").fit_transform(images))
    assert featurizer.n_features_out_ == narrow.shape[1]


def test_transform_before_fit_says_so(images):
    with pytest.raises(NotFittedError, match="not fitted"):
        tiny().transform(images)


def test_a_clone_is_cheap_and_a_pickle_small(images):
    featurizer = tiny().fit(images)
    assert min(timeit.repeat(lambda: clone(featurizer), number=10, repeat=20)) / 10 < 0.001
    assert len(pickle.dumps(featurizer)) < 8192


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_copies_give_the_same_rows(images, copier):
    featurizer = tiny().fit(images)
    assert np.array_equal(copier(featurizer).transform(images), featurizer.transform(images))


def test_joblib_keeps_a_pipeline(images, tmp_path):
    y = np.arange(12) % 2
    pipeline = make_pipeline(tiny(), StandardScaler(), LogisticRegression()).fit(images, y)
    joblib.dump(pipeline, tmp_path / "model.joblib")
    assert np.array_equal(joblib.load(tmp_path / "model.joblib").predict(images), pipeline.predict(images))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_set_output_names_the_columns(images, kind):
    frame = tiny().set_output(transform=kind).fit_transform(images)
    assert type(frame).__module__.startswith(kind)
    assert list(frame.columns) == list(tiny().fit(images).get_feature_names_out())


def test_an_image_column_beside_tabular_ones(files):
    frame = pd.DataFrame({"photo": files, "age": np.arange(12.0)})
    columns = ColumnTransformer([("deep", tiny(), "photo"), ("plain", StandardScaler(), ["age"])])
    assert columns.fit_transform(frame).shape == (12, 65)
    assert list(columns.get_feature_names_out())[-1] == "plain__age"


def test_union_search_and_cross_validation(images):
    y = np.arange(12) % 2
    union = FeatureUnion([("a", tiny()), ("b", tiny(layers="stage3"))])
    assert union.fit_transform(images).shape[1] > 64
    pipeline = make_pipeline(tiny(), LogisticRegression())
    grid = {"resnetfeaturizer__layers": ["stage3", "last"], "resnetfeaturizer__pooling": ["avg", "gem"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(images, y)
    assert len(search.cv_results_["params"]) == 4
    assert cross_val_predict(pipeline, images, y, cv=2).shape == (12,)
    assert FrozenEstimator(tiny().fit(images)).transform(images).shape == (12, 64)


def test_html_repr_shows_the_parameters(images):
    assert "tiny" in tiny().fit(images)._repr_html_()


BAD = {
    "backbone": ("resnet5", "resnet50"),
    "layers": ("stage99", "stage"),
    "pooling": ("mean", "avg"),
    "image_size": (-1, "positive integer"),
    "resize": ("stretch", "squash"),
    "value_range": ((1, 0), "low, high"),
    "views": (11, "from 1 to 10"),
    "engine": ("torch", "openvino"),
    "precision": ("float16", "bfloat16"),
    "batch_size": (0, "positive integer"),
    "on_error": ("ignore", "nan"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_parameter_is_named_with_its_value_at_fit(images, name):
    value, hint = BAD[name]
    with pytest.raises(ValueError, match=re.escape(str(value).strip("()"))) as caught:
        ResNetFeaturizer(**{"backbone": "tiny", name: value}).fit_transform(images)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("X", "hint"),
    [
        (np.zeros((5, 7)), "image"),
        ([], "image"),
        ("cat.jpg", "list"),
        (np.zeros((2, 8, 8, 5), np.uint8), "channel"),
        ({"a": 1}, "image"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "column"),
    ],
)
def test_what_is_no_batch_of_images_is_explained(X, hint):
    with pytest.raises((ValueError, TypeError), match=hint):
        tiny().fit(X)


def test_floats_need_their_range(images):
    floats = images / 255.0
    with pytest.raises(ValueError, match="value_range"):
        tiny().fit_transform(floats)
    assert np.array_equal(tiny(value_range=(0, 1)).fit_transform(floats), tiny().fit_transform(images))


def test_every_bad_image_is_named_in_one_error(images, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    X = [images[0], str(tmp_path / "broken.jpg"), images[1], str(tmp_path / "absent.png"), images[2]]
    with pytest.raises(ImageError, match="item 1") as caught:
        tiny().fit_transform(X)
    assert all(text in str(caught.value) for text in ("broken.jpg", "absent.png", "item 3", "on_error='nan'"))


def test_bad_images_become_rows_of_nan_with_a_warning(images, tmp_path):
    X = [images[0], str(tmp_path / "absent.png"), images[1]]
    with pytest.warns(RuntimeWarning, match=r"absent\.png"):
        rows = tiny(on_error="nan").fit_transform(X)
    assert np.isnan(rows[1]).all()
    assert np.array_equal(rows[[0, 2]], tiny().fit_transform(images[:2]))


def test_bad_images_alone_still_have_rows(tmp_path):
    with pytest.warns(RuntimeWarning, match="1 row is NaN"):
        assert tiny(on_error="nan").fit_transform([str(tmp_path / "absent.png")]).shape == (1, 64)


@pytest.mark.parametrize("store", [None, "auto"])
def test_the_corpus_ends_in_rows_or_named_errors(tmp_path, store):
    corpus = make_corpus(tmp_path)
    X = [str(tmp_path / name) for name in corpus]
    with pytest.warns(RuntimeWarning, match="NaN"):
        rows = tiny(on_error="nan", store=store).fit_transform(X)
    bad = {name for name, row in zip(corpus, rows, strict=True) if np.isnan(row).any()}
    assert bad == {name for name, expectation in corpus.items() if expectation.reason}
    with pytest.raises(ImageError, match="Cannot decode") as caught:
        tiny(store=store).fit_transform(X)
    assert {X[row] for row, _, _ in caught.value.failures} == {str(tmp_path / name) for name in bad}


def test_verbose_shows_one_bar(images, capsys):
    tiny(verbose=1, store=None).fit_transform(images)
    assert "12/12" in capsys.readouterr().err


def test_weights_that_changed_under_the_same_name_are_refused(images):
    featurizer = tiny().fit(images)
    featurizer.fingerprint_ = "0" * 32
    with pytest.raises(ValueError, match="changed since fit"):
        featurizer.transform(images)


@pytest.mark.skipif(not find_spec("nncf"), reason="the int8 extra is not installed")
def test_eight_bits_are_calibrated_once_by_the_first_images(images, monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path))
    params = {"backbone": "mobilenet", "weights": None, "seed": 0, "image_size": 32, "engine": "openvino"}
    first = ResNetFeaturizer(**params, precision="int8").fit(images)
    rows = first.transform(images)
    exact = ResNetFeaturizer(**params, precision="float32").fit_transform(images)
    assert not np.array_equal(rows, exact)
    assert 0.5 < first.drift_ < 1
    again = ResNetFeaturizer(**params, precision="int8", store=None).fit(images[::-1])
    assert np.array_equal(again.transform(images), rows)


def test_a_warning_under_nan_no_longer_advises_nan():
    """It said "1 rows are NaN", and to pass on_error='nan'."""
    with pytest.warns(
        RuntimeWarning, match=r"^1 row is NaN\. Cannot decode 'absent\.jpg' \(item 0\)"
    ) as caught:
        ResNetFeaturizer("tiny", store=None, on_error="nan").fit_transform(["absent.jpg"])
    assert "on_error" not in str(caught[0].message)


@pytest.mark.parametrize("wrong", [11, 13])
def test_labels_of_another_length_were_noticed_after_all_passes(images, tmp_path, wrong):
    model = make_pipeline(tiny(store=tmp_path), LogisticRegression())
    with pytest.raises(ValueError, match=f"Got 12 images and {wrong} labels"):
        model.fit(images, np.arange(wrong) % 2)
    assert FeatureStore(tmp_path).stats()["passes"] == 0


class Narrow(ResNetFeaturizer):
    def __init__(self, layers="last", store=None):
        self.layers = layers
        self.store = store


def test_a_subclass_with_fewer_parameters_broke_with_a_key_error(images, monkeypatch):
    monkeypatch.setattr(Narrow, "backbone", "tiny", raising=False)
    narrow = clone(Narrow()).set_params(layers="stage2")
    assert np.array_equal(narrow.fit_transform(images), tiny(layers="stage2").fit_transform(images))
    assert len(narrow.get_feature_names_out()) == narrow.n_features_out_ == 48


def test_a_picture_of_the_networks_size_was_enlarged_and_cropped():
    keras = pytest.importorskip("keras")
    X224 = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    for seed, name in enumerate(["resnet50", "mobilenet_v2"]):
        params = {"backbone": name, "weights": None, "seed": seed}
        module = getattr(keras.applications, name)
        frozen = network(**params, pooling=None)
        inner = next(layer for layer in frozen.layers if isinstance(layer, keras.Model))
        expected = inner.predict(module.preprocess_input(X224.astype(np.float32)), verbose=0).mean((1, 2))
        got = ResNetFeaturizer(**params, precision="float32", store=None).fit_transform(X224)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
