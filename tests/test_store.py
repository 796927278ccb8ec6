import os
import pickle
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from stores import RECIPE, WIDTH, check, child, digests, in_child, needs_fork, put, vectors

from hybrid.store import database, rows
from hybrid.store.feature_store import FeatureStore, open_store, read_limit

OTHER = '{"backbone": "resnet50", "layer": "last"}'
NOW = time.time()


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "store")
    yield store
    store.close()


def old_file(path, content=b"old"):
    """A file that was last changed long ago."""
    path.write_bytes(content)
    os.utime(path, (NOW - 100, NOW - 100))
    return path


def test_what_is_put_is_got_bit_for_bit(store):
    assert put(store, range(1200))
    assert check(store, range(1200)).all()
    assert not check(store, range(1200, 1300)).any()


def test_any_float_comes_back(store):
    odd = np.array([[np.nan, np.inf, -0.0, 1e-45]], np.float32)
    store.put(digests([0]), {RECIPE: odd})
    assert store.get(RECIPE, digests([0]), 4)[0].tobytes() == odd.tobytes()


def test_a_missing_row_is_zero_and_not_found(store):
    put(store, [0])
    got, found = store.get(RECIPE, digests([1, 0]), WIDTH)
    assert found.tolist() == [False, True]
    assert not got[0].any()
    assert got.dtype == np.float32


def test_duplicates_each_get_their_row(store):
    put(store, [0, 1])
    assert check(store, [0, 1, 0, 0, 7, 1, 7]).tolist() == [True, True, True, True, False, True, False]


def test_nothing_asked_is_nothing_found(store):
    got, found = store.get(RECIPE, [], WIDTH)
    assert got.shape == (0, WIDTH)
    assert found.shape == (0,)
    assert store.put([], {RECIPE: np.zeros((0, WIDTH))})


def test_recipes_are_kept_apart(store):
    keys = digests(range(10))
    store.put(keys, {recipe: vectors(keys, recipe) for recipe in (RECIPE, OTHER)})
    for recipe in (RECIPE, OTHER):
        np.testing.assert_array_equal(store.get(recipe, keys, WIDTH)[0], vectors(keys, recipe))


def test_the_last_put_counts(store):
    store.put(digests([0]), {RECIPE: np.zeros((1, WIDTH))})
    put(store, [0])
    assert check(store, [0]).all()
    assert store.stats()["rows"] == 1


def test_without_a_width_it_is_the_rows_own(store):
    assert store.get(RECIPE, digests([0, 1]))[0].shape == (2, 0)
    put(store, [1])
    got, found = store.get(RECIPE, digests([0, 1]))
    assert found.tolist() == [False, True]
    np.testing.assert_array_equal(got[1:], vectors(digests([1])))


def test_a_row_of_another_width_is_a_miss_and_is_removed(store):
    put(store, [0])
    assert not store.get(RECIPE, digests([0]), WIDTH + 1)[1].any()
    assert store.stats()["rows"] == 0


def test_hits_misses_and_passes_outlive_the_process(tmp_path):
    program = (
        "import sys, numpy as np; from hybrid import FeatureStore; store = FeatureStore(sys.argv[1]);"
        "store.put([b'a', b'b'], {'{}': np.eye(2)}, passes=2); store.get('{}', [b'a', b'c', b'a'], 2)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    stats = FeatureStore(tmp_path).stats()
    assert {name: stats[name] for name in ("rows", "hits", "misses", "passes")} == {
        "rows": 2,
        "hits": 4,
        "misses": 2,
        "passes": 4,
    }


def test_uncounted_looks_are_not_counted(store):
    store.get(RECIPE, digests([0]), WIDTH, count=False)
    assert store.stats()["misses"] == 0


def test_a_forked_child_does_not_write_its_parents_counts_again(store):
    put(store, [0])
    check(store, [0])
    check(store, [0])
    in_child(lambda: check(store, [0]).all() and store.close())
    assert store.stats()["hits"] == 3


def test_stats_tell_path_limit_and_size(tmp_path):
    store = FeatureStore(tmp_path, limit="1MB")
    put(store, range(100))
    stats = store.stats()
    assert stats["path"] == str(tmp_path)
    assert stats["limit"] == 10**6
    assert 100 * WIDTH * 4 < stats["bytes"] < 100_000


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("10GB", 10**10), ("1.5 mb", 1_500_000), ("2k", 2000), ("77", 77), (5, 5), (np.int64(6), 6)],
)
def test_limits_are_read(limit, expected):
    assert read_limit(limit) == expected


