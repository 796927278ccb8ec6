"""A bundle in, the model that was saved out; nothing in the file is run, and what moved since is refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sklearn.base import BaseEstimator

from hybrid.archive.files import UNTRUSTED, BundleError, refusal
from hybrid.archive.manifest import MODEL, Key, read_manifest, read_part
from hybrid.bundle import portable, probes
from hybrid.featurizer import ResNetFeaturizer
from hybrid.sources.catalogue import is_name


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: its model, what its manifest says, and what else was saved with it."""

    path: Path
    model: BaseEstimator
    manifest: dict
    extras: dict


def load(path: str | os.PathLike, key: Key = None) -> BaseEstimator:
    """Load the model of a bundle; no code from the file is run.

    Parameters
    ----------
    path : str or path
    key : bytes or path of a file, optional
        Refuse a bundle that was not signed with this key.

    Returns
    -------
    model : estimator

    Raises
    ------
    BundleError
        Where the bundle is damaged, unsafe, or no longer computes what it did when it was saved.
    """
    return read(path, key).model


def read(path: str | os.PathLike, key: Key = None) -> Bundle:
    """Load a bundle with all that is in it."""
    path = Path(path).expanduser().absolute()
    files, manifest = read_manifest(path, key)
    for name in manifest["parts"]:
        data = read_part(files, manifest, name)
        if name == MODEL:
            content = unpack(path, data)
    model, golden = content["model"], content["probes"]
    featurizers, templates = portable.featurizers(model)
    try:
        check_featurizers(path, featurizers, templates, manifest)
        attach(path, featurizers, manifest)
        change = probes.moved(model, featurizers, golden, manifest)
    except BundleError:
        raise
    except Exception as exc:
        way_out = "Install what it needs, or have it saved with include_network=True."
        raise refusal(path, f"it does not run here ({exc})", "what it was saved with", way_out) from exc
    if change:
        found, expected, reasons = change
        raise refusal(path, found, expected, f"What moved: {reasons}. Restore it, or train and save again.")
    return Bundle(path, model, manifest, content["extras"])


def unpack(path: Path, data: bytes) -> dict:
    """Return what save put into the model's file, and nothing but that."""
    try:
        content = portable.loads(data)
        if set(content) == {"model", "probes", "extras"}:
            return content
        reason = "it holds something else"
    except Exception as exc:
        reason = exc
    raise refusal(path, f"{MODEL!r} is not what it should be ({reason})", "what save writes", UNTRUSTED)


def check_featurizers(
    path: Path, featurizers: list[ResNetFeaturizer], templates: list[ResNetFeaturizer], manifest: dict
):
    """Refuse what would have this machine open, or write, a file of the bundle's choice."""
    recipes = manifest["recipes"]
    if len(featurizers) != len(recipes):
        raise refusal(path, f"{len(featurizers)} featurizers", f"{len(recipes)}, as its manifest says")
    inside = [recipe.get("network") in manifest["networks"] for recipe in recipes]
    inside += [False] * len(templates)
    for one, has_network in zip(featurizers + templates, inside, strict=True):
        if one.store not in (None, "auto"):
            raise refusal(path, f"the store {one.store!r:.80}", "the reader's own", UNTRUSTED)
        if not has_network and not is_name(one.backbone):
            raise refusal(path, f"the backbone {one.backbone!r:.80}", "the name of a network", UNTRUSTED)


def attach(path: Path, featurizers: list[ResNetFeaturizer], manifest: dict):
    """Point each featurizer to its network: the one inside, or the same weights on this machine."""
    for one, recipe in zip(featurizers, manifest["recipes"], strict=True):
        inside = recipe.get("network")
        if inside in manifest["networks"]:
            one.set_params(backbone=str(path / inside), weights="imagenet", seed=None, engine="auto")
            one.fit(probes.images())
            continue
        found = probes.recipe_of(one).network.fingerprint
        if found != recipe["fingerprint"]:
            moved = f"weights of {one.backbone!r} with the fingerprint {found}"
            raise refusal(path, moved, recipe["fingerprint"], "Restore the weights, or fit the model again.")
