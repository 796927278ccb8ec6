"""A list of images in, parts of their features out: on a cluster of two processes, some of which die."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import clusters
import dask
import fsspec
import joblib
import numpy as np
import pandas as pd
import psutil
import pyarrow
import pyarrow.parquet
import pytest
from awkward import awkward
from clusters import DEADLY, SLOW, folder, picture
from typer.testing import CliRunner

from hybrid import ResNetFeaturizer
from hybrid.cli import app
from hybrid.cluster.client import connected
from hybrid.cluster.dataset import ERRORS, MANIFEST, Ledger
from hybrid.cluster.driver import POISON, featurize
from hybrid.cluster.flow import flow
from hybrid.cluster.load import read_listing
from hybrid.cluster.work import Task, write_part
from hybrid.datasets.tables import load_table
from hybrid.spelling import spelt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")


@pytest.fixture(scope="module")
def buckets(tmp_path_factory):
    """A folder whose folders are buckets."""
    root = tmp_path_factory.mktemp("buckets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUCKETS", str(root))
        fsspec.register_implementation("s3", clusters.Bucket, clobber=True)
        yield root


@pytest.fixture(scope="module")
def client(buckets):
    """Two worker processes, which die of some pictures."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), connected(workers=2) as found:
        found.register_plugin(clusters.Hooks(buckets))
        yield found


@pytest.fixture
def write(client, tmp_path):
    """Write parts of the tiny network's features into one folder."""

    def write(data, part_size=16, **options):
        params = {"backbone": "tiny"} | options
        return featurize(data, tmp_path / "out", client, part_size, **params)

    return write


def parts(out):
    return sorted(Path(out).glob("part-*.parquet"))


def read(out):
    return pd.concat([pd.read_parquet(path) for path in parts(out)], ignore_index=True)


def features(frame):
    return np.stack(frame["features"])


def local(images, **params):
    return ResNetFeaturizer(**{"backbone": "tiny", "store": None} | params).fit_transform(images)


def check(out, images):
    """Every image is in exactly one part or among the errors, and each row is the local featurizer's."""
    frame, failed = read(out), []
    if Path(out, ERRORS).exists():
        failed = pd.read_parquet(Path(out, ERRORS))["path"].tolist()
    assert sorted([*frame["path"], *failed]) == sorted(map(spelt, images))
    good = [image for image in images if spelt(image) not in failed]
    assert frame["path"].tolist() == [spelt(image) for image in good]
    np.testing.assert_array_equal(features(frame), local(good))
    return frame, failed


def test_the_rows_are_those_of_a_local_featurizer(write, tmp_path):
    images = folder(tmp_path / "images", 40)
    found = write(tmp_path / "images")
    assert {key: found[key] for key in ("rows", "errors", "features", "parts", "made")} == {
        "rows": 40, "errors": 0, "features": 64, "parts": 3, "made": 3,
    }  # fmt: skip
    frame, _ = check(tmp_path / "out", images)
    assert frame.columns.tolist() == ["path", "digest", "label", "features"]
    assert frame["label"].tolist() == [Path(path).parent.name for path in images]
    digests = [hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest() for path in images]
    assert frame["digest"].tolist() == digests


def test_the_manifest_says_what_the_features_are(write, tmp_path):
    folder(tmp_path / "images", 20)
    write(tmp_path / "images", layers=["stage1", "last"], pooling=["avg", "max"])
    said = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert said["complete"]
    assert (said["rows"], said["errors"], said["recipe"]["precision"]) == (20, 0, "float32")
    assert [(one["layer"], one["pooling"]) for one in said["features"]] == [
        ("stage1", "avg"), ("stage1", "max"), ("last", "avg"), ("last", "max"),
    ]  # fmt: skip
    assert sum(one["width"] for one in said["features"]) == features(read(tmp_path / "out")).shape[1]
    assert [(one["file"], one["rows"]) for one in said["parts"]] == [
        ("part-00000000.parquet", 16),
        ("part-00000001.parquet", 4),
    ]


def test_a_real_network_gives_the_same_rows(client, tmp_path):
    images = folder(tmp_path / "images", 24)
    network = {"backbone": "efficientnet_lite0", "layers": ["stage2", "last"]}
    featurize(tmp_path / "images", tmp_path / "out", client, 8, **network)
    expected = local(images, **network)
    np.testing.assert_allclose(features(read(tmp_path / "out")), expected, rtol=1e-4, atol=1e-5)


