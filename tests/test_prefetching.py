"""How often a network runs, counted by the store: once an image, whatever searches it."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.stats import randint
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from hybrid import FeatureStore, ResNetFeaturizer, build_pipeline, prefetch

N = 20
GRID = {
    "classifier__C": [0.1, 1, 10],
    "featurizer__pooling": ["avg", "max"],
    "featurizer__layers": ["stage3", "last"],
}


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return np.array(sorted(map(str, folder.iterdir())))


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


y = np.arange(N) % 2


def passes(store):
    return FeatureStore(store).stats()["passes"]


def pipeline(store, **params):
    return build_pipeline("logistic", backbone="tiny", store=store, **params)


@pytest.mark.parametrize("train_scores", [False, True])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_prefetched_grid_of_12_by_5_runs_the_network_once_an_image(files, store, n_jobs, train_scores):
    search = GridSearchCV(pipeline(store), GRID, cv=5, n_jobs=n_jobs, return_train_score=train_scores)
    assert prefetch(search, files) == N
    search.fit(files, y)
    assert passes(store) == N
    assert prefetch(search, files) == 0


def test_one_layer_and_pooling_needs_no_prefetch(files, store):
    grid = {"classifier__C": np.logspace(-3, 3, 12)}
    GridSearchCV(pipeline(store), grid, cv=5, return_train_score=True).fit(files, y)
    assert passes(store) == N


def test_nested_and_predicting_cross_validation_run_it_once(files, store):
    inner = GridSearchCV(pipeline(store), {"classifier__C": [1, 10]}, cv=2)
    cross_val_score(inner, files, y, cv=3)
    cross_val_predict(pipeline(store), files, y, cv=StratifiedKFold(4, shuffle=True, random_state=1))
    assert passes(store) == N


def test_halving_runs_it_once(files, store):
    search = HalvingGridSearchCV(pipeline(store), GRID, cv=2, random_state=0, min_resources=8)
    prefetch(search, files)
    search.fit(files, y)
    assert passes(store) == N


def test_order_subsets_and_duplicates_cost_nothing_more(files, store):
    featurizer = ResNetFeaturizer("tiny", store=store)
    doubled = np.concatenate([files, files[:7]])
    rows = featurizer.fit_transform(doubled)
    assert np.array_equal(rows[:7], rows[N:])
    featurizer.fit_transform(np.random.default_rng(0).permutation(files))
    featurizer.fit_transform(files[3:9])
    assert passes(store) == N


def test_networks_are_counted_one_by_one(files, store):
    grid = [{"featurizer__backbone": ["tiny"]}, {"featurizer__weights": [None], "featurizer__seed": [1, 2]}]
    search = GridSearchCV(pipeline(store), grid, cv=2)
    assert prefetch(search, files) == 3 * N
    search.fit(files, y)
    assert passes(store) == 3 * N


def test_another_process_computes_nothing(files, store):
    ResNetFeaturizer("tiny", store=store).fit_transform(files)
    program = (
        "import sys; from hybrid import ResNetFeaturizer; "
        "ResNetFeaturizer('tiny', store=sys.argv[1]).fit_transform(sys.argv[2:])"
    )
    subprocess.run([sys.executable, "-c", program, store, *files], check=True)
    assert passes(store) == N


def test_a_changed_file_under_the_same_name_is_computed_again(files, store):
    featurizer = ResNetFeaturizer("tiny", store=store)
    before = featurizer.fit_transform(files)
    Image.new("RGB", (32, 32), "red").save(files[4])
    after = featurizer.fit_transform(files)
    assert passes(store) == N + 1
    assert [i for i in range(N) if not np.array_equal(before[i], after[i])] == [4]


def test_set_params_to_another_network_computes_that_one(files, store):
    featurizer = ResNetFeaturizer("tiny", store=store)
    first = featurizer.fit_transform(files)
    second = featurizer.set_params(weights=None, seed=3).fit_transform(files)
    assert passes(store) == 2 * N
    assert not np.array_equal(first, second)
    assert np.array_equal(featurizer.set_params(weights="imagenet", seed=None).fit_transform(files), first)
    assert passes(store) == 2 * N


def test_a_warm_worker_loads_no_network(files, store):
    prefetch(pipeline(store), files)
    program = (
        "import sys; import hybrid.engines.opened as e\n"
        "def refuse(*a, **k): raise AssertionError('a network was opened')\n"
        "import hybrid.features.recipe; hybrid.features.recipe.open_engine = refuse\n"
        "from hybrid import ResNetFeaturizer\n"
        "ResNetFeaturizer('tiny', store=sys.argv[1]).fit_transform(sys.argv[2:])"
    )
    subprocess.run([sys.executable, "-c", program, store, *files], check=True)


def test_prefetch_finds_featurizers_wherever_they_are_nested(files, store):
    import pandas as pd

    frame = pd.DataFrame({"front": files, "back": files[::-1], "age": np.arange(N)})

    def tiny(**params):
        return ResNetFeaturizer("tiny", store=store, **params)

    columns = ColumnTransformer(
        [
            ("front", FeatureUnion([("last", tiny()), ("stage", tiny(layers="stage3"))]), "front"),
            ("back", make_pipeline("passthrough", tiny(), PCA(2)), ["back"]),
            ("age", StandardScaler(), ["age"]),
        ]
    )
    votes = VotingClassifier([("a", make_pipeline(columns, LogisticRegression()))])
    search = GridSearchCV(votes, {"a__columntransformer__front__stage": ["drop", tiny(pooling="max")]}, cv=2)
    assert prefetch(search, frame) == N
    search.fit(frame, y)
    assert passes(store) == N


def test_passthrough_and_replaced_steps_are_followed(files, store):
    search = GridSearchCV(
        make_pipeline(ResNetFeaturizer("tiny", store=store), StandardScaler(), LogisticRegression()),
        {
            "resnetfeaturizer": [
                ResNetFeaturizer("tiny", store=store, layers=layer) for layer in ("stage2", "last")
            ],
            "standardscaler": ["passthrough", StandardScaler()],
        },
        cv=2,
    )
    assert prefetch(search, files) == N
    search.fit(files, y)
    assert passes(store) == N


def test_a_seeded_random_search_is_known_beforehand(files, store):
    spaces = {"featurizer__image_size": randint(24, 64), "classifier__C": [1, 10]}
    search = RandomizedSearchCV(pipeline(store), spaces, n_iter=3, cv=2, random_state=0)
    computed = prefetch(search, files)
    search.fit(files, y)
    assert passes(store) == computed


def test_an_unseeded_distribution_over_features_is_noted(files, store):
    search = RandomizedSearchCV(pipeline(store), {"featurizer__image_size": randint(24, 64)}, n_iter=2, cv=2)
    with pytest.warns(UserWarning, match="featurizer__image_size"):
        prefetch(search, files)


def test_a_featurizer_behind_another_step_is_noted(files, store):
    hidden = make_pipeline(FunctionTransformer(), ResNetFeaturizer("tiny", store=store), LogisticRegression())
    with pytest.warns(UserWarning, match="'resnetfeaturizer' is not prefetched"):
        assert prefetch(hidden, files) == 0


def test_prefetch_without_a_store_says_what_to_do(files):
    with pytest.raises(ValueError, match="store='auto'"):
        prefetch(pipeline(None), files)
