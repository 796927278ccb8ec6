"""An .onnx file or an OpenVINO .xml in; what it says of the images it takes out. No package reads them here.

Neither runs foreign code; operators that would need it, of other domains than the format's own, are refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from xml.etree import ElementTree

from hybrid.sources.signature import Signature, signature
from hybrid.sources.wire import all_of, fields, one_of, signed, text

FAMILIES = {".onnx": "onnx", ".xml": "openvino"}
ONNX_DOMAINS = ("", "ai.onnx")


def describe(path) -> Signature:
    """Return what a file says of the images it takes."""
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and not weights.is_file():
        raise ValueError(f"{str(path)!r} needs its weights beside it: there is no {str(weights)!r}.")
    status = path.stat()
    return _describe(path, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=64)
def _describe(path, version):
    read = _read_onnx if path.suffix == ".onnx" else _read_xml
    try:
        inputs, outputs, foreign = read(path.read_bytes())
    except (ValueError, KeyError, AttributeError, ElementTree.ParseError) as exc:
        kind = "an ONNX file" if path.suffix == ".onnx" else "an OpenVINO model"
        raise ValueError(
            f"Cannot read {str(path)!r} as {kind}: {exc}. Copy it again, or export it again."
        ) from exc
    if foreign:
        raise ValueError(
            f"{str(path)!r} has custom operators ({', '.join(sorted(foreign))}), which need code of their own. "
            "Export the network with the format's own operators alone."
        )
    return signature(path, "", inputs, outputs, channels_first=True)


def _read_onnx(data):
    """Return the shapes of inputs and outputs, and the operators that are not ONNX's own."""
    graph = one_of(data, 7)
    if not graph:
        raise ValueError("it holds no graph")
    inputs, outputs, constants, foreign = {}, {}, set(), set()
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
    # Old files list their weights among the inputs.
    return {name: shape for name, shape in inputs.items() if name not in constants}, outputs, foreign


def _onnx_value(data):
    tensor = one_of(one_of(data, 2), 1)
    shapes = all_of(tensor, 2)
    sizes = [signed(one_of(dimension, 1, 0)) for shape in shapes for dimension in all_of(shape, 1)]
    return text(one_of(data, 1)), tuple(size if size > 0 else None for size in sizes) if shapes else None


def _read_xml(data):
    """Return the shapes of inputs and outputs, and the operators that are not OpenVINO's own."""
    root = ElementTree.fromstring(data)
    layers = root.findall("./layers/layer")
    if root.tag != "net" or not layers:
        raise ValueError("it is another kind of XML")
    foreign = {
        f"{layer.get('version')}.{layer.get('type')}"
        for layer in root.iter("layer")
        if not re.fullmatch("opset[0-9]+", layer.get("version") or "")
    }
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
