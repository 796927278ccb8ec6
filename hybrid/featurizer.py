"""Images in, deep features of a frozen, headless network out: an ordinary scikit-learn transformer."""

from __future__ import annotations

import inspect

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from hybrid.features.embed import embed
from hybrid.features.passes import read_request
from hybrid.features.recipe import Recipe, read_recipe
from hybrid.images.items import as_items
from hybrid.store.feature_store import open_store


class ResNetFeaturizer(TransformerMixin, BaseEstimator):
    """Deep features of images by a frozen network without its head.

    Nothing is learned: `fit` checks the parameters and looks up the network. The network is no part of
    the estimator, so that clones and pickles stay small, and each image goes through it once, whatever
    the folds and candidates of a search: the vectors are kept in the feature store.

    Parameters
    ----------
    backbone : str or path, default="resnet50"
        A name from :func:`hybrid.backbones`; a ``.keras``, ``.onnx`` or OpenVINO ``.xml`` file; a SavedModel
        folder (to load it is to run its graph: trusted ones only); or a "kaggle:..." handle.
    weights : "imagenet", None or path, default="imagenet"
        None is a random network and needs `seed`; a path is a weights file.
    layers : str or list of str, default="last"
        "last", a stage such as "stage4", any layer's name, or "predictions" (class probabilities).
        Several are read in one pass and concatenated.
    pooling : "avg", "max", "gem", "flatten" or a list of them, default="avg"
        How a layer's map becomes a vector. Several are concatenated.
    image_size : int, (height, width) or None, default=None
        The network's own size if None.
    resize : "crop", "squash" or "pad", default="crop"
        "crop" is the evaluation protocol that the network was published with; an image of the network's own
        size is taken as it is.
    value_range : (low, high) or None, default=None
        The range of float pixels, such as (0, 1); integers know theirs.
    views : int, default=1
        2 averages an image and its mirror; up to 10 add the crops of the four corners.
    engine : "auto", "tensorflow", "openvino" or "tiny", default="auto"
        "auto" is the fastest one installed.
    precision : "auto", "float32", "bfloat16" or "int8", default="auto"
        "auto" is bfloat16 where the processor has it, else float32. "int8" needs the extra of that name;
        the first images that this machine fits it on set its scales for good. See `drift_`.
    batch_size : int, default=32
        Images that are decoded and stored together.
    store : "auto", path, FeatureStore or None, default="auto"
        Where vectors are kept: the user's cache folder (or `HYBRID_STORE`), a folder, or nowhere.
    on_error : "raise" or "nan", default="raise"
        One error that names bad images, or a warning and rows of NaN, which all later steps must take.
    seed : int or None, default=None
        The random network's seed, for ``weights=None``.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    n_features_out_ : int
        Number of features.
    fingerprint_ : str
        Digest of the network's weights.
    engine_, precision_ : str
        What "auto" chose.
    drift_ : float
        Mean cosine of the features to float32 ones, measured on probe images; 1.0 for float32.

    Notes
    -----
    With a store, a pass keeps what the network's record names: every stage and the last layer, each with "avg",
    "max" and "gem", beside what was asked for. So a search over these costs one pass an image. It takes 1.1 to 1.3
    times as long as a plain pass, and 47 KB an image for ResNet50 (47 GB for a million), 29 KB for
    EfficientNet-Lite0. Where that would take more than half of the store's limit (HYBRID_STORE_LIMIT, 10 GB),
    only what was asked for is kept: raise the limit, or call :func:`hybrid.prefetch` first.

    In bfloat16, what else is read of a network in the same pass moves a row by as much as its rounding, some
    thousandths; in float32 by nothing that counts.

    "predictions" need the network with its head. Where Keras publishes the weights of that in another file, it
    counts as another network.

    ``Pipeline(memory=...)`` knows a file by its path: after the file was overwritten it hands out the features of
    the old picture. The store knows a file by its content. Leave out `memory`: it saves nothing that the store
    does not.

    Examples
    --------
    >>> import numpy as np
    >>> from hybrid import ResNetFeaturizer
    >>> images = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    >>> featurizer = ResNetFeaturizer(backbone="tiny", pooling=["avg", "max"])
    >>> featurizer.fit_transform(images).shape
    (3, 128)
    >>> featurizer.get_feature_names_out()[[0, 64]]
    array(['last_avg_0', 'last_max_0'], dtype=object)
    """

    def __init__(
        self,
        backbone="resnet50",
        weights="imagenet",
        layers="last",
        pooling="avg",
        image_size=None,
        resize="crop",
        value_range=None,
        views=1,
        engine="auto",
        precision="auto",
        batch_size=32,
        store="auto",
        on_error="raise",
        seed=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layers = layers
        self.pooling = pooling
        self.image_size = image_size
        self.resize = resize
        self.value_range = value_range
        self.views = views
        self.engine = engine
        self.precision = precision
        self.batch_size = batch_size
        self.store = store
        self.on_error = on_error
        self.seed = seed
        self.verbose = verbose

    def fit(self, X, y=None):
        """Check the parameters and look up the network.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images
            Paths, bytes, PIL images or arrays, of one kind or mixed.
        y : array-like or None, default=None
            Only its length is looked at, before any image goes through the network.

        Returns
        -------
        self
        """
        request = read_request(X, self._params())
        if y is not None and hasattr(y, "__len__") and len(y) != len(request.items):
            raise ValueError(f"Got {len(request.items)} images and {len(y)} labels. Pass one label an image.")
        self.fingerprint_ = request.recipe.network.fingerprint
        self._source = self._names_network()
        return self

    def transform(self, X):
        """Return the features, one row an image.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images
            Paths, bytes, PIL images or arrays, of one kind or mixed.

        Returns
        -------
        features : ndarray of shape (n_images, `n_features_out_`), float32
        """
        recipe, params = self._recipe(), self._params()
        return embed(
            as_items(X),
            recipe,
            open_store(params["store"]),
            batch_size=params["batch_size"],
            on_error=params["on_error"],
            verbose=params["verbose"],
        )

    def get_feature_names_out(self, input_features=None):
        """Return names such as "last_avg_0", or the class names for "predictions".

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        names : ndarray of str objects
        """
        recipe = self._recipe()
        names = []
        for part, width in zip(recipe.parts, recipe.widths(), strict=True):
            layer, pooling = part
            if layer == "predictions":
                names += recipe.network.backbone.class_names()
            else:
                names += [f"{layer}_{pooling}_{i}" for i in range(width)]
        return np.asarray(names, dtype=object)

    @property
    def n_features_out_(self):
        """Number of features."""
        return sum(self._recipe().widths())

    @property
    def engine_(self):
        """The engine that runs the network."""
        return self._recipe().engine

    @property
    def precision_(self):
        """The precision that the network runs in."""
        return self._recipe().precision

    @property
    def drift_(self):
        """Mean cosine to float32 features."""
        recipe = self._recipe()
        return recipe.open().drift if recipe.precision != "float32" else 1.0

    def _recipe(self) -> Recipe:
        """Read the parameters as they are now; refuse weights that changed under the same name."""
        check_is_fitted(self)
        recipe = self._read()
        if self._source == self._names_network() and recipe.network.fingerprint != self.fingerprint_:
            raise ValueError(
                f"The weights of {self._params()['backbone']!r} changed since fit: fingerprint "
                f"{recipe.network.fingerprint}, but expected {self.fingerprint_}. Restore them, or fit again."
            )
        return recipe

    def _read(self) -> Recipe:
        return read_recipe(self._params())

    def _names_network(self) -> tuple:
        params = self._params()
        return str(params["backbone"]), str(params["weights"]), params["seed"]

    def _params(self) -> dict[str, object]:
        """All parameters: a subclass may take fewer, and leaves the others at their defaults."""
        return {name: getattr(self, name, default) for name, default in DEFAULTS.items()}

    def __sklearn_is_fitted__(self):
        return hasattr(self, "fingerprint_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.input_tags.allow_nan = False
        tags.transformer_tags.preserves_dtype = []
        return tags


DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(ResNetFeaturizer).parameters.items()
}
