"""Both engines give what Keras's own `Model.predict` gives on the same pixels."""

import numpy as np
import pytest

from hybrid.engines import graph
from hybrid.engines.opened import open_engine
from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, layer_outputs, locate

RTOL = 1e-4
ENGINES = ("openvino", "tensorflow")
SLOW = ("densenet121", "inceptionresnetv2", "nasnetmobile")
# The smallest network of each family, its module in keras.applications, and a small size that it takes.
NETWORKS = {
    "convnexttiny": ("convnext", 64),
    "densenet121": ("densenet", 64),
    "efficientnet_lite0": (None, 64),
    "efficientnetb0": ("efficientnet", 64),
    "efficientnetv2b0": ("efficientnet_v2", 64),
    "inceptionresnetv2": ("inception_resnet_v2", 96),
    "inceptionv3": ("inception_v3", 96),
    "mobilenet": ("mobilenet", 64),
    "mobilenetv2": ("mobilenet_v2", 64),
    "mobilenetv3small": ("mobilenet_v3", 64),
    "nasnetmobile": ("nasnet", 64),
    "resnet50": ("resnet", 64),
    "resnet50v2": ("resnet_v2", 64),
    "vgg16": ("vgg16", 64),
    "xception": ("xception", 96),
}


def random_network(name, size, top=False):
    return locate(find(name), None, 0, (size, size), top)


def random_images(n, size):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def features(network, parts, engine, batches):
    return list(open_engine(network, tuple(parts), engine, "float32").run(batches))


def assert_equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=RTOL * np.abs(expected).max())


def preprocessed(images, family):
    """What Keras users give to a network; the one from elsewhere says (x - 127) / 128."""
    import keras

    pixels = images.astype(np.float32)
    return getattr(keras.applications, family).preprocess_input(pixels) if family else (pixels - 127) / 128


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] * (name in SLOW)) for name in NETWORKS]
)
def test_engines_equal_keras(name, monkeypatch):
    import keras

    family, size = NETWORKS[name]
    network, images = random_network(name, size), random_images(3, size)
    model = headless(network)
    # Building is half the time of this test.
    monkeypatch.setattr(graph, "headless", lambda network: model)
    reference = keras.Model(model.inputs, keras.layers.GlobalAveragePooling2D()(model.outputs[0]))
    expected = reference.predict(preprocessed(images, family), verbose=0)
    assert expected.std() > 0
    for engine in ENGINES:
        ((found,),) = features(network, [("last", "avg")], engine, [images])
        assert found.dtype == np.float32
        assert_equal(found, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_poolings_and_layers_equal_keras(engine):
    import keras

    network, images = random_network("mobilenet", 64), random_images(3, 64)
    model = headless(network)
    names = ("stage4", "last", "conv_pw_3")
    reference = keras.Model(model.inputs, layer_outputs(network.backbone, model, names))
    maps = reference.predict(preprocessed(images, "mobilenet"), verbose=0)
    poolings = {
        "avg": lambda x: x.mean((1, 2)),
        "max": lambda x: x.max((1, 2)),
        "gem": lambda x: (np.maximum(x, 1e-6) ** 3).mean((1, 2)) ** (1 / 3),
        "flatten": lambda x: x.reshape(len(x), -1),
    }
    parts = [(layer, pooling) for layer in names for pooling in poolings]
    (found,) = features(network, parts, engine, [images])
    expected = [poolings[pooling](maps[names.index(layer)]) for layer, pooling in parts]
    assert open_engine(network, parts, engine, "float32").widths == tuple(e.shape[1] for e in expected)
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_predictions_equal_keras(engine):
    network, images = random_network("mobilenet", 64, top=True), random_images(3, 64)
    last, predictions = headless(network).predict(preprocessed(images, "mobilenet"), verbose=0)
    ((found, maps),) = features(network, [("predictions", None), ("last", "max")], engine, [images])
    assert found.shape == (3, 1000)
    assert_equal(found, predictions)
    assert_equal(maps, last.max((1, 2)))


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_depend_neither_on_their_batch_nor_on_their_place(engine):
    network, images = random_network("mobilenet", 64), random_images(8, 64)
    parts = [("last", "avg"), ("stage3", "max")]
    (whole,) = features(network, parts, engine, [images])
    runs = {
        "batches of 3": features(network, parts, engine, [images[:3], images[3:6], images[6:]]),
        "batches of 1": features(network, parts, engine, [image[None] for image in images]),
        "backwards": [[rows[::-1] for rows in features(network, parts, engine, [images[::-1]])[0]]],
    }
    for name, batches in runs.items():
        for part, expected in enumerate(whole):
            found = np.concatenate([batch[part] for batch in batches])
            tolerance = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance, err_msg=name)
            assert engine == "tensorflow" or np.array_equal(found, expected)


@pytest.mark.parametrize("kind", ["keras", "savedmodel"])
def test_a_users_own_network_equals_keras(kind, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((40, 48, 3))
    maps = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="maps")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalMaxPooling2D()(maps)))
    if kind == "keras":
        path, description, layer = tmp_path / "net.keras", tmp_path / "net.keras.toml", "maps"
        model.save(path)
    else:
        path, description, layer = tmp_path / "net", tmp_path / "net" / "hybrid.toml", "last"
        model.export(path, verbose=False)
    description.write_text("size = [40, 48]\nrange = [0, 1]\n")
    network = locate(find(path), "imagenet", None, (40, 48), False)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)
    reference = keras.Model(inputs, [model.outputs[0], keras.layers.GlobalAveragePooling2D()(maps)])
    expected = dict(
        zip(("last", "maps"), reference.predict(images / np.float32(255), verbose=0), strict=True)
    )
    for engine in ENGINES:
        found = features(network, [("last", None), (layer, "avg")], engine, [images])
        for rows, name in zip(found[0], ("last", layer), strict=True):
            assert_equal(rows, expected[name])
