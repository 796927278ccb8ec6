"""build_pipeline: the same classifiers as those of `hybrid train`, and plain ones."""

import numpy as np
import pytest
import skops.io
from sklearn.svm import SVC, LinearSVC

from hybrid import FeatureNormalizer, build_pipeline, load_sample
from hybrid.config import read_config
from hybrid.experiment.candidates import read_candidates
from hybrid.kinds import KINDS


def test_an_unknown_classifier_is_answered_with_the_near_one():
    with pytest.raises(ValueError, match="Did you mean 'logistic'"):
        build_pipeline("logistics")
    with pytest.raises(ValueError, match="expected 'logistic', 'svm', 'rbf' or an estimator"):
        build_pipeline("finetune")
    with pytest.raises(TypeError, match="an estimator"):
        build_pipeline(3)


def test_a_class_fails_here_and_not_in_fit():
    with pytest.raises(
        TypeError, match=r"Got the class classifier=LinearSVC, .*Pass an instance: LinearSVC\(\)"
    ):
        build_pipeline(LinearSVC)


@pytest.mark.parametrize("name", ["logistic", "svm", "rbf"])
def test_a_name_stands_for_the_first_candidate_of_train(name):
    assert type(getattr(read_config(), name)) is KINDS[name].section
    first = read_candidates(read_config({"model": {"kind": name}}))[0]
    ours, theirs = build_pipeline(name)[1:], first.kind.steps(first.params)
    assert [repr(step) for step in ours] == [repr(step) for _, step in theirs]


def test_an_estimator_gets_normalised_features():
    pipeline = build_pipeline(LinearSVC(C=3), backbone="tiny")
    assert isinstance(pipeline["scaler"], FeatureNormalizer)
    assert pipeline["classifier"].C == 3


def test_skops_dumps_of_an_svm_ends_no_process_where_scikit_learn_intelex_is_installed():
    sample = load_sample(n_per_class=3)
    model = build_pipeline("rbf", backbone="tiny").fit(sample["image"], sample["label"])
    assert type(model["classifier"]) is SVC
    trusted = ["hybrid.featurizer.ResNetFeaturizer", "hybrid.normalise.FeatureNormalizer"]
    loaded = skops.io.loads(skops.io.dumps(model), trusted=trusted)
    assert np.array_equal(loaded.predict(sample["image"]), model.predict(sample["image"]))
