"""The OpenVINO engine: one image a request, so that no row depends on its batch; many requests at a time."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid.engines import conversions
from hybrid.engines.engine import Calibration, Part
from hybrid.engines.graph import aside, kept_layers, pooled_axes, trace
from hybrid.engines.int8 import calibrated
from hybrid.sources.catalogue import source
from hybrid.sources.network import Network

if TYPE_CHECKING:
    from openvino import Model, Output

HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
# Besides the requests that run, one for each waits its turn.
REQUESTS_A_STREAM = 2


@cache
def core():
    # OpenVINO and scikit-learn-intelex bring a libtbb each, of which a process loads the first. Only the
    # latter's, which is newer, serves both: with OpenVINO's, `import sklearnex` fails.
    with suppress(OSError):
        ctypes.CDLL(str(Path(sys.prefix, "lib", "libtbb.so.12")))
    # Every import of OpenVINO would send word of it to Google.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino.Core()


@cache
def has_bfloat16() -> bool:
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def choose_precision(precision: str) -> str:
    """Return the precision that "auto" stands for; refuse one that the processor lacks."""
    if precision == "auto":
        return "bfloat16" if has_bfloat16() else "float32"
    if precision == "bfloat16" and not has_bfloat16():
        raise ValueError(
            "Got precision='bfloat16', but OpenVINO finds none in this processor. "
            "Pass precision='float32' or 'auto'."
        )
    return precision


def load(
    network: Network, parts: tuple[Part, ...], precision: str, limit: int, calibration: Calibration
) -> _OpenVINOEngine:
    """Compile the parts of a network, which is read from disk if any process converted it before."""
    record, layers = network.backbone, kept_layers(network, parts)
    if precision == "int8":
        model = calibrated(core(), network, layers, calibration, lambda: exact(network, layers, limit))
    else:
        model = exact(network, layers, limit)
    maps = dict(zip(layers, feeds(model.outputs), strict=True))
    vectors = [pool(maps[record.usual_name(layer)], layer, pooling) for layer, pooling in parts]
    return _OpenVINOEngine(model.get_parameters(), vectors, precision, limit)


def exact(network: Network, layers: tuple[str, ...], limit: int):
    """The float32 model with the map of each layer as one output."""
    if not network.backbone.is_keras:
        return source(network.backbone).read_model(core(), network, layers)
    key = conversions.identity(network, layers)
    return conversions.kept(core(), key, lambda: convert(network, layers, limit))


@aside
def convert(network: Network, layers: tuple[str, ...], limit: int) -> Model:
    import openvino

    function = trace(network, layers, list, 1, limit)
    model = openvino.convert_model(function)
    # The converter adds outputs of its own, for tensors that nothing reads.
    maps = feeds(model.output(tensor.name) for tensor in function.outputs)
    return openvino.Model(maps, model.get_parameters())


def feeds(outputs: Iterable) -> list:
    """What a model's outputs are fed from."""
    return [output.get_node().input_value(0) for output in outputs]


def pool(maps: Output, layer: str, pooling: str | None) -> Output:
    """Add a pooling to the graph."""
    import openvino.opset13 as ops

    axes = pooled_axes(layer, len(maps.partial_shape), pooling)
    if not axes:
        return maps
    if pooling != "flatten":
        maps, axes = _unturned(maps, axes)
    if pooling == "avg":
        return ops.reduce_mean(maps, np.array(axes)).output(0)
    if pooling == "max":
        return ops.reduce_max(maps, np.array(axes)).output(0)
    if pooling == "gem":
        large = ops.maximum(maps, np.float32(1e-6))
        cubes = ops.multiply(ops.multiply(large, large), large)
        return ops.power(ops.reduce_mean(cubes, np.array(axes)), np.float32(1 / 3)).output(0)
    return ops.reshape(maps, np.array([1, -1]), special_zero=False).output(0)


def _unturned(maps: Output, axes: tuple[int, ...]) -> tuple:
    """Read maps before they are transposed: OpenVINO leaves that out for one pooling, not for several."""
    node = maps.get_node()
    if node.get_type_name() != "Transpose" or node.input_value(1).get_node().get_type_name() != "Constant":
        return maps, axes
    order = node.input_value(1).get_node().get_data()
    # What is left after pooling must lie in the same order.
    left = [int(place) for i, place in enumerate(order) if i not in axes]
    return (node.input_value(0), tuple(int(order[i]) for i in axes)) if left == sorted(left) else (maps, axes)


class _OpenVINOEngine:
    """A compiled network."""

    name = "openvino"
    drift = 1.0

    def __init__(self, parameters, vectors, precision, limit):
        import openvino

        self.precision = precision
        self.widths = tuple(vector.partial_shape[1].get_length() for vector in vectors)
        # No CACHE_DIR: it reads damaged files without a word, and saves at most a quarter of a second.
        self._compiled = core().compile_model(
            openvino.Model(vectors, parameters),
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": HINTS[precision],
                "INFERENCE_NUM_THREADS": limit,
            },
        )
        streams = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = REQUESTS_A_STREAM * streams

    def run(self, batches):
        """Yield, for each uint8 batch, one float32 array a part."""
        idle = [self._compiled.create_infer_request() for _ in range(self._requests)]
        running, waiting = deque(), deque()

        def collect():
            request, arrays, i = running.popleft()
            request.wait()
            for k, array in enumerate(arrays):
                array[i] = request.get_output_tensor(k).data[0]
            idle.append(request)

        try:
            for batch in batches:
                arrays = [np.empty((len(batch), width), np.float32) for width in self.widths]
                waiting.append(arrays)
                images = np.ascontiguousarray(batch)
                for i in range(len(images)):
                    if not idle:
                        collect()
                    request = idle.pop()
                    request.start_async({0: images[i : i + 1]}, share_inputs=True)
                    running.append((request, arrays, i))
                while waiting and not (running and running[0][1] is waiting[0]):
                    yield waiting.popleft()
            while waiting:
                while running and running[0][1] is waiting[0]:
                    collect()
                yield waiting.popleft()
        finally:
            for request, _, _ in running:
                request.wait()
