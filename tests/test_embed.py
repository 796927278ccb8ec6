"""Images and a recipe in, rows out: what a pass computes, keeps and says."""

import threading

import numpy as np
import pytest

from hybrid import FeatureStore, ResNetFeaturizer
from hybrid.engines.tiny import TinyEngine
from hybrid.features.embed import embed, kept
from hybrid.features.recipe import Recipe, read_recipe
from hybrid.features.rows import Rows


@pytest.fixture
def images():
    return list(np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8))


def recipe(**params):
    return read_recipe(ResNetFeaturizer("tiny", **params).get_params())


def test_without_a_store_only_what_is_asked_for_is_computed(images, monkeypatch):
    widths, run = [], TinyEngine.run
    monkeypatch.setattr(
        TinyEngine, "run", lambda self, batches: widths.append(self.widths) or run(self, batches)
    )
    embed(images, recipe(), None)
    assert widths == [(64,)]


def test_with_a_store_other_layers_are_there_before_they_are_asked_for(images, tmp_path):
    store = FeatureStore(tmp_path)
    embed(images, recipe(), store)
    for layer in ("stage1", "stage2", "stage3", "last"):
        for pooling in ("avg", "max", "gem"):
            one = recipe(layers=layer, pooling=pooling)
            assert np.array_equal(embed(images, one, store), embed(images, one, None))
    assert store.stats()["passes"] == 9


def test_more_images_than_the_store_has_room_for_keep_what_is_asked_for(images, tmp_path):
    asked, whole = recipe(), sum(recipe().whole.widths()) * 4
    assert kept(asked, 100, FeatureStore(tmp_path, limit=200 * whole)) == asked.whole
    assert kept(asked, 101, FeatureStore(tmp_path, limit=200 * whole)) == asked
    assert kept(asked, 1, None) == asked
    store = FeatureStore(tmp_path, limit=17 * whole)
    for pooling in ("avg", "max"):
        embed(images, recipe(pooling=pooling), store)
    assert store.stats()["passes"] == 18


def test_a_layer_that_gives_no_vector_does_not_stop_what_is_asked_for(images, tmp_path, monkeypatch):
    opened = Recipe.open

    def open_asked(self):
        if len(self.parts) > 1:
            raise ValueError("Layer 'stage1' gives one number an image; expected a vector or a map.")
        return opened(self)

    monkeypatch.setattr(Recipe, "open", open_asked)
    assert np.array_equal(embed(images, recipe(), FeatureStore(tmp_path)), embed(images, recipe(), None))


def test_threads_that_ask_for_other_parts_at_once_share_a_pass(images, tmp_path):
    store, found = FeatureStore(tmp_path), {}

    def work(pooling):
        found[pooling] = embed(images, recipe(pooling=pooling), store, batch_size=2)

    threads = [threading.Thread(target=work, args=[pooling]) for pooling in ("avg", "max", "gem")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.stats()["passes"] == 9
    for pooling, rows in found.items():
        assert np.array_equal(rows, embed(images, recipe(pooling=pooling), None))


def test_rows_give_columns_by_part(images):
    both = recipe(layers=["stage1", "last"])
    rows = Rows(3, both)
    assert rows.of(both.parts).shape == (3, 96)
    assert np.isnan(rows.of((("last", "avg"),))).all()


@pytest.mark.parametrize(("bad", "said"), [(1, r"1 row is NaN"), (2, r"2 rows are NaN")])
def test_the_warning_for_nan_said_1_rows_and_to_pass_nan_and_pointed_into_scikit_learn(images, bad, said):
    items = [*images, *(f"absent{i}.png" for i in range(bad))]
    with pytest.warns(RuntimeWarning, match=said) as caught:
        ResNetFeaturizer("tiny", store=None, on_error="nan").fit_transform(items)
    assert caught[0].filename == __file__
    assert "on_error" not in str(caught[0].message)
