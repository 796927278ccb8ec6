"""A fitted model in; a bundle out: a file that says what it is and can be loaded without trust.

A bundle is a folder, or one .hybrid zip: manifest.json, the model by skops, converted networks if asked for.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path

from sklearn.base import BaseEstimator

from hybrid.archive.files import BundleError, write
from hybrid.archive.manifest import MODEL, Key, is_bundle, seal
from hybrid.archive.place import obstacle
from hybrid.bundle import portable, probes
from hybrid.bundle.extras import check_extras
from hybrid.bundle.loading import check_content
from hybrid.featurizer import ResNetFeaturizer
from hybrid.finetune.tuned import TunedFeaturizer
from hybrid.sources.catalogue import is_name


def save(
    model: BaseEstimator,
    path: str | os.PathLike,
    *,
    include_network: bool = False,
    scores: dict | None = None,
    extras: dict | None = None,
    key: Key = None,
) -> Path:
    """Save a fitted model as a bundle, which loads without running code from it.

    Parameters
    ----------
    model : estimator
        A fitted pipeline or estimator with one :class:`ResNetFeaturizer` or more inside. Of a search, the
        best model is saved; scikit-learn-intelex's SVC is saved as scikit-learn's, nearest neighbours without
        their search tree, and a fine-tuned model without its callbacks, its optimizer by name. A warning says
        what `load` takes only with ``trusted=True``.
    path : str or path
        A name that ends in ".hybrid" is one file; any other is a folder. A bundle that stands there is
        replaced in one step.
    include_network : bool, default=False
        Put the converted networks inside, tuned ones too, so that the bundle predicts without TensorFlow and
        weights.
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
    path = check_place(path)
    model = portable.portable(model)
    featurizers, templates = portable.featurizers(model)
    if not featurizers:
        raise ValueError(f"Got {model!r:.200}, but expected a model with a fitted ResNetFeaturizer inside.")
    _check_sources(featurizers, templates, include_network)
    recipes = [probes.describe(one) for one in featurizers]
    content = {"model": model, "probes": probes.record(model, featurizers), "extras": extras or {}}
    check_extras(content["extras"], sum(one.shape[1] for one in content["probes"]["features"]))
    with tempfile.TemporaryDirectory() as folder:
        networks = _write_networks(featurizers, recipes, Path(folder)) if include_network else {}
        parts = {MODEL: portable.dumps(content)}
        outside = templates if include_network else featurizers + templates
        warn_of_trust(parts[MODEL], len(featurizers), outside)
        parts |= {file.name: file for file in sorted(Path(folder).iterdir())}
        about = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": probes.versions(),
            "recipes": recipes,
            "networks": networks,
            "classes": getattr(model, "classes_", None),
            "scores": scores or {},
        }
        write(path, seal(parts, about, key))
    return path


def warn_of_trust(data: bytes, count: int, outside: list[BaseEstimator]):
    """Say which bundles `load` takes only from those whom the reader trusts."""
    try:
        check_content(portable.loads(data), count)
        for one in outside:
            if one.weights not in (None, "imagenet"):
                raise ValueError(f"it names the weights file {one.weights!r}")
    except Exception as exc:
        warnings.warn(
            f"Others load this bundle only by load(path, trusted=True), which asks that they trust you: {exc}.",
            UserWarning,
            stacklevel=3,
        )


def check_place(path: str | os.PathLike) -> Path:
    """Return the whole path of a bundle to be; refuse a place where there can be none."""
    path = Path(path).expanduser().absolute()
    if os.path.lexists(path) and not is_bundle(path):
        raise BundleError(
            f"Cannot save to {str(path)!r}: what is there is no bundle. Remove it, or choose another."
        )
    if not path.parent.is_dir():
        raise BundleError(
            f"Cannot save to {str(path)!r}: there is no folder {str(path.parent)!r}. Make it, or choose another."
        )
    if reason := obstacle(path.parent / "bundle"):
        raise BundleError(f"Cannot save to {str(path)!r}: {reason}. Make room there, or choose another.")
    return path


def _check_sources(
    featurizers: list[ResNetFeaturizer], templates: list[ResNetFeaturizer], include_network: bool
):
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


def _write_networks(featurizers: list[ResNetFeaturizer], recipes: list[dict], folder: Path) -> dict:
    """Write each network once, with the layers that all its featurizers read; return what they are."""
    from hybrid.bundle.converted import write

    parts, networks = {}, {}
    for one in featurizers:
        recipe = probes.recipe_of(one)
        if "openvino" in recipe.network.backbone.engines:
            parts.setdefault(recipe.network, []).extend(recipe.parts)
    names = {network: f"network-{i}" for i, network in enumerate(parts)}
    for network, name in names.items():
        networks[name] = write(network, parts[network], folder / f"{name}.xml")
    for one, recipe in zip(featurizers, recipes, strict=True):
        recipe["network"] = names.get(probes.recipe_of(one).network)
        recipe["asked"] = one.precision
        if recipe["network"] and isinstance(one, TunedFeaturizer):
            one.base_weights_ = {}  # they are in there
    return networks
