"""FeatureNormalizer: scikit-learn's checks, and what it does to rows and columns."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from hybrid import FeatureNormalizer
from hybrid.bundle.portable import dumps, loads
from hybrid.normalise import ROUNDING, shrunk_scale, unit_roots


@pytest.fixture
def features():
    """Skewed, with columns of very different sizes, one of them constant zero and some below zero."""
    random = np.random.default_rng(0)
    features = random.gamma(0.3, size=(60, 40)) * np.geomspace(1e-3, 1e2, 40)
    features[:, 7] = 0
    features[:, 8:12] *= -1
    return features.astype(np.float32)


@parametrize_with_checks([FeatureNormalizer(), FeatureNormalizer(columns=False)])
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_without_columns_it_is_root_and_unit_length(features):
    expected = Normalizer().fit_transform(np.sign(features) * np.sqrt(np.abs(features)))
    assert np.allclose(FeatureNormalizer(columns=False).fit_transform(features), expected, atol=1e-6)


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_depends_on_no_other_that_is_transformed_with_it(features, columns, dtype):
    features = features.astype(dtype)
    normalizer = FeatureNormalizer(columns=columns).fit(features[:30])
    together = normalizer.transform(features)
    assert together.dtype == dtype
    for one_by_one in (features, np.asfortranarray(features)):
        alone = [normalizer.transform(one_by_one[i : i + 1]) for i in range(len(features))]
        assert np.array_equal(np.concatenate(alone), together)
    assert np.array_equal(normalizer.transform(np.asfortranarray(features)), together)
    assert np.array_equal(normalizer.transform(features[::-1]), together[::-1])


def test_without_columns_a_row_depends_on_no_training_row(features):
    first, second = (FeatureNormalizer(columns=False).fit(features[i : i + 20]) for i in (0, 20))
    assert np.array_equal(first.transform(features), second.transform(features))


def test_training_rows_are_centred_and_of_length_one_in_the_mean(features):
    rows = FeatureNormalizer().fit_transform(features.astype(float))
    assert np.allclose(rows.mean(axis=0), 0, atol=1e-12)
    assert (rows**2).sum(axis=1).mean() == pytest.approx(1)


def test_no_factor_on_an_image_or_on_all_of_them_matters(features):
    factors = np.random.default_rng(1).uniform(0.1, 10, (len(features), 1)).astype(np.float32)
    expected = FeatureNormalizer().fit_transform(features)
    assert np.allclose(FeatureNormalizer().fit_transform(features * factors), expected, atol=1e-6)
    assert np.allclose(FeatureNormalizer().fit_transform(features * 1e20), expected, atol=1e-6)


def test_a_column_that_hardly_varies_is_not_blown_up():
    variances = np.r_[np.ones(99), 1e-12]
    scale = shrunk_scale(variances)
    assert scale[-1] / scale[0] == pytest.approx(np.sqrt(0.99 / 1.99), rel=1e-3)
    assert (variances / scale**2).sum() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0, 0.1, 1e-30, 3e4])
def test_rows_that_are_all_alike_stay_finite_and_small(dtype, value):
    rows = FeatureNormalizer().fit_transform(np.full((7, 1280), value, dtype))
    assert np.abs(rows).max() < np.sqrt(ROUNDING)


def test_a_row_of_zeros_stays_one():
    assert not unit_roots(np.zeros((2, 3))).any()


def test_a_row_with_nan_teaches_nothing_and_becomes_nan(features):
    spoilt = features.copy()
    spoilt[[3, 9]] = np.nan
    spoilt[5, 0] = np.nan
    normalizer = FeatureNormalizer().fit(spoilt)
    good = np.delete(features, [3, 5, 9], axis=0)
    assert np.array_equal(normalizer.mean_, FeatureNormalizer().fit(good).mean_)
    rows = normalizer.transform(spoilt)
    assert np.isnan(rows[[3, 5, 9]]).all()
    assert np.array_equal(np.delete(rows, [3, 5, 9], axis=0), normalizer.transform(good))


def test_nan_is_for_the_classifier_to_take_or_to_refuse(features):
    y = np.arange(len(features)) % 2
    features[3] = np.nan
    make_pipeline(FeatureNormalizer(), HistGradientBoostingClassifier(max_iter=2)).fit(features, y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        make_pipeline(FeatureNormalizer(), SVC()).fit(features, y)


def test_infinity_is_refused(features):
    features[3, 3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        FeatureNormalizer().fit(features)


def test_columns_is_true_or_false(features):
    with pytest.raises(ValueError, match="Got columns='no', but expected True or False"):
        FeatureNormalizer(columns="no").fit(features)


def test_the_callers_array_is_left_alone(features):
    before = features.copy()
    FeatureNormalizer().fit_transform(features)
    assert np.array_equal(features, before)


def test_names_go_through(features):
    names = [f"last_avg_{i}" for i in range(features.shape[1])]
    normalizer = FeatureNormalizer().set_output(transform="pandas")
    assert list(normalizer.fit_transform(pd.DataFrame(features, columns=names))) == names


def test_a_bundle_holds_it(features):
    normalizer = FeatureNormalizer().fit(features)
    assert np.array_equal(loads(dumps(normalizer)).transform(features), normalizer.transform(features))
