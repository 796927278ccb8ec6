"""Keras models: what hybrid builds is what Keras builds, with weights from wherever they come."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hybrid.sources.catalogue import find, known
from hybrid.sources.network import headless, layer_outputs, locate, preprocess
from hybrid.sources.vectors import network

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


def images_of(size, n=2):
    return np.random.default_rng(2).integers(0, 256, (n, *size, 3), dtype=np.uint8)


def keras_function(record):
    import keras

    return getattr(keras.applications, record.function)


def keras_family(record):
    return importlib.import_module(f"keras.applications.{record.family}")


def save_legacy(model, path):
    """Save weights as Keras's published files are."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def randomise(model):
    """Give every weight a value of its own, so that none can be mistaken for another."""
    generator = np.random.default_rng(0)
    for one in model.weights:
        spread = 1 / np.sqrt(max(np.prod(one.shape[:-1]), 1))
        value = generator.standard_normal(one.shape) * spread
        one.assign(np.abs(value) + 0.5 if "var" in one.name else value)
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def keras_with_published_weights(record, path, monkeypatch, **arguments):
    """Let Keras itself load a file as its ImageNet weights."""
    from keras.src.utils import file_utils

    with monkeypatch.context() as patch:
        patch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
        return keras_function(record)(weights="imagenet", **arguments)


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


ONE_A_FAMILY = {record.family: record for record in known() if record.function}


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


def test_lite_weights_of_another_size_are_refused():
    path = locate(find("efficientnet_lite0"), "imagenet", None, (224, 224), False).weights.path
    with pytest.raises(ValueError, match=r"Cannot use .* for 'efficientnet_lite2'"):
        headless(locate(find("efficientnet_lite2"), path, None, (64, 64), False))


def photograph(path, record):
    """The published protocol: the shorter side to the canvas, bicubic, and the centre cut out."""
    image, side = Image.open(path).convert("RGB"), record.size[0]
    scale = round(side * record.margin) / min(image.size)
    width, height = (round(length * scale) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def top_1(name, folder, step):
    """The share of one photograph for every fifth class that is recognised."""
    record = find(name)
    model = headless(locate(record, "imagenet", None, record.size, True))
    paths = sorted(folder.glob("*/*"))
    assert len(paths) == 200
    rows = range(0, 200, step)
    hits = 0
    for start in range(0, len(rows), 20):
        batch = rows[start : start + 20]
        images = np.stack([photograph(paths[i], record) for i in batch])
        predictions = np.asarray(model(preprocess(record, images))[1])
        hits += (predictions.argmax(axis=1) == np.multiply(batch, 5)).sum()
    return hits / len(rows)


@pytest.mark.parametrize(
    ("name", "step"), [("efficientnet_lite0", 2), ("efficientnet_lite1", 10), ("efficientnet_lite2", 10)]
)
def test_the_lites_recognise_photographs(photographs, name, step):
    assert top_1(name, photographs / "imagenet_200", step) >= 0.86


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "least"),
    [("efficientnet_lite0", 0.86), ("efficientnet_lite1", 0.89), ("efficientnet_lite2", 0.9)],
)
def test_the_lites_recognise_all_photographs(photographs, name, least):
    assert top_1(name, photographs / "imagenet_200", 1) >= least


@pytest.mark.parametrize(
    ("name", "size", "top", "message"),
    [
        ("inceptionv3", (74, 100), False, "'inceptionv3' needs at least 75 pixels"),
        ("tiny", (7, 7), False, "at least 8 pixels"),
        (
            "vgg16",
            (96, 96),
            True,
            r"of 'vgg16' takes \(224, 224\) only: its dense layers .* depends on the size",
        ),
        ("tiny", (32, 32), True, "'tiny' has no layer 'predictions'"),
    ],
)
def test_a_size_a_network_does_not_take_is_refused(name, size, top, message):
    with pytest.raises(ValueError, match=message):
        locate(find(name), None, 0, size, top)


@pytest.mark.parametrize("name", ["mobilenet", "efficientnet_lite0"])
def test_stages_halve_the_map(name):
    record = find(name)
    model = headless(locate(record, None, 0, (64, 96), False))
    outputs = layer_outputs(record, model, [stage.name for stage in record.stages])
    assert [tuple(one.shape[1:]) for one in outputs] == [
        (64 >> k, 96 >> k, stage.width) for k, stage in enumerate(record.stages, 1)
    ]
    assert model.count_params() == record.parameters
    assert not model.trainable_weights


def test_an_unknown_layer_is_told_what_there_is():
    record = find("mobilenet")
    model = headless(locate(record, None, 0, (32, 32), False))
    with pytest.raises(
        ValueError,
        match=r"Got layers='conv_pw_1_rel'.*'stage1', .*'last', 'predictions' and those of its own.*Did you mean 'conv_pw_1_relu'",
    ):
        layer_outputs(record, model, ["conv_pw_1_rel"])


def test_layers_of_the_head_are_known_as_such():
    record = find("vgg16")
    assert record.needs_head(["last", "fc2"])
    assert record.needs_head(["predictions"])
    assert not record.needs_head(["last", "stage4", "block1_conv1"])


def test_layers_have_the_same_names_however_many_were_built_before():
    record = find("mobilenetv3small")
    names = []
    for _ in range(2):
        model = headless(locate(record, None, 0, (32, 32), False))
        names.append([layer.name for layer in model.layers])
    assert names[0] == names[1]


def test_a_users_policy_does_not_change_the_network():
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = headless(locate(find("mobilenet"), None, 0, (32, 32), False))
        assert model.output.dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


def test_tiny_is_no_keras_model():
    with pytest.raises(ValueError, match="NumPy only"):
        network("tiny")


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


def test_classes_are_named_and_differ():
    names = find("resnet50").class_names()
    assert len(set(names)) == 1000
    assert names[:2] == ("tench", "goldfish")
    assert names[995] == "earthstar"
    assert find("tiny").class_names() == ()


def test_looking_a_network_up_imports_no_tensorflow():
    import subprocess

    code = (
        "import sys; from hybrid.sources.network import locate; from hybrid.sources.catalogue import find;"
        "locate(find('efficientnet_lite0'), 'imagenet', None, (224, 224), False);"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
