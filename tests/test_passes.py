"""Images and several featurizers' parameters in; rows, digests, failures and passes out."""

import numpy as np
import pytest

from hybrid import FeatureStore, ResNetFeaturizer
from hybrid.features.passes import compute, fill, identity, read_request


@pytest.fixture
def images():
    return list(np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8))


def settings(store, **one):
    return ResNetFeaturizer("tiny", store=store, **one).get_params()


@pytest.mark.parametrize("stored", [False, True])
def test_each_setting_has_the_rows_that_its_featurizer_gives(images, tmp_path, stored):
    store = tmp_path if stored else None
    asked = [
        {"layers": ["stage1", "last"], "pooling": "flatten"},
        {"layers": "stage1", "pooling": "flatten"},
        {"pooling": ["max", "avg"]},
        {"weights": None, "seed": 1},
    ]
    found = compute(images, [settings(store, **one) for one in asked])
    for rows, one in zip(found.features, asked, strict=True):
        assert np.array_equal(rows, ResNetFeaturizer("tiny", store=None, **one).fit_transform(images))
    assert found.passes == 14
    assert (None in found.digests) is not stored


def test_bad_images_are_listed_once_and_have_rows_of_nan(images, tmp_path):
    X = [images[0], "absent.png", images[1]]
    found = compute(X, [settings(tmp_path), settings(tmp_path, weights=None, seed=1)])
    assert [(row, item) for row, item, _ in found.failures] == [(1, "absent.png")]
    assert all(np.isnan(rows[1]).all() and np.isfinite(rows[[0, 2]]).all() for rows in found.features)
    assert found.digests[1] is None


def test_requests_for_parts_that_no_pass_keeps_are_answered_by_one(images, tmp_path):
    asked = [settings(tmp_path, layers=layer, pooling="flatten") for layer in ("stage1", "last")]
    assert fill([read_request(images, params) for params in asked]) == 7
    assert FeatureStore(tmp_path).stats()["passes"] == 7


def test_the_same_images_are_known_without_looking_at_them(images):
    assert identity(["a", "b"]) == identity(np.array(["a", "b"]))
    assert identity(images) == identity(list(images)) != identity(images[:3])
    assert identity(np.stack(images)) != identity(np.stack(images))
