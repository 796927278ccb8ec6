"""Images in, classes out: a dense head on stored features and, if asked, the network tuned with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hybrid.engines.graph import keep_at_hand
from hybrid.features.embed import embed
from hybrid.featurizer import ResNetFeaturizer
from hybrid.finetune.checks import check_params
from hybrid.finetune.course import Plan, Task, as_history, as_records
from hybrid.finetune.head import Head, draw_head, standardise, train_head
from hybrid.finetune.targets import make_task, read_labels, read_sample_weight
from hybrid.finetune.tuning import Learner, check_unfreeze, tuned
from hybrid.images.items import as_items
from hybrid.store.feature_store import open_store

SHARED = (
    "backbone", "weights", "image_size", "resize", "value_range", "views",
    "engine", "precision", "batch_size", "store", "seed", "verbose",
)  # fmt: skip


class FineTunedClassifier(ClassifierMixin, BaseEstimator):
    """Global average pooling, dense layers and softmax on a network: frozen, or with its top tuned.

    First the head alone is trained, on the features in the store: images that were seen before do not go
    through the network again. Then, with `unfreeze`, head and network are trained together at a lower
    rate, on augmented images. Batch normalisation keeps its statistics, but in a network that is trained
    from scratch (``weights=None, unfreeze="all"``), which skips the first phase.

    Parameters
    ----------
    backbone : str or path, default="resnet50"
        As in :class:`ResNetFeaturizer`.
    weights : "imagenet", None or path, default="imagenet"
        None is a random network and needs `seed`; a path is a weights file.
    hidden : tuple of int, default=(128,)
        Widths of the head's ReLU layers; () is a linear head.
    dropout : float, default=0.3
        Share of each ReLU layer's outputs that a step of training leaves out.
    epochs : int, default=50
        Epochs of the head alone.
    learning_rate : float, default=0.001
        Its rate; it falls to zero over half a cosine.
    unfreeze : None, "all", stage or int, default=None
        What is tuned in the second phase: nothing, the whole network, all from a stage such as "stage5" on,
        or the last so many layers that have weights.
    tuning_epochs : int, default=10
        Epochs of the second phase.
    tuning_rate : float, default=0.0001
        Its rate. From scratch, 0.001 is a good start.
    augment : list of str, default=("flip", "crop", "colour")
        How images vary in the second phase: any of "flip", "crop" and "colour"; () is not at all.
    weight_decay : float, default=0.01
        AdamW's; 0 makes it Adam.
    label_smoothing : float, default=0.0
        Share of each target that is spread over all classes.
    class_weight : None, "balanced" or dict, default=None
        Weights of classes.
    patience : int or None, default=None
        Epochs without a lower loss on a held-out part after which a phase ends, with its best weights. None
        trains on all images to the end.
    validation_fraction : float, default=0.1
        The part held out if there is `patience`, stratified.
    image_size : int, (height, width) or None, default=None
        The network's own size if None.
    resize : "crop", "squash" or "pad", default="crop"
        "crop" is the evaluation protocol that the network was published with.
    value_range : (low, high) or None, default=None
        The range of float pixels, such as (0, 1); integers know theirs.
    views : int, default=1
        2 averages the features of an image and its mirror; up to 10 add the crops of the four corners.
    engine : "auto", "tensorflow", "openvino" or "tiny", default="auto"
        "auto" is the fastest one installed, and TensorFlow for a tuned network.
    precision : "auto", "float32", "bfloat16" or "int8", default="auto"
        "auto" is bfloat16 where the processor has it, else float32. Training itself is in float32.
    batch_size : int, default=32
        Images a step of training, and images that are decoded together.
    store : "auto", path, FeatureStore or None, default="auto"
        Where features are kept: the user's cache folder (or `HYBRID_STORE`), a folder, or nowhere.
    seed : int or None, default=None
        The random network's seed, for ``weights=None``.
    warm_start : bool, default=False
        Whether `fit` goes on from the head and the network of the last one.
    random_state : int, RandomState or None, default=None
        An integer repeats head, order, dropout, augmentation and held-out part.
    verbose : int, default=0
        1 shows progress bars.

    Attributes
    ----------
    classes_ : ndarray
        The classes.
    history_ : dict of list
        Phase ("head" or "tuning"), loss and accuracy of each epoch; with `patience`, val_loss and
        val_accuracy.
    coefs_, intercepts_ : list of ndarray
        The head's layers.
    mean_, scale_ : ndarray
        What the head standardises features by.
    base_weights_ : dict of ndarray
        Those weights of the network that tuning changed.
    featurizer_ : ResNetFeaturizer
        What the frozen network is read by.

    Examples
    --------
    >>> from hybrid import FineTunedClassifier, load_sample
    >>> sample = load_sample(n_per_class=8, size=64)
    >>> X, y = sample["image"], sample["label"]
    >>> classifier = FineTunedClassifier(backbone="tiny", random_state=0).fit(X, y)
    >>> classifier.predict_proba(X).shape
    (80, 10)
    >>> classifier.history_["phase"][-1]
    'head'
    """

    def __init__(
        self,
        backbone="resnet50",
        weights="imagenet",
        hidden=(128,),
        dropout=0.3,
        epochs=50,
        learning_rate=0.001,
        unfreeze=None,
        tuning_epochs=10,
        tuning_rate=0.0001,
        augment=("flip", "crop", "colour"),
        weight_decay=0.01,
        label_smoothing=0.0,
        class_weight=None,
        patience=None,
        validation_fraction=0.1,
        image_size=None,
        resize="crop",
        value_range=None,
        views=1,
        engine="auto",
        precision="auto",
        batch_size=32,
        store="auto",
        seed=None,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.backbone, self.weights = backbone, weights
        self.hidden, self.dropout = hidden, dropout
        self.epochs, self.learning_rate = epochs, learning_rate
        self.unfreeze, self.tuning_epochs, self.tuning_rate = unfreeze, tuning_epochs, tuning_rate
        self.augment, self.weight_decay, self.label_smoothing = augment, weight_decay, label_smoothing
        self.class_weight, self.patience = class_weight, patience
        self.validation_fraction = validation_fraction
        self.image_size, self.resize, self.value_range, self.views = image_size, resize, value_range, views
        self.engine, self.precision, self.batch_size = engine, precision, batch_size
        self.store, self.seed = store, seed
        self.warm_start, self.random_state, self.verbose = warm_start, random_state, verbose

    def fit(self, X, y, sample_weight=None):
        """Train the head and, with `unfreeze`, the network.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images
            Paths, bytes, PIL images or arrays, of one kind or mixed.
        y : array-like of shape (n_images,)
            Their classes.
        sample_weight : array-like of shape (n_images,), default=None
            Their weights; an image of weight 0 counts as absent.

        Returns
        -------
        self
        """
        check_params(self)
        items = as_items(X)
        classes, codes = read_labels(y, len(items))
        sample_weight = read_sample_weight(sample_weight, len(items))
        featurizer = ResNetFeaturizer(**self._shared()).fit(items)
        if self.unfreeze is not None:
            check_unfreeze(featurizer._recipe().network.backbone, self.unfreeze)
            tuned(featurizer._recipe(), {}, self.engine, self.precision)
        head, changes, history = self._start(classes, featurizer)
        kept = np.flatnonzero(sample_weight)
        items, codes, sample_weight = [items[i] for i in kept], codes[kept], sample_weight[kept]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        task = make_task(
            classes,
            codes,
            sample_weight,
            self.class_weight,
            self.label_smoothing,
            self._share_held_out(),
            seed,
        )
        head, changes, records = self._train(items, task, featurizer, changes, head, seed)
        self.classes_, self.featurizer_, self.base_weights_ = classes, featurizer, changes
        self.mean_, self.scale_ = head.mean, head.scale
        self.coefs_, self.intercepts_ = head.coefs, head.intercepts
        self.history_ = as_history([*history, *records])
        return self

    def predict(self, X):
        """Return the most probable class of each image.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images

        Returns
        -------
        labels : ndarray of shape (n_images,)
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X):
        """Return the probability of each class for each image.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images

        Returns
        -------
        probabilities : ndarray of shape (n_images, n_classes)
        """
        check_is_fitted(self)
        features = self._features(X, self.featurizer_, self.base_weights_)
        return Head(self.mean_, self.scale_, self.coefs_, self.intercepts_).probabilities(features)

    def featurizer(self):
        """Return the featurizer that `fit` will read the frozen network by; None if it trains from scratch.

        Returns
        -------
        featurizer : ResNetFeaturizer or None
        """
        return None if self._is_from_scratch() else ResNetFeaturizer(**self._shared())

    def _shared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SHARED}

    def _is_from_scratch(self) -> bool:
        return self.weights is None and isinstance(self.unfreeze, str) and self.unfreeze == "all"

    def _share_held_out(self) -> float:
        return 0 if self.patience is None else self.validation_fraction

    def _start(self, classes: np.ndarray, featurizer: ResNetFeaturizer) -> tuple[Head | None, dict, list]:
        """Return head, changed weights and records of the last fit, if this one goes on from there."""
        if not (self.warm_start and hasattr(self, "coefs_")):
            return None, {}, []
        hidden = tuple(len(intercept) for intercept in self.intercepts_[:-1])
        for name, value, expected in (
            ("classes", classes.tolist(), self.classes_.tolist()),
            ("hidden", tuple(self.hidden), hidden),
            ("the weights", featurizer.fingerprint_, self.featurizer_.fingerprint_),
        ):
            if value != expected:
                raise ValueError(
                    f"Got {name}={value!r:.200}, but warm_start goes on from a fit with {expected!r:.200}. "
                    "Pass warm_start=False to begin anew."
                )
        head = Head(self.mean_, self.scale_, list(self.coefs_), list(self.intercepts_))
        return head, self.base_weights_, as_records(self.history_)

    @staticmethod
    def _features(X: Any, featurizer: ResNetFeaturizer, changes: dict[str, np.ndarray]) -> np.ndarray:
        """The features of images by the frozen network, or by the one tuned by these changes."""
        if not changes:
            return featurizer.transform(X)
        params = featurizer.get_params(deep=False)
        store = open_store(params["store"])
        recipe = tuned(featurizer._recipe(), changes, params["engine"], params["precision"])
        return embed(as_items(X), recipe, store, batch_size=params["batch_size"], verbose=params["verbose"])

    def _train(
        self,
        items: list,
        task: Task,
        featurizer: ResNetFeaturizer,
        changes: dict,
        head: Head | None,
        seed: int,
    ) -> tuple[Head, dict, list]:
        """Return the trained head, the changed weights, and a record an epoch."""
        records = []
        from_scratch = self._is_from_scratch()
        is_new = head is None
        if is_new:
            rng = np.random.default_rng([seed, 0, 3])
            head = draw_head(featurizer.n_features_out_, self.hidden, task.targets.shape[1], rng)
        if not from_scratch:
            features = self._features(items, featurizer, changes)
            if is_new:
                standardise(head, features[task.train])
            records += train_head(
                head, features, task, self._plan("head", self.epochs, self.learning_rate, seed)
            )
        if self.unfreeze is not None:
            plan = self._plan("tuning", self.tuning_epochs, self.tuning_rate, seed + 1)
            recipe = tuned(featurizer._recipe(), changes, self.engine, self.precision)
            learner = Learner(recipe, items, head, task, plan, self.unfreeze, self.augment, from_scratch)
            records += learner.run()
            changes = learner.changes()
            found = tuned(featurizer._recipe(), changes, self.engine, self.precision)
            keep_at_hand(found.network, learner.base)
        return head, changes, records

    def _plan(self, phase: str, epochs: int, rate: float, seed: int) -> Plan:
        return Plan(
            phase=phase,
            epochs=epochs,
            rate=rate,
            seed=seed,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            batch_size=self.batch_size,
            patience=self.patience,
            verbose=self.verbose,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.input_tags.allow_nan = False
        return tags
