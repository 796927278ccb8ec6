"""How often a network runs, counted by the store: once an image, whatever searches it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import randint
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector
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


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_of_layers_and_poolings_took_a_pass_for_each_without_prefetch(files, store, n_jobs):
    grid = GRID | {
        "featurizer__pooling": ["avg", "max", "gem"],
        "featurizer__layers": ["stage1", "stage2", "last"],
    }
    GridSearchCV(pipeline(store), grid, cv=2, n_jobs=n_jobs).fit(files, y)
    assert passes(store) == N


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_four_stages_and_three_poolings_of_a_real_network_cost_one_pass_an_image(photographs, store, n_jobs):
    images = np.array(sorted(map(str, (photographs / "ants_bees").rglob("*.jpg")))[:12])
    grid = {
        "featurizer__layers": ["stage2", "stage3", "stage4", "stage5"],
        "featurizer__pooling": ["avg", "max", "gem"],
        "classifier__C": [0.1, 1, 10],
    }
    model = build_pipeline("logistic", backbone="efficientnet_lite0", store=store)
    GridSearchCV(model, grid, cv=2, n_jobs=n_jobs).fit(images, np.arange(12) % 2)
    assert passes(store) == 12


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_union_of_two_layers_took_two_passes(files, store, n_jobs):
    parts = [(layer, ResNetFeaturizer("tiny", store=store, layers=layer)) for layer in ("stage2", "last")]
    FeatureUnion(parts, n_jobs=n_jobs).fit_transform(files)
    assert passes(store) == N


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_vote_of_two_pipelines_took_two_passes(files, store, n_jobs):
    voters = [(layer, pipeline(store, layers=layer)) for layer in ("stage2", "last")]
    VotingClassifier(voters, n_jobs=n_jobs).fit(files, y)
    assert passes(store) == N


def test_avg_then_max_then_gem_took_three_passes(files, store):
    for pooling in ("avg", "max", "gem"):
        ResNetFeaturizer("tiny", store=store, pooling=pooling).fit_transform(files)
    assert passes(store) == N


@pytest.mark.parametrize("layers", [["last", "predictions"], ["predictions", "last"]])
def test_last_before_predictions_was_read_off_the_network_without_a_head(files, store, layers):
    model = build_pipeline("logistic", backbone="efficientnet_lite0", image_size=32, store=store)
    search = GridSearchCV(model, {"featurizer__layers": layers}, cv=2)
    assert prefetch(search, files) == N
    search.fit(files, y)
    assert passes(store) == N


FRAME_COLUMNS = {
    "name": "front",
    "names": ["front"],
    "position": 0,
    "slice": slice(0, 1),
    "slice of names": slice("front", "front"),
    "array": np.array(["front"]),
    "Index": pd.Index(["front"]),
    "mask": [True, False],
    "array mask": np.array([True, False]),
    "selector": make_column_selector("front"),
}


@pytest.mark.parametrize("columns", FRAME_COLUMNS.values(), ids=FRAME_COLUMNS)
def test_columns_as_slice_array_or_index_failed_where_fit_works(files, store, columns):
    frame = pd.DataFrame({"front": files, "age": np.arange(N)})
    both = ColumnTransformer([("image", ResNetFeaturizer("tiny", store=store), columns)])
    assert prefetch(make_pipeline(both, LogisticRegression()), frame) == N
    both.fit(frame)
    assert passes(store) == N


def test_a_featurizer_as_remainder_was_skipped(files, store):
    frame = pd.DataFrame({"front": files, "age": np.arange(N)})
    rest = ColumnTransformer(
        [("age", StandardScaler(), ["age"])], remainder=ResNetFeaturizer("tiny", store=store)
    )
    assert prefetch(rest, frame) == N


def test_a_featurizer_behind_another_step_of_two_columns_failed(files, store):
    frame = pd.DataFrame({"front": files, "age": np.arange(N)})
    chosen = make_pipeline(FunctionTransformer(lambda X: X["front"]), ResNetFeaturizer("tiny", store=store))
    with pytest.warns(UserWarning, match="'resnetfeaturizer' is not prefetched"):
        assert prefetch(chosen, frame) == 0
    assert chosen.fit_transform(frame).shape == (N, 64)


class ApplyToCols(TransformerMixin, BaseEstimator):
    """What skrub's does: a copy of the transformer for each column."""

    def __init__(self, transformer, cols):
        self.transformer = transformer
        self.cols = cols

    def fit(self, X, y=None):
        self.fitted_ = {column: clone(self.transformer).fit(X[[column]]) for column in self.cols}
        return self

    def transform(self, X):
        return np.hstack([one.transform(X[[column]]) for column, one in self.fitted_.items()])


