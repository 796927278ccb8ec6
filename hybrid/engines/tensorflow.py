"""The TensorFlow engine: a frozen graph in a session of its own, on a GPU where TensorFlow sees one."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from hybrid.engines.engine import Calibration, Part
from hybrid.engines.graph import aside, load_tensorflow, pooled_axes, trace
from hybrid.sources.network import Network

if TYPE_CHECKING:
    from tensorflow import Tensor

NATIVE = {"avx512_bf16", "amx_bf16"}
# oneDNN computes bfloat16 by float32 on these.
EMULATED = {"avx512f"}


def choose_precision(precision: str) -> str:
    """Return the precision that "auto" stands for; refuse one that the processor lacks."""
    flags = processor_flags() if os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0" else set()
    if precision == "auto":
        return "bfloat16" if flags & NATIVE else "float32"
    if precision == "int8":
        raise ValueError("Got precision='int8', but only engine 'openvino' has it. Pass engine='openvino'.")
    if precision == "bfloat16" and not flags & (NATIVE | EMULATED):
        raise ValueError(
            "Got precision='bfloat16', but TensorFlow finds none in this processor. "
            "Pass precision='float32' or 'auto'."
        )
    return precision


@cache
def processor_flags() -> set[str]:
    """What the processor can do, where Linux says so."""
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


@aside
def load(
    network: Network, parts: tuple[Part, ...], precision: str, limit: int, calibration: Calibration
) -> _TensorFlowEngine:
    """Freeze the network and its poolings into one graph."""
    tensorflow = load_tensorflow(limit)
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    named = [network.backbone.usual_name(layer) for layer, _ in parts]
    layers = tuple(dict.fromkeys(named))

    def vectors(maps):
        found = dict(zip(layers, maps, strict=True))
        return [pool(tensorflow, found[name], *part) for name, part in zip(named, parts, strict=True)]

    frozen = convert_variables_to_constants_v2(trace(network, layers, vectors, None, limit))
    return _TensorFlowEngine(tensorflow, frozen, precision, limit)


def pool(tf: ModuleType, maps: Tensor, layer: str, pooling: str | None) -> Tensor:
    """Add a pooling to the graph."""
    axes = pooled_axes(layer, len(maps.shape), pooling)
    if not axes:
        return maps
    if pooling == "avg":
        return tf.reduce_mean(maps, axes)
    if pooling == "max":
        return tf.reduce_max(maps, axes)
    if pooling == "gem":
        return tf.reduce_mean(tf.maximum(maps, 1e-6) ** 3, axes) ** (1 / 3)
    return tf.reshape(maps, (-1, int(np.prod(maps.shape[1:]))))


class _TensorFlowEngine:
    """A frozen graph with options of its own, so that the user's TensorFlow keeps its settings."""

    name = "tensorflow"
    drift = 1.0

    def __init__(self, tensorflow, frozen, precision, limit):
        self.precision = precision
        self.widths = tuple(int(tensor.shape[1]) for tensor in frozen.outputs)
        v1 = tensorflow.compat.v1
        config = v1.ConfigProto(intra_op_parallelism_threads=limit, inter_op_parallelism_threads=limit)
        config.gpu_options.allow_growth = True
        if precision == "bfloat16":
            rewrites = config.graph_options.rewrite_options
            rewrites.auto_mixed_precision_onednn_bfloat16 = type(rewrites).ON
        graph = tensorflow.Graph()
        with graph.as_default():
            tensorflow.import_graph_def(frozen.graph.as_graph_def(), name="")
        session = v1.Session(graph=graph, config=config)
        names = [tensor.name for tensor in frozen.outputs]
        self._compute = session.make_callable(names, feed_list=[frozen.inputs[0].name])

    def run(self, batches):
        """Yield, for each uint8 batch, one float32 array a part."""
        for batch in batches:
            yield self._compute(batch)