@pytest.mark.parametrize("limit", ["many", "", "-1GB", "10XB", 0, -5, 1.5, True, None])
def test_a_wrong_limit_is_named(limit):
    with pytest.raises(ValueError, match=r"Got limit=.*, but expected a size such as '10GB'"):
        read_limit(limit)


def test_the_limit_is_read_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE_LIMIT", "3MB")
    assert FeatureStore(tmp_path).limit == 3_000_000
    assert FeatureStore(tmp_path, limit="4MB").limit == 4_000_000
    monkeypatch.setenv("HYBRID_STORE_LIMIT", "big")
    with pytest.raises(ValueError, match="Got limit='big'"):
        FeatureStore(tmp_path)


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="which is a file, but expected a folder"):
        FeatureStore(tmp_path / "file")


def test_making_a_store_touches_no_disk(tmp_path):
    FeatureStore(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_open_store_knows_what_a_parameter_means(tmp_path, own_home):
    assert open_store(None) is None
    assert open_store("auto").path == own_home.resolve()
    assert open_store(str(tmp_path)) is open_store(tmp_path)
    mine = FeatureStore(tmp_path)
    assert open_store(mine) is mine
    with pytest.raises(TypeError, match="Got store=5, but expected 'auto'"):
        open_store(5)


def test_a_pickle_is_small_and_opens_the_same_folder(store):
    put(store, [0])
    text = pickle.dumps(store)
    assert len(text) < 1000
    copy = pickle.loads(text)
    assert (copy.path, copy.limit, repr(copy)) == (store.path, store.limit, repr(store))
    assert check(copy, [0]).all()


def test_only_the_user_may_read_it(store):
    put(store, range(10))
    mode = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (store.path, *store.path.iterdir())}
    assert mode.pop("store") == 0o700
    assert set(mode) == {"features.sqlite", "features.sqlite-wal", "features.sqlite-shm", "features.lock"}
    assert set(mode.values()) == {0o600}


def test_a_closed_store_opens_again(store):
    put(store, [0])
    store.close()
    assert check(store, [0]).all()


