"""A user's .onnx file or OpenVINO .xml in; the same network from uint8 pixels to its layers' maps out."""

from __future__ import annotations

import difflib

import numpy as np


def read(core, network, layers):
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
    except RuntimeError as exc:
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
    own = {stage.name: stage.layer for stage in (*record.stages, *([record.last] if record.last else []))}
    name = own.get(layer, layer).replace("/", ".")
    found = next((known[one] for one in known if one.replace("/", ".") == name), None)
    if found is None:
        near = difflib.get_close_matches(layer, [*own, *known], n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"Got layers={layer!r}, but {record.name!r} has the outputs {', '.join(map(repr, own))}.{hint}"
        )
    if len(found.partial_shape) == 4 and channels_first:
        found = ops.transpose(found, np.array([0, 2, 3, 1])).output(0)
    return ops.convert(found, np.float32).output(0)
