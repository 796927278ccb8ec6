"""Rows whose right values anybody can work out from their keys, and processes to write them."""

import hashlib
import multiprocessing
import os
from contextlib import contextmanager

import numpy as np
import pytest

WIDTH = 64
RECIPE = '{"backbone": "tiny", "layer": "last"}'

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def digests(numbers):
    return [hashlib.blake2b(str(number).encode(), digest_size=16).digest() for number in numbers]


def vectors(keys, recipe=RECIPE, width=WIDTH):
    """The one right row of each key."""
    rows = [hashlib.shake_128(recipe.encode() + key).digest(width) for key in keys]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(keys), width).astype(np.float32)


def put(store, numbers, width=WIDTH):
    keys = digests(numbers)
    return store.put(keys, {RECIPE: vectors(keys, width=width)}, passes=len(keys))


def check(store, numbers, width=WIDTH):
    """Return which rows are there, having made sure that these are right."""
    keys = digests(numbers)
    got, found = store.get(RECIPE, keys, width)
    np.testing.assert_array_equal(got[found], vectors(keys, width=width)[found])
    return found


@contextmanager
def child(target, *args):
    """A forked process beside this one, and our end of its pipe."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *args))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def in_child(function, *args):
    """Return what a function returns in a forked process."""

    def target(pipe):
        pipe.send(function(*args))

    with child(target) as (_, pipe):
        assert pipe.poll(60)
        return pipe.recv()
