"""Images in, classes out: a dense head on stored features and, if asked, the network tuned with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hybrid.engines.graph import keep_at_hand
from hybrid.features.embed import caution
from hybrid.featurizer import ResNetFeaturizer
from hybrid.finetune.batch import Batch, gather
from hybrid.finetune.checks import check_params, check_unfreeze
from hybrid.finetune.course import Plan, Task, as_history, as_records
from hybrid.finetune.head import Head, draw_head, standardise, train_head
from hybrid.finetune.targets import Labels, predicted
from hybrid.finetune.tuned import TunedFeaturizer
from hybrid.finetune.tuning import Learner, unreadable
from hybrid.images.pixels import ImageError

SHARED = (
    "backbone", "weights", "layers", "pooling", "image_size", "resize", "value_range", "views",
    "engine", "precision", "batch_size", "store", "on_error", "seed", "verbose",
)  # fmt: skip


class FineTunedClassifier(ClassifierMixin, BaseEstimator):
    """Pooling, dense layers and softmax on a network: frozen, or with its top tuned.

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
    layers : str or list of str, default="last"
        What the head sees, as in :class:`ResNetFeaturizer`; what is tuned lies before it.
    pooling : "avg", "max", "gem", "flatten" or a list of them, default="avg"
        How a layer's map becomes a vector.
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
        Its rate, which falls as the head's. From scratch, 0.001 is a good start.
    optimizer : str or keras.Optimizer, default="adamw"
        The second phase's: Keras's name of one, such as "sgd", with `tuning_rate` and `weight_decay`; or one of
        Keras, of which each fit takes a copy, with the rate, schedule and decay that it brings.
    callbacks : list of keras.callbacks.Callback, default=()
        Told of each epoch of the second phase, with loss, accuracy and what is held out. They may stop it, set
        the rate, which no longer falls then, and get and set weights; there is no Keras model to save.
    augment : list of str, default=("flip", "crop", "colour")
        How images vary in the second phase: any of "flip", "crop" and "colour"; () is not at all.
    weight_decay : float, default=0.01
        AdamW's; 0 makes it Adam.
    label_smoothing : float, default=0.0
        Share of each target that is spread over all classes.
    class_weight : None, "balanced" or dict, default=None
        Weights of classes, not where an image has several.
    patience : int or None, default=None
        Epochs without a lower loss on a held-out part after which a phase ends, with its best weights. None
        trains on all images to the end.
    validation_fraction : float, default=0.1
        The part held out if there is `patience`, and no `validation_data`: stratified, or at random where images
        have several labels.
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
    on_error : "raise" or "nan", default="raise"
        One error that names every bad image; or `fit` leaves them out with a warning, and `predict_proba` gives
        them rows of NaN. `predict` has no class for them, and raises.
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
        The classes; of a `y` with a column a class, the columns' numbers.
    target_ : str
        What `y` was: "classes", "one-hot" or "labels" (several an image).
    history_ : dict of list
        Phase ("head" or "tuning"), loss and accuracy of each epoch, and of what is held out val_loss and
        val_accuracy. Accuracy of several labels is the share that is right.
    coefs_, intercepts_ : list of ndarray
        The head's layers.
    mean_, scale_ : ndarray
        What the head standardises features by.
    base_weights_ : dict of ndarray
        Those weights of the network that tuning changed.
    featurizer_ : ResNetFeaturizer
        What the network is read by, with `base_weights_`.

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
        layers="last",
        pooling="avg",
        hidden=(128,),
        dropout=0.3,
        epochs=50,
        learning_rate=0.001,
        unfreeze=None,
        tuning_epochs=10,
        tuning_rate=0.0001,
        optimizer="adamw",
        callbacks=(),
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
        on_error="raise",
        seed=None,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.backbone, self.weights, self.layers, self.pooling = backbone, weights, layers, pooling
        self.hidden, self.dropout = hidden, dropout
        self.epochs, self.learning_rate = epochs, learning_rate
        self.unfreeze, self.tuning_epochs, self.tuning_rate = unfreeze, tuning_epochs, tuning_rate
        self.optimizer, self.callbacks = optimizer, callbacks
        self.augment, self.weight_decay, self.label_smoothing = augment, weight_decay, label_smoothing
        self.class_weight, self.patience = class_weight, patience
        self.validation_fraction = validation_fraction
        self.image_size, self.resize, self.value_range, self.views = image_size, resize, value_range, views
        self.engine, self.precision, self.batch_size = engine, precision, batch_size
        self.store, self.on_error, self.seed = store, on_error, seed
        self.warm_start, self.random_state, self.verbose = warm_start, random_state, verbose

    def fit(self, X, y, sample_weight=None, validation_data=None):
        """Train the head and, with `unfreeze`, the network.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images
            Paths, bytes, PIL images or arrays, of one kind or mixed.
        y : array-like of shape (n_images,) or (n_images, n_classes)
            Their classes; or a column a class, of 0 and 1. Where each row has a single 1, classes exclude each
            other (softmax); else an image has several labels, or none (a sigmoid each).
        sample_weight : array-like of shape (n_images,), default=None
            Their weights; an image of weight 0 counts as absent.
        validation_data : (X, y), default=None
            Images that are held out, and what they are, instead of `validation_fraction`.

        Returns
        -------
        self
        """
        check_params(self)
        batch = gather(X, y, sample_weight, validation_data)
        featurizer = TunedFeaturizer(**self._shared()).fit(batch.items)
        if self.unfreeze is None and self.callbacks:
            caution("Got callbacks, but unfreeze=None: a head alone is trained without Keras.", UserWarning)
        if self.unfreeze is not None:
            check_unfreeze(featurizer._recipe().network.backbone, self.unfreeze)
        head, history = self._start(batch.labels, featurizer)
        batch, features = self._read(batch.take(np.flatnonzero(batch.weights)), featurizer)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        fraction = 0 if self.patience is None else self.validation_fraction
        task = batch.task(self.class_weight, self.label_smoothing, fraction, seed)
        if head is None:
            rng = np.random.default_rng([seed, 0, 3])
            width, exclusive = featurizer.n_features_out_, batch.labels.exclusive
            head = draw_head(width, self.hidden, len(batch.labels.classes), rng, exclusive)
            if features is not None:
                standardise(head, features[task.train])
        records = [] if features is None else train_head(head, features, task, self._head_plan(seed))
        if self.unfreeze is not None:
            records += self._tune(batch.items, task, featurizer, head, seed + 1)
        self.classes_, self.target_, self.featurizer_ = batch.labels.classes, batch.labels.kind, featurizer
        self.mean_, self.scale_ = head.mean, head.scale
        self.coefs_, self.intercepts_ = head.coefs, head.intercepts
        self.history_ = as_history([*history, *records])
        return self

    def predict(self, X):
        """Return the most probable class of each image; of labels those more probable than not.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images

        Returns
        -------
        labels : ndarray of shape (n_images,) or (n_images, n_classes)
            In the form of `y`: with a column a class, 0 and 1.
        """
        probabilities = self.predict_proba(X)
        bad = np.flatnonzero(np.isnan(probabilities).any(axis=1))
        if len(bad):
            raise ImageError(
                f"Got NaN for {len(bad)} images (items {bad[:20].tolist()}), which cannot be read or let the "
                "network overflow: no class stands for that. Remove them, or call predict_proba."
            )
        return predicted(probabilities, self.classes_, self.target_)

    def predict_proba(self, X):
        """Return the probability of each class for each image; several labels do not sum to 1.

        Parameters
        ----------
        X : list, Series, array or DataFrame of images

        Returns
        -------
        probabilities : ndarray of shape (n_images, n_classes)
        """
        check_is_fitted(self)
        return self._head().probabilities(self.featurizer_.transform(X))

    @property
    def base_weights_(self):
        """Those weights of the network that tuning changed."""
        return self.featurizer_.base_weights_

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

    def _head(self) -> Head:
        exclusive = self.target_ != "labels"
        return Head(self.mean_, self.scale_, list(self.coefs_), list(self.intercepts_), exclusive)

    def _start(self, labels: Labels, featurizer: TunedFeaturizer) -> tuple[Head | None, list]:
        """Return head and records of the last fit, if this one goes on from there, and tune the network so."""
        if not (self.warm_start and hasattr(self, "coefs_")):
            return None, []
        hidden = tuple(len(intercept) for intercept in self.intercepts_[:-1])
        featurizer.tune(self.base_weights_)
        for name, value, expected in (
            ("classes", labels.classes.tolist(), self.classes_.tolist()),
            ("y", labels.kind, self.target_),
            ("hidden", tuple(self.hidden), hidden),
            ("the weights", featurizer.fingerprint_, self.featurizer_.fingerprint_),
        ):
            if value != expected:
                raise ValueError(
                    f"Got {name}={value!r:.200}, but warm_start goes on from a fit with {expected!r:.200}. "
                    "Pass warm_start=False to begin anew."
                )
        return self._head(), as_records(self.history_)

    def _read(self, batch: Batch, featurizer: TunedFeaturizer) -> tuple[Batch, np.ndarray | None]:
        """Return the images that can be read, and their features; none if the network trains from scratch."""
        if self._is_from_scratch():
            failures = unreadable(batch.items, featurizer._recipe()) if self.on_error == "nan" else []
            return batch.take(batch.readable(failures)), None
        features, failures = featurizer.read(batch.items)
        rows = batch.readable(failures)
        return batch.take(rows), features[rows]

    def _tune(self, items: Sequence, task: Task, featurizer: TunedFeaturizer, head: Head, seed: int) -> list:
        """Train head and network; return a record an epoch."""
        plan = self._plan("tuning", self.tuning_epochs, self.tuning_rate, seed)
        plan = replace(plan, optimizer=self.optimizer, callbacks=self.callbacks)
        scratch = self._is_from_scratch()
        learner = Learner(featurizer._recipe(), items, head, task, plan, self.unfreeze, self.augment, scratch)
        records = learner.run()
        featurizer.tune(learner.changes())
        keep_at_hand(featurizer._recipe().network, learner.model)
        return records

    def _head_plan(self, seed: int) -> Plan:
        return self._plan("head", self.epochs, self.learning_rate, seed)

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
        tags.classifier_tags.multi_label = True
        return tags
