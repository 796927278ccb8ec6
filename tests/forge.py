"""Bundles as an attacker makes them: whatever model, probes, extras and networks, sealed so that the manifest fits."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import skops.io

from hybrid import build_pipeline, load_sample, save
from hybrid.archive import manifest
from hybrid.bundle import portable, probes

SIDE, WIDTH = 32, 64
ENTRY = {
    "name": "net",
    "weights": "",
    "licence": "",
    "size": [SIDE, SIDE],
    "margin": 1.0,
    "interpolation": "bilinear",
    "layers": [["last", "last", WIDTH]],
}


def fitted(classifier, n_per_class=3, **params):
    sample = load_sample(n_per_class)
    return build_pipeline(classifier, **{"backbone": "tiny"} | params).fit(sample["image"], sample["label"])


def content_of(model, extras=None):
    """What `save` puts into the model's file, and its recipes."""
    model = portable.portable(model)
    readers, _ = portable.featurizers(model)
    recipes = [probes.describe(one) for one in readers]
    return {"model": model, "probes": probes.record(model, readers), "extras": extras or {}}, recipes


def seal(path, content, recipes, networks=None):
    """Write a bundle with this content; a network is its XML and its weights."""
    data = content if isinstance(content, bytes) else skops.io.dumps(content)
    parts, told = {"model.skops": data}, {}
    for i, (xml, weights) in enumerate(networks or []):
        parts |= {f"network-{i}.xml": xml, f"network-{i}.bin": weights}
        told[f"network-{i}"] = ENTRY
    about = {
        "versions": probes.versions(),
        "recipes": recipes,
        "networks": told,
        "classes": None,
        "scores": {},
    }
    return write(path, manifest.seal(parts, about))


def write(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def members(data):
    """The files inside a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def as_npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def network(folder, middle=lambda ops, x: x):
    """A small network's XML and weights: pooled pixels through a matrix, and what `middle` adds before it."""
    import openvino
    import openvino.opset13 as ops

    pixels = ops.parameter([1, SIDE, SIDE, 3], np.uint8)
    x = ops.transpose(ops.convert(pixels, np.float32), np.array([0, 3, 1, 2]))
    x = ops.avg_pool(x, [8, 8], [0, 0], [0, 0], [8, 8], False, "floor")
    x = middle(ops, x)
    x = ops.reshape(x, np.array([1, -1]), special_zero=False)
    matrix = np.random.default_rng(0).normal(size=(3 * 16, WIDTH)).astype(np.float32)
    x = ops.matmul(x, matrix / np.float32(255), False, False)
    place = Path(folder) / "network.xml"
    openvino.save_model(openvino.Model([x], [pixels]), place, compress_to_fp16=False)
    return place.read_bytes(), place.with_suffix(".bin").read_bytes()


def with_network(path, classifier, parts):
    """A bundle whose network lies inside, with the features that this network gives."""
    content, recipes = content_of(fitted(classifier))
    reader = content["model"][0]
    recipes[0] |= {"network": "network-0", "asked": "float32", "engine": "openvino", "precision": "float32"}
    seal(path, content, recipes, [parts])
    reader.set_params(backbone=str(path / "network-0"), precision="float32").fit(probes.images())
    content["probes"] = probes.record(content["model"], [reader])
    reader.set_params(backbone="tiny")
    return seal(path, content, recipes, [parts])


def folder(path):
    """A sound bundle's files, by name."""
    return {file.name: file.read_bytes() for file in Path(save(fitted("logistic"), path)).iterdir()}


def with_manifest(files, **about):
    said = json.loads(files["manifest.json"]) | about
    parts = {name: data for name, data in files.items() if name not in ("manifest.json", "signature.txt")}
    return manifest.seal(parts, {key: value for key, value in said.items() if key != "parts"})
