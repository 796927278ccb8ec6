"""Kills, full disks, damage and locks: a store gets slower, never wrong, and loses nothing acknowledged."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from stores import RECIPE, WIDTH, check, child, digests, in_child, needs_fork, put, vectors

from hybrid.store import database
from hybrid.store.feature_store import FeatureStore

pytestmark = needs_fork
BATCH = 16


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def file_of(store):
    return store.path / "features.sqlite"


def assert_usable(store):
    """Whatever happened: nothing wrong comes out, and what goes in is either kept or honestly not."""
    numbers = range(10**6, 10**6 + 20)
    kept = put(store, numbers)
    assert check(store, numbers).all() == kept
    store.claim("scope", digests(numbers))
    store.release("scope", digests(numbers))
    store.known(["a.jpg"])
    store.remember([("a.jpg", os.stat(__file__), b"digest")])
    store.stats()
    store.verify()
    return kept


# Kills


def write_for_ever(pipe, folder, first):
    store = FeatureStore(folder)
    for number in range(first, first + 10**6, BATCH):
        assert put(store, range(number, number + BATCH), width=2048)
        pipe.send(number)


def kill_a_writer(folder, first, seconds):
    """Return what it had acknowledged when it was killed."""
    acknowledged = []
    with child(write_for_ever, folder, first) as (process, pipe):
        assert pipe.poll(30)
        acknowledged.append(pipe.recv())
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while pipe.poll():
            try:
                acknowledged.append(pipe.recv())
            except EOFError:
                break
    return [n for number in acknowledged for n in range(number, number + BATCH)]


@pytest.mark.parametrize("kills", [40, pytest.param(1000, marks=pytest.mark.soak)])
def test_kill_9_loses_nothing_acknowledged(folder, kills):
    seed = seeded(f"{kills} kills")
    chance = random.Random(seed)
    store, acknowledged = FeatureStore(folder, limit="100GB"), 0
    for i in range(kills):
        new = kill_a_writer(folder, i * 10**6, chance.uniform(0, 0.04))
        assert check(store, new, width=2048).all()
        acknowledged += len(new)
        if i % 100 == 99:
            assert store.verify() == {"good": store.stats()["rows"], "damaged": 0}
            assert store.stats()["rows"] >= acknowledged
            store.clear()
            acknowledged = 0
    assert store.verify()["damaged"] == 0
    assert not list(folder.glob("*damaged*"))
    print(f"crashes 0, rows lost 0, wrong vectors 0 of {kills} kills")


def seeded(what):
    """Print, before anything can crash, what is tried with which seed; HYBRID_SEED sets it."""
    seed = int(os.environ.get("HYBRID_SEED") or random.randrange(10**6))
    print(f"\n{what}, HYBRID_SEED={seed}", flush=True)
    return seed


def compute_all(pipe, folder, seed, numbers):
    """What `embed` does: get, claim, look again, compute, put, release, until all is there."""
    store, computed = FeatureStore(folder), 0
    chance = random.Random(seed)
    while len(missing := np.flatnonzero(~check(store, numbers))):
        some = chance.sample(list(missing), min(BATCH, len(missing)))
        mine = [n for n, held in zip(some, store.claim("scope", digests(some)), strict=True) if held]
        todo = [n for n, found in zip(mine, check(store, mine), strict=True) if not found]
        assert put(store, todo)
        store.release("scope", digests(mine))
        computed += len(todo)
    pipe.send(computed)


def test_four_processes_share_the_work_and_compute_nothing_twice(folder):
    with (
        child(compute_all, folder, 0, range(600)) as (_, one),
        child(compute_all, folder, 1, range(600)) as (_, two),
        child(compute_all, folder, 2, range(600)) as (_, three),
        child(compute_all, folder, 3, range(600)) as (_, four),
    ):
        computed = [pipe.recv() for pipe in (one, two, three, four) if pipe.poll(60)]
    store = FeatureStore(folder)
    assert sum(computed) == 600
    assert store.stats()["passes"] == 600
    assert store.stats()["rows"] == 600
    assert check(store, range(600)).all()


def test_a_fork_in_the_middle_of_threads_keeps_both_sides_right(folder):
    store, stop = FeatureStore(folder), threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            put(store, range(number, number + BATCH))
            number += BATCH
        written.append(number)

    written = []
    thread = threading.Thread(target=write)
    thread.start()
    for i in range(1, 9):
        assert in_child(put, store, range(i * 10**5, i * 10**5 + BATCH))
    stop.set()
    thread.join()
    store.close()
    assert check(store, range(written[0])).all()
    for i in range(1, 9):
        assert check(store, range(i * 10**5, i * 10**5 + BATCH)).all()


# Damage


def sound_copy(tmp_path):
    """A closed store of 300 rows."""
    store = FeatureStore(tmp_path / "sound")
    put(store, range(300))
    store.close()
    return store.path


def damage_and_use(sound, folder, damage):
    """Copy a store, damage the copy and use it in a process of its own; return how many rows were left."""
    shutil.copytree(sound, folder)
    damage(folder)

    def use():
        store = FeatureStore(folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            left = check(store, range(300)).sum()
            # A damaged tree may swallow what is put into it: that is a miss, and the next time it is kept.
            tries = 1
            while (kept := put(store, range(320))) and not check(store, range(320)).all():
                tries += 1
            store.verify()
        # One byte can make the file that of a later version, or read-only.
        assert kept or re.search("its format is|cannot be written", str(caught[0].message))
        assert tries < 4
        return left

    left = in_child(use)
    shutil.rmtree(folder)
    return left


def flip(file, place, bit=3):
    with open(file, "r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1 << bit]))


@pytest.mark.parametrize("flips", [60, pytest.param(1500, marks=pytest.mark.soak)])
def test_one_flipped_byte_anywhere_gives_no_wrong_row(tmp_path, flips):
    sound = sound_copy(tmp_path)
    size, chance, left = os.path.getsize(sound / "features.sqlite"), random.Random(flips), []
    for i in range(flips):
        # Every other one in the first bytes of a page, where its structure is.
        place = (
            chance.randrange(size // 4096) * 4096 + chance.randrange(12) if i % 2 else chance.randrange(size)
        )
        spoil = lambda folder, place=place: flip(folder / "features.sqlite", place, chance.randrange(8))  # noqa: E731
        left.append(damage_and_use(sound, tmp_path / "copy", spoil))
    assert sum(300 > n > 200 for n in left) > flips / 10
    assert sum(n == 0 for n in left) > flips / 10


def test_a_flipped_byte_in_a_value_costs_one_row(folder):
    store = FeatureStore(folder)
    put(store, range(300))
    store.close()
    content = file_of(store).read_bytes()
    in_child(flip, file_of(store), content.index(vectors(digests([77])).tobytes()) + 100)
    assert np.flatnonzero(~check(store, range(300))).tolist() == [77]
    assert store.stats()["rows"] == 299
    put(store, [77])
    assert check(store, range(300)).all()


def spoil(folder, chance):
    """Flip, overwrite, cut or lengthen some of a store's files, or take one away; say what was done."""
    done = []
    for file in chance.sample(sorted(folder.iterdir()), chance.randint(1, 2)):
        size = os.path.getsize(file)
        # Half of the places in the first bytes of a page, where the structure is.
        places = [chance.randrange(max(size, 1)) for _ in range(chance.choice([1, 1, 3, 40]))]
        places = [place // 4096 * 4096 + place % 112 if chance.random() < 0.5 else place for place in places]
        action = chance.choice(["flip", "flip", "write", "write", "cut", "lengthen", "remove"])
        if action == "flip" and size:
            for place in places:
                flip(file, place, chance.randrange(8))
        elif action == "write":
            with open(file, "r+b") as stream:
                for place in places:
                    stream.seek(place)
                    stream.write(chance.choice([chance.randbytes, bytes])(chance.choice([1, 4, 60, 9000])))
        elif action == "cut":
            os.truncate(file, chance.randrange(size + 1))
        elif action == "lengthen":
            with open(file, "ab") as stream:
                stream.write(chance.randbytes(chance.choice([1, 4096, 50_000])))
        elif action == "remove":
            os.remove(file)
        done.append((file.name, action, places[:3]))
    return done


def killed_copy(tmp_path):
    """A store of 300 rows whose writer was killed: with a -wal and a -shm."""

    def write(pipe):
        store = FeatureStore(tmp_path / "killed")
        for i in range(0, 300, BATCH):
            put(store, range(i, min(i + BATCH, 300)))
        pipe.send("written")
        pipe.recv()

    with child(write) as (process, pipe):
        pipe.recv()
        process.kill()
    return tmp_path / "killed"


def use_damaged(folder):
    """Use a store in every way; return how many of its rows were left. Nothing may raise."""
    store = FeatureStore(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        left = int(check(store, range(300)).sum())
        assert_usable(store)
        check(store, range(320))
        store.known([__file__])
        for backbone in ("tiny", None):
            put(store, range(300, 320))
            check(store, range(320))
            store.clear(backbone)
        FeatureStore(folder, limit=50_000).put([b"x"], {RECIPE: np.ones((1, WIDTH))})
        said = [str(one.message) for one in caught]
        store.close()
    assert len(said) == len(set(said)), said
    return left


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.soak)])
def test_damaged_stores_give_no_error_and_no_wrong_row(tmp_path, count):
    seed = seeded(f"{count} damaged stores")
    sources, left = (sound_copy(tmp_path), killed_copy(tmp_path)), []
    healthy = 0
    for i in range(count):
        chance = random.Random(f"{seed}-{i}")
        folder = shutil.copytree(chance.choice(sources), tmp_path / "copy")
        done = spoil(folder, chance)
        try:
            kept = in_child(use_damaged, folder)
            # Used again, it works, or says why not.
            healthy += in_child(lambda folder=folder: assert_kept(folder))
        except BaseException:
            print(f"store {i} of seed {seed}: {done}")
            raise
        left.append(kept)
        shutil.rmtree(folder)
    assert sum(n == 300 for n in left) < count
    assert healthy > 0.9 * count
    print(
        f"crashes 0, wrong vectors 0 of {count}; rows left {sum(left)} of {300 * count}, works again {healthy}"
    )


