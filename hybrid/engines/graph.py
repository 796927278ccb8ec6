"""What the engines share: the layers a network is read at, and its function from uint8 pixels to them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import wraps

from hybrid.engines.engine import Part
from hybrid.engines.quiet import quiet
from hybrid.sources.network import Network, headless, layer_outputs, preprocess


def kept_layers(network: Network, parts: Sequence[Part]) -> tuple[str, ...]:
    """The layers that a converted network gives: the usual ones, so that one conversion serves them all."""
    record = network.backbone
    usual = record.layers(network.top)
    return *usual, *sorted({record.usual_name(layer) for layer, _ in parts} - set(usual))


def pooled_axes(layer: str, rank: int, pooling: str | None) -> tuple[int, ...]:
    """The axes that a pooling takes away: none where the layer gives vectors already."""
    if rank < 2:
        raise ValueError(f"Layer {layer!r} gives one number an image; expected a vector or a map.")
    if rank > 2 and pooling is None:
        raise ValueError(f"Layer {layer!r} gives maps, so that it needs a pooling: avg, max, gem or flatten.")
    return tuple(range(1, rank - 1))


def aside(function: Callable) -> Callable:
    """Run a function, quietly, in a thread that has none of the caller's graphs, devices and policies."""

    @wraps(function)
    def wrapper(*arguments):
        with quiet(), ThreadPoolExecutor(1) as thread:
            return thread.submit(function, *arguments).result()

    return wrapper


def load_tensorflow(limit: int):
    """Import TensorFlow, quietly, and limit its threads unless the user did.

    It counts them once a process, when it first computes: where it has, the limit comes too late.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with quiet():
            import tensorflow
    except ImportError as exc:
        raise ValueError(
            "This network has not been converted on this machine yet, and that needs TensorFlow: "
            "pip install tensorflow"
        ) from exc
    threading = tensorflow.config.threading
    with suppress(RuntimeError):
        if not threading.get_intra_op_parallelism_threads():
            threading.set_intra_op_parallelism_threads(limit)
        if not threading.get_inter_op_parallelism_threads():
            threading.set_inter_op_parallelism_threads(limit)
    return tensorflow


# The network that was tuned last, and its Keras model, until somebody reads it.
_at_hand: dict[Network, object] = {}


def keep_at_hand(network: Network, model: object):
    """Have a network's model read as it is, the first time, instead of built again."""
    _at_hand.clear()
    _at_hand[network] = model


def trace(network: Network, layers: Sequence[str], read: Callable, batch: int | None, limit: int):
    """Return the function from `batch` uint8 images to what `read` makes of the layers' maps."""
    tensorflow = load_tensorflow(limit)
    import keras

    model = _at_hand.pop(network, None) or headless(network)
    inner = keras.Model(model.inputs, layer_outputs(network.backbone, model, layers))

    def outer(pixels):
        maps = inner(preprocess(network.backbone, pixels), training=False)
        return read(maps if isinstance(maps, (list, tuple)) else [maps])

    spec = tensorflow.TensorSpec((batch, *network.size, 3), tensorflow.uint8)
    function = tensorflow.function(outer, autograph=False).get_concrete_function(spec)
    # It refers to the model's variables, but does not keep them alive.
    function.model = model
    return function