def test_pandas_polars_duckdb_and_dask_read_the_parts(write, tmp_path):
    import dask.dataframe
    import duckdb
    import polars

    images = folder(tmp_path / "images", 20)
    (tmp_path / "images/class 0/broken.png").write_bytes(b"none")
    write(tmp_path / "images")
    out, expected = str(tmp_path / "out"), local(images)
    glob = f"{out}/part-*.parquet"
    np.testing.assert_array_equal(features(pd.read_parquet(out)), expected)
    np.testing.assert_array_equal(np.stack(polars.read_parquet(glob)["features"].to_list()), expected)
    rows = duckdb.sql(f"select features from '{glob}' order by path").fetchall()
    np.testing.assert_array_equal(np.array([row for (row,) in rows], np.float32), expected)
    np.testing.assert_array_equal(features(dask.dataframe.read_parquet(glob).compute()), expected)


def test_a_worker_that_is_killed_costs_no_row_and_no_row_comes_twice(client, write, tmp_path):
    images = folder(tmp_path / "images", 120, SLOW)
    stop = threading.Event()

    def kill():
        while not stop.is_set() and len(parts(tmp_path / "out")) < 2:
            time.sleep(0.02)
        os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert write(tmp_path / "images")["rows"] == 120
    finally:
        stop.set()
        killer.join()
    check(tmp_path / "out", images)


@contextmanager
def killing(client, seed):
    """Kill one worker after another meanwhile, at random times once both are there; hand out the list of those."""
    stop, random, killed = threading.Event(), np.random.default_rng(seed), []

    def kill():
        while not stop.wait(random.uniform(0.5, 4)):
            with suppress(Exception):
                client.wait_for_workers(2, timeout=30)
                killed.append(random.choice(sorted(client.run(os.getpid, on_error="ignore").values())))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        stop.set()
        killer.join()