def assert_kept(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return bool(assert_usable(FeatureStore(folder)))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_set_aside(tmp_path, part):
    sound = sound_copy(tmp_path)
    size = int(part * os.path.getsize(sound / "features.sqlite"))
    assert (
        damage_and_use(sound, tmp_path / "copy", lambda folder: os.truncate(folder / "features.sqlite", size))
        < 300
    )


@pytest.mark.parametrize("content", [b"not a database", b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 9000])
def test_garbage_is_set_aside_with_a_warning(folder, content):
    folder.mkdir()
    (folder / "features.sqlite").write_bytes(content)
    (folder / "features.sqlite-wal").write_bytes(content)
    store = FeatureStore(folder)
    with pytest.warns(
        RuntimeWarning, match=r"is damaged .*It was set aside as 'features.damaged-.*starting anew"
    ):
        assert put(store, range(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(store, range(10)).all()
    (aside,) = folder.glob("features.damaged-*.sqlite")
    assert aside.read_bytes() == content


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_flips_beside_the_file_after_a_kill_give_no_wrong_row(tmp_path, suffix):
    sound, chance = tmp_path / "sound", random.Random(0)

    def write(pipe):
        store = FeatureStore(sound)
        for i in range(0, 300, BATCH):
            put(store, range(i, min(i + BATCH, 300)))
        pipe.send("written")
        pipe.recv()

    with child(write) as (process, pipe):
        pipe.recv()
        process.kill()
    size = os.path.getsize(sound / f"features.sqlite{suffix}")
    for _ in range(20):
        spoil = lambda folder: flip(folder / f"features.sqlite{suffix}", chance.randrange(size))  # noqa: E731
        damage_and_use(sound, tmp_path / "copy", spoil)


def heal(pipe, folder, start):
    warnings.simplefilter("ignore", RuntimeWarning)
    store = FeatureStore(folder)
    pipe.send("ready")
    pipe.recv()
    for i in range(start, start + 200, 4):
        assert put(store, range(i, i + 4))
    pipe.send("done")


@pytest.mark.parametrize("attempt", range(5))
def test_processes_that_find_damage_at_once_lose_nothing_of_each_other(folder, attempt):
    folder.mkdir()
    (folder / "features.sqlite").write_bytes(b"not a database" * 999)
    with (
        child(heal, folder, 0) as (_, one),
        child(heal, folder, 1000) as (_, two),
        child(heal, folder, 2000) as (_, three),
    ):
        for message in ("ready", "done"):
            assert all(pipe.poll(30) and pipe.recv() == message for pipe in (one, two, three))
            if message == "ready":
                [pipe.send("go") for pipe in (one, two, three)]
    store = FeatureStore(folder)
    for start in (0, 1000, 2000):
        assert check(store, range(start, start + 200)).all()
    assert len(list(folder.glob("features.damaged-*.sqlite"))) == 1


@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_threads_that_find_damage_at_once_lose_nothing_of_each_other(folder, attempt):
    folder.mkdir()
    (folder / "features.sqlite").write_bytes(b"not a database" * 999)
    store, together, kept = FeatureStore(folder), threading.Barrier(8), []

    def work(start):
        together.wait()
        kept.append(put(store, range(start, start + 4)))

    threads = [threading.Thread(target=work, args=(i * 100,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [True] * 8
    assert all(check(store, range(i * 100, i * 100 + 4)).all() for i in range(8))
    assert len(list(folder.glob("features.damaged-*.sqlite"))) == 1


def scribble(file, places):
    with open(file, "r+b") as stream:
        for place in places:
            stream.seek(place)
            stream.write(os.urandom(40))


def use_until_told(pipe, folder, start):
    warnings.simplefilter("ignore", RuntimeWarning)
    store, number = FeatureStore(folder), start
    pipe.send("ready")
    while not pipe.poll():
        put(store, range(number, number + BATCH))
        check(store, range(start, number, 7))
        number += BATCH
    while not put(store, range(start, start + BATCH)) or not check(store, range(start, start + BATCH)).all():
        pass  # damage comes to light by looking
    pipe.send(True)


@pytest.mark.parametrize("seed", range(3))
def test_damage_under_open_connections_gives_no_wrong_row(folder, seed):
    chance = random.Random(seed)
    put(FeatureStore(folder), range(10**7, 10**7 + 500))
    FeatureStore(folder).close()
    with (
        child(use_until_told, folder, 0) as (_, one),
        child(use_until_told, folder, 10**5) as (_, two),
        child(use_until_told, folder, 2 * 10**5) as (_, three),
    ):
        pipes = one, two, three
        assert all(pipe.poll(30) and pipe.recv() == "ready" for pipe in pipes)
        for _ in range(3):
            time.sleep(0.1)
            file = folder / "features.sqlite"
            if file.exists():
                in_child(scribble, file, chance.sample(range(os.path.getsize(file)), 20))
        [pipe.send("stop") for pipe in pipes]
        assert all(pipe.poll(60) and pipe.recv() for pipe in pipes)


def test_a_disk_that_damages_everything_is_given_up(folder, monkeypatch):
    store = FeatureStore(folder)
    monkeypatch.setattr(store._database, "_is_ready", fail_with(malformed()))
    with (
        pytest.warns(RuntimeWarning, match="is damaged"),
        pytest.warns(RuntimeWarning, match="Going on without it"),
    ):
        assert sum(put(store, [0]) + check(store, [0]).sum() for _ in range(10)) == 0
    assert len(list(folder.glob("*damaged*.sqlite"))) == database.MAX_SET_ASIDE


def fail_with(exc):
    def fail(*args):
        raise exc

    return fail


def malformed():
    exc = sqlite3.DatabaseError("database disk image is malformed")
    exc.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return exc


# No room, no right, no folder


@contextmanager
def mounted(path, *options):
    """A file system of our own, where we may mount one."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def remount(path, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    if not shutil.which("mount"):
        pytest.skip("no mount here")
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=20m", "tmpfs") as path:
        yield path


def test_a_disk_that_fills_up_loses_nothing_acknowledged(small_disk):
    store = FeatureStore(small_disk / "store")
    with pytest.warns(RuntimeWarning, match=r"features.sqlite' cannot be used \(database or disk is full\)"):
        number = next(n for n in count(0, BATCH) if not put(store, range(n, n + BATCH), width=2048))
    acknowledged = range(number)
    assert 10_000 < len(acknowledged) * 2048 * 4 / 1024 < 20_480
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            put(store, range(number, number + BATCH), width=2048)
            assert check(store, acknowledged, width=2048).all()
    assert store.claim("scope", digests([1])).all()
    assert in_child(lambda: bool(FeatureStore(store.path).claim("other", digests([1])).all()))
    remount(small_disk, "size=60m")
    assert put(store, range(number, number + BATCH), width=2048)
    store.close()
    assert check(store, acknowledged, width=2048).all()
    assert_usable(store)


def test_a_full_disk_at_the_start_is_gone_without(small_disk):
    with open(small_disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(2**16))
    store = FeatureStore(small_disk / "store")
    with pytest.warns(RuntimeWarning, match="cannot be used|cannot be written"):
        assert not assert_usable(store)
    os.remove(small_disk / "filler")
    assert assert_usable(store)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_a_read_only_disk_is_read(small_disk, closed):
    def write(pipe):
        store = FeatureStore(small_disk / "store")
        put(store, range(100))
        if closed:
            store.close()
        pipe.send("written")
        pipe.recv()

    with child(write) as (process, pipe):
        pipe.recv()
        process.kill()
        process.join()
    FeatureStore(small_disk / "store").close()
    remount(small_disk, "ro")
    store = FeatureStore(small_disk / "store")
    with pytest.warns(RuntimeWarning, match="cannot be written .*Reading what is there"):
        found = check(store, range(100))
    assert found.all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not put(store, range(100, 200))
        assert not check(store, range(100, 200)).any()
        assert store.claim("scope", digests([1])).all()
        assert store.stats()["rows"] == 100
        assert store.verify() == {"good": 100, "damaged": 0}
        assert store.clear() == 0
        assert check(store, range(100)).all()


def test_damage_on_a_read_only_disk_is_a_miss(small_disk):
    store = FeatureStore(small_disk / "store")
    put(store, range(100))
    store.close()
    in_child(lambda: os.truncate(file_of(store), 9000))
    remount(small_disk, "ro")
    with pytest.warns(RuntimeWarning, match="Going on without it"):
        assert not assert_usable(store)
    assert not check(store, range(100)).any()


def test_a_disk_that_turns_read_only_is_read_on(small_disk):
    with mounted(small_disk / "view", "--bind", str(small_disk)) as view:
        store = FeatureStore(view / "store")
        put(store, range(100))
        store.close()
        remount(view, "bind,ro")
        with pytest.warns(RuntimeWarning, match="Reading what is there"):
            assert check(store, range(100)).all()
        with child(hold_open, small_disk / "store") as (_, pipe):
            pipe.recv()
            assert check(store, range(100)).all()
            assert not put(store, [7])
        store.close()


def hold_open(pipe, folder):
    store = FeatureStore(folder)
    pipe.send(put(store, range(1000, 1500)))
    pipe.recv()


@pytest.fixture
def public_folder():
    """A folder that another user can reach: pytest's own is closed to all others."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def as_nobody(function):
    """Return what a function returns in a process that the rights of files bind."""

    def drop():
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = function()
        return result, [str(warning.message) for warning in caught]

    return in_child(drop)


@pytest.mark.parametrize("modes", [(0o555, 0o444), (0o555, 0o666), (0o777, 0o444)], ids=str)
def test_a_folder_or_file_without_the_right_to_write_is_read(public_folder, modes):
    store = FeatureStore(public_folder / "store")
    put(store, range(100))
    store.close()
    (store.path / "features.lock").unlink()
    store.path.chmod(modes[0])
    file_of(store).chmod(modes[1])

    def use():
        return check(store, range(100)).all(), assert_usable(store), check(store, range(100)).all()

    (before, kept, after), messages = as_nobody(use)
    assert before
    assert after
    assert not kept
    assert len(messages) == 1
    assert "cannot be written" in messages[0]
    store.path.chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o555], ids=oct)
def test_a_place_where_nothing_may_be_made_is_gone_without(public_folder, mode):
    public_folder.chmod(mode)
    kept, messages = as_nobody(lambda: assert_usable(FeatureStore(public_folder / "store")))
    public_folder.chmod(0o700)
    assert not kept
    assert len(messages) == 1
    assert "features.sqlite' cannot be used" in messages[0]
    assert "Permission denied" in messages[0]


def test_a_folder_that_disappears_is_made_again(folder):
    store = FeatureStore(folder)
    put(store, range(10))
    shutil.rmtree(folder)
    assert not check(store, range(10)).any()
    assert assert_usable(store)
    assert in_child(lambda: check(FeatureStore(folder), range(10**6, 10**6 + 20)).all())


def test_a_folder_that_becomes_a_file_is_gone_without(folder):
    store = FeatureStore(folder)
    put(store, range(10))
    shutil.rmtree(folder)
    folder.touch()
    with pytest.warns(RuntimeWarning, match="Going on without it"):
        assert not assert_usable(store)


@contextmanager
def locked(file, mode="NORMAL"):
    """Another program writes, or holds the database for itself."""

    def lock(pipe):
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute(f"PRAGMA locking_mode = {mode}")
        connection.execute("BEGIN EXCLUSIVE")
        pipe.send("locked")
        pipe.recv()

    with child(lock) as (_, pipe):
        assert pipe.recv() == "locked"
        yield


@pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
def test_a_locked_file_is_waited_for_once_then_gone_without(folder, monkeypatch, mode):
    monkeypatch.setattr(database, "PATIENCE", 0.5)
    store = FeatureStore(folder)
    put(store, range(10))
    with locked(file_of(store), mode):
        start = time.monotonic()
        with pytest.warns(RuntimeWarning, match=r"cannot be used \(database is locked\)"):
            assert not put(store, range(10, 20))
        assert time.monotonic() - start > 0.4
        assert check(store, range(10)).all() == (mode == "NORMAL")
        assert store.claim("scope", digests([0])).all()
        start = time.monotonic()
        assert not put(store, range(10, 20))
        assert time.monotonic() - start < 0.4
    assert put(store, range(10, 20))
    assert check(store, range(20)).all()


def test_a_stopped_writer_stops_nobody_for_long(folder, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.3)
    store = FeatureStore(folder)

    def stop_while_writing(pipe):
        database = store._database
        database.write(lambda c: (pipe.send("writing"), os.kill(os.getpid(), signal.SIGSTOP)))

    put(store, [0])
    with child(stop_while_writing) as (_, pipe):
        assert pipe.recv() == "writing"
        with pytest.warns(RuntimeWarning, match="locked by another process"):
            assert not put(store, [1])
        check(store, [0])  # a miss
    assert put(store, [1])


def test_what_a_failed_put_counted_is_not_lost(folder, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    store = FeatureStore(folder)
    put(store, range(10))
    with locked(file_of(store)), pytest.warns(RuntimeWarning, match="locked"):
        put(store, range(10, 20))
    assert store.stats()["passes"] == 20
    store.close()
    assert in_child(lambda: FeatureStore(folder).stats()["passes"]) == 20


def test_an_interrupted_put_leaves_nothing_half_done(folder):
    store = FeatureStore(folder)

    def interrupt(connection):
        connection.execute("DELETE FROM rows")
        raise KeyboardInterrupt

    put(store, range(10))
    with pytest.raises(KeyboardInterrupt):
        store._database.write(interrupt)
    assert check(store, range(10)).all()
    assert put(store, range(10, 20))


def test_a_file_system_without_locks_grants_every_claim(folder, monkeypatch):
    store = FeatureStore(folder)
    monkeypatch.setattr("hybrid.store.leases._lock", fail_with(OSError(37, "No locks")))
    with pytest.warns(RuntimeWarning, match="No locks"):
        assert store.claim("scope", digests([1, 2])).all()
    store.release("scope", digests([1, 2]))
    assert not assert_usable(store)
