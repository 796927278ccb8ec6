"""A network's name, layers and poolings in, a frozen Keras model from pixels to vectors out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, layer_outputs, locate, preprocess

if TYPE_CHECKING:
    import keras


def network(
    backbone: str | os.PathLike,
    weights: str | os.PathLike | None = "imagenet",
    layers: str | Sequence[str] = "last",
    pooling: str | Sequence[str] | None = "avg",
    image_size: int | tuple[int, int] | None = None,
    seed: int | None = None,
) -> keras.Model:
    """Build the featurizer's network as a frozen Keras model, to train a head on or to save.

    Parameters
    ----------
    backbone : str or path
        A name from :func:`hybrid.backbones`, a ``.keras`` file, a SavedModel folder (loading it runs its
        graph) or a "kaggle:" handle of one; not "tiny".
    weights : "imagenet", None or path, default="imagenet"
        None is a random network and needs `seed`.
    layers : str or list of str, default="last"
        "last", a stage such as "stage4", any layer's name, or "predictions".
    pooling : "avg", "max", "gem", "flatten", None or a list of them, default="avg"
        How a layer's map becomes a vector; None leaves the map.
    image_size : int, (height, width) or None, default=None
        The network's own size if None.
    seed : int or None, default=None
        The random network's seed.

    Returns
    -------
    model : keras.Model
        RGB pixels from 0 to 255 in, one vector an image out; scaling is inside.
    """
    import keras

    record = find(backbone)
    layers = [layers] if isinstance(layers, str) else list(layers)
    poolings = list(pooling) if isinstance(pooling, (list, tuple)) else [pooling]
    size = (image_size, image_size) if isinstance(image_size, Integral) else image_size or record.size
    base = headless(locate(record, weights, seed, size, record.needs_head(layers)))
    features = keras.Model(base.inputs, layer_outputs(record, base, layers), trainable=False)
    inputs = keras.Input((*size, 3))
    maps = features(preprocess(record, inputs))
    maps = maps if isinstance(maps, (list, tuple)) else [maps]
    vectors = [_pool(x, how) for x in maps for how in (poolings if len(x.shape) == 4 else [None])]
    return keras.Model(inputs, vectors[0] if len(vectors) == 1 else keras.layers.Concatenate()(vectors))


def _pool(x, how):
    """Make a vector of a map; what is a vector already stays."""
    from keras import layers, ops

    if how is None:
        return x
    if how == "gem":
        return ops.power(ops.mean(ops.power(ops.maximum(x, 1e-6), 3.0), axis=(1, 2)), 1 / 3)
    if how == "avg":
        return layers.GlobalAveragePooling2D()(x)
    if how == "max":
        return layers.GlobalMaxPooling2D()(x)
    if how == "flatten":
        return layers.Flatten()(x)
    raise ValueError(f"Got pooling={how!r}, but expected 'avg', 'max', 'gem' or 'flatten'.")
