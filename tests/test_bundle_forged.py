"""Bundles forged to lead compiled code out of its arrays, to run without end, or to read this machine's files.

They fit their manifest: an unsigned bundle needs no key. Each is refused before scikit-learn or OpenVINO see it.
"""

import copy
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import forge
import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.svm import SVC

import hybrid
from hybrid import load
from hybrid.archive.files import BundleError
from hybrid.bundle import probes

CLASSIFIERS = {
    "svc": SVC(),
    "knn": KNeighborsClassifier(3, algorithm="brute"),
    "logistic": LogisticRegression(max_iter=500),
    "forest": RandomForestClassifier(2, random_state=0),
    "calibrated": CalibratedClassifierCV(SVC(), ensemble=False, cv=2),
    "radius": RadiusNeighborsClassifier(1e6, algorithm="brute"),
    "boosting": GradientBoostingClassifier(n_estimators=1),
}


@pytest.fixture(scope="module")
def sound():
    return {name: forge.content_of(forge.fitted(one)) for name, one in CLASSIFIERS.items()}


def copied(content):
    """A copy to forge: featurizers keep their features."""
    return copy.deepcopy(content)


def refused(path, match, **options):
    with pytest.raises(BundleError, match=match) as caught:
        load(path, **options)
    assert "expected" in str(caught.value)


def forged(sound, name, tmp_path, change):
    content, recipes = copied(sound[name])
    change(content)
    return forge.seal(tmp_path / "m.hybrid", content, recipes)


def setting(**attributes):
    """Set attributes of the classifier."""

    def change(content):
        classifier = content["model"][-1]
        for name, value in attributes.items():
            setattr(classifier, name, value(getattr(classifier, name)) if callable(value) else value)

    return change


@pytest.mark.parametrize("name", ["svc", "knn", "logistic", "forest", "calibrated"])
def test_what_is_not_forged_loads(name, sound, tmp_path):
    path = forged(sound, name, tmp_path, lambda content: None)
    assert load(path).predict(probes.images()).shape == (4,)


@pytest.mark.parametrize(
    ("name", "attributes", "match"),
    [
        ("knn", {"_y": lambda y: np.full_like(y, 200_000_000)}, "'_y' is no 'int n <k'"),
        ("knn", {"_y": lambda y: y[:-1]}, "'_y'"),
        ("knn", {"_y": lambda y: y - 1}, "'_y'"),
        ("knn", {"_fit_X": lambda x: x[:, 1:]}, "'_fit_X' is no 'float n f'"),
        ("knn", {"_fit_method": "kd_tree"}, "'_fit_method'"),
        ("knn", {"effective_metric_": "mahalanobis"}, "'effective_metric_'"),
        ("knn", {"effective_metric_params_": {"w": np.ones(3)}}, "'effective_metric_params_'"),
        (
            "svc",
            {"support_vectors_": np.zeros((1_000_000, 64)), "_dual_coef_": np.zeros((1, 1))},
            "SVC whose",
        ),
        ("svc", {"_dual_coef_": np.zeros((1, 1))}, "'_dual_coef_' is no 'f8 k-1 s'"),
        ("svc", {"_n_support": lambda n: n + 1000}, "'_n_support' is no 'i4 k =s'"),
        ("svc", {"_n_support": lambda n: n[:-1]}, "'_n_support'"),
        ("svc", {"_n_support": lambda n: np.r_[n[0] + n[1] + 5, -5, n[2:]].astype(np.int32)}, "'_n_support'"),
        ("svc", {"_n_support": lambda n: n.astype(np.int64)}, "'_n_support'"),
        ("svc", {"_intercept_": lambda b: b[:1]}, "'_intercept_'"),
        ("svc", {"_probA": np.zeros(45)}, "'_probB' is no 'f8 p'"),
        ("svc", {"_gamma": float("nan")}, "'_gamma'"),
        ("svc", {"_sparse": True}, "'_sparse'"),
        ("svc", {"kernel": "precomputed"}, "'kernel'"),
        ("svc", {"shape_fit_": None, "surprise_": 1}, "the attribute 'surprise_'"),
        ("svc", {"classes_": lambda c: c[::-1]}, "'classes_'"),
        ("svc", {"n_features_in_": 65}, "'support_vectors_'"),
        ("logistic", {"coef_": lambda w: w[:, :-1]}, "'coef_' is no"),
        ("logistic", {"coef_": lambda w: w.astype("S")}, "'coef_' is no"),
        ("logistic", {"coef_": lambda w: w * np.nan}, "'coef_' is no"),
        ("logistic", {"n_jobs": 1_000_000}, "'n_jobs' is no 'jobs'"),
        ("logistic", {"classes_": lambda c: c[:1]}, "'classes_'"),
    ],
)
def test_arrays_that_do_not_fit(name, attributes, match, sound, tmp_path):
    refused(forged(sound, name, tmp_path, setting(**attributes)), match)