@pytest.mark.parametrize("seconds", [4, pytest.param(600, marks=pytest.mark.soak)])
def test_whatever_workers_are_killed_nothing_is_lost_and_nothing_comes_twice(client, tmp_path, seconds):
    seed = int(os.environ.get("HYBRID_SEED", time.time_ns() % 10**6))
    print(f"\nworkers killed for {seconds} s, HYBRID_SEED={seed}", flush=True)
    images = folder(tmp_path / "images", 120, SLOW)
    bad = [images[20], images[100]]
    picture(bad[0], 0, DEADLY)
    Path(bad[1]).write_bytes(b"none")
    end, memory = time.monotonic() + seconds, []
    with killing(client, seed) as killed:
        while time.monotonic() < end or not memory:
            out = tmp_path / f"out {len(memory)}"
            featurize(tmp_path / "images", out, client, 25, backbone="tiny")
            assert check(out, images)[1] == bad
            # A worker that was given up may still write its part, the same as the one that is there.
            shutil.rmtree(out, ignore_errors=True)
            memory.append(psutil.Process().memory_info().rss >> 20)
    print(f"{len(killed)} killed, {len(memory)} rounds, driver {memory[0]} to {memory[-1]} MB", flush=True)
    assert max(memory) < memory[len(memory) // 4] + 64


def test_a_driver_that_is_killed_is_followed_by_one_that_makes_the_rest(write, tmp_path):
    images, out = folder(tmp_path / "images", 90), tmp_path / "out"
    program = (
        "import sys\nfrom hybrid.cluster import dataset, featurize\n"
        "import os, signal\n"
        "add = dataset.Ledger.add\n"
        "def die(self, number, said):\n"
        "    add(self, number, said)\n"
        "    if len(self.parts) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "dataset.Ledger.add = die\n"
        "if __name__ == '__main__':\n"
        f"    featurize({str(tmp_path / 'images')!r}, {str(out)!r}, None, 16, workers=1, backbone='tiny')\n"
    )
    (tmp_path / "driver.py").write_text(program)
    assert subprocess.run([sys.executable, tmp_path / "driver.py"]).returncode == -signal.SIGKILL
    assert not json.loads((out / MANIFEST).read_text())["complete"]
    # What its workers still had in their hands.
    time.sleep(1)
    before = {path: path.stat().st_mtime_ns for path in parts(out)}
    assert len(before) >= 2
    found = write(tmp_path / "images")
    assert found["parts"] == 6
    assert found["made"] == 6 - len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    check(out, images)


def test_pictures_that_kill_their_worker_cost_only_themselves(write, tmp_path):
    images = folder(tmp_path / "images", 24)
    picture(images[5], 5, DEADLY)
    assert write(tmp_path / "images", part_size=12)["errors"] == 1
    _, failed = check(tmp_path / "out", images)
    assert failed == [images[5]]
    assert pd.read_parquet(tmp_path / "out" / ERRORS)["reason"].tolist() == [POISON]
    assert write(tmp_path / "images", part_size=12)["made"] == 0


def test_images_that_cannot_be_read_are_listed_with_their_reasons(write, tmp_path):
    images = folder(tmp_path / "images", 20)
    Path(images[3]).write_bytes(b"no picture")
    os.truncate(images[9], 60)
    table = pd.DataFrame({"path": [*images, "gone.png"], "patient": range(21)})
    table.to_csv(tmp_path / "list.csv", index=False)
    found = write(tmp_path / "list.csv")
    assert (found["rows"], found["errors"]) == (18, 3)
    frame, failed = check(tmp_path / "out", [*images, str(tmp_path / "gone.png")])
    assert failed == [images[3], images[9], str(tmp_path / "gone.png")]
    reasons = pd.read_parquet(tmp_path / "out" / ERRORS)["reason"].tolist()
    assert "not an image in a known format" in reasons[0]
    assert reasons[2] == "no such file"
    assert frame["patient"].tolist() == [str(i) for i in range(20) if i not in (3, 9)]


def test_images_that_are_mended_are_tried_again_where_their_part_is_removed(write, tmp_path):
    images = folder(tmp_path / "images", 20)
    good = Path(images[3]).read_bytes()
    Path(images[3]).write_bytes(b"none")
    write(tmp_path / "images")
    Path(images[3]).write_bytes(good)
    (part,) = pd.read_parquet(tmp_path / "out" / ERRORS)["part"]
    (tmp_path / "out" / part).unlink()
    assert write(tmp_path / "images")["errors"] == 0
    assert check(tmp_path / "out", images)[1] == []
    assert not (tmp_path / "out" / ERRORS).exists()


def test_what_an_earlier_driver_left_at_work_writes_no_part(write, tmp_path):
    folder(tmp_path / "images", 20)
    write(tmp_path / "images")
    (part, *_), said = parts(tmp_path / "out"), json.loads((tmp_path / "out" / MANIFEST).read_text())
    before = part.stat().st_mtime_ns
    task = Task(str(tmp_path / "out"), said["identity"], {}, (), run="of the earlier driver")
    with pytest.raises(ValueError, match="is not there as the driver made it"):
        write_part(pyarrow.parquet.read_table(part), [], 0, "", task)
    assert part.stat().st_mtime_ns == before
    assert not list((tmp_path / "out").glob(".part-*"))


def test_workers_leave_the_threads_of_this_process_alone(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with connected(workers=1) as found:
        assert set(found.run(os.getenv, "OMP_NUM_THREADS").values()) == {str(joblib.cpu_count())}
        assert "OMP_NUM_THREADS" not in os.environ
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_url_is_no_folder_for_parts(tmp_path):
    with pytest.raises(ValueError, match="expected a folder that all workers share, no URL"):
        featurize("sample", "s3://bucket/features/", backbone="tiny")


def test_a_part_without_a_good_image_is_a_part(write, tmp_path):
    picture(tmp_path / "images/a/good.png", 0)
    for i in range(3):
        (tmp_path / f"images/a/bad{i}.png").write_bytes(b"none")
    assert write(tmp_path / "images", part_size=3)["rows"] == 1
    assert [len(pd.read_parquet(path)) for path in parts(tmp_path / "out")] == [0, 1]
    assert features(pd.read_parquet(tmp_path / "out")).shape == (1, 64)


def test_a_damaged_part_is_made_anew(write, tmp_path):
    images = folder(tmp_path / "images", 20)
    write(tmp_path / "images")
    os.truncate(parts(tmp_path / "out")[0], 100)
    assert write(tmp_path / "images")["made"] == 1
    check(tmp_path / "out", images)


def test_a_second_driver_is_refused(write, tmp_path, monkeypatch):
    folder(tmp_path / "images", 20)
    add, met = Ledger.add, []

    def second(self, number, said):
        add(self, number, said)
        with pytest.raises(ValueError, match=r"Another process is writing parts into .*out"):
            write(tmp_path / "images")
        met.append(number)

    monkeypatch.setattr(Ledger, "add", second)
    write(tmp_path / "images")
    assert len(met) == 2


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        (
            {"pooling": "max"},
            r"holds other features: layers .*'avg'.* there, .*'max'.* here\. Choose another",
        ),
        ({"image_size": 48}, r"size \[32, 32\] there, \[48, 48\] here"),
        ({"part_size": 8}, "part_size 16 there, 8 here"),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused(write, tmp_path, changed, match):
    folder(tmp_path / "images", 4)
    write(tmp_path / "images")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match=match):
        write(tmp_path / "images", **changed)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_another_list_in_the_same_folder_is_refused(write, tmp_path):
    images = folder(tmp_path / "images", 33)
    write(tmp_path / "images")
    with pytest.raises(ValueError, match=r"source '.*images' there, '.*other' here"):
        write(folder(tmp_path / "other", 3) and tmp_path / "other")
    Path(images[-1]).unlink()
    with pytest.raises(ValueError, match=r"holds 1 parts of a longer list, such as 'part-00000002\.parquet'"):
        write(tmp_path / "images")
    Path(images[0]).unlink()
    with pytest.raises(ValueError, match=r"part-00000000.* was made of other images than rows 0 to 15"):
        write(tmp_path / "images")


def test_a_folder_of_other_things_is_refused(write, tmp_path):
    folder(tmp_path / "images", 3)
    picture(tmp_path / "out/mine.png", 0)
    with pytest.raises(ValueError, match=r"holds 1 files, such as 'mine\.png', but no _manifest\.json"):
        write(tmp_path / "images")
    assert os.listdir(tmp_path / "out") == ["mine.png"]


def test_awkward_names_come_back(write, tmp_path):
    (tmp_path / "images").mkdir()
    frame = awkward(tmp_path / "images").astype(object)
    if sys.platform == "linux":
        odd = picture(os.fsdecode(os.fsencode(tmp_path / "images") + b"/caf\xe9.png"), 1)
        more = pd.DataFrame({"image": [str(odd)], "label": ["=cmd()"]}, dtype=object)
        frame = pd.concat([frame, more], ignore_index=True)
    write(frame)
    found, _ = check(tmp_path / "out", frame["image"].tolist())
    assert found["label"].tolist() == frame["label"].tolist()
    again = pd.concat([load_table(path) for path in parts(tmp_path / "out")])
    assert again["image"].tolist() == frame["image"].tolist()


@pytest.mark.parametrize("wrapped", [False, True])
def test_images_inside_a_parquet_file_are_read_by_the_workers(write, tmp_path, wrapped):
    raw = [Path(path).read_bytes() for path in folder(tmp_path / "images", 40)]
    cells = [{"bytes": one, "path": None} for one in raw] if wrapped else raw
    table = pd.DataFrame({"image": cells, "label": range(40), "who": [f"p{i}" for i in range(40)]})
    table.to_parquet(tmp_path / "list.parquet", row_group_size=13)
    listing = read_listing(tmp_path / "list.parquet")
    assert not any(isinstance(part.images, list) for part in listing.parts(16))
    write(tmp_path / "list.parquet")
    frame = read(tmp_path / "out")
    np.testing.assert_array_equal(features(frame), local(raw))
    assert frame["path"].tolist() == [f"#{i}" for i in range(40)]
    assert frame["label"].tolist() == list(range(40))
    assert frame["who"].tolist() == table["who"].tolist()


def test_a_prefix_of_an_object_store_is_walked_like_a_folder(write, buckets, tmp_path):
    images = folder(buckets / "shop/photos", 20)
    found = write("s3://shop/photos/")
    assert found["rows"] == 20
    frame = read(tmp_path / "out")
    assert frame["path"].tolist() == [f"s3://{Path(path).relative_to(buckets)}" for path in images]
    assert frame["label"].tolist() == [Path(path).parent.name for path in images]
    np.testing.assert_array_equal(features(frame), local(images))


def test_urls_of_a_list_are_fetched_only_where_that_was_asked_for(write, buckets, tmp_path):
    picture(buckets / "shop/one.png", 0)
    frame = pd.DataFrame({"image": ["s3://shop/one.png"], "label": ["a"]})
    with pytest.raises(
        ValueError, match=r"found URLs, which are fetched only with urls=True.*row 0: s3://shop"
    ):
        write(frame)
    assert write(frame, urls=True)["rows"] == 1


def test_a_long_parquet_list_is_never_held_as_a_whole(tmp_path):
    rows = 400_000
    paths = pyarrow.array([f"a folder with a long name/{i:040d}.jpg" for i in range(rows)])
    pyarrow.parquet.write_table(
        pyarrow.table({"image": paths}), tmp_path / "list.parquet", row_group_size=10_000
    )
    whole, most, count = paths.nbytes, 0, 0
    del paths
    before = pyarrow.total_allocated_bytes()
    for part in read_listing(tmp_path / "list.parquet").parts(3000):
        count += len(part.images)
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert count == rows
    assert most < whole / 4


def test_a_folder_is_walked_as_far_as_its_parts_are_asked_for(tmp_path, monkeypatch):
    folder(tmp_path / "images", 60)
    listing = read_listing(tmp_path / "images")
    asked, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: asked.append(os.path.basename(path)) or scan(path))
    found = listing.parts(16)
    assert [next(found).about["label"][0].as_py() for _ in range(2)] == ["class 0", "class 0"]
    assert asked == ["class 0", "class 1"]


