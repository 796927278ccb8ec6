"""SavedModels of every kind, ONNX files and OpenVINO models give the features that the original gives."""

import shutil
import sys
import warnings

import numpy as np
import pytest

from hybrid.engines.choose import choose
from hybrid.engines.opened import open_engine
from hybrid.sources import saved_model
from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, locate

SIZE, WIDTH = (32, 40), 6
EVERY = ["callable", "callable, no signature", "module", "module, old variables", "export"]
FILES = ["onnx", "xml", "xml, channels first"]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    """The original: pixels in 0..1, two layers, seeded weights."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", bias_initializer="normal")(inputs)
    x = keras.layers.Conv2D(WIDTH, 3, strides=2, activation="relu", bias_initializer="normal")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


@pytest.fixture(scope="module")
def expected(model, images):
    return model.predict(images / np.float32(255), verbose=0)


@pytest.fixture(scope="module")
def kinds(model, tmp_path_factory):
    """The same network in every form; each is made once, and only where a test asks for it."""
    folder, made = tmp_path_factory.mktemp("hub"), {}

    def make(kind):
        if kind not in made:
            suffix = {"onnx": ".onnx", "xml": ".xml", "xml, channels first": ".xml"}.get(kind, "")
            made[kind] = folder / f"{len(made)}{suffix}"
            MAKERS[kind](model, made[kind])
            describe(made[kind], 'range = [0, 1]\nsize = [32, 40]\nlicence = "MIT"\n')
        return made[kind]

    return make


def describe(path, text):
    description = path / "hybrid.toml" if path.is_dir() else path.with_name(path.name + ".toml")
    description.write_text(text)


def save_callable(model, path, signature=True):
    """As TF Hub's feature vectors for TensorFlow 2 are: any size, `training`, an output without a name."""
    import tensorflow as tf

    class Vectors(tf.Module):
        def __init__(self):
            self.values = [tf.Variable(value) for value in model.get_weights()]

        @tf.function
        def __call__(self, images, training=False):
            return stack(tf, images, self.values)

    module, spec = Vectors(), tf.TensorSpec((None, None, None, 3), tf.float32)
    plain = module.__call__.get_concrete_function(spec)
    module.__call__.get_concrete_function(spec, training=True)
    tf.saved_model.save(module, path, signatures=plain if signature else None)


def save_module(model, path, old=False):
    """As TF Hub's modules for TensorFlow 1 are: one graph without tags, one to train, signature "default"."""
    import tensorflow as tf

    v1, weights = tf.compat.v1, model.get_weights()
    builder = v1.saved_model.Builder(str(path))
    for place, tags in enumerate([["train"], []]):
        with v1.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, (None, *SIZE, 3), name="images")
            values = [
                v1.get_variable(f"v{i}", initializer=value, use_resource=not old)
                for i, value in enumerate(weights)
            ]
            outputs = {"default": stack(tf, images, values), "Net/Map_1": layer(tf, images, values)}
            session.run(v1.global_variables_initializer())
            signature = v1.saved_model.predict_signature_def({"images": images}, outputs)
            signatures = {"default": signature}
            if place == 0:
                builder.add_meta_graph_and_variables(session, tags, signatures)
            else:
                builder.add_meta_graph(tags, signatures)
    builder.save()


def layer(tf, images, values):
    return tf.nn.relu(tf.nn.conv2d(images, values[0], 2, "VALID") + values[1])


def stack(tf, images, values):
    return tf.reduce_mean(layer(tf, layer(tf, images, values), values[2:]), (1, 2))


def save_onnx(model, path, **changes):
    path.write_bytes(onnx(model.get_weights(), **changes))


def save_xml(model, path, channels_first=False):
    import openvino

    if channels_first:
        save_onnx(model, path.with_suffix(".onnx"))
        found = openvino.convert_model(path.with_suffix(".onnx"))
    else:
        found = openvino.convert_model(model)
    openvino.save_model(found, path, compress_to_fp16=False)


MAKERS = {
    "callable": save_callable,
    "callable, no signature": lambda model, path: save_callable(model, path, signature=False),
    "module": save_module,
    "module, old variables": lambda model, path: save_module(model, path, old=True),
    "export": lambda model, path: model.export(path, verbose=False),
    "onnx": save_onnx,
    "xml": save_xml,
    "xml, channels first": lambda model, path: save_xml(model, path, channels_first=True),
}


