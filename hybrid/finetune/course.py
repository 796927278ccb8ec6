"""A phase of training in, epoch by epoch; its history out, and with a held-out part the best weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Task:
    """What is to be learned: smoothed one-hot targets, weights, and which rows train or are held out."""

    targets: np.ndarray
    weights: np.ndarray
    train: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Plan:
    """How a phase goes about it."""

    phase: str
    epochs: int
    rate: float
    weight_decay: float
    dropout: float
    batch_size: int
    patience: int | None
    seed: int
    verbose: int
    # Keras's name of one, or one of Keras, and its callbacks; a head alone knows AdamW only.
    optimizer: Any = "adamw"
    callbacks: Sequence = ()

    def order(self, task: Task, epoch: int) -> list[np.ndarray]:
        """The training rows in random batches."""
        rows = self.draw(epoch).permutation(task.train)
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]

    def draw(self, *key: int) -> np.random.Generator:
        """A generator of its own for every use, so that threads and restarts change nothing."""
        return np.random.default_rng([self.seed, *key])


class Learner(Protocol):
    """What is trained; losses and accuracies are means over the images."""

    task: Task
    stop_training: bool

    def train(self, epoch: int) -> tuple[float, float]: ...
    def evaluate(self) -> tuple[float, float]: ...
    def get_weights(self) -> Any: ...
    def set_weights(self, values: Any) -> None: ...


def cosine(rate: float, step: int, steps: int) -> float:
    """Fall from the full rate to none over half a cosine."""
    return rate * (1 + math.cos(math.pi * step / steps)) / 2


def follow(plan: Plan, learner: Learner) -> list[dict[str, Any]]:
    """Train a learner; return a record an epoch.

    With patience, training ends after so many epochs without a lower loss on the held-out part, and the
    learner gets back its best weights: those it came with, if no epoch made them better.
    """
    stops = plan.patience is not None
    records, waited = [], 0
    if stops:
        lowest, best = learner.evaluate()[0], learner.get_weights()
    with progress(plan) as advance, called(plan, learner) as call:
        for epoch in range(plan.epochs):
            call("on_epoch_begin", epoch)
            record = dict(zip(("loss", "accuracy"), learner.train(epoch), strict=True))
            if len(learner.task.held_out):
                record |= dict(zip(("val_loss", "val_accuracy"), learner.evaluate(), strict=True))
            records.append({"phase": plan.phase} | record)
            if stops:
                waited = 0 if record["val_loss"] < lowest else waited + 1
                if not waited:
                    lowest, best = record["val_loss"], learner.get_weights()
            advance(records[-1])
            call("on_epoch_end", epoch, record)
            if (stops and waited >= plan.patience) or learner.stop_training:
                break
    if stops:
        learner.set_weights(best)
    return records


@contextmanager
def called(plan: Plan, learner: Learner) -> Iterator[Callable[..., None]]:
    """Begin and end a phase for a plan's callbacks; they see the learner as their model, and only meanwhile."""

    def call(name: str, *arguments: Any) -> None:
        for callback in plan.callbacks:
            getattr(callback, name)(*arguments)

    try:
        call("set_params", {"epochs": plan.epochs, "verbose": plan.verbose})
        call("set_model", learner)
        call("on_train_begin")
        yield call
        call("on_train_end")
    finally:
        # What they remember is pickled with the estimator that has them as a parameter.
        call("set_model", None)


@contextmanager
def progress(plan: Plan) -> Iterator[Callable[[dict], None]]:
    """One bar a phase on stderr, with the latest loss."""
    if not plan.verbose:
        yield lambda record: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(plan.phase, total=plan.epochs)

        def advance(record: dict[str, Any]) -> None:
            numbers = (f"{name} {value:.3f}" for name, value in record.items() if name != "phase")
            bar.update(task, advance=1, description=f"{plan.phase}: {', '.join(numbers)}")

        yield advance


def as_history(records: list[dict[str, Any]]) -> dict[str, list]:
    """Make a list of each value; None where a record lacks it."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def as_records(history: dict[str, list]) -> list[dict[str, Any]]:
    """Make a record of each epoch."""
    return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
