"""A fitted model in, a file that says what it is and can be loaded without trust out, and back.

A bundle is a folder, or one .hybrid zip: manifest.json, the model by skops, converted networks if asked for.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hybrid import archive
from hybrid.archive import UNTRUSTED, BundleError, refusal
from hybrid.backbones import is_name
from hybrid.bundle import portable, probes
from hybrid.manifest import MODEL, is_bundle, read_manifest, read_part, seal

__all__ = ["Bundle", "BundleError", "load", "read", "save"]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: its model, what its manifest says, and what else was saved with it."""

    path: Path
    model: object
    manifest: dict
    extras: dict


def save(model, path, *, include_network=False, scores=None, extras=None, key=None):
    """Save a fitted model as a bundle, which loads without running code from it.

    Parameters
    ----------
    model : estimator
        A fitted pipeline or estimator with one :class:`ResNetFeaturizer` or more inside. Of a search, the
        best model is saved; scikit-learn-intelex's SVC is saved as scikit-learn's.
    path : str or path
        A name that ends in ".hybrid" is one file; any other is a folder. A bundle that stands there is
        replaced in one step.
    include_network : bool, default=False
        Put the converted networks inside, so that the bundle predicts without TensorFlow and weights.
    scores : dict, optional
        What the manifest says of the model's quality.
    extras : dict, optional
        Arrays, numbers, text, and lists and dicts of them, kept beside the model.
    key : bytes or path of a file, optional
        Sign the bundle by HMAC-SHA256, for :func:`load` to check.

    Returns
    -------
    path : Path

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from hybrid import build_pipeline, load, load_sample, save
    >>> sample = load_sample(4)
    >>> model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    >>> path = save(model, mkdtemp() + "/model.hybrid")
    >>> load(path).predict(sample["image"][:2])
    array(['bricks', 'bricks'], dtype=object)
    """
    path = Path(path).expanduser().absolute()
    if os.path.lexists(path) and not is_bundle(path):
        raise BundleError(
            f"Cannot save to {str(path)!r}: what is there is no bundle. Remove it, or choose another."
        )
    model = portable.portable(model)
    featurizers, templates = portable.featurizers(model)
    if not featurizers:
        raise ValueError(f"Got {model!r:.200}, but expected a model with a fitted ResNetFeaturizer inside.")
    check_sources(featurizers, templates, include_network)
    if include_network and any(getattr(one, "base_weights_", None) for one in templates):
        raise ValueError("Got include_network=True, but a tuned network is not converted: leave it out.")
    recipes = [probes.describe(one) for one in featurizers]
    content = {"model": model, "probes": probes.record(model, featurizers), "extras": extras or {}}
    parts = {MODEL: portable.dumps(content)}
    with tempfile.TemporaryDirectory() as folder:
        networks = write_networks(featurizers, recipes, Path(folder)) if include_network else {}
        parts |= {file.name: file for file in sorted(Path(folder).iterdir())}
        about = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": probes.versions(),
            "recipes": recipes,
            "networks": networks,
            "classes": getattr(model, "classes_", None),
            "scores": scores or {},
        }
        archive.write(path, seal(parts, about, key))
    return path


def load(path, key=None):
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


def read(path, key=None) -> Bundle:
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


def unpack(path, data) -> dict:
    """Return what save put into the model's file, and nothing but that."""
    try:
        content = portable.loads(data)
        if set(content) == {"model", "probes", "extras"}:
            return content
        reason = "it holds something else"
    except Exception as exc:
        reason = exc
    raise refusal(path, f"{MODEL!r} is not what it should be ({reason})", "what save writes", UNTRUSTED)


def check_sources(featurizers, templates, include_network):
    """Refuse networks that another machine could not have, or must not open."""
    for one in templates if include_network else featurizers + templates:
        if not is_name(one.backbone):
            raise ValueError(
                f"Backbone {one.backbone!r} is a file, which others may not have: fit it, and pass "
                "include_network=True."
            )
    for one in featurizers:
        if probes.recipe_of(one).network.fingerprint != one.fingerprint_:
            raise ValueError(
                f"The weights of {one.backbone!r} changed since fit: restore them, or fit again."
            )


def write_networks(featurizers, recipes, folder) -> dict:
    """Write each network once, with the layers that all its featurizers read; return what they are."""
    from hybrid.bundle.converted import write

    parts, networks = {}, {}
    for one in featurizers:
        recipe = probes.recipe_of(one)
        if recipe.network.backbone.name != "tiny":
            parts.setdefault(recipe.network, []).extend(recipe.parts)
    names = {network: f"network-{i}" for i, network in enumerate(parts)}
    for network, name in names.items():
        networks[name] = write(network, parts[network], folder / f"{name}.xml")
    for one, recipe in zip(featurizers, recipes, strict=True):
        recipe["network"] = names.get(probes.recipe_of(one).network)
    return networks


def check_featurizers(path, featurizers, templates, manifest):
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


def attach(path, featurizers, manifest):
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
