"""A bundle in, the model that was saved out; nothing in the file is run, and what moved since is refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sklearn.base import BaseEstimator

from hybrid.archive.files import UNTRUSTED, BundleError, refusal
from hybrid.archive.manifest import MODEL, Key, read_manifest, read_part
from hybrid.bundle import portable, probes
from hybrid.bundle.checks import NotChecked, is_model
from hybrid.bundle.extras import check_extras
from hybrid.features.recipe import read_size
from hybrid.featurizer import ResNetFeaturizer
from hybrid.sources.catalogue import find, is_name
from hybrid.sources.record import Backbone

TRUST = "Pass trusted=True only if you trust who made this file."
MOST_BYTES = 512 << 20
MOST_FEATURIZERS = 64
# All views of a probe run before a bundle is loaded: so many pixels, or so many times the network's own.
MOST_USUAL, MOST_OWN, MOST_BATCH = 1280 * 1280, 16, 4096


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: its model, what its manifest says, and what else was saved with it."""

    path: Path
    model: BaseEstimator
    manifest: dict
    extras: dict


def load(path: str | os.PathLike, key: Key = None, *, trusted: bool = False) -> BaseEstimator:
    """Load the model of a bundle; no code from the file is run.

    Parameters
    ----------
    path : str or path
    key : bytes or path of a file, optional
        Refuse a bundle that was not signed with this key.
    trusted : bool, default=False
        Load estimators whose numbers are not checked completely, such as gradient boosting, too; and models of
        more than 512 MiB. Only for files whose maker you trust: forged ones can crash this process, or worse.

    Returns
    -------
    model : estimator

    Raises
    ------
    BundleError
        Where the bundle is damaged, unsafe, or no longer computes what it did when it was saved.
    """
    return read(path, key, trusted=trusted).model


def read(path: str | os.PathLike, key: Key = None, *, trusted: bool = False) -> Bundle:
    """Load a bundle with all that is in it."""
    path = Path(path).expanduser().absolute()
    files, manifest = read_manifest(path, key)
    if not trusted and files.sizes[MODEL] > MOST_BYTES:
        raise refusal(path, f"{MODEL!r} has {files.sizes[MODEL]} bytes", f"at most {MOST_BYTES}", TRUST)
    for name in manifest["parts"].keys() - {MODEL}:
        read_part(files, manifest, name)
    content = unpack(path, read_part(files, manifest, MODEL), len(manifest["recipes"]), trusted)
    model = content["model"]
    featurizers, templates = portable.featurizers(model)
    try:
        _check_featurizers(path, featurizers, templates, manifest, trusted)
        _attach(path, featurizers, manifest)
        change = probes.moved(model, featurizers, content["probes"], manifest)
    except BundleError:
        raise
    except Exception as exc:
        way_out = "Install what it needs, or have it saved with include_network=True."
        raise refusal(path, f"it does not run here ({exc})", "what it was saved with", way_out) from exc
    if change:
        found, expected, reasons = change
        raise refusal(path, found, expected, f"What moved: {reasons}. Restore it, or train and save again.")
    return Bundle(path, model, manifest, content["extras"])


def unpack(path: Path, data: bytes, count: int, trusted: bool) -> dict:
    """Return what save put into the model's file, and nothing but that."""
    try:
        content = portable.loads(data, trusted)
        if not isinstance(content, dict) or set(content) != {"model", "probes", "extras"}:
            raise ValueError("it holds something else")
        if not trusted:
            check_content(content, count)
        return content
    except NotChecked as exc:
        way_out = TRUST if "sklearn." in str(exc) else UNTRUSTED
        raise refusal(path, str(exc), "estimators that are checked completely", way_out) from exc
    except Exception as exc:
        found = f"{MODEL!r} is not what it should be ({exc})"
        raise refusal(path, found, "what save writes", UNTRUSTED) from exc


def check_content(content: dict, count: int):
    """Raise ValueError unless there are a model, its probes and extras that fit both."""
    if not is_model(content["model"]) or not isinstance(content["extras"], dict):
        raise ValueError("it holds no model")
    probes.check(content["probes"], count)
    check_extras(content["extras"], sum(one.shape[1] for one in content["probes"]["features"]))


def _check_featurizers(
    path: Path,
    featurizers: list[ResNetFeaturizer],
    templates: list[ResNetFeaturizer],
    manifest: dict,
    trusted: bool,
):
    """Refuse what would have this machine open, or write, a file of the bundle's choice, or work without end."""
    recipes = manifest["recipes"]
    if len(featurizers) != len(recipes) or len(featurizers) + len(templates) > MOST_FEATURIZERS:
        raise refusal(path, f"{len(featurizers)} featurizers", f"{len(recipes)}, as its manifest says")
    inside = [recipe.get("network") in manifest["networks"] for recipe in recipes]
    inside += [False] * len(templates)
    for one, has_network in zip(featurizers + templates, inside, strict=True):
        if one.store not in (None, "auto"):
            raise refusal(path, f"the store {one.store!r:.80}", "the reader's own", UNTRUSTED)
        if not has_network and not is_name(one.backbone):
            raise refusal(path, f"the backbone {one.backbone!r:.80}", "the name of a network", UNTRUSTED)
        if not has_network and one.weights not in (None, "imagenet") and not trusted:
            way_out = "Have it saved with include_network=True."
            raise refusal(path, f"the weights {one.weights!r:.80}", "none of the reader's files", way_out)
        if not trusted:
            _check_work(path, one, None if has_network else find(one.backbone))


def _check_work(path: Path, reader: ResNetFeaturizer, record: Backbone | None):
    """Refuse pixels and batches out of all proportion to the network's own, or to the usual if it lies inside."""
    size = read_size(reader.image_size) or (record.size if record else (1, 1))
    pixels = size[0] * size[1] * getattr(reader, "views", 1)
    most = max(MOST_USUAL, MOST_OWN * record.size[0] * record.size[1] if record else 0)
    if pixels > most or reader.batch_size > MOST_BATCH:
        found = f"{pixels} pixels an image in batches of {reader.batch_size}"
        raise refusal(path, found, f"up to {most} pixels and {MOST_BATCH} images", TRUST)


def _attach(path: Path, featurizers: list[ResNetFeaturizer], manifest: dict):
    """Point each featurizer to its network: the one inside, or the same weights on this machine."""
    for one, recipe in zip(featurizers, manifest["recipes"], strict=True):
        inside = recipe.get("network")
        if inside in manifest["networks"]:
            one.set_params(backbone=str(path / inside), weights="imagenet", seed=None, engine="auto")
            one.fit(probes.images())
            continue
        found = probes.recipe_of(one).network.fingerprint
        for expected in (recipe["fingerprint"], one.fingerprint_):
            if found != expected:
                moved = f"weights of {one.backbone!r} with the fingerprint {found}"
                way_out = "Restore the weights, or fit the model again."
                raise refusal(path, moved, f"{expected!s:.80}", way_out)
