"""Records: the table is what Keras builds; tiny is exact; a user's own network says what it expects."""

import csv
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from keras_table import CSV, functions, measure

from hybrid.sources import tiny
from hybrid.sources.catalogue import backbones, find, known
from hybrid.sources.description import EXAMPLE, KEYS
from hybrid.sources.network import headless, layer_outputs, locate, preprocess

MEASURED = ("MobileNet", "MobileNetV3Small", "EfficientNetV2B0")


def locate_tiny(seed=0, size=(32, 32)):
    return locate(find("tiny"), None, seed, size, False)


def random_images(n, height=32, width=32):
    return np.random.default_rng(1).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["resnet50", "ResNet50", "ResNet-50", "resnet_50", "RESNET50"])
def test_a_name_is_found_whatever_its_spelling(name):
    assert find(name).name == "resnet50"


@pytest.mark.parametrize("name", ["efficientnet-lite0", "EfficientNetV2B0", "mobilenet_v2", "tiny"])
def test_every_family_is_found(name):
    assert find(name) in known()


def test_an_unknown_name_is_told_the_near_ones():
    with pytest.raises(ValueError, match=r"Got backbone='resnet5'.*Did you mean 'resnet50'"):
        find("resnet5")
    with pytest.raises(TypeError, match="Got backbone=50"):
        find(50)


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


def test_the_table_of_networks_needs_no_tensorflow():
    code = (
        "import sys; from hybrid import backbones; table = backbones();"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules; print(len(table))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == len(known())


def test_the_table_has_one_row_a_network_and_no_gaps():
    table = backbones()
    assert table["name"].is_unique
    assert not table.isna().any().any()
    assert (table[["size", "width", "parameters"]] > 0).all().all()
    assert (table["licence"] != "").all()
    assert table.set_index("name").loc["efficientnet_lite0", "weights at hand"]


@pytest.mark.parametrize("record", known(), ids=lambda record: record.name)
def test_a_record_holds_together(record):
    strides = [int(stage.name[-1]) for stage in record.stages]
    assert strides == sorted(strides)
    assert record.stages[-1].layer == record.last.layer
    assert record.stages[-1].width == record.last.width
    assert record.min_size <= record.size[0]
    assert 1 <= record.margin < 1.3
    assert bool(record.classes) == bool(record.head)


@pytest.mark.parametrize(
    ("name", "canvas"),
    [
        ("resnet50", 256),
        ("inceptionv3", 342),
        ("efficientnetb0", 256),
        ("efficientnetb3", 332),
        ("efficientnetv2s", 384),
    ],
)
def test_the_canvas_is_the_published_one(name, canvas):
    record = find(name)
    assert round(record.size[0] * record.margin) == canvas


def test_tiny_gives_the_same_bytes_everywhere():
    ramp = (np.arange(3 * 24 * 40 * 3) * 7 % 256).astype(np.uint8).reshape(3, 24, 40, 3)
    maps = tiny.maps(locate_tiny(size=(24, 40)), ramp)
    assert {name: (one.shape, int(one.sum())) for name, one in maps.items()} == {
        "stage1": ((3, 12, 20, 32), 1730133),
        "stage2": ((3, 6, 10, 48), 276582),
        "stage3": ((3, 3, 5, 64), 48499),
    }


def test_tiny_does_not_depend_on_the_batch():
    images, network = random_images(70), locate_tiny()
    whole = tiny.maps(network, images)
    one = tiny.maps(network, images[69:])
    for stage in whole:
        assert np.array_equal(whole[stage][69:], one[stage])
        assert whole[stage].dtype == np.float32
        assert np.array_equal(whole[stage], np.rint(whole[stage]))


def test_tiny_is_exact_in_float32():
    for stage, kernels in tiny.filters(0).items():
        assert np.array_equal(kernels, np.rint(kernels))
        assert 255 * np.abs(kernels).sum(axis=0).max() < 2**24, stage


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (31, 32), (200, 8)])
def test_tiny_takes_any_size_from_8(size):
    maps = tiny.maps(locate_tiny(size=size), random_images(2, *size))
    for k, one in enumerate(maps.values(), 1):
        assert one.shape[1:3] == (size[0] >> k, size[1] >> k)


def test_tiny_is_another_network_with_another_seed():
    images = random_images(1)
    first, second = (tiny.maps(locate_tiny(seed), images)["stage3"] for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert locate_tiny(0).fingerprint != locate_tiny(1).fingerprint


def test_tiny_never_writes_into_the_batch():
    images = random_images(2)
    images.setflags(write=False)
    tiny.maps(locate_tiny(), images)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """A small Keras network for 20 x 28 pixels in 0..1, saved."""
    import keras

    inputs = keras.Input((20, 28, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, name="first")(inputs)
    x = keras.layers.Conv2D(7, 3, name="second")(x)
    path = tmp_path_factory.mktemp("own") / "net.keras"
    model = keras.Model(inputs, x)
    model.save(path)
    path.with_name("net.keras.toml").write_text('range = [0, 1]\n[stages]\nstage1 = "first"\n')
    return path, model


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


def test_a_missing_description_is_asked_for_by_name(tmp_path, keras_file):
    path = tmp_path / "other.keras"
    path.write_bytes(keras_file[0].read_bytes())
    with pytest.raises(ValueError, match=r"other\.keras' does not say.*other\.keras\.toml'") as caught:
        find(path)
    path.with_name("other.keras.toml").write_text(
        str(caught.value).partition("such as:\n\n")[2].replace("224", "[20, 28]")
    )
    assert find(path).scale == 1 / 255


def test_the_example_names_every_key():
    assert set(re.findall(r"^(?:# )?(\w+) = ", EXAMPLE, re.MULTILINE)) == {*KEYS, "stage4"} - {"stages"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rnge = [0, 1]", "key 'rnge'.*did you mean 'range'"),
        ("range = [1, 0]", "Got range"),
        ("range = [0, 1]\nscale = 2.0", "no scale, mean or std"),
        ("range = [0, 1]\nsize = 32", "the network takes \\(20, 28\\) only"),
        ("range = [0, 1]\nsize = 'big'", "Got size='big'"),
        ("scale = 'much'", "Got scale="),
        ("mean = [1, 2]", "expected 3 numbers"),
        ("bgr = true", "has no 'range'"),
        ("range = [0, 1]\nmargin = 0.5", "Got margin=0.5"),
        ("range = [0, 1]\ninterpolation = 'cubic'", "Got interpolation='cubic'"),
        ("range = [0", "Cannot read"),
    ],
)
def test_a_wrong_description_is_refused_with_its_reason(tmp_path, keras_file, text, message):
    path = tmp_path / "net.keras"
    path.write_bytes(keras_file[0].read_bytes())
    path.with_name("net.keras.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        find(path)


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


def test_a_path_that_is_no_network_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        find(tmp_path / "nothing.keras")
    with pytest.raises(ValueError, match="it is none of these"):
        find(tmp_path)


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
