import hashlib

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hybrid.datasets.sample import CLASSES, load_sample


@pytest.fixture(scope="module")
def sample():
    return load_sample()


def test_the_sample_has_24_images_of_each_of_ten_classes(sample):
    assert sample["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 24)
    assert {(image.shape, image.dtype) for image in sample["image"]} == {((128, 128, 3), np.dtype(np.uint8))}


def test_classes_have_names_for_people():
    names = "bricks checks cross dots mesh rings star stripes triangle waves"
    assert sorted(CLASSES) == names.split()


def test_a_seed_draws_the_same_bytes_on_every_platform():
    drawn = b"".join(image.tobytes() for image in load_sample(n_per_class=2, seed=7, size=32)["image"])
    assert hashlib.sha256(drawn).hexdigest()[:16] == "6551fcdd02c5bd19"


def test_another_seed_draws_other_images(sample):
    other = load_sample(n_per_class=1, seed=1)
    assert not any(np.array_equal(a, b) for a, b in zip(sample["image"][::24], other["image"], strict=True))


def test_a_larger_set_begins_with_the_smaller_one(sample):
    small = load_sample(n_per_class=2)
    head = sample.groupby("label").head(2).reset_index(drop=True)
    assert small["label"].tolist() == head["label"].tolist()
    assert all(np.array_equal(a, b) for a, b in zip(small["image"], head["image"], strict=True))


def test_no_two_images_are_alike(sample):
    assert len({image.tobytes() for image in sample["image"]}) == 240


def test_raw_pixels_tell_a_little(sample):
    pixels = np.stack([image[2::4, 2::4].ravel() for image in sample["image"]])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    score = cross_val_score(make_pipeline(StandardScaler(), SVC()), pixels, sample["label"], cv=folds).mean()
    assert 0.2 < score < 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"n_per_class": 0}, {"n_per_class": 2.5}, {"seed": -1}, {"seed": None}, {"size": 8}, {"size": "128"}],
)
def test_a_wrong_argument_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"Got {name}=.*, but expected an integer of at least"):
        load_sample(**wrong)
