"""The tiny network is exact, small and the same everywhere."""

import numpy as np
import pytest

from hybrid.sources import tiny
from hybrid.sources.catalogue import find
from hybrid.sources.network import locate
from hybrid.sources.vectors import network


def locate_tiny(seed=0, size=(32, 32)):
    return locate(find("tiny"), None, seed, size, False)


def random_images(n, height=32, width=32):
    return np.random.default_rng(1).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def test_tiny_gives_the_same_bytes_everywhere():
    ramp = (np.arange(3 * 24 * 40 * 3) * 7 % 256).astype(np.uint8).reshape(3, 24, 40, 3)
    maps = tiny.maps(locate_tiny(size=(24, 40)), ramp)
    assert {name: (one.shape, int(one.sum())) for name, one in maps.items()} == {
        "stage1": ((3, 12, 20, 32), 1730133),
        "stage2": ((3, 6, 10, 48), 276582),
        "stage3": ((3, 3, 5, 64), 48499),
    }


def test_tiny_does_not_depend_on_the_batch():
    images, network = random_images(70), locate_tiny()
    whole = tiny.maps(network, images)
    one = tiny.maps(network, images[69:])
    for stage in whole:
        assert np.array_equal(whole[stage][69:], one[stage])
        assert whole[stage].dtype == np.float32
        assert np.array_equal(whole[stage], np.rint(whole[stage]))


def test_tiny_is_exact_in_float32():
    for stage, kernels in tiny.filters(0).items():
        assert np.array_equal(kernels, np.rint(kernels))
        assert 255 * np.abs(kernels).sum(axis=0).max() < 2**24, stage


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (31, 32), (200, 8)])
def test_tiny_takes_any_size_from_8(size):
    maps = tiny.maps(locate_tiny(size=size), random_images(2, *size))
    for k, one in enumerate(maps.values(), 1):
        assert one.shape[1:3] == (size[0] >> k, size[1] >> k)


def test_tiny_is_another_network_with_another_seed():
    images = random_images(1)
    first, second = (tiny.maps(locate_tiny(seed), images)["stage3"] for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert locate_tiny(0).fingerprint != locate_tiny(1).fingerprint


def test_tiny_never_writes_into_the_batch():
    images = random_images(2)
    images.setflags(write=False)
    tiny.maps(locate_tiny(), images)


def test_tiny_is_no_keras_model():
    with pytest.raises(ValueError, match="NumPy only"):
        network("tiny")
