"""A network in; its OpenVINO model on disk out, cut down to the layers that a bundle reads."""

from __future__ import annotations

from hybrid.engines.graph import canonical, kept_layers
from hybrid.engines.opened import choose, threads
from hybrid.engines.openvino import exact, sources
from hybrid.sources import bundled


def write(network, parts, path) -> dict:
    """Write the network with the layers of these parts to `path` and its .bin; return its description."""
    import openvino

    choose(network, "openvino", "float32")
    known = kept_layers(network, parts)
    model = exact(network, known, threads())
    maps = dict(zip(known, sources(model.outputs), strict=True))
    wanted = {canonical(network.backbone, layer) for layer, _ in parts}
    layers = sorted(wanted, key=lambda layer: (layer == "predictions", layer == "last", layer))
    outputs = [maps[layer] for layer in layers]
    openvino.save_model(openvino.Model(outputs, model.get_parameters()), path, compress_to_fp16=False)
    return bundled.describe(network, layers, [output.partial_shape[-1].get_length() for output in outputs])
