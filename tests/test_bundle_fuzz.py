"""Mutated bundles, in workers that a crash ends: each is refused, or says of the probes what the sound one says."""

import os
import random
import sys

import fuzz
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
SEED = int(os.environ.get("HYBRID_FUZZ_SEED") or random.randrange(10**9))


def fuzzed(count):
    counts, bad = fuzz.run(count, SEED)
    print(f"HYBRID_FUZZ_SEED={SEED}: {dict(counts)}")
    assert not bad
    assert counts["refused"] + counts["same"] == count
    return counts


def test_mutated_bundles_are_refused_or_the_same():
    assert fuzzed(40)["refused"]


@pytest.mark.soak
def test_20_000_mutated_bundles_are_refused_or_the_same():
    assert fuzzed(20_000)["refused"] > 10_000