class TableVectorizer(ApplyToCols):
    """What skrub's takes: pairs of a transformer and its columns."""

    def __init__(self, specific_transformers=()):
        self.specific_transformers = specific_transformers

    def fit(self, X, y=None):
        self.fitted_ = {
            column: clone(one).fit(X[[column]])
            for one, columns in self.specific_transformers
            for column in columns
        }
        return self


def test_transformers_that_choose_columns_failed_or_were_skipped(files, store):
    frame = pd.DataFrame({"front": files[: N // 2], "back": files[N // 2 :], "age": np.arange(N // 2)})
    tiny = ResNetFeaturizer("tiny", store=store)
    assert prefetch(ApplyToCols(tiny, ["front"]), frame) == N // 2
    assert (
        prefetch(make_pipeline(TableVectorizer([(tiny, ["front", "back"])]), LogisticRegression()), frame)
        == N // 2
    )
    with pytest.warns(UserWarning, match=r"ApplyToCols is not prefetched: .*'side'"):
        assert prefetch(ApplyToCols(tiny, ["side"]), frame) == 0


class Categorical:
    """As Optuna's and scikit-optimize's."""

    def __init__(self, *values):
        self.choices = values


class ForeignSearch(BaseEstimator):
    """A search of another package: its spaces have names and shapes of their own."""

    def __init__(self, estimator, search_spaces):
        self.estimator = estimator
        self.search_spaces = search_spaces


@pytest.mark.parametrize("shape", [lambda space: space, lambda space: [space], lambda space: [(space, 8)]])
def test_searches_of_other_packages_failed(files, store, shape):
    space = {
        "featurizer__layers": Categorical("stage2", "stage3.own"),
        "classifier__C": (0.1, 10.0, "log-uniform"),
    }
    space |= {"featurizer__pooling": ["avg", "max"], "featurizer__image_size": (24, 64)}
    search = ForeignSearch(pipeline(store), shape(space))
    with pytest.warns(UserWarning, match="prefetched|known") as caught:
        assert prefetch(search, files) == N
    messages = " ".join(str(warning.message) for warning in caught)
    assert "'featurizer__image_size' cannot be known before the search" in messages
    assert "not prefetched: Got layers='stage3.own'" in messages


def test_swapped_arguments_were_no_error(files, store):
    with pytest.raises(TypeError, match=r"ndarray .* The estimator comes first: prefetch\(estimator, X\)"):
        prefetch(files, pipeline(store))
    with pytest.raises(TypeError, match="type as the estimator, but expected one"):
        prefetch(LogisticRegression, files)


def test_an_estimator_without_a_featurizer_was_no_warning(files):
    with pytest.warns(UserWarning, match=r"no ResNetFeaturizer inside GridSearchCV") as caught:
        assert prefetch(GridSearchCV(LogisticRegression(), {"C": [1, 2]}), files) == 0
    assert caught[0].filename == __file__


def test_a_candidate_that_cannot_be_fitted_failed_where_the_search_goes_on(files, store):
    search = GridSearchCV(pipeline(store), {"featurizer__pooling": ["mean", "avg"]}, cv=2)
    with pytest.warns(UserWarning, match="not prefetched: Got pooling='mean'"):
        assert prefetch(search, files) == N
    with pytest.raises(ValueError, match="pooling='mean'"):
        prefetch(pipeline(store, pooling="mean"), files)