def test_a_table_needs_no_labels_and_keeps_what_else_it_has(tmp_path):
    (tmp_path / "list.csv").write_text("file;who\na.png;007\n;\n")
    listing = read_listing(tmp_path / "list.csv")
    (part,) = listing.parts(10)
    assert part.images == [str(tmp_path / "a.png"), None]
    assert part.paths() == [str(tmp_path / "a.png"), "#1"]
    assert part.about.to_pylist() == [{"who": "007"}, {"who": ""}]
    (tmp_path / "bad.csv").write_text("file,path\na.png,b\n")
    with pytest.raises(ValueError, match="Expected one column called image"):
        read_listing(tmp_path / "bad.csv")
    with pytest.raises(ValueError, match=r"Got columns called 'path', but parts have a path, a digest"):
        read_listing(tmp_path / "bad.csv", image="file")


def test_memory_holds_no_more_of_a_long_list_than_some_parts(client):
    taken = []

    def calls():
        for i in range(60):
            taken.append(i)
            yield (i,)

    done = 0
    for _, future in flow(client, abs, calls()):
        future.result()
        done += 1
        assert len(taken) - done < 2 * sum(client.nthreads().values())
    assert done == 60


def test_a_worker_that_reads_another_recipe_is_refused(tmp_path):
    task = Task(str(tmp_path), "", ResNetFeaturizer("tiny").get_params(), ('{"backbone": "tiny"}',), "")
    with pytest.raises(ValueError, match="reads another recipe than the driver"):
        task.recipe()


