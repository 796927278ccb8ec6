"""Keras models for the tests: weights of their own, files as Keras publishes them, and images."""

import numpy as np


def images_of(size, n=2):
    return np.random.default_rng(2).integers(0, 256, (n, *size, 3), dtype=np.uint8)


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