def onnx(weights, domain="", shape=(0, 3, *SIZE), inputs=("images",), external=False):
    """The bytes of an ONNX file, written by hand: a dimension of 0 is left open."""

    def tensor(name, value):
        dims = b"".join(number(1, n) for n in value.shape)
        raw = value.astype("<f4").tobytes()
        return dims + number(2, 1) + field(8, name) + field(9, raw) + number(14, 1) * external

    def value(name, dims):
        told = b"".join(field(1, number(1, n) if n else field(2, f"d{i}")) for i, n in enumerate(dims))
        return field(1, name) + field(2, field(1, number(1, 1) + field(2, told)))

    def node(kind, sources, target, attributes=b""):
        named = b"".join(field(1, one) for one in sources)
        return field(1, named + field(2, target) + field(4, kind) + attributes + field(7, domain))

    strides = field(5, field(1, "strides") + number(8, 2) * 2 + number(20, 7))
    graph = field(2, "net")
    for i, source in ((0, inputs[0]), (1, "relu0")):
        kernel, bias = weights[2 * i].transpose(3, 2, 0, 1), weights[2 * i + 1]
        graph += field(5, tensor(f"w{i}", kernel)) + field(5, tensor(f"b{i}", bias))
        graph += node("Conv", [source, f"w{i}", f"b{i}"], f"conv{i}", strides)
        graph += node("Relu", [f"conv{i}"], f"relu{i}")
    graph += node("GlobalAveragePool", ["relu1"], "pooled") + node("Flatten", ["pooled"], "vector")
    graph += b"".join(field(11, value(name, shape)) for name in inputs) + field(
        12, value("vector", (0, WIDTH))
    )
    return number(1, 8) + field(7, graph) + field(8, field(1, "") + number(2, 13))


def number(place, value):
    return varint(place << 3) + varint(value)


