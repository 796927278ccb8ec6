"""Keras callbacks in; what tells them of each epoch out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid.finetune.course import Learner, Plan


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
