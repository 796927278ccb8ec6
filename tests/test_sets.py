"""Prediction sets cover as stated, on synthetic data and with cross-validated probabilities."""

import numpy as np
import pytest
import skops.io
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

from hybrid.statistics.sets import conformity, prediction_sets


def draw(rng, n):
    y = rng.integers(4, size=n)
    return rng.normal(size=(n, 6)) + 1.2 * np.eye(4, 6)[y], np.array(list("abcd"))[y]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_cover_as_stated_with_images_set_aside(coverage):
    rng = np.random.default_rng(0)
    model = GaussianNB().fit(*draw(rng, 200))
    hits = []
    for _ in range(40):
        x, y = draw(rng, 60)
        known = conformity(y, model.predict_proba(x), model.classes_)
        x, y = draw(rng, 250)
        sets = prediction_sets(model.predict_proba(x), known, coverage)
        hits.append(sets[np.arange(250), np.searchsorted(model.classes_, y)].mean())
    assert coverage - 0.01 <= np.mean(hits) <= coverage + 0.04


def test_sets_cover_with_cross_validated_probabilities():
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(20):
        x, y = draw(rng, 100)
        known = conformity(y, cross_val_predict(GaussianNB(), x, y, method="predict_proba"), list("abcd"))
        model = GaussianNB().fit(x, y)
        x, y = draw(rng, 500)
        sets = prediction_sets(model.predict_proba(x), known, 0.9)
        hits.append(sets[np.arange(500), np.searchsorted(model.classes_, y)].mean())
    assert np.mean(hits) >= 0.89


def test_a_higher_coverage_needs_larger_sets_and_none_is_empty():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), size=100)
    known = np.linspace(0.2, 1, 50)
    sizes = [prediction_sets(probabilities, known, coverage).sum(axis=1) for coverage in (0.1, 0.5, 0.9)]
    assert sizes[0].min() == 1
    assert (sizes[0] <= sizes[1]).all()
    assert (sizes[1] <= sizes[2]).all()


def test_nine_images_vouch_for_ninety_per_cent_and_no_more():
    known = np.linspace(0.1, 0.9, 9)
    probabilities = [[0.9, 0.05, 0.05]]
    assert prediction_sets(probabilities, known, 0.9).sum() == 1
    assert prediction_sets(probabilities, known, 0.91).sum() == 3


def test_what_is_kept_needs_no_trust_from_skops():
    known = conformity(["a", "b"], [[0.7, 0.3], [0.2, 0.8]], ["a", "b"])
    stored = skops.io.dumps({"conformity": known})
    assert skops.io.get_untrusted_types(data=stored) == []
    np.testing.assert_array_equal(skops.io.loads(stored)["conformity"], known)


def test_a_label_without_a_column_is_named():
    with pytest.raises(ValueError, match="label 'c', but expected one of"):
        conformity(["c"], [[0.7, 0.3]], ["a", "b"])


@pytest.mark.parametrize("coverage", [0, 1, 90])
def test_a_coverage_outside_zero_to_one_is_refused(coverage):
    with pytest.raises(ValueError, match="between 0 and 1"):
        prediction_sets([[1.0]], [1.0], coverage)
