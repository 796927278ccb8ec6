"""A user's .keras file and the TOML beside it: what Keras gives, or a reason."""

import zipfile

import numpy as np
import pytest

from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, layer_outputs, locate, preprocess


def random_images(n, height=32, width=32):
    return np.random.default_rng(1).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def test_a_keras_file_gives_what_keras_gives(keras_file):
    path, model = keras_file
    record = find(path)
    assert (record.name, record.size, record.fixed_size) == ("net.keras", (20, 28), True)
    network = locate(record, "imagenet", None, record.size, False)
    built = headless(network)
    images = random_images(2, 20, 28)
    last, first = layer_outputs(record, built, ["last", "stage1"])
    assert first.shape[-1] == 5
    assert not built.trainable
    got = np.asarray(built(preprocess(record, images)))
    np.testing.assert_allclose(got, model.predict(images / np.float32(255), verbose=0), rtol=1e-5, atol=1e-6)
    assert last.shape[-1] == 7


def test_what_a_keras_file_expects_is_part_of_its_fingerprint(keras_file):
    path, _ = keras_file
    description = path.with_name("net.keras.toml")
    text = description.read_text()
    before = locate(find(path), "imagenet", None, (20, 28), False).fingerprint
    try:
        description.write_text(text.replace("[0, 1]", "[-1, 1]"))
        assert locate(find(path), "imagenet", None, (20, 28), False).fingerprint != before
    finally:
        description.write_text(text)


def test_a_keras_file_that_runs_code_is_refused(tmp_path):
    import keras

    path = tmp_path / "net.keras"
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(path)
    path.with_name("net.keras.toml").write_text("range = [0, 1]")
    with pytest.raises(ValueError, match="Lambda, which runs own code"):
        headless(locate(find(path), "imagenet", None, (8, 8), False))


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_damaged_keras_file_is_named(tmp_path, content):
    path = tmp_path / "net.keras"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{")
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read .*net\.keras"):
        find(path)
