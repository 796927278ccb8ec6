"""The public network: a Keras model from pixels to vectors."""

import numpy as np
import pytest
from keras_models import images_of

from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, layer_outputs, locate, preprocess
from hybrid.sources.vectors import network


@pytest.mark.parametrize("backbone", ["mobilenet", "vgg16"])
def test_the_public_network_takes_pixels_and_can_be_saved(tmp_path, backbone):
    import keras

    record = find(backbone)
    layers = ["last", "stage3"]
    model = network(
        backbone, weights=None, seed=0, layers=layers, pooling=["avg", "gem", "max"], image_size=(32, 48)
    )
    images = images_of((32, 48))
    got = model.predict(images, verbose=0)
    assert model.input_shape == (None, 32, 48, 3)
    assert got.shape == (2, 3 * (record.last.width + record.stages[2].width))
    base = headless(locate(record, None, 0, (32, 48), False))
    for i, one in enumerate(layer_outputs(record, base, layers)):
        x = np.asarray(keras.Model(base.inputs, one)(preprocess(record, images)))
        gem = np.mean(np.clip(x, 1e-6, None) ** 3, axis=(1, 2)) ** (1 / 3)
        expected = np.concatenate([x.mean((1, 2)), gem, x.max((1, 2))], axis=1)
        part = got[:, : expected.shape[1]] if i == 0 else got[:, -expected.shape[1] :]
        np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras", safe_mode=True)
    np.testing.assert_allclose(again.predict(images, verbose=0), got, rtol=1e-5)


def test_the_public_network_flattens_and_predicts():
    flat = network("mobilenet", weights=None, seed=0, pooling="flatten", image_size=64)
    assert flat.output_shape == (None, 2 * 2 * 1024)
    both = network("efficientnet_lite0", layers=["last", "predictions"], image_size=64)
    assert both.output_shape == (None, 1280 + 1000)
    assert not both.trainable_weights
    probabilities = both.predict(images_of((64, 64)), verbose=0)[:, 1280:]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_wrong_pooling_is_refused():
    with pytest.raises(ValueError, match="Got pooling='sum'"):
        network("mobilenet", weights=None, seed=0, pooling="sum", image_size=32)