@pytest.mark.parametrize("package", ["distributed", "pyarrow"])
def test_without_the_extra_its_name_is_told(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'hybrid-features\[cluster\]'"):
        featurize("sample", tmp_path / "out", backbone="tiny")


def test_a_scheduler_that_is_not_there_is_told_and_so_are_absent_certificates(monkeypatch):
    with (
        pytest.raises(ValueError, match=r"HYBRID_TLS_CA and HYBRID_TLS_CERT and HYBRID_TLS_KEY name none"),
        connected(scheduler="tls://127.0.0.1:1"),
    ):
        pass
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ValueError, match=r"Cannot reach the scheduler at 'tcp://127\.0\.0\.1:1'"),
        connected(scheduler="tcp://127.0.0.1:1"),
    ):
        pass


def test_the_command_writes_parts_into_a_folder(tmp_path):
    images = folder(tmp_path / "images", 5)
    Path(images[0]).write_bytes(b"none")
    arguments = ["featurize", str(tmp_path / "images"), "-o", f"{tmp_path}/out/", "--backbone", "tiny"]
    told = CliRunner().invoke(app, [*arguments, "--workers", "1", "--json"])
    assert (told.exit_code, json.loads(told.stdout)["rows"]) == (0, 4)
    assert "1 images could not be read: see" in told.stderr
    check(tmp_path / "out", images)
    # The same command without workers: the folder is there.
    assert (
        json.loads(CliRunner().invoke(app, [*arguments[:-2], "--backbone", "tiny", "--json"]).stdout)["made"]
        == 0
    )
