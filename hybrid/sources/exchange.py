"""An .onnx file or an OpenVINO .xml in; its record, which no package is needed for, or its OpenVINO model out.

Neither runs foreign code; operators that would need it, of other domains than the format's own, are refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from hybrid.sources import description
from hybrid.sources.operations import ONNX, check_model, check_network, check_text, check_types
from hybrid.sources.record import Backbone
from hybrid.sources.signature import layer_name, signature
from hybrid.sources.source import Network
from hybrid.sources.wire import all_of, fields, one_of, signed, text
from hybrid.weights.files import Weights, brought

if TYPE_CHECKING:
    from openvino import Core

KIND = "an .onnx file or an OpenVINO .xml file"
FAMILIES = {".onnx": ("onnx", "an ONNX file"), ".xml": ("openvino", "an OpenVINO model")}
ONNX_DOMAINS = ("", "ai.onnx")


def reads(path: Path) -> bool:
    return path.suffix in FAMILIES and path.is_file()


def read(path: Path) -> Backbone:
    family, frozen = FAMILIES[path.suffix]
    says = {"family": family, "source": __name__, "engines": ("openvino",), "frozen": frozen}
    return description.read(path, lambda asked: _signature(path), ("signature",), **says)


def own_weights(record: Backbone, top: bool) -> Weights:
    """Return those inside, or beside an .xml; what the network expects is part of their fingerprint."""
    path = record.path
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return brought(path, [path, record.description, *weights])


def read_model(core: Core, network: Network, layers: tuple[str, ...]):
    """Return the float32 model with the map of each layer as one output, its channels last."""
    import openvino
    import openvino.opset13 as ops

    record = network.backbone
    try:
        model = core.read_model(record.path)
        (entry,) = model.get_parameters()
        channels_first = str(entry.partial_shape[1]) == "3"
        height, width = network.size
        model.reshape([1, 3, height, width] if channels_first else [1, height, width, 3])
        check_model(model, record.path.stat().st_size)
    except (RuntimeError, ValueError) as exc:
        reason = (str(exc).strip().splitlines() or [""])[-1]
        raise ValueError(
            f"Cannot load {str(record.path)!r} for one image of size {network.size}: {reason:.300}. "
            "Export it again, for one image a batch or any number."
        ) from exc
    known = {name: output for op in model.get_ops() for output in op.outputs() for name in output.get_names()}
    maps = [_map(ops, record, known, layer, channels_first) for layer in layers]
    pixels = ops.parameter([1, *network.size, 3], np.uint8)
    entry.output(0).replace(_preprocess(ops, record, pixels, entry.get_element_type(), channels_first))
    return openvino.Model(maps, [pixels])


def _preprocess(ops, record, pixels, kind, channels_first):
    """Add what the record says: colour order, scale, mean and std."""
    x = ops.convert(pixels, np.float32)
    if record.bgr:
        x = ops.gather(x, np.array([2, 1, 0]), np.array(3))
    x = ops.multiply(x, np.float32(record.scale))
    x = ops.subtract(x, np.float32(record.mean))
    x = ops.divide(x, np.float32(record.std))
    if channels_first:
        x = ops.transpose(x, np.array([0, 3, 1, 2]))
    return ops.convert(x, kind).output(0)


def _map(ops, record, known, layer, channels_first):
    """Return a layer's vector or map, as float32 with its channels last."""
    name = layer_name(record.own_name(layer))
    found = next((known[one] for one in known if layer_name(one) == name), None)
    if found is None:
        raise record.unknown_layer(layer, known)
    if len(found.partial_shape) == 4 and channels_first:
        found = ops.transpose(found, np.array([0, 2, 3, 1])).output(0)
    return ops.convert(found, np.float32).output(0)


def _signature(path):
    """Return what a file says of the images it takes."""
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and not weights.is_file():
        raise ValueError(f"{str(path)!r} needs its weights beside it: there is no {str(weights)!r}.")
    status = path.stat()
    return _describe(path, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=64)
def _describe(path, version):
    parse = _parse_onnx if path.suffix == ".onnx" else _parse_xml
    try:
        inputs, outputs, foreign = parse(path)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ElementTree.ParseError) as exc:
        raise ValueError(
            f"Cannot read {str(path)!r} as {FAMILIES[path.suffix][1]}: {exc}. Copy it again, or export it again."
        ) from exc
    if foreign:
        raise ValueError(
            f"{str(path)!r} has custom operators ({', '.join(sorted(foreign))}), which need code of their own. "
            "Export the network with the format's own operators alone."
        )
    return signature(path, "", inputs, outputs, channels_first=True)


def _parse_onnx(path):
    """Return the shapes of inputs and outputs, and the operators that are not ONNX's own."""
    parts = list(fields(path.read_bytes()))
    graphs = [value for number, value in parts if number == 7]
    # Readers put several together as one.
    if len(graphs) != 1 or any(number == 25 for number, _ in parts):
        raise ValueError(f"it holds {len(graphs)} graphs, or functions of its own, but one graph is expected")
    graph = graphs[0]
    inputs, outputs, constants, foreign, types = {}, {}, set(), set(), set()
    for number, value in fields(graph):
        if number in (11, 12):
            name, shape = _onnx_value(value)
            (inputs if number == 11 else outputs)[name] = shape
        elif number == 5:
            constants.add(text(one_of(value, 8)))
            if one_of(value, 14, 0):
                raise ValueError(
                    "its weights lie in another file: save it as one, save_as_external_data=False"
                )
        elif number == 1 and text(one_of(value, 7)) not in ONNX_DOMAINS:
            foreign.add(f"{text(one_of(value, 7))}.{text(one_of(value, 4))}")
        elif number == 1:
            types.add(text(one_of(value, 4)))
    check_types(types, ONNX)
    # Old files list their weights among the inputs.
    return {name: shape for name, shape in inputs.items() if name not in constants}, outputs, foreign


def _onnx_value(data):
    tensor = one_of(one_of(data, 2), 1)
    shapes = all_of(tensor, 2)
    sizes = [signed(one_of(dimension, 1, 0)) for shape in shapes for dimension in all_of(shape, 1)]
    return text(one_of(data, 1)), tuple(size if size > 0 else None for size in sizes) if shapes else None


def _parse_xml(path):
    """Return the shapes of inputs and outputs, and the operators that are not OpenVINO's own."""
    data = path.read_bytes()
    check_text(data)
    root = ElementTree.fromstring(data)
    layers = root.findall("./layers/layer")
    if root.tag != "net" or not layers:
        raise ValueError("it is another kind of XML")
    foreign = {
        f"{layer.get('version')}.{layer.get('type')}"
        for layer in root.iter("layer")
        if not re.fullmatch("opset[0-9]+", layer.get("version") or "")
    }
    if not foreign:
        check_network(data, path.with_suffix(".bin").stat().st_size)
    inputs, ports = {}, {}
    for layer in layers:
        for port in layer.findall("./output/port"):
            name = (port.get("names") or layer.get("name")).split(",")[0]
            ports[layer.get("id"), port.get("id")] = name, [_size(dim.text) for dim in port.findall("dim")]
            if layer.get("type") == "Parameter":
                inputs[name] = tuple(ports[layer.get("id"), port.get("id")][1])
    feeds = {
        edge.get("to-layer"): (edge.get("from-layer"), edge.get("from-port")) for edge in root.iter("edge")
    }
    results = (layer.get("id") for layer in layers if layer.get("type") == "Result")
    found = [ports[feeds[result]] for result in results]
    return inputs, {name: tuple(shape) for name, shape in found}, foreign


def _size(text):
    return int(text) if text.isdigit() else None
