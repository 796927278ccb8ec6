"""A network, a head and labelled images in; the weights that tuning changed out, as plain arrays.

Only the unfrozen layers get gradients. Batch normalisation keeps the statistics that its weights were
trained with, but in a network trained from scratch, which has none yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid.engines.graph import load_tensorflow
from hybrid.engines.opened import threads, use_threads
from hybrid.engines.tensorflow import pool
from hybrid.finetune.augment import augment, wide
from hybrid.finetune.course import cosine, follow
from hybrid.finetune.optimizer import new_optimizer
from hybrid.images.decoding import decode
from hybrid.images.items import raise_for
from hybrid.images.pixels import ImageError
from hybrid.images.source import read
from hybrid.sources.network import headless, layer_outputs, named, preprocess

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from hybrid.features.embed import Failure
    from hybrid.features.recipe import Recipe
    from hybrid.finetune.course import Plan, Task
    from hybrid.finetune.head import Head
    from hybrid.sources.record import Backbone


def unreadable(items: Sequence, recipe: Recipe) -> list[Failure]:
    """Return the images that cannot be decoded, with the reasons."""

    def reason(item: object) -> str | None:
        try:
            decode(read(item), recipe.frame, recipe.value_range)
        except ImageError as exc:
            return str(exc)
        return None

    with ThreadPoolExecutor(threads()) as pool:
        reasons = list(pool.map(reason, items))
    return [(row, items[row], reason) for row, reason in enumerate(reasons) if reason is not None]


def _unfreeze_layers(
    record: Backbone, model: keras.Model, read_layers: Sequence[keras.Layer], unfreeze: str | int
) -> None:
    """Make layers of a Keras model trainable: all behind the stage before, or the last so many that are read."""
    model.trainable = True
    layers = model.layers
    if unfreeze == "all":
        frozen = 0
    elif isinstance(unfreeze, str):
        stages = [stage.name for stage in record.stages]
        before = [stage.layer for stage in record.stages[: stages.index(unfreeze)]]
        frozen = layers.index(model.get_layer(before[-1])) + 1 if before else 0
    else:
        kept = set(map(id, read_layers))
        weighted = [i for i, layer in enumerate(layers) if layer.weights and id(layer) in kept]
        frozen = weighted[max(0, len(weighted) - unfreeze)] if weighted else 0
    for layer in layers[:frozen]:
        layer.trainable = False


class Learner:
    """A network and its head in training: the head in place, the top of the network with it.

    Keras's callbacks take it for their model: it has an optimizer, weights, and a switch to stop by.
    """

    stop_training, metrics = False, ()

    def __init__(
        self,
        recipe: Recipe,
        items: Sequence,
        head: Head,
        task: Task,
        plan: Plan,
        unfreeze: str | int,
        augmentations: Sequence[str],
        scratch: bool,
    ):
        self.recipe, self.items, self.task, self.plan = recipe, items, task, plan
        self.kinds, self.scratch = augmentations, scratch
        use_threads("tensorflow")
        self.tensorflow = load_tensorflow(threads())
        import keras

        network = recipe.network
        self.named = [network.backbone.usual_name(layer) for layer, _ in recipe.parts]
        self.model = headless(network)
        maps = layer_outputs(network.backbone, self.model, list(dict.fromkeys(self.named)))
        self.base = keras.Model(self.model.inputs, maps)
        _unfreeze_layers(network.backbone, self.model, self.base.layers, unfreeze)
        if not self.base.trainable_variables:
            raise ValueError(
                f"Got unfreeze={unfreeze!r}, but there {network.backbone.name!r} has no weights that can be "
                f"trained and that {', '.join(map(repr, self.named))} depends on. Pass unfreeze=None."
            )
        self.head = head
        self.trained_head = [keras.Variable(array) for array in (*head.coefs, *head.intercepts)]
        self.trained = [*self.base.trainable_variables, *self.trained_head]
        self.before = {name: variable.value.numpy() for name, variable in named(self.model).items()}
        self.prepare_layers()
        self.compile(new_optimizer(plan.optimizer, plan.rate, plan.weight_decay))

    def run(self) -> list[dict[str, Any]]:
        """Train; return a record an epoch."""
        with ThreadPoolExecutor(threads()) as self.pool:
            records = follow(self.plan, self)
        if self.plan.patience is None:
            # Weights that the optimizer averaged take their place.
            self.optimizer.finalize_variable_values(self.trained)
        values, half = [variable.value.numpy() for variable in self.trained_head], len(self.head.coefs)
        self.head.coefs, self.head.intercepts = values[:half], values[half:]
        return records

    def prepare_layers(self) -> None:
        """Seed a network's own dropout, and have its statistics follow the last epoch: Keras's lag behind."""
        steps = len(self.plan.order(self.task, 0))
        for i, layer in enumerate(self.model.layers):
            if hasattr(layer, "seed_generator"):
                layer.seed_generator.state.assign([self.plan.seed, i])
            if hasattr(layer, "moving_mean"):
                layer.momentum = min(layer.momentum, 1 - 1 / steps)

    def compile(self, optimizer: keras.Optimizer) -> None:
        """Make the graphs of a step and of a prediction."""
        tf, spec = self.tensorflow, self.tensorflow.TensorSpec
        pixels = spec((None, *self.recipe.network.size, 3), tf.uint8)
        targets, weights = spec((None, self.task.targets.shape[1]), tf.float32), spec((None,), tf.float32)
        self.optimizer = optimizer
        # What the cosine set last: an optimizer of the user's keeps its own rate, and so does one whose rate a
        # callback has set.
        self.rate = np.float32(self.plan.rate) if isinstance(self.plan.optimizer, str) else None
        optimizer.exclude_from_weight_decay(var_list=[one for one in self.trained if len(one.shape) < 2])
        optimizer.build(self.trained)
        self.step = tf.function(
            self.learn, [pixels, targets, weights, spec((2,), tf.int32)], autograph=False, jit_compile=False
        )
        self.test = tf.function(self.examine, [pixels, targets, weights], autograph=False, jit_compile=False)

    def learn(self, pixels: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, seed: tf.Tensor) -> tuple:
        with self.tensorflow.GradientTape(watch_accessed_variables=False) as tape:
            values = [variable.value for variable in self.trained]
            tape.watch(values)
            losses, hits = self.examine(pixels, targets, weights, seed)
            loss = self.tensorflow.reduce_mean(losses)
        self.optimizer.apply(tape.gradient(loss, values), self.trained)
        return losses, hits

    def examine(self, pixels: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, seed: Any = None) -> tuple:
        """Return each image's weighted loss, and whether the network is right."""
        tf = self.tensorflow
        logits = self.logits(pixels, seed)
        if self.head.exclusive:
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            hits = tf.cast(tf.argmax(logits, 1) == tf.argmax(targets, 1), tf.float32)
        else:
            losses = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), 1)
            hits = tf.reduce_mean(tf.cast((logits > 0) == (targets > 0.5), tf.float32), 1)
        return losses * weights, hits * weights

    def logits(self, pixels: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """The network's answers; with a seed those of training, with dropout."""
        tf = self.tensorflow
        x = preprocess(self.recipe.network.backbone, pixels)
        maps = self.base(x, training=self.scratch and seed is not None)
        found = dict(zip(dict.fromkeys(self.named), maps if isinstance(maps, list) else [maps], strict=True))
        parts = zip(self.named, self.recipe.parts, strict=True)
        x = tf.concat([pool(tf, found[name], *part) for name, part in parts], 1)
        x = (x - self.head.mean) / self.head.scale
        layers = self.trained_head
        half = len(layers) // 2
        for i, (coef, intercept) in enumerate(zip(layers[:half], layers[half:], strict=True)):
            x = x @ coef.value + intercept.value
            if i < half - 1:
                x = tf.nn.relu(x)
                if seed is not None and self.plan.dropout:
                    x = tf.nn.experimental.stateless_dropout(x, self.plan.dropout, seed + [0, i])
        return x

    def train(self, epoch: int) -> tuple[float, float]:
        """Go through the training images once; return the mean loss and accuracy on the way."""
        batches, sums = self.plan.order(self.task, epoch), np.zeros(3)
        for number, (rows, pixels) in enumerate(self.pixels(batches, epoch)):
            done = epoch * len(batches) + number
            if self.rate is not None and self.optimizer.learning_rate.numpy() == self.rate:
                self.rate = np.float32(cosine(self.plan.rate, done, self.plan.epochs * len(batches)))
                self.optimizer.learning_rate = self.rate
            targets, weights = self.task.targets[rows], self.task.weights[rows]
            losses, hits = self.step(pixels, targets, weights, np.array([self.plan.seed, done], np.int32))
            sums += np.sum(losses), np.sum(hits), weights.sum()
        return float(sums[0] / sums[2]), float(sums[1] / sums[2])

    def evaluate(self) -> tuple[float, float]:
        """Return the mean loss and accuracy on the held-out images."""
        rows, size = self.task.held_out, self.plan.batch_size
        sums = np.zeros(3)
        for part, pixels in self.pixels([rows[i : i + size] for i in range(0, len(rows), size)]):
            weights = self.task.weights[part]
            losses, hits = self.test(pixels, self.task.targets[part], weights)
            sums += np.sum(losses), np.sum(hits), weights.sum()
        return float(sums[0] / sums[2]), float(sums[1] / sums[2])

    def get_weights(self) -> list[np.ndarray]:
        return [variable.value.numpy() for variable in self.variables()]

    def set_weights(self, values: list[np.ndarray]) -> None:
        for variable, value in zip(self.variables(), values, strict=True):
            variable.assign(value)

    def variables(self) -> list:
        """All that training changes: in a network from scratch the statistics, too."""
        return [*self.model.weights, *self.trained_head] if self.scratch else self.trained

    def changes(self) -> dict[str, np.ndarray]:
        """Return the arrays that are not as they were, over those that had been tuned before."""
        after = {name: variable.value.numpy() for name, variable in named(self.model).items()}
        changed = {
            name: value for name, value in after.items() if not np.array_equal(value, self.before[name])
        }
        return (self.recipe.network.weights.changes or {}) | changed

    def pixels(
        self, batches: list[np.ndarray], epoch: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, uint8 images), decoded in threads one batch ahead; augmented in training."""
        ahead = deque()
        for rows in batches:
            ahead.append((rows, [self.pool.submit(self.decoded, row, epoch) for row in rows]))
            if len(ahead) > 1:
                yield self.collect(*ahead.popleft())
        while ahead:
            yield self.collect(*ahead.popleft())

    def collect(self, rows: np.ndarray, futures: list[Future]) -> tuple[np.ndarray, np.ndarray]:
        images = [future.result() for future in futures]
        failures = [
            (row, self.items[row], str(image))
            for row, image in zip(rows, images, strict=True)
            if isinstance(image, ImageError)
        ]
        if failures:
            raise_for(failures)
        return rows, np.stack(images)

    def decoded(self, row: int, epoch: int | None) -> np.ndarray | ImageError:
        """Return an image's pixels, or the error."""
        frame, kinds = self.recipe.frame, self.kinds if epoch is not None else ()
        try:
            pixels = decode(read(self.items[row]), wide(frame, kinds), self.recipe.value_range)[0]
        except ImageError as exc:
            return exc
        return augment(pixels, frame.size, kinds, self.plan.draw(epoch or 0, 2, row))