def test_threads_share_a_store(store):
    def work(start):
        for i in range(start, start + 60):
            put(store, range(i, i + 5))
            assert check(store, range(i, i + 5)).all()

    failed = []
    hook, threading.excepthook = threading.excepthook, failed.append
    threads = [threading.Thread(target=work, args=(20 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = hook
    assert not failed
    assert check(store, range(124)).all()


def test_a_look_up_reads_no_more_than_it_must(store):
    put(store, [0])
    question = (0, RECIPE.encode(), *digests([0, 1]))
    plan = store._database.read(
        lambda c: c.execute(f"EXPLAIN QUERY PLAN {rows.WANTED.format('?,?')}", question).fetchall()
    )
    assert not [step for *_, step in plan if step.startswith(b"SCAN")]


# Eviction


def test_a_store_stays_within_its_limit(tmp_path):
    store = FeatureStore(tmp_path, limit="500KB")
    for i in range(100):
        put(store, range(i * 50, i * 50 + 50))
    store.close()
    assert store.stats()["bytes"] <= 500_000
    assert (tmp_path / "features.sqlite").stat().st_size < 650_000
    assert check(store, range(4950, 5000)).all()


@pytest.mark.parametrize("later", [5000, 500], ids=["stamped anew", "stamp still fresh"])
def test_the_least_recently_used_go_first(tmp_path, monkeypatch, later):
    store = FeatureStore(tmp_path, limit="2MB")
    clock = time.time() - 10_000
    monkeypatch.setattr(rows.time, "time", lambda: clock)
    for i in range(0, 400, 100):
        put(store, range(i, i + 100), width=1024)
        clock += 10
    clock += later
    check(store, range(200), width=1024)
    clock += 10
    put(store, range(400, 500), width=1024)
    assert check(store, range(200), width=1024).all()
    assert check(store, range(400, 500), width=1024).all()
    assert 0 < check(store, range(200, 400), width=1024).sum() < 200


def test_reading_writes_a_stamp_once_an_hour(store, monkeypatch):
    put(store, range(10))
    stamped = []
    real = rows.stamp
    monkeypatch.setattr(
        "hybrid.store.feature_store.stamp", lambda c, ids: (stamped.extend(ids), real(c, ids))
    )
    check(store, range(10))
    assert not stamped
    later = time.time() + 4000
    monkeypatch.setattr(rows.time, "time", lambda: later)
    check(store, range(10))
    check(store, range(10))
    assert len(stamped) == 10


# Files


def test_a_file_is_known_until_it_changes(store, tmp_path):
    file = old_file(tmp_path / "a.jpg")
    assert store.known([file]) == [None]
    store.remember([(file, os.stat(file), b"digest")])
    assert store.known([file, tmp_path / "none", str(file)]) == [b"digest", None, b"digest"]
    old_file(file, b"new")
    assert store.known([file]) == [None]


def test_a_change_that_keeps_size_and_time_is_seen(store, tmp_path):
    file = old_file(tmp_path / "a.jpg", b"old")
    before = os.stat(file)
    store.remember([(file, before, b"digest")])
    file.write_bytes(b"new")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.known([file]) == [None]


def test_a_file_just_written_is_not_remembered(store, tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"new")
    store.remember([(file, os.stat(file), b"digest")])
    assert store.known([file]) == [None]
    store.remember([(file, os.stat(file), b"digest")], since=time.time() + 3)
    assert store.known([file]) == [b"digest"]


def test_names_that_are_no_text_are_no_trouble(store, tmp_path):
    file = old_file(tmp_path / os.fsdecode(b"\xff\xfe.jpg"))
    store.remember([(file, os.stat(file), b"digest")])
    assert store.known([file, "a\0b", "http://x/y.jpg"]) == [b"digest", None, None]


def test_a_relative_path_is_the_file_it_names_now(store, tmp_path, monkeypatch):
    file = old_file(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    store.remember([("a.jpg", os.stat(file), b"digest")])
    assert store.known([file, "a.jpg"]) == [b"digest", b"digest"]


# Leases


def claim(store, numbers):
    return store.claim("scope", digests(numbers)).tolist()


def test_a_claim_is_the_threads_own_until_released(store):
    others = []
    assert claim(store, [1, 2, 2]) == [True, True, True]
    assert claim(store, [2, 3]) == [True, True]

    def ask():
        others.append(claim(store, [1, 4]))

    for _ in range(2):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        store.release("scope", digests([1]))
    assert others == [[False, True], [True, True]]


def test_scopes_do_not_meet(store):
    assert store.claim("one", digests([1])).all()
    with child(hold, store, "two") as (_, pipe):
        assert pipe.recv() == [True]


def hold(pipe, store, scope="scope"):
    pipe.send(store.claim(scope, digests([1])).tolist())
    pipe.recv()
    store.release(scope, digests([1]))
    pipe.send("released")
    pipe.recv()


@needs_fork
def test_another_process_keeps_its_lease_until_it_releases_or_is_killed(store):
    with child(hold, store) as (process, pipe):
        assert pipe.recv() == [True]
        assert claim(store, [1, 2]) == [False, True]
        pipe.send("release")
        assert pipe.recv() == "released"
        assert claim(store, [1]) == [True]
        store.release("scope", digests([1]))
    with child(hold, store) as (process, pipe):
        assert pipe.recv() == [True]
        assert claim(store, [1]) == [False]
        process.kill()
        process.join()
        assert claim(store, [1]) == [True]


@needs_fork
def test_a_fork_does_not_inherit_a_lease(store):
    assert claim(store, [1]) == [True]
    assert in_child(claim, store, [1]) == [False]
    store.release("scope", digests([1]))
    assert in_child(claim, store, [1]) == [True]


def test_the_lease_of_a_dead_thread_is_free(store):
    thread = threading.Thread(target=claim, args=(store, [1]))
    thread.start()
    thread.join()
    assert claim(store, [1]) == [True]


def test_a_copy_of_the_store_sees_the_same_leases(store):
    copy = pickle.loads(pickle.dumps(store))
    claim(store, [1])
    copy.close()
    assert in_child(claim, store, [1]) == [False]


# Upkeep


def test_clear_removes_one_backbone_or_all_and_gives_the_room_back(store, tmp_path):
    keys = digests(range(200))
    store.put(keys, {recipe: vectors(keys, recipe) for recipe in (RECIPE, OTHER)}, passes=200)
    full = store.stats()["bytes"]
    file = old_file(tmp_path / "a.jpg")
    store.remember([(file, os.stat(file), b"digest")])
    assert store.clear(backbone="none") == 0
    assert store.clear(backbone="resnet50") == 200
    assert not store.get(OTHER, keys, WIDTH)[1].any()
    assert check(store, range(200)).all()
    assert store.clear() == 200
    stats = store.stats()
    assert (stats["rows"], stats["files"], stats["passes"]) == (0, 0, 200)
    store.close()
    assert (store.path / "features.sqlite").stat().st_size < full / 2


@pytest.mark.parametrize("alias", ["ResNet50", "resnet-50", "RESNET_50"])
def test_clearing_by_an_alias_no_longer_removes_nothing(store, alias):
    put(store, range(2))
    store.put(digests(range(3)), {OTHER: vectors(digests(range(3)), OTHER)})
    assert store.clear(backbone=alias) == 3
    assert store.stats()["rows"] == 2


def test_verify_counts_and_removes_what_is_damaged(store):
    put(store, range(1100))
    store._database.write(
        lambda c: c.execute("UPDATE vectors SET value = zeroblob(256) WHERE id IN (3, 900)")
    )
    assert store.verify() == {"good": 1098, "damaged": 2}
    assert store.verify() == {"good": 1098, "damaged": 0}
    assert check(store, range(1100)).sum() == 1098


def test_a_good_row_under_another_key_is_a_miss(store):
    put(store, [0, 1])
    values = "UPDATE vectors SET (checksum, value) = (SELECT checksum, value FROM vectors WHERE id = 1)"
    store._database.write(lambda c: c.execute(values))
    assert check(store, [0, 1]).tolist() == [True, False]
    assert store.stats()["rows"] == 1


def test_a_damaged_row_is_only_removed_if_no_other_process_has_renewed_it(store):
    put(store, [0])
    store._database.write(lambda c: rows.discard(c, [1], WIDTH))
    assert check(store, [0]).all()


def test_export_writes_parquet_in_parts(store, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    put(store, range(1100))
    assert store.export(tmp_path / "rows.parquet") == 1100
    frame = pandas.read_parquet(tmp_path / "rows.parquet")
    assert list(frame) == ["image", "recipe", "vector"]
    assert set(frame["recipe"]) == {RECIPE}
    keys = [bytes.fromhex(text) for text in frame["image"]]
    np.testing.assert_array_equal(np.stack(frame["vector"]), vectors(keys))


def test_export_without_pyarrow_says_what_to_install(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="needs pyarrow: pip install pyarrow"):
        store.export(tmp_path / "rows.parquet")


def test_a_file_of_a_later_hybrid_is_left_alone(store):
    put(store, [0])
    store._database.write(lambda c: c.execute("PRAGMA user_version = 99"))
    store.close()
    before = (store.path / "features.sqlite").read_bytes()
    with pytest.warns(RuntimeWarning, match="its format is 99, this version of hybrid knows 1"):
        assert not check(store, [0]).any()
    assert not put(store, [0])
    assert claim(store, [1]) == [True]
    assert store.stats()["rows"] == 0
    assert (store.path / "features.sqlite").read_bytes() == before
    assert not list(store.path.glob("*damaged*"))


def test_one_handle_on_a_file_in_a_process(store):
    again = FeatureStore(store.path)
    assert again._database is store._database
    assert database.open_database(store._database.path, (), 0) is store._database
