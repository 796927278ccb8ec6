"""Keras's own networks: the table is what Keras builds, and what hybrid builds is what Keras builds."""

import csv
import importlib
from dataclasses import replace

import numpy as np
import pytest
from keras_models import images_of, randomise, save_legacy
from keras_table import CSV, functions, measure

from hybrid.sources.catalogue import find, known
from hybrid.sources.network import headless, locate, preprocess

MEASURED = ("MobileNet", "MobileNetV3Small", "EfficientNetV2B0")


# The one whose input Keras scales twice, and a plain one.
PARITY = ("efficientnetb0", "mobilenet")
PARITY_SOAK = (
    "convnexttiny",
    "densenet121",
    "efficientnetv2b0",
    "inceptionresnetv2",
    "inceptionv3",
    "mobilenetv2",
    "mobilenetv3small",
    "nasnetmobile",
    "resnet50",
    "resnet50v2",
    "vgg16",
    "xception",
)


ONE_A_FAMILY = {record.family: record for record in known() if record.function}


def keras_function(record):
    import keras

    return getattr(keras.applications, record.function)


def keras_family(record):
    return importlib.import_module(f"keras.applications.{record.family}")


def keras_with_published_weights(record, path, monkeypatch, **arguments):
    """Let Keras itself load a file as its ImageNet weights."""
    from keras.src.utils import file_utils

    with monkeypatch.context() as patch:
        patch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
        return keras_function(record)(weights="imagenet", **arguments)


def test_every_network_of_keras_has_a_record():
    assert sorted(record.function for record in known() if record.function) == functions()


@pytest.mark.parametrize("function", MEASURED)
def test_the_table_is_what_keras_builds(function):
    check_row(function)


@pytest.mark.soak
def test_the_whole_table_is_what_keras_builds():
    for function in functions():
        check_row(function)


def check_row(function):
    with CSV.open(newline="", encoding="utf-8") as file:
        kept = {row["function"]: row for row in csv.DictReader(file)}
    assert {key: "" if value is None else str(value) for key, value in measure(function).items()} == kept[
        function
    ]


def check_parity(name, tmp_path, monkeypatch):
    """Compare with Keras, features and predictions, weights from a file with and one without the head."""
    record = find(name)
    size = (max(record.min_size, 64),) * 2
    top = keras_function(record)(weights=None, include_top=True, input_shape=(*record.size, 3))
    randomise(top)
    save_legacy(top, tmp_path / "top.h5")
    with_head = locate(record, tmp_path / "top.h5", None, size, False)
    with_head = replace(with_head, weights=replace(with_head.weights, published=True))
    # Keras saves an EfficientNet's scaling in two places: only its own file of the whole tells them apart.
    if record.family != "efficientnet":
        check_body(record, with_head, tmp_path, monkeypatch)
    native = images_of(record.size, 1)
    theirs = keras_with_published_weights(record, tmp_path / "top.h5", monkeypatch, include_top=True)
    expected = np.asarray(theirs(keras_family(record).preprocess_input(native.astype("float32"))))
    whole = replace(with_head, size=record.size, top=True)
    last, got = (np.asarray(one) for one in headless(whole)(preprocess(record, native)))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)
    alone = np.asarray(headless(replace(whole, top=False))(preprocess(record, native)))
    np.testing.assert_allclose(last, alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())


def check_body(record, with_head, tmp_path, monkeypatch):
    """Compare the features at a small size."""
    images = images_of(with_head.size)
    ours = headless(with_head)
    save_legacy(ours, tmp_path / "notop.h5")
    theirs = keras_with_published_weights(
        record, tmp_path / "notop.h5", monkeypatch, include_top=False, input_shape=(*with_head.size, 3)
    )
    expected = np.asarray(theirs(keras_family(record).preprocess_input(images.astype("float32"))))
    got = np.asarray(ours(preprocess(record, images)))
    assert expected.std() > 0
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", PARITY)
def test_a_network_gives_what_keras_gives(name, tmp_path, monkeypatch):
    check_parity(name, tmp_path, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("name", PARITY_SOAK)
def test_every_family_gives_what_keras_gives(name, tmp_path, monkeypatch):
    check_parity(name, tmp_path, monkeypatch)


@pytest.mark.parametrize("family", ONE_A_FAMILY)
def test_preprocessing_is_keras_own_and_writes_nowhere(family):
    record = ONE_A_FAMILY[family]
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 7, 3)).astype("float32")
    images.setflags(write=False)
    expected = keras_family(record).preprocess_input(images.copy())
    np.testing.assert_allclose(np.asarray(preprocess(record, images)), expected, rtol=1e-6, atol=1e-6)
    whole = images.astype("uint8")
    np.testing.assert_allclose(
        np.asarray(preprocess(record, whole)),
        keras_family(record).preprocess_input(whole.astype("float32")),
        rtol=1e-6,
        atol=1e-6,
    )
