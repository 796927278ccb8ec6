"""What determines a row besides its image, and what one pass keeps."""

import pytest

from hybrid import ResNetFeaturizer
from hybrid.features.recipe import read_recipe


def recipe(backbone="tiny", **params):
    return read_recipe(ResNetFeaturizer(backbone, **params).get_params())


@pytest.mark.parametrize("name", ["stage3", "last"])
def test_one_layer_is_stored_once_whatever_it_is_called(name):
    one = recipe(layers=name)
    assert one.text((name, "avg")) == recipe().text(("last", "avg"))


def test_a_pass_keeps_every_stage_with_three_poolings():
    assert recipe().whole.parts == tuple(
        (stage, pooling) for stage in ("stage1", "stage2", "stage3") for pooling in ("avg", "max", "gem")
    )
    assert recipe(layers="stage1", pooling="max").whole == recipe().whole


def test_what_is_asked_for_besides_is_added():
    assert recipe(pooling=["avg", "flatten"]).whole.parts[9:] == (("last", "flatten"),)
    lite = recipe("efficientnet_lite0", layers=["predictions", "top_conv", "top_relu6"])
    assert lite.whole.parts[15:] == (("predictions", None), ("top_conv", "avg"))


@pytest.mark.parametrize(
    ("backbone", "kilobytes"), [("tiny", 1.7), ("efficientnet_lite0", 29.2), ("resnet50", 46.8)]
)
def test_what_a_pass_keeps_takes_the_bytes_that_the_documents_state(backbone, kilobytes):
    weights = {"weights": None, "seed": 0} if backbone == "resnet50" else {}
    assert sum(recipe(backbone, **weights).whole.widths()) * 4 / 1000 == pytest.approx(kilobytes, abs=0.1)


def test_recipes_are_joined_under_the_network_that_has_a_head():
    last, predictions = (recipe("efficientnet_lite0", layers=layer) for layer in ("last", "predictions"))
    assert last.scope == predictions.scope
    for joined in (last.join([predictions]), predictions.join([last])):
        assert joined.network.top
        assert set(joined.parts) == {("last", "avg"), ("predictions", None)}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("verbose", "yes", "0 or 1"),
        ("verbose", -1, "0 or 1"),
        ("seed", "a", "an integer of 0 or more, or None"),
        ("seed", True, "an integer of 0 or more"),
        ("batch_size", True, "a positive integer"),
    ],
)
def test_a_word_for_verbose_or_seed_passed_unchecked(name, value, expected):
    with pytest.raises(ValueError, match=f"Got {name}={value!r}, but expected {expected}"):
        recipe(**{name: value})
    recipe(verbose=True, seed=3)