def test_parameters_of_another_version_of_scikit_learn(sound, tmp_path, monkeypatch):
    def change(content):
        classifier = content["model"][-1]
        classifier.multi_class = "auto"
        del classifier.max_iter

    refused(forged(sound, "logistic", tmp_path, change), "max_iter=None|'multi_class'")
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.6.0")
        path = forged(sound, "logistic", tmp_path, change)
    loaded = load(path)[-1]
    assert loaded.max_iter == 100
    assert not hasattr(loaded, "multi_class")


@pytest.mark.parametrize("name", ["radius", "boosting"])
def test_estimators_that_are_not_checked_completely_need_trust(name, sound, tmp_path):
    path = forged(sound, name, tmp_path, lambda content: None)
    refused(path, r"it holds sklearn\.\S+, which is not checked.*trusted=True only if you trust who made")
    assert load(path, trusted=True).predict(probes.images()).shape == (4,)


def test_trees_of_another_width_than_their_forest(sound, tmp_path):
    def change(content):
        forest = content["model"][-1]
        other = RandomForestClassifier(1).fit(
            np.random.default_rng(0).normal(size=(20, 99)), np.arange(20) % 10
        )
        forest.estimators_[0] = other.estimators_[0]

    refused(forged(sound, "forest", tmp_path, change), "'estimators_' is no 'forest f k'")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("node_count", 10**9, "a tree of 1000000000 nodes"),
        ("max_depth", 0, "deeper than the 0 levels"),
        ("outputs", 1000, "several outputs"),
        ("width", 3, "asks for features"),
    ],
)
def test_trees_of_other_sizes_than_they_say(old, new, match, sound, tmp_path):
    """The numbers lie in the schema, where compiled code would have them before any array is checked."""
    content, recipes = copied(sound["forest"])
    files = forge.members(skops.io.dumps(content))
    schema = json.loads(files["schema.json"])
    for tree in nodes(schema, "TreeNode"):
        arguments = tree["__reduce__"]["args"]["content"]
        place = {"outputs": arguments[2], "width": arguments[0]}.get(old) or tree["content"]["content"][old]
        place.update(content=json.dumps(new), __id__=hash(old) + 1)
    data = forge.packed(files | {"schema.json": json.dumps(schema).encode()})
    refused(forge.seal(tmp_path / "m.hybrid", data, recipes), match)


def nodes(schema, loader):
    if isinstance(schema, dict):
        if schema.get("__loader__") == loader:
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from nodes(part, loader)


def test_probes_are_obligatory(sound, tmp_path):
    for value in (None, {}, {"predict": np.zeros(3)}, {"predict": None}):
        path = forged(sound, "svc", tmp_path, lambda content, v=value: content["probes"].update(outputs=v))
        refused(path, "no features or no outputs")
    path = forged(sound, "svc", tmp_path, lambda content: content["probes"]["outputs"].popitem())
    refused(path, "other outputs of 'predict'")
    refused(forged(sound, "svc", tmp_path, lambda content: content.update(probes={})), "no probes")
    refused(
        forged(sound, "svc", tmp_path, lambda content: content["probes"].update(features=[])), "1 featurizer"
    )


def test_labels_that_were_exchanged_show_in_the_probes(sound, tmp_path):
    refused(
        forged(sound, "svc", tmp_path, setting(classes_=lambda c: np.array([f"{x}!" for x in c], object))),
        "other outputs of 'predict'",
    )


def test_parts_that_hold_each_other_without_end(sound, tmp_path):
    """A list of two that are one and the same, forty times over."""
    content, recipes = sound["logistic"]
    files = forge.members(skops.io.dumps(content))
    schema = json.loads(files["schema.json"])
    part = next(nodes(schema, "ListNode"))
    for i in range(40):
        kind = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
        part = kind | {"__id__": -2 - i, "content": [part, {"__id__": part["__id__"]}]}
    schema["content"]["extras"]["content"]["parts"] = part
    schema["content"]["extras"]["key_types"]["content"] = schema["content"]["extras"]["key_types"][
        "content"
    ] + [{"__class__": "str", "__module__": "builtins", "__loader__": "TypeNode"}]
    data = forge.packed(files | {"schema.json": json.dumps(schema).encode()})
    started = time.monotonic()
    refused(forge.seal(tmp_path / "m.hybrid", data, recipes), "hold each other too many times")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("extras", "match"),
    [
        ({"conformity": "all"}, "'conformity' is no array"),
        ({"memory": {"features": np.ones((2, 64))}}, "'distances' of up to 2 images"),
        ({"memory": {"features": np.ones((2, 63)), "distances": np.ones(2)}}, "'features' of 64 columns"),
        (
            {"memory": {"features": np.ones((2, 64)), "distances": np.ones(2)}, "images": ["a"]},
            "'images' is no list",
        ),
        (
            {
                "memory": {"features": np.ones((1, 64)), "distances": np.ones(1)},
                "images": ["a"],
                "labels": [[]],
            },
            "'labels' is no list of 1",
        ),
    ],
)
def test_extras_that_predict_could_not_use(extras, match, sound, tmp_path):
    refused(forged(sound, "svc", tmp_path, lambda content: content.update(extras=extras)), match)


