"""A network that lies in a bundle in; its OpenVINO model out."""

from __future__ import annotations

from hybrid.archive.files import refusal
from hybrid.archive.manifest import read_manifest, read_part
from hybrid.sources import bundled


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
