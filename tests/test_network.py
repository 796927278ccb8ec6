"""A network is looked up without TensorFlow and built the same whatever the caller did."""

import random
import subprocess
import sys

import numpy as np
import pytest

from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, layer_outputs, locate, locate_weights


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


def test_looking_a_network_up_imports_no_tensorflow():

    code = (
        "import sys; from hybrid.sources.network import locate; from hybrid.sources.catalogue import find;"
        "locate(find('efficientnet_lite0'), 'imagenet', None, (224, 224), False);"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("seed", [None, 1.5, -1, True, "1"])
def test_random_weights_need_a_seed(seed):
    with pytest.raises(ValueError, match=r"Got weights=None and seed=.*integer seed"):
        locate_weights(find("mobilenet"), None, seed)


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("mobilenet", "nothing.h5", ValueError, "there is no such file"),
        ("mobilenet", 3, TypeError, "Got weights=3"),
        ("tiny", "net.h5", ValueError, "'tiny' takes no weights file"),
    ],
)
def test_wrong_weights_are_refused_with_the_way_out(name, weights, error, message):
    with pytest.raises(error, match=message):
        locate_weights(find(name), weights)


def test_building_a_network_leaves_every_random_state_alone():
    import keras

    keras.utils.set_random_seed(3)
    expected = random.random(), np.random.rand(), float(keras.random.uniform(()))
    keras.utils.set_random_seed(3)
    headless(locate(find("mobilenet"), None, 1, (32, 32), False))
    assert (random.random(), np.random.rand(), float(keras.random.uniform(()))) == expected
