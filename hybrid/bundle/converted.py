"""A network in; its OpenVINO model on disk out, cut down to the layers that a bundle reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hybrid.engines.choose import choose
from hybrid.engines.engine import Part
from hybrid.engines.graph import kept_layers
from hybrid.engines.opened import threads
from hybrid.engines.openvino import exact, feeds
from hybrid.sources import bundled
from hybrid.sources.network import Network


def write(network: Network, parts: Sequence[Part], path: Path) -> dict:
    """Write the network with the layers of these parts to `path` and its .bin; return its description."""
    import openvino

    choose(network, "openvino", "float32")
    known = kept_layers(network, parts)
    model = exact(network, known, threads())
    maps = dict(zip(known, feeds(model.outputs), strict=True))
    wanted = {network.backbone.usual_name(layer) for layer, _ in parts}
    layers = sorted(wanted, key=lambda layer: (layer == "predictions", layer == "last", layer))
    outputs = [maps[layer] for layer in layers]
    openvino.save_model(openvino.Model(outputs, model.get_parameters()), path, compress_to_fp16=False)
    return bundled.describe(network, layers, [output.partial_shape[-1].get_length() for output in outputs])
