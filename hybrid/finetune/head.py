"""Feature vectors and targets in; a small dense head out, trained by AdamW in NumPy.

On stored features a head is a few small matrices: NumPy is done before TensorFlow would be imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from hybrid.finetune.course import Plan, Task, cosine, follow

MOMENTUM, SPREAD, EPSILON = 0.9, 0.999, 1e-7
# Of the usual feature's spread: a network has features that hardly vary, whose noise would drown the others.
LEAST_SCALE = 0.1


@dataclass
class Head:
    """Standardised features through ReLU layers to one logit a class; softmax if these are exclusive."""

    mean: np.ndarray
    scale: np.ndarray
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    exclusive: bool = True

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return float64 probabilities: a row does not depend on those beside it."""
        x = (features.astype(np.float64) - self.mean) / self.scale
        for coef, intercept in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            x = np.maximum(x @ coef + intercept, 0)
        return self.activate(x @ self.coefs[-1] + self.intercepts[-1])

    def activate(self, logits: np.ndarray) -> np.ndarray:
        return softmax(logits) if self.exclusive else np.exp(-np.logaddexp(0, -logits))

    def losses(self, probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the sums of loss, hits and weights; of several labels each counts for its share."""
        logs = np.log(np.maximum(probabilities, 1e-30))
        if self.exclusive:
            each = (targets * logs).sum(axis=1)
            hits = probabilities.argmax(axis=1) == targets.argmax(axis=1)
        else:
            each = (targets * logs + (1 - targets) * np.log(np.maximum(1 - probabilities, 1e-30))).mean(
                axis=1
            )
            hits = ((probabilities > 0.5) == (targets > 0.5)).mean(axis=1)
        return np.array([-each @ weights, hits @ weights, weights.sum()])


def draw_head(
    width: int, hidden: Sequence[int], n_classes: int, rng: np.random.Generator, exclusive: bool = True
) -> Head:
    """Draw a new head as Keras draws Dense layers: Glorot's uniform kernels, no biases."""
    sizes = [width, *hidden, n_classes]
    limits = [np.sqrt(6 / (a + b)) for a, b in pairwise(sizes)]
    coefs = [
        rng.uniform(-limit, limit, shape).astype(np.float32)
        for limit, shape in zip(limits, pairwise(sizes), strict=True)
    ]
    intercepts = [np.zeros(n, np.float32) for n in sizes[1:]]
    return Head(np.zeros(width, np.float32), np.ones(width, np.float32), coefs, intercepts, exclusive)


def standardise(head: Head, features: np.ndarray) -> None:
    """Have the head standardise by these features; those that hardly vary are not blown up."""
    scale = features.std(axis=0)
    varying = scale[scale > 0]
    floor = LEAST_SCALE * np.median(varying) if len(varying) else 1
    head.mean, head.scale = features.mean(axis=0), np.maximum(scale, np.float32(floor))


def train_head(head: Head, features: np.ndarray, task: Task, plan: Plan) -> list[dict[str, Any]]:
    """Train a head in place; return a record an epoch."""
    learner = Learner(head, features, task, plan)
    # Matrices as small as these only lose by threads, above all beside other processes.
    with threadpool_limits(1, user_api="blas"):
        records = follow(plan, learner)
    head.coefs, head.intercepts = [c.copy() for c in learner.coefs], [b.copy() for b in learner.intercepts]
    return records


class Learner:
    """A head in training. All its numbers lie in one vector, so that a step of Adam is a few calls."""

    stop_training = False

    def __init__(self, head: Head, features: np.ndarray, task: Task, plan: Plan):
        self.head, self.task, self.plan = head, task, plan
        self.x = ((features - head.mean) / head.scale).astype(np.float32)
        arrays = [*head.coefs, *head.intercepts]
        self.values = np.concatenate([array.ravel() for array in arrays]).astype(np.float32)
        self.gradient, self.mean, self.square, self.spare = (np.zeros_like(self.values) for _ in range(4))
        self.coefs, self.intercepts = views(self.values, arrays)
        self.coef_gradients, self.intercept_gradients = views(self.gradient, arrays)
        self.steps = 0

    def train(self, epoch: int) -> tuple[float, float]:
        """Go through the training rows once; return the mean loss and accuracy on the way."""
        batches = self.plan.order(self.task, epoch)
        rng = self.plan.draw(epoch, 1)
        sums = np.zeros(3)
        for rows in batches:
            targets, weights = self.task.targets[rows], self.task.weights[rows]
            layers = self.forward(self.x[rows], rng)
            sums += self.head.losses(layers[-1], targets, weights)
            self.backward(layers, targets, weights)
            self.step(cosine(self.plan.rate, self.steps, self.plan.epochs * len(batches)))
        return float(sums[0] / sums[2]), float(sums[1] / sums[2])

    def evaluate(self) -> tuple[float, float]:
        """Return the mean loss and accuracy on the held-out rows."""
        rows = self.task.held_out
        loss, hits, total = self.head.losses(
            self.forward(self.x[rows])[-1], self.task.targets[rows], self.task.weights[rows]
        )
        return float(loss / total), float(hits / total)

    def get_weights(self) -> np.ndarray:
        return self.values.copy()

    def set_weights(self, values: np.ndarray) -> None:
        self.values[:] = values

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Return the input of every layer, and the probabilities; dropout where there is a generator."""
        layers = [x]
        for coef, intercept in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            x = np.maximum(x @ coef + intercept, 0)
            if rng is not None and self.plan.dropout:
                x *= (rng.random(x.shape, np.float32) >= self.plan.dropout) / np.float32(
                    1 - self.plan.dropout
                )
            layers.append(x)
        return [*layers, self.head.activate(x @ self.coefs[-1] + self.intercepts[-1])]

    def backward(self, layers: list[np.ndarray], targets: np.ndarray, weights: np.ndarray) -> None:
        """Set the gradient of the weighted mean of the losses."""
        shares = 1 if self.head.exclusive else targets.shape[1]
        delta = (layers[-1] - targets) * (weights / (len(targets) * shares))[:, None]
        for i in reversed(range(len(self.coefs))):
            np.matmul(layers[i].T, delta, out=self.coef_gradients[i])
            delta.sum(axis=0, out=self.intercept_gradients[i])
            if i:
                # What dropout or ReLU set to zero passes nothing on.
                delta = delta @ self.coefs[i].T * ((layers[i] > 0) / np.float32(1 - self.plan.dropout))

    def step(self, rate: float) -> None:
        """One step of AdamW."""
        self.steps += 1
        for coef in self.coefs:
            coef *= 1 - rate * self.plan.weight_decay
        self.mean *= MOMENTUM
        self.mean += np.multiply(self.gradient, 1 - MOMENTUM, out=self.spare)
        self.square *= SPREAD
        np.multiply(self.gradient, self.gradient, out=self.spare)
        self.spare *= 1 - SPREAD
        self.square += self.spare
        np.sqrt(self.square, out=self.spare)
        self.spare += EPSILON
        np.divide(self.mean, self.spare, out=self.spare)
        self.spare *= rate * np.sqrt(1 - SPREAD**self.steps) / (1 - MOMENTUM**self.steps)
        self.values -= self.spare


def views(vector: np.ndarray, like: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Views of a vector in the shapes of other arrays: kernels, then biases."""
    ends = np.cumsum([array.size for array in like])
    found = [vector[end - one.size : end].reshape(one.shape) for end, one in zip(ends, like, strict=True)]
    return found[: len(like) // 2], found[len(like) // 2 :]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
