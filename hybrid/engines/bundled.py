"""Converted networks and bundles: one, cut down to the layers asked for, goes in and comes out again."""

from __future__ import annotations

from hybrid.archive import refusal
from hybrid.backbones import bundled
from hybrid.manifest import read_manifest, read_part


def write(network, parts, path) -> dict:
    """Write the network with the layers of these parts to `path` and its .bin; return its description."""
    from hybrid.engines import choose, threads
    from hybrid.engines.graph import canonical, kept_layers
    from hybrid.engines.openvino import exact, sources

    choose(network, "openvino", "float32")
    known = kept_layers(network, parts)
    model = exact(network, known, threads())
    import openvino

    maps = dict(zip(known, sources(model.outputs), strict=True))
    wanted = {canonical(network.backbone, layer) for layer, _ in parts}
    layers = sorted(wanted, key=lambda layer: (layer == "predictions", layer == "last", layer))
    outputs = [maps[layer] for layer in layers]
    openvino.save_model(openvino.Model(outputs, model.get_parameters()), path, compress_to_fp16=False)
    return bundled.describe(network, layers, [output.partial_shape[-1].get_length() for output in outputs])


def read(core, network):
    """Return the converted network that a bundle holds, if it is still the one that was looked up."""
    path = network.backbone.path
    archive, manifest = read_manifest(path.parent)
    found = bundled.fingerprint(manifest, path.name)
    if found != network.fingerprint:
        way_out = "It was replaced after it was loaded: load it again."
        raise refusal(path.parent, f"{path.name} is {found:.12}...", f"{network.fingerprint:.12}...", way_out)
    xml, weights = (read_part(archive, manifest, f"{path.name}.{kind}") for kind in ("xml", "bin"))
    try:
        model = core.read_model(xml, weights)
    except RuntimeError as exc:
        raise refusal(path.parent, f"{path.name} is no OpenVINO model", "what save writes") from exc
    size = network.backbone.size
    if [list(one.shape) for one in model.inputs] != [[1, *size, 3]]:
        raise refusal(path.parent, f"{path.name} takes other images", f"one input of size {size}")
    return model