def test_an_array_of_nothing_many_times(sound, tmp_path):
    files = forge.members(skops.io.dumps(sound["svc"][0]))
    name = next(name for name in files if name.endswith(".npy"))
    header = b"{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    files[name] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    path = forge.seal(tmp_path / "m.hybrid", forge.packed(files), sound["svc"][1])
    refused(path, r"promises 0 bytes of shape \(1000000000000,\)")


# What would open this machine's files, or take its time and memory.


def reading(**params):
    return lambda content: content["model"][0].__dict__.update(params)


def test_a_weights_file_of_the_readers_is_not_opened(sound, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(hashlib, "file_digest", lambda *arguments: opened.append(arguments))
    for weights in ("/etc/hostname", "~/.ssh/id_rsa", "kaggle:a/b/c/d"):
        path = forged(sound, "svc", tmp_path, reading(weights=weights, backbone="resnet50"))
        refused(path, "none of the reader's files")
    refused(forged(sound, "svc", tmp_path, reading(backbone="kaggle:google/a/tf/b")), "the name of a network")
    assert not opened


def test_a_fingerprint_that_predict_would_refuse(sound, tmp_path):
    path = forged(sound, "svc", tmp_path, reading(fingerprint_="0" * 40))
    refused(path, "weights of 'tiny' with the fingerprint .* but expected 0{40}. Restore")


@pytest.mark.parametrize(
    "params",
    [
        {"image_size": (12000, 12000)},
        {"image_size": 4000},
        {"image_size": 1000, "views": 10},
        {"batch_size": 10**9},
    ],
    ids=str,
)
def test_pixels_out_of_all_proportion(params, sound, tmp_path):
    started = time.monotonic()
    refused(
        forged(sound, "svc", tmp_path, reading(**params)),
        "at most 4096 pixels a side|pixels an image in batches",
    )
    assert time.monotonic() - started < 10


def test_a_size_that_no_network_takes_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"image_size=\(12000, 12000\), but expected at most 4096 pixels a side"
    ):
        hybrid.ResNetFeaturizer("tiny", image_size=(12000, 12000)).fit(probes.images())


def test_devices_and_pipes_are_not_waited_for(tmp_path):
    refused("/dev/zero", "a device or a pipe")
    (tmp_path / "m.hybrid").symlink_to("/dev/zero")
    refused(tmp_path / "m.hybrid", "a device or a pipe")
    os.mkfifo(tmp_path / "pipe.hybrid")
    refused(tmp_path / "pipe.hybrid", "a device or a pipe")


def test_a_model_larger_than_any_honest_one_needs_trust(sound, tmp_path, monkeypatch):
    path = forged(sound, "svc", tmp_path, lambda content: None)
    monkeypatch.setattr("hybrid.bundle.loading.MOST_BYTES", 1000)
    refused(path, "but expected at most 1000. Pass trusted=True only if")
    load(path, trusted=True)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from hybrid import load
try:
    print(type(load(sys.argv[1])).__name__)
except ValueError as exc:
    print("refused", exc)
"""


def limited(path):
    """Load a bundle in a process of 2 GB and 20 seconds."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(hybrid.__path__[0]).parent),
        "OPENBLAS_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_process_that_loads_any_bundle_stays_small(sound, tmp_path):
    assert "Pipeline" in limited(forged(sound, "svc", tmp_path, lambda content: None))
    large = setting(_fit_X=np.zeros((200_000, 64)), _y=np.zeros(200_000, int), n_samples_fit_=200_000)
    assert "refused" in limited(forged(sound, "knn", tmp_path, large))
    million = setting(support_vectors_=np.zeros((1_000_000, 64)), _dual_coef_=np.zeros((1, 1)))
    assert "refused" in limited(forged(sound, "svc", tmp_path, million))


