"""A recipe, and what tuning changed of its network, in; the recipe of the tuned network, and who reads it, out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hybrid.engines.choose import choose
from hybrid.features.embed import Failure, run
from hybrid.features.recipe import Recipe
from hybrid.features.rows import Rows
from hybrid.featurizer import ResNetFeaturizer
from hybrid.store.feature_store import open_store


class TunedFeaturizer(ResNetFeaturizer):
    """What a fine-tuned model reads its network by: frozen after `fit`, with other weights after `tune`.

    Attributes
    ----------
    base_weights_ : dict of ndarray
        Those weights of the network that tuning changed.
    """

    def fit(self, X, y=None):
        """Look up the frozen network.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images
        y : ignored

        Returns
        -------
        self
        """
        self.base_weights_ = {}
        return super().fit(X, y)

    def tune(self, changes: dict[str, np.ndarray]):
        """Put these arrays over the network's weights.

        Parameters
        ----------
        changes : dict of ndarray

        Returns
        -------
        self
        """
        self.base_weights_ = changes
        self.fingerprint_ = self._read().network.fingerprint
        return self

    def read(self, items: Sequence) -> tuple[np.ndarray, list[Failure]]:
        """Return the features of images; with ``on_error="nan"`` those that cannot be read, too, and no warning.

        Parameters
        ----------
        items : sequence of images

        Returns
        -------
        features : ndarray of shape (n_images, n_features_out_), float32
        failures : list of (row, image, reason)
        """
        recipe, params = self._recipe(), self._params()
        if params["on_error"] == "raise":
            return self.transform(items), []
        rows = Rows(len(items), recipe)
        store = open_store(params["store"])
        failures = run(items, recipe, store, rows, params["batch_size"], params["verbose"])
        return rows.of(recipe.parts), failures

    def _read(self) -> Recipe:
        params = self._params()
        return tuned(super()._read(), self.base_weights_, params["engine"], params["precision"])


def tuned(recipe: Recipe, changes: dict[str, np.ndarray], engine: str, precision: str) -> Recipe:
    """Return the recipe of the network with these arrays over its weights, and a fingerprint of its own.

    TensorFlow runs it under "auto", where it can: to convert every tuned network for OpenVINO would not pay.
    """
    if not changes:
        return recipe
    network = recipe.network
    state = hashlib.sha256(network.fingerprint.encode())
    for name, value in sorted(changes.items()):
        state.update(
            f"{name} {value.dtype.str} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        )
    weights = replace(network.weights, fingerprint=state.hexdigest()[:40], changes=changes)
    network = replace(network, weights=weights)
    if engine == "auto" and precision != "int8":
        engine = "tensorflow"
    engine, precision = choose(network, engine, precision)
    return replace(recipe, network=network, engine=engine, precision=precision)
