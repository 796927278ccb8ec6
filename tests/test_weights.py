"""Files of weights are known by their content."""

import hashlib
from dataclasses import replace

from hybrid.sources.catalogue import find
from hybrid.sources.network import locate_weights
from hybrid.weights.files import WeightsFile, file_digest

CONTENT = b"weights" * 1000


def record_with(name, digest=""):
    file = WeightsFile(name, "https://invalid.invalid/" + name, digest)
    return replace(find("mobilenet"), weights=file, weights_top=file)


def test_the_published_file_elsewhere_is_known_by_its_content(tmp_path):
    record = record_with("good.h5", hashlib.md5(CONTENT).hexdigest())
    (tmp_path / "good.h5").write_bytes(CONTENT)
    assert locate_weights(record, tmp_path / "good.h5").published
    (tmp_path / "good.h5").write_bytes(CONTENT + b".")
    assert not locate_weights(record, str(tmp_path / "good.h5")).published


def test_a_fingerprint_is_of_the_content(tmp_path):
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    first.write_bytes(CONTENT)
    second.write_bytes(CONTENT)
    record = find("mobilenet")
    before = locate_weights(record, first).fingerprint
    assert before == locate_weights(record, second).fingerprint == file_digest(first)
    first.write_bytes(CONTENT[::-1])
    assert locate_weights(record, first).fingerprint != before
