"""Several configs on the same folds, with paired tests, and the plan of what work will cost."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from hybrid import FeatureStore
from hybrid.experiment.compare import compare
from hybrid.experiment.plan import plan
from hybrid.experiment.train import train
from tests.test_train import QUICK, coloured, quick


@pytest.fixture(scope="module")
def table():
    return coloured(16, noise=150)


@pytest.fixture(scope="module")
def comparison(table):
    weak = quick(features={"layers": "stage1"}, logistic={"C": 1e-6})
    configs = {"plain": quick(cv={"folds": 5, "baselines": True}), "again": QUICK, "weak": weak}
    return compare(table, configs)


def test_all_models_are_scored_on_the_same_folds(comparison):
    folds = [one.folds for one in comparison.validations.values()]
    for other in folds[1:]:
        for fold, same in zip(folds[0], other, strict=True):
            assert np.array_equal(fold[1], same[1])
    assert comparison.folds == 5


def test_a_table_has_models_and_baselines_with_intervals_the_best_model_first(comparison):
    rows = comparison.table()
    assert [row["model"] for row in rows[3:]] == ["majority", "raw_pixels"]
    means = [row["mean"] for row in rows[:3]]
    assert means == sorted(means, reverse=True)
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)


def test_pairs_are_tested_and_corrected_for_their_number(comparison):
    tests = {frozenset((test["a"], test["b"])): test for test in comparison.tests}
    assert len(tests) == 3
    same = tests[frozenset(("plain", "again"))]
    assert (same["difference"], same["p"], same["p_holm"]) == (0, 1, 1)
    assert all(test["p_holm"] >= test["p"] for test in comparison.tests)
    assert tests[frozenset(("plain", "weak"))]["difference"] != 0


def test_a_section_that_is_overruled_is_told(comparison):
    assert "cv of 'again' differ from 'plain''s" in " ".join(comparison.warnings)


def test_what_is_printed_is_plain_json(comparison):
    printed = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert printed["models"][0]["best"]["backbone"] == "tiny"
    assert set(printed["models"][0]["scores"]["accuracy"]) == {"mean", "low", "high"}


def test_two_configs_of_one_network_run_it_once(table, tmp_path):
    paths = []
    for name, layer in (("a", "last"), ("b", "stage2")):
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'[features]\nbackbone = "tiny"\nlayers = "{layer}"\n[model]\nkind = "svm"\n[svm]\nC = 1\n'
            "[cv]\nrepeats = 1\nfolds = 3\nbaselines = false\n"
        )
        paths.append(path)
    result = compare(table, paths, score="log_loss", store=tmp_path / "store")
    assert {model["name"] for model in result.models} == {"a", "b"}
    losses = [row["mean"] for row in result.table()]
    assert losses == sorted(losses)
    assert FeatureStore(tmp_path / "store").stats()["passes"] == len(table)


def test_what_cannot_be_compared_is_refused(table):
    with pytest.raises(ValueError, match="at least two"):
        compare(table, [QUICK])
    with pytest.raises(ValueError, match="expected one of 'accuracy', 'balanced_accuracy'"):
        compare(table, [QUICK, QUICK], score="accurracy")


def test_a_plan_counts_what_is_still_to_be_done(tmp_path):
    table = coloured(30, seed=4)
    config = quick(features={"batch_size": 8, "layers": ["last", "stage2"]}, cv={"folds": 5})
    first = plan(table, config, store=tmp_path)
    # Two batches were run to see, and are kept.
    assert first.images == 90
    assert (first.passes, first.probed) == (90, 16)
    assert FeatureStore(tmp_path).stats()["passes"] == 16
    assert first.fits == 2 * 3 * 6 + 6
    assert first.seconds > 0
    assert first.disk == 90 * 4 * 3 * (32 + 48 + 64)
    assert "90 of them to go through tiny" in str(first)
    assert plan(table, config, store=tmp_path).passes == 74
    for _ in range(5):
        last = plan(table, config, store=tmp_path)
    assert (last.passes, last.seconds, last.disk) == (0, 0, 0)
    assert "all in the store" in str(last)
    assert json.loads(json.dumps(last.to_json()))["images"] == 90


def test_a_plan_without_a_store_counts_every_image_and_no_memory_worth_telling():
    found = plan(coloured(4), QUICK, store=None)
    assert found.passes == 12
    assert "0 MB" not in str(found)
    assert "1 MB of memory for features, 0 MB of disk" in str(replace(found, memory=10**6))


def test_a_plan_tells_the_time_of_the_search_within_a_factor_of_two(tmp_path):
    table = coloured(60, seed=8, noise=150)
    config = {"features": {"backbone": "tiny"}}
    train(table, config, store=tmp_path)
    ratios = []
    for _ in range(3):
        told = plan(table, config, store=tmp_path).search
        start = time.perf_counter()
        train(table, config, store=tmp_path)
        ratios.append(told / (time.perf_counter() - start))
    assert 0.5 < sorted(ratios)[1] < 2
