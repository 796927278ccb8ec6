"""SavedModels of Keras and of plain TensorFlow; every other kind is in test_formats.py."""

import numpy as np
import pytest

from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, layer_outputs, locate, preprocess


def random_images(n, height=32, width=32):
    return np.random.default_rng(1).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def test_a_saved_model_gives_what_keras_gives(tmp_path, keras_file):
    _, model = keras_file
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(ValueError, match=r"saved.hybrid\.toml"):
        find(tmp_path / "saved")
    (tmp_path / "saved" / "hybrid.toml").write_text("range = [0, 1]\nsize = [20, 28]")
    record = find(tmp_path / "saved")
    built = headless(locate(record, "imagenet", None, record.size, False))
    images = random_images(2, 20, 28)
    (last,) = layer_outputs(record, built, ["last"])
    assert tuple(last.shape[1:]) == tuple(model.output_shape[1:])
    got = np.asarray(built(preprocess(record, images)))
    np.testing.assert_allclose(got, model.predict(images / np.float32(255), verbose=0), rtol=1e-5, atol=1e-6)


def test_a_saved_model_of_plain_tensorflow_takes_whole_numbers(tmp_path):
    import tensorflow as tf

    class Mean(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.uint8)])
        def __call__(self, images):
            return {"mean": tf.reduce_mean(tf.cast(images, tf.float32), (1, 2))}

    module = Mean()
    tf.saved_model.save(module, str(tmp_path), signatures=module.__call__)
    (tmp_path / "hybrid.toml").write_text("range = [0, 255]\nsize = 8")
    record = find(str(tmp_path))
    built = headless(locate(record, "imagenet", None, (8, 8), False))
    images = random_images(2, 8, 8)
    got = built(preprocess(record, images))
    np.testing.assert_allclose(
        np.asarray(got[0] if isinstance(got, list) else got), images.mean((1, 2)), rtol=1e-5
    )
