"""SECURITY.md: what it says is what the code does."""

import re
from pathlib import Path

import pytest

from hybrid.archive import files
from hybrid.bundle import loading
from hybrid.images import jpeg, limits, source, urls
from hybrid.server import limits as server
from hybrid.sources import keras_file
from hybrid.store import database

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
FACTS = {
    "{} of 4 GiB together": files.MAX_FILES,
    "of {} GiB together": files.MAX_BYTES >> 30,
    "the model at most {} MiB": loading.MOST_BYTES >> 20,
    "the configuration is at most {} MiB": keras_file.MOST_CONFIG >> 20,
    "regular files up to {} GiB": source.MAX_BYTES >> 30,
    "{} megapixels an image": limits.MAX_PIXELS // 10**6,
    "{} times as many over all scans": jpeg.MAX_SCANNED // limits.MAX_PIXELS,
    "{} seconds of processor time": limits.MAX_SECONDS,
    "{} MB, 60 seconds": urls.MAX_BYTES >> 20,
    "MB, {} seconds": urls.MAX_SECONDS,
    "{} redirects": urls.MAX_REDIRECTS,
    "{} MB and 32 images a request": server.Limits.megabytes,
    "MB and {} images a request": server.Limits.images,
    "{} MB in all": server.Limits.megabytes * server.REQUESTS_HELD,
    "{} images that wait": server.Limits.queue,
    "{:g} seconds to come in": server.Limits.seconds,
    "after {} seconds a process goes on": int(database.PATIENCE),
}


@pytest.mark.parametrize("says", FACTS)
def test_limits_are_those_of_the_code(says):
    assert says.format(FACTS[says]) in TEXT


def test_schemes_are_those_of_the_code():
    for scheme in (*urls.CONNECTIONS, *urls.STORES):
        assert f"`{scheme}`" in TEXT


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", TEXT))))
def test_every_test_that_is_named_is_there(name):
    assert (ROOT / "tests" / f"{name}.py").is_file()