def field(place, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(place << 3 | 2) + varint(len(value)) + value


def varint(value):
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def features(path, engine, images, parts=(("last", None),)):
    record = find(path)
    network = locate(record, "imagenet", None, record.size, False)
    opened = open_engine(network, parts, *choose(network, engine, "float32"))
    return [np.concatenate(rows) for rows in zip(*opened.run([images[:2], images[2:]]), strict=True)]


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.filterwarnings("ignore:Loading the SavedModel")
def test_a_saved_model_gives_what_the_original_gives(kinds, kind, engine, images, expected):
    (found,) = features(kinds(kind), engine, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_format_gives_what_the_original_gives(kinds, kind, images, expected):
    (found,) = features(kinds(kind), "auto", images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "size", "width"),
    [("callable", None, WIDTH), ("module", SIZE, WIDTH), ("export", SIZE, WIDTH)]
    + [("onnx", SIZE, WIDTH), ("xml", SIZE, WIDTH), ("xml, channels first", SIZE, WIDTH)],
)
def test_size_and_width_are_read_off_the_signature(kinds, kind, size, width, monkeypatch):
    path = kinds(kind)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    record = find(path)
    assert (record.size, record.fixed_size, record.licence) == (SIZE, size is not None, "MIT")
    assert record.last.width == width


@pytest.mark.filterwarnings("ignore:Loading the SavedModel")
def test_every_output_is_a_layer_under_its_own_key(kinds, model, images):
    record = find(kinds("module"))
    assert [(stage.name, stage.width) for stage in record.stages] == [("Net/Map_1", 4)]
    expected = np.asarray(model.layers[1](images / np.float32(255)))
    for engine in ("tensorflow", "openvino"):
        (found,) = features(kinds("module"), engine, images, [("Net/Map_1", "avg")])
        np.testing.assert_allclose(found, expected.mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_any_tensor_of_an_onnx_file_is_a_layer_channels_last(kinds, model, images):
    expected = np.asarray(model.layers[1](images / np.float32(255)))
    (found,) = features(kinds("onnx"), "openvino", images, [("relu0", "flatten")])
    np.testing.assert_allclose(found, expected.reshape(3, -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "text", ["bgr = true\nscale = 0.5\nmean = [1, 2, 3]\nstd = [4, 5, 6]", "range = [-1, 1]"]
)
def test_both_formats_preprocess_by_the_record(kinds, model, images, tmp_path, text):
    path = tmp_path / "net.onnx"
    shutil.copy(kinds("onnx"), path)
    describe(path, text)
    floats = images.astype(np.float32)
    if "bgr" in text:
        floats = (floats[..., ::-1] * 0.5 - [1, 2, 3]) / [4, 5, 6]
    else:
        floats = floats / 127.5 - 1
    (found,) = features(path, "openvino", images)
    np.testing.assert_allclose(found, model.predict(floats, verbose=0), rtol=1e-4, atol=1e-5)


def test_the_weights_beside_an_openvino_model_are_part_of_its_fingerprint(kinds, tmp_path):
    for file in kinds("xml").parent.glob(kinds("xml").stem + ".*"):
        shutil.copy(file, tmp_path / ("net" + file.name[len(kinds("xml").stem) :]))
    path = tmp_path / "net.xml"
    before = locate(find(path), "imagenet", None, SIZE, False).fingerprint
    data = bytearray(path.with_suffix(".bin").read_bytes())
    data[0] ^= 1
    path.with_suffix(".bin").write_bytes(data)
    assert locate(find(path), "imagenet", None, SIZE, False).fingerprint != before
    path.with_suffix(".bin").unlink()
    with pytest.raises(ValueError, match=r"needs its weights beside it: there is no .*net\.bin"):
        find(path)


def test_the_first_load_of_a_saved_model_warns_that_its_graph_runs(kinds, monkeypatch):
    monkeypatch.setattr(saved_model, "_announced", set())
    record = find(kinds("export"))
    network = locate(record, "imagenet", None, SIZE, False)
    with pytest.warns(UserWarning, match="runs its graph.*that you trust"):
        headless(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        headless(network)


@pytest.mark.parametrize("kind", ["onnx", "xml"])
def test_other_formats_are_refused_by_tensorflow(kinds, kind):
    network = locate(find(kinds(kind)), "imagenet", None, SIZE, False)
    with pytest.raises(ValueError, match=r"Got engine='tensorflow', but .* runs on 'openvino'"):
        choose(network, "tensorflow")
    with pytest.raises(ValueError, match="no Keras model and runs on engine 'openvino' only"):
        headless(network)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no 'range'"),
        ("range = [0, 1]\nsize = 64", r"the network takes \(32, 40\) only"),
        ('range = [0, 1]\nsignature = "images"', r"signature='images' asks for; it has: 'default'"),
        ('range = [0, 1]\noutput = "defult"', r"Got output='defult'.*gives 'Net/Map_1', 'default'"),
        ("range = [0, 1]\noutput = 3", r"Got output=3.*expected a name"),
        ("range = [0, 1]\nstages = 3", r"Got stages=3.*expected names of layers"),
    ],
)
def test_a_description_that_does_not_fit_the_signature_is_refused(kinds, tmp_path, text, message):
    path = shutil.copytree(kinds("module"), tmp_path / "net")
    describe(path, text)
    with pytest.raises(ValueError, match=message):
        find(path)


@pytest.mark.parametrize(("kind", "key"), [("onnx", "signature"), ("xml", "signature")])
def test_a_key_that_says_nothing_of_the_file_is_refused(kinds, tmp_path, kind, key):
    shutil.copy(kinds(kind), tmp_path / kinds(kind).name)
    (tmp_path / kinds(kind).name).with_suffix(".bin").touch()
    describe(tmp_path / kinds(kind).name, f'range = [0, 1]\n{key} = "a"')
    with pytest.raises(ValueError, match=rf"Got {key}='a'.*has none: leave it out"):
        find(tmp_path / kinds(kind).name)


@pytest.mark.filterwarnings("ignore:Loading the SavedModel")
def test_the_outputs_of_a_model_without_a_signature_are_told_when_it_is_loaded(tmp_path, images):
    import tensorflow as tf

    class Two(tf.Module):
        @tf.function
        def __call__(self, images, training=False):
            return {"b": tf.reduce_mean(images, (1, 2)), "a": tf.reduce_max(images, (1, 2))}

    module, spec = Two(), tf.TensorSpec((None, *SIZE, 3), tf.float32)
    for training in (False, True):
        module.__call__.get_concrete_function(spec, training=training)
    tf.saved_model.save(module, tmp_path)
    for output, message in (
        ("", "gives 2 outputs: 'a', 'b'"),
        ('output = "c"', "Got output='c'.*gives 'a', 'b'"),
    ):
        describe(tmp_path, f"range = [0, 255]\nsize = [32, 40]\n{output}")
        with pytest.raises(ValueError, match=message):
            features(tmp_path, "tensorflow", images)
    describe(tmp_path, 'range = [0, 255]\nsize = [32, 40]\noutput = "b"')
    (found,) = features(tmp_path, "tensorflow", images)
    np.testing.assert_allclose(found, images.mean((1, 2)), rtol=1e-4)
    describe(tmp_path, 'range = [0, 255]\nsize = 64\noutput = "b"')
    with pytest.raises(ValueError, match=r"cannot be called with images \(n, 64, 64, 3\) alone"):
        features(tmp_path, "tensorflow", images)


def test_a_size_left_open_is_asked_for(kinds, tmp_path):
    path = shutil.copytree(kinds("callable"), tmp_path / "net")
    describe(path, "range = [0, 1]")
    with pytest.raises(ValueError, match=r"takes images of any size: write size = 224"):
        find(path)


def signed(path, dtype="float32", shape=(None, 8, 8, 3), inputs=1, outputs=("a",), key="serving_default"):
    """Save a graph of TensorFlow 1 with this one signature."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        given = {f"in{i}": v1.placeholder(dtype, shape) for i in range(inputs)}
        taken = {name: tf.identity(given["in0"]) for name in outputs}
        signatures = {key: v1.saved_model.predict_signature_def(given, taken)}
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    describe(path, "range = [0, 1]\nsize = 8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 2}, "takes 2 inputs .*expected one, a batch of images"),
        ({"shape": (None, 12)}, r"takes 'in0' of shape \(\?, 12\), but expected images"),
        ({"shape": (None, 8, 8, 1)}, r"of shape \(\?, 8, 8, 1\), but expected images"),
        ({"shape": (None,), "dtype": "string"}, "no array of numbers.*without the decoding"),
        ({"shape": (16, 8, 8, 3)}, "takes batches of 16 only"),
        ({"key": "classify"}, r"has not the signature.*it has: 'classify'.*signature = "),
        ({"outputs": ("a", "b")}, r"gives 2 outputs: 'a', 'b'.*write output = 'a'"),
    ],
)
def test_a_signature_that_is_not_of_images_is_refused(tmp_path, options, message):
    signed(tmp_path / "net", **options)
    with pytest.raises(ValueError, match=message):
        find(tmp_path / "net")


@pytest.mark.parametrize("kind", ["callable", "module", "export"])
@pytest.mark.parametrize("lost", ["variables.index", "variables.data-*", "*"])
@pytest.mark.filterwarnings("ignore:Loading the SavedModel")
def test_missing_variables_are_named(kinds, tmp_path, kind, lost):
    path = shutil.copytree(kinds(kind), tmp_path / "net")
    for file in (path / "variables").glob(lost):
        file.unlink()
    network = locate(find(path), "imagenet", None, SIZE, False)
    with pytest.raises(ValueError, match=r"Cannot load .*variables\.index.*copy it again"):
        headless(network)


@pytest.mark.parametrize("kind", ["export", "onnx", "xml"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_named(kinds, tmp_path, kind, part):
    path = kinds(kind)
    copy = shutil.copytree(path, tmp_path / "net") if path.is_dir() else tmp_path / path.name
    file = copy / "saved_model.pb" if path.is_dir() else copy
    data = (path / "saved_model.pb" if path.is_dir() else path).read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    copy.with_suffix(".bin").touch()
    describe(copy, "range = [0, 1]\nsize = [32, 40]")
    with pytest.raises(ValueError, match=r"Cannot read .* as .*again"):
        find(copy)


@pytest.mark.parametrize("kind", ["export", "module", "onnx", "xml"])
def test_a_damaged_file_is_read_or_refused_with_a_reason(kinds, tmp_path, kind):
    path, rng = kinds(kind), np.random.default_rng(0)
    copy = shutil.copytree(path, tmp_path / "net") if path.is_dir() else tmp_path / path.name
    file = copy / "saved_model.pb" if path.is_dir() else copy
    whole = (path / "saved_model.pb" if path.is_dir() else path).read_bytes()
    copy.with_suffix(".bin").touch()
    describe(copy, "range = [0, 1]\nsize = [32, 40]")
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(256)
        file.write_bytes(data)
        try:
            find(copy)
        except ValueError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "my.ops"}, r"custom operators \(my\.ops\.Conv.*code of their own"),
        ({"external": True}, "weights lie in another file"),
        ({"inputs": ("images", "mask")}, "takes 2 inputs"),
        ({"shape": (0, 12)}, r"of shape \(\?, 12\).*\(n, 3, height, width\)"),
    ],
)
def test_an_onnx_file_of_another_kind_is_refused(model, tmp_path, options, message):
    save_onnx(model, tmp_path / "net.onnx", **options)
    describe(tmp_path / "net.onnx", "range = [0, 1]\nsize = 32")
    with pytest.raises(ValueError, match=message):
        find(tmp_path / "net.onnx")


def test_an_onnx_file_of_any_size_takes_the_size_asked_for(model, tmp_path, images, expected):
    save_onnx(model, tmp_path / "net.onnx", shape=(0, 3, 0, 0))
    describe(tmp_path / "net.onnx", "range = [0, 1]\nsize = [32, 40]")
    (found,) = features(tmp_path / "net.onnx", "auto", images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_custom_operators_of_an_openvino_model_are_refused(kinds, tmp_path):
    text = kinds("xml").read_text()
    (tmp_path / "net.xml").write_text(text.replace('version="opset1"', 'version="extension"'))
    (tmp_path / "net.bin").touch()
    describe(tmp_path / "net.xml", "range = [0, 1]")
    with pytest.raises(ValueError, match=r"custom operators \(extension\."):
        find(tmp_path / "net.xml")


def test_an_unknown_layer_is_told_the_outputs(kinds, images):
    with pytest.raises(ValueError, match=r"Got layers='vectr', but .* Did you mean 'vector'"):
        features(kinds("onnx"), "openvino", images, [("vectr", None)])
