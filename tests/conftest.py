"""What tests stand on: a quiet TensorFlow, and the real photographs where they are."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="module", autouse=True)
def own_threads():
    """Leave the next file its own limits: Dask sets those of its workers in the environment of this process."""
    names = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    before = {name: os.environ.get(name) for name in names}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session")
def photographs():
    """The folder of real photographs beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the photographs are not here")
    return folder


@pytest.fixture(scope="session")
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