# Networks inside.


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    pytest.importorskip("openvino")
    return forge.network(tmp_path_factory.mktemp("network"))


def test_a_small_network_inside_loads_in_a_small_process(inside, tmp_path):
    path = forge.with_network(tmp_path / "m.hybrid", SVC(), inside)
    assert "Pipeline" in limited(path)


def test_a_network_of_another_width_than_it_says(inside, tmp_path, monkeypatch):
    path = forge.with_network(tmp_path / "m.hybrid", SVC(), inside)
    files = forge.members(path.read_bytes())
    networks = {"network-0": forge.ENTRY | {"layers": [["last", "last", 10**18]]}}
    refused(forge.write(path, forge.with_manifest(files, networks=networks)), r"network-0 gives \[64\]")


def loop(ops, x):
    """A loop of 2^62 steps that gives back what it takes."""
    import openvino

    body = ops.parameter([1, 3, 4, 4], np.float32)
    doubled = ops.add(body, np.float32(0))
    going = ops.constant(np.array(True))
    found = ops.loop(ops.constant(np.int64(2**62)), ops.constant(np.array(True)))
    found.set_function(openvino.Model([going, doubled], [body]))
    found.set_special_body_ports([-1, 0])
    found.set_merged_input(body, x.output(0), doubled.output(0))
    found.get_iter_value(doubled.output(0), -1)
    return found.outputs()[0].get_node()


def tiles(ops, x):
    return ops.tile(ops.tile(x, np.array([1 << 14, 1, 1, 1])), np.array([1, 1, 1 << 10, 1]))


@pytest.mark.parametrize(
    ("middle", "match"),
    [
        (loop, "the operations Loop, which no feature extractor needs"),
        (tiles, "numbers an image"),
        (lambda ops, x: ops.non_zero(x), "the operations NonZero"),
    ],
)
def test_a_network_that_runs_or_grows_without_end(middle, match, inside, tmp_path):
    try:
        parts = forge.network(tmp_path, middle)
    except RuntimeError:
        # OpenVINO itself cannot put the rest behind it: only the text is needed.
        parts = bare(tmp_path, middle)
    content, recipes = forge.content_of(forge.fitted(SVC()))
    recipes[0] |= {"network": "network-0", "asked": "float32"}
    started = time.monotonic()
    refused(forge.seal(tmp_path / "m.hybrid", content, recipes, [parts]), match)
    assert time.monotonic() - started < 20


def bare(folder, middle):
    import openvino
    import openvino.opset13 as ops

    x = ops.parameter([1, 3, 4, 4], np.float32)
    place = folder / "bare.xml"
    openvino.save_model(openvino.Model([middle(ops, x)], [x]), place, compress_to_fp16=False)
    return place.read_bytes(), place.with_suffix(".bin").read_bytes()


def test_shapes_that_take_long_to_compute_are_not_computed(inside, tmp_path):
    """OpenVINO would put forty doublings of ten numbers beside each other while it reads the file."""
    xml = chain(40)
    content, recipes = forge.content_of(forge.fitted(SVC()))
    recipes[0] |= {"network": "network-0", "asked": "float32"}
    refused(
        forge.seal(tmp_path / "m.hybrid", content, recipes, [(xml, bytes(80))]), "a shape of too many steps"
    )


def chain(count):
    layers = ['<layer id="0" name="x" type="Parameter" version="opset1"/>']
    layers += ['<layer id="1" name="c" type="Const" version="opset1"><data offset="0" size="80"/></layer>']
    edges = []
    for i in range(2, 2 + count):
        layers.append(f'<layer id="{i}" name="l{i}" type="Concat" version="opset1"/>')
        edges += [f'<edge from-layer="{i - 1}" from-port="0" to-layer="{i}" to-port="{k}"/>' for k in (0, 1)]
    layers.append('<layer id="99" name="r" type="Reshape" version="opset1"/>')
    edges += ['<edge from-layer="0" from-port="0" to-layer="99" to-port="0"/>']
    edges += [f'<edge from-layer="{1 + count}" from-port="0" to-layer="99" to-port="1"/>']
    return f"<net><layers>{''.join(layers)}</layers><edges>{''.join(edges)}</edges></net>".encode()


def test_entities_in_a_network_are_not_expanded(inside, tmp_path):
    bomb = b'<!DOCTYPE net [<!ENTITY a "' + b"x" * 1000 + b'">]><net>&a;</net>'
    content, recipes = forge.content_of(forge.fitted(SVC()))
    recipes[0] |= {"network": "network-0", "asked": "float32"}
    refused(forge.seal(tmp_path / "m.hybrid", content, recipes, [(bomb, b"")]), "entities of its own")
