"""The report: what training found, as one page; what users called their classes and files is text in it."""

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from awkward import CONFIG, NAMES, awkward, outcome

from hybrid import load_sample, save
from hybrid.archive.files import BundleError
from hybrid.bundle.loading import read
from hybrid.experiment.compare import compare
from hybrid.experiment.train import train
from hybrid.report.facts import MOST_PICTURES, facts, likeness
from hybrid.report.page import write_comparison, write_page
from hybrid.report.pictures import packed, unpacked
from hybrid.tasks.report import reported, write_report

pytest.importorskip("jinja2")
pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return outcome(tmp_path_factory.mktemp("awkward"))


@pytest.fixture(scope="module")
def told(found):
    return facts(found)


@pytest.fixture(scope="module")
def page(told, tmp_path_factory):
    return write_page(told, tmp_path_factory.mktemp("page") / "report.html", "<u>model</u>").read_text(
        "utf-8"
    )


class Reader(HTMLParser):
    """What a browser would see: tags, their attributes, and text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.inside, self.scripts = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, text):
        (self.scripts if self.inside in ("script", "style") else self.texts).append(text)


def test_names_made_of_markup_are_text(page):
    seen = Reader(page)
    text = "".join(seen.texts)
    for name in (*NAMES.values(), "<u>model</u>"):
        assert name in text
    tags = [tag for tag, _ in seen.tags]
    assert {"u", "i"} & set(tags) == set()
    assert tags.count("script") == 3
    assert not [values for _, values in seen.tags if "onerror" in values]
    assert json.loads(seen.scripts[1] if len(seen.scripts) > 3 else seen.scripts[-3])["classes"] == sorted(
        NAMES.values()
    )


def test_the_page_names_nothing_outside_itself(page):
    seen = Reader(page)
    for _, values in seen.tags:
        for name in ("src", "href", "action", "srcset"):
            assert re.match(r"#|data:", values.get(name, "#")), values
    policy = next(values["content"] for _, values in seen.tags if "http-equiv" in values)
    assert "default-src 'none'" in policy


def test_the_page_has_what_it_promises_in_order(page):
    places = [
        page.index(f'id="{name}"')
        for name in ("good", "wrong", "odd", "map", "sure", "more", "search", "ran")
    ]
    assert places == sorted(places)


def test_the_matrix_counts_every_tested_image_once(told, page):
    cells = re.findall(r'data-predicted="\d+"[^>]*>(\d+)</button>', page)
    assert sum(map(int, cells)) == (told["predicted"] >= 0).sum() == len(told["truth"])


def test_copies_are_named_and_are_no_neighbours(told):
    assert told["copies"][0] == told["copies"][40]
    assert told["nearest"][0][0] != 40
    assert 41 in told["doubtful"]


def test_an_image_far_from_all_others_is_an_outlier(found):
    features = 1 + np.random.default_rng(0).random(found.features.shape)
    features[7, ::2] = 0
    assert likeness(replace(found, features=features))["outliers"].tolist() == [7]


def test_the_search_and_the_recipe_are_told(told, found):
    assert len(told["search"]) == 4
    assert sum(one["chosen"] for one in told["search"]) == len(found.validation.folds)
    assert all(0 < one["score"] <= 1 for one in told["search"])
    assert told["recipe"]["fingerprint"] == found.model[0].fingerprint_


def test_coverage_and_calibration_are_measured_on_images_that_were_not_seen(told):
    for one in told["coverage"]:
        assert one["held"] > one["asked"] - 0.2
        assert one["size"] >= 1
    assert sum(one["images"] for one in told["calibration"]) == len(told["truth"])


def test_a_bundle_holds_what_the_report_needs(found, told, tmp_path):
    path = save(found.model, tmp_path / "m.hybrid", extras=found.extras() | {"report": told})
    again = read(path).extras["report"]
    assert again["summary"] == json.loads(json.dumps(told["summary"]))
    made = write_report(path, tmp_path / "again.html")
    first = write_page(told, tmp_path / "first.html", "m")
    assert (tmp_path / "again.html").read_bytes() == first.read_bytes()
    assert made == {"path": str(tmp_path / "again.html"), "bytes": first.stat().st_size}


def test_a_bundle_without_it_says_what_to_do(found, tmp_path):
    path = save(found.model, tmp_path / "m.hybrid", extras=found.extras())
    with pytest.raises(ValueError, match="without what a report shows: use `hybrid train`"):
        write_report(path, tmp_path / "report.html")
    with pytest.raises(ValueError, match=r"Cannot write .*r.html': there is no such folder. Choose another"):
        write_report(path, tmp_path / "absent" / "r.html")


@pytest.mark.parametrize(
    "broken", [{"truth": [99]}, {"names": None}, {"summary": {}}, {"pictures": {"bytes": 1}}]
)
def test_a_bundle_that_does_not_fit_together_is_refused(found, told, tmp_path, broken):
    path = save(found.model, tmp_path / "m.hybrid", extras=found.extras() | {"report": told | broken})
    with pytest.raises(BundleError, match="what it holds for a report does not fit together"):
        write_report(path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_test_part_and_classes_that_are_no_text_have_their_page_too(tmp_path):
    sample = load_sample(8)
    labels = np.unique(sample["label"], return_inverse=True)[1]
    split = np.where(np.arange(len(sample)) % 4, "train", "test")
    table = pd.DataFrame({"image": list(sample["image"]), "label": labels, "split": split})
    told = facts(train(table, CONFIG | {"model": {"kind": "svm"}, "curve": {"on": False}}))
    assert len(told["truth"]) == 60
    text = write_page(told, tmp_path / "report.html").read_text("utf-8")
    assert "on the test part (20 images)" in text
    assert 'id="more"' not in text


def test_a_head_of_its_own_has_a_page_without_a_map(tmp_path):
    config = {"features": {"backbone": "tiny"}, "model": {"kind": "finetune"}, "finetune": {"epochs": 3}}
    told = facts(train(load_sample(6), config | {"cv": {"folds": 2, "repeats": 1, "baselines": False}}))
    text = write_page(told, tmp_path / "report.html").read_text("utf-8")
    assert 'id="map"' not in text
    assert 'id="sure"' in text


def test_of_many_images_only_some_have_pictures_and_the_page_stays_small(told, tmp_path):
    def of(n, with_picture):
        rows = np.arange(n) % len(told["truth"])
        columns = ("truth", "predicted", "probabilities", "points", "nearest")
        pictures = [biggest if i < with_picture else b"" for i in range(n)]
        large = told | {key: told[key][rows] for key in columns} | {"pictures": packed(pictures)}
        return large | {"copies": np.arange(n), "names": [told["names"][i] for i in rows]}

    biggest = max(unpacked(told["pictures"]), key=len)
    assert write_page(of(1000, 1000), tmp_path / "report.html").stat().st_size < 8e6
    assert write_page(of(5000, MOST_PICTURES), tmp_path / "report.html").stat().st_size < 12e6


def test_a_name_that_is_no_utf_8_is_spelt(told, tmp_path):
    names = ["caf\udce9.png", *told["names"][1:]]
    text = write_page(told | {"names": names}, tmp_path / "report.html", "caf\udce9").read_text("utf-8")
    assert "<h1>caf\\xe9</h1>" in text


def test_a_comparison_has_a_page_too(tmp_path):
    configs = {"<i>stiff</i>": CONFIG | {"logistic": {"C": 1e-4}}, "supple": CONFIG}
    found = compare(awkward(tmp_path, 6), configs)
    seen = Reader(write_comparison(found, tmp_path / "c.html", "set").read_text("utf-8"))
    assert "<i>stiff</i>" in "".join(seen.texts)
    assert "i" not in [tag for tag, _ in seen.tags]


def test_without_the_extra_training_goes_on_and_the_command_says_what_to_install(
    found, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    notes = []
    told = reported(found, tmp_path / "model.hybrid", notes.append)
    assert "pip install 'hybrid-features[report]'" in notes[0]
    assert notes[1].startswith("the bundle holds small pictures of 42 training images")
    assert not (tmp_path / "model.html").exists()
    path = save(found.model, tmp_path / "model.hybrid", extras=found.extras() | told)
    with pytest.raises(ImportError, match=r"pip install 'hybrid-features\[report\]'"):
        write_report(path, tmp_path / "report.html")
