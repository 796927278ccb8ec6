"""Weights of every format, and by seed, put into a Keras model."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from keras_models import images_of, randomise, save_legacy

from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, locate


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One MobileNetV3Small with its head, and files of its weights in every format."""
    import keras

    folder = tmp_path_factory.mktemp("weights")
    top = keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 64, 3), classes=7)
    randomise(top)
    pooled = next(one for one in reversed(top.layers) if one.name.startswith("global_average"))
    body = keras.Model(top.inputs, pooled.input)
    save_legacy(top, folder / "legacy_top.h5")
    save_legacy(body, folder / "legacy.h5")
    top.save(folder / "whole.h5")
    top.save_weights(folder / "top.weights.h5")
    body.save_weights(folder / "body.weights.h5")
    top.save(folder / "top.keras")
    inputs = keras.Input((64, 64, 3))
    tuned = keras.Sequential([inputs, body, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    tuned.save_weights(folder / "tuned.weights.h5")
    tuned.save(folder / "tuned.keras")
    images = images_of((64, 64))
    return folder, images, body.predict(images, verbose=0)


FORMATS = (
    "legacy_top.h5",
    "legacy.h5",
    "whole.h5",
    "top.weights.h5",
    "body.weights.h5",
    "top.keras",
    "tuned.weights.h5",
    "tuned.keras",
)


@pytest.mark.parametrize("name", FORMATS)
def test_weights_of_every_format_fit_with_a_head_or_without(saved, name):
    folder, images, expected = saved
    model = headless(locate(find("mobilenetv3small"), folder / name, None, (64, 64), False))
    np.testing.assert_allclose(
        np.asarray(model(images)), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", FORMATS)
def test_weights_of_another_network_are_refused_with_both_shapes(saved, name):
    folder, _, _ = saved
    with pytest.raises(
        ValueError, match=r"Cannot use .* for 'mobilenetv2': layer .* expects .*, but the file has"
    ):
        headless(locate(find("mobilenetv2"), folder / name, None, (64, 64), False))


@pytest.mark.parametrize("name", ["legacy_top.h5", "top.keras"])
def test_a_head_of_other_classes_is_refused_with_both_shapes(saved, name):
    folder, _, _ = saved
    with pytest.raises(ValueError, match=r"expects .*1000.*, but the file has .*7"):
        headless(locate(find("mobilenetv3small"), folder / name, None, (64, 64), True))


@pytest.mark.parametrize("name", ["legacy.h5", "body.weights.h5"])
def test_a_missing_head_is_named(saved, name):
    folder, _, _ = saved
    with pytest.raises(ValueError, match=r"layer '.*' expects .*, but the file has nothing"):
        headless(locate(find("mobilenetv3small"), folder / name, None, (64, 64), True))


@pytest.mark.parametrize("name", ["bad.h5", "bad.weights.h5", "bad.keras", "bad.txt", "bad.pth"])
def test_a_damaged_weights_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"Cannot read .*bad.*\.h5, \.weights\.h5 or \.keras"):
        headless(locate(find("mobilenet"), tmp_path / name, None, (64, 64), False))


def test_weights_that_point_at_another_file_are_refused(tmp_path, saved):
    import h5py

    folder, _, _ = saved
    path = tmp_path / "link.h5"
    with h5py.File(folder / "legacy.h5") as source, h5py.File(path, "w") as file:
        for key, value in source.attrs.items():
            file.attrs[key] = value
        for name in source:
            file[name] = h5py.ExternalLink(str(folder / "legacy.h5"), f"/{name}")
    with pytest.raises(ValueError, match="another file"):
        headless(locate(find("mobilenetv3small"), path, None, (64, 64), False))


def drawn(seed):
    network = locate(find("mobilenetv3small"), None, seed, (32, 32), False)
    return [np.asarray(one) for one in headless(network).weights]


def test_random_weights_are_the_same_in_every_process():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_fill import drawn; import hashlib;"
        "print(hashlib.sha256(b''.join(one.tobytes() for one in drawn(5))).hexdigest())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(one.tobytes() for one in drawn(5))).hexdigest()
    assert out.stdout.split()[-1] == here


def test_random_weights_keep_what_is_constant_and_differ_by_seed():
    first, second = drawn(1), drawn(2)
    differ = [not np.array_equal(a, b) for a, b in zip(first, second, strict=True)]
    constant = [a.size > 0 and a.flat[0] in (0, 1) and (a == a.flat[0]).all() for a in first]
    assert differ == [not one for one in constant]
    assert 0 < sum(differ) < len(differ)
