"""Engines: what "auto" chooses, who shares what, what is kept on disk, and what damage does to it."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest

from hybrid.engines import conversions as converted
from hybrid.engines import drift, openvino, tensorflow
from hybrid.engines import opened as engines
from hybrid.engines.opened import open_engine, threads
from hybrid.sources.catalogue import find
from hybrid.sources.network import locate

PARTS = (("last", "avg"), ("stage3", "max"))
NETWORKS = {"tiny": ("tiny", "imagenet"), "openvino": ("mobilenet", None), "tensorflow": ("mobilenet", None)}


def network_for(engine, seed=0):
    name, weights = NETWORKS[engine]
    return locate(find(name), weights, seed, (32, 32), False)


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def opened(engine):
    return open_engine(network_for(engine), PARTS, engine, "float32")


def features(engine, batch):
    """Run one batch: a function of the module, so that worker processes find it."""
    ((first, _),) = opened(engine).run([batch])
    return first


@pytest.fixture
def fresh(monkeypatch):
    """No engine is open yet."""
    monkeypatch.setattr(engines, "_opened", type(engines._opened)())


@pytest.fixture
def empty_home(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def saved(own_home):
    """The folder of the small real network, converted."""
    opened("openvino")
    network = network_for("openvino")
    layers = openvino.kept_layers(network, PARTS)
    return own_home / "networks" / converted.identity(network, layers)


def python(code, **environment):
    """Run a program in a new process; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment,
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("asked", "expected"), [("", 4), ("1", 1), ("2,1", 2), ("9", 4), ("0", 4), ("many", 4)]
)
def test_threads_obey_joblib_and_openmp(monkeypatch, asked, expected):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads() == expected


# Who shares what


def test_threads_that_ask_for_the_same_engine_open_it_once(monkeypatch, fresh):
    count, load = [], engines.load
    monkeypatch.setattr(engines, "load", lambda *arguments: count.append(1) or load(*arguments))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(opened, ["tiny"] * 32))
    assert len(found) == len(count) == 1


def test_a_grid_over_networks_keeps_a_handful_open(fresh):
    for pixels in range(32, 64, 2):
        open_engine(locate(find("tiny"), "imagenet", None, (pixels, pixels), False), PARTS, "tiny", "float32")
    assert len(engines._opened) == engines.KEPT


def test_another_limit_of_threads_is_another_engine(monkeypatch, fresh):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    one = opened("tiny")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    assert opened("tiny") is not one


# Running


@pytest.mark.parametrize("engine", NETWORKS)
def test_run_pulls_only_a_little_ahead_and_keeps_order(engine):
    pulled = []

    def batches():
        for i in range(40):
            pulled.append(i)
            yield images(2, seed=i)

    streams = opened(engine).run(batches())
    assert pulled == []
    ahead = 0
    for i, (rows, _) in enumerate(streams):
        ahead = max(ahead, len(pulled) - i)
        if i % 13 == 0:
            np.testing.assert_allclose(rows, features(engine, images(2, seed=i)), rtol=1e-4, atol=1e-4)
    assert len(pulled) == 40
    assert ahead <= 2 + openvino.REQUESTS_A_STREAM * threads()


@pytest.mark.parametrize("engine", NETWORKS)
def test_an_error_in_the_batches_comes_through_and_leaves_the_engine_usable(engine):
    def batches():
        yield images(5)
        raise OSError("the disk is gone")

    before = features(engine, images(3))
    with pytest.raises(OSError, match="the disk is gone"):
        list(opened(engine).run(batches()))
    half = opened(engine).run(images(2, seed=i) for i in range(9))
    next(half)
    half.close()
    np.testing.assert_array_equal(features(engine, images(3)), before)


@pytest.mark.parametrize("engine", NETWORKS)
def test_threads_may_run_one_engine_at_a_time(engine):
    expected = [features(engine, images(5, seed=i)) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda i: features(engine, images(5, seed=i)), range(6)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.max(expected))


@pytest.mark.parametrize("engine", NETWORKS)
def test_two_runs_in_one_thread_do_not_wait_for_each_other(engine):
    one, two = (opened(engine).run(images(3, seed=i) for i in range(4)) for _ in range(2))
    for (a, _), (b, _) in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine", NETWORKS)
@pytest.mark.parametrize(
    ("part", "message"),
    [
        (("stage9", "avg"), "Got layers='stage9'"),
        (("last", None), "Layer .* gives maps, so that it needs a pooling"),
    ],
)
def test_a_part_that_is_not_there_is_refused(engine, part, message):
    with pytest.raises(ValueError, match=message):
        open_engine(network_for(engine), [part], engine, "float32")


@pytest.mark.parametrize("engine", ["tiny", "openvino"])
def test_loky_spawn_and_threads_give_the_same_rows(engine, saved):
    batches = [images(3, seed=i) for i in range(4)]
    expected = [features(engine, batch) for batch in batches]
    calls = [joblib.delayed(features)(engine, batch) for batch in batches]
    found = {
        backend: joblib.Parallel(2, backend=backend, timeout=300)(calls) for backend in ("loky", "threading")
    }
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found["spawn"] = pool.starmap_async(features, [(engine, batch) for batch in batches]).get(300)
    for name, rows in found.items():
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6 * np.max(expected), err_msg=name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_is_refused_where_it_would_hang(saved):
    printed = python(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        from test_engines import features, images, network_for, opened
        from hybrid.engines.choose import choose
        choose(network_for("openvino"))
        def in_child(function):
            pid = os.fork()
            if pid == 0:
                try:
                    function()
                    print("fine", flush=True)
                except RuntimeError as exc:
                    print(exc, flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
        in_child(lambda: features("openvino", images(3)))
        features("openvino", images(3)), features("tiny", images(3))
        in_child(lambda: features("tiny", images(3)))
        in_child(lambda: features("openvino", images(3)))
        """
    ).splitlines()
    assert printed[:2] == ["fine", "fine"]
    assert "use before this process was forked" in printed[2]


# What is kept on disk


def test_a_second_process_needs_no_tensorflow(saved):
    printed = python(
        """
        import sys
        sys.modules["tensorflow"] = sys.modules["keras"] = None
        from test_engines import features, images
        print(features("openvino", images(2)).shape)
        """
    )
    assert printed == "(2, 1024)"


def test_openvino_sends_nothing_to_anyone(saved):
    printed = python(
        """
        import sys
        from test_engines import features, images
        features("openvino", images(2))
        import openvino.tools.ovc.convert_impl
        print([name for name, module in sys.modules.items() if "openvino_telemetry" in name and module])
        """
    )
    assert printed == "[]"


def test_a_first_conversion_needs_tensorflow(empty_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        ValueError, match="has not been converted on this machine yet, and that needs TensorFlow"
    ):
        opened("openvino")


def test_only_the_user_can_read_what_is_kept(saved):
    modes = {path.name: path.stat().st_mode & 0o777 for path in (saved, *saved.iterdir())}
    assert modes == {saved.name: 0o700} | dict.fromkeys(
        (converted.MODEL, converted.WEIGHTS, converted.DIGESTS), 0o600
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [converted.MODEL, converted.WEIGHTS, converted.DIGESTS])
@pytest.mark.parametrize("damage", [cut, flip, os.unlink])
def test_a_damaged_network_is_converted_again(saved, fresh, monkeypatch, damage, name):
    content = {path: path.read_bytes() for path in saved.iterdir()}
    model = openvino.core().read_model(content[saved / converted.MODEL], content[saved / converted.WEIGHTS])
    expected = features("openvino", images(2))
    conversions = []
    monkeypatch.setattr(openvino, "convert", lambda *arguments: conversions.append(1) or model.clone())
    engines._opened.clear()
    damage(saved / name)
    for _ in range(2):
        engines._opened.clear()
        np.testing.assert_array_equal(features("openvino", images(2)), expected)
    assert conversions == [1]
    assert [path.name for path in saved.parent.glob(".*")] == []


def test_a_full_disk_means_a_warning_and_the_right_rows(saved, tmp_path):
    printed = python(
        """
        import os, resource, sys, warnings
        import numpy as np
        from test_engines import features, images, openvino
        expected = features("openvino", images(2))
        model = openvino.conversions.read(openvino.core(), sys.argv[1])
        openvino.convert = lambda *arguments: model
        """.replace("sys.argv[1]", repr(saved.name))
        + f"""
        os.environ["HYBRID_STORE"] = {str(tmp_path)!r}
        from hybrid.engines import opened as engines
        engines._opened.clear()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = features("openvino", images(2))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(np.array_equal(found, expected), [str(warning.message) for warning in caught])
        """
    )
    assert printed.startswith("True ['Cannot keep the converted network in")
    assert list((tmp_path / "networks").iterdir()) == []


def test_a_home_that_cannot_be_written_means_a_warning(saved, empty_home, monkeypatch):
    model = openvino.core().read_model(saved / converted.MODEL)
    monkeypatch.setattr(openvino, "convert", lambda *arguments: model)
    empty_home.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="Cannot keep the converted network in .* HYBRID_STORE"):
        assert features("openvino", images(2)).shape == (2, 1024)


def test_processes_that_convert_at_once_leave_one_sound_network(saved, empty_home, monkeypatch):
    core, model = openvino.core(), openvino.core().read_model(saved / converted.MODEL)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: converted.keep(core, "key", model.clone()), range(12)))
    assert converted.read(core, "key") is not None
    assert [path.name for path in converted.networks_folder().iterdir()] == ["key"]


def test_what_a_killed_process_left_behind_is_swept_up(saved, empty_home):
    left = converted.networks_folder() / ".left"
    left.mkdir(parents=True)
    (left / converted.WEIGHTS).write_bytes(b"half")
    os.utime(left, (0, 0))
    core = openvino.core()
    converted.keep(core, "key", core.read_model(saved / converted.MODEL))
    assert [path.name for path in converted.networks_folder().iterdir()] == ["key"]


# Drift and int8


class Stub:
    """An engine whose rows are another's, bent by some noise."""

    name, precision = "stub", "bfloat16"

    def __init__(self, noise):
        self.noise = noise

    def run(self, batches):
        for batch in batches:
            noise = np.random.default_rng(1).normal(0, self.noise, (len(batch), 48)).astype(np.float32)
            yield [batch.reshape(len(batch), -1)[:, :48] / np.float32(255) + noise]


def test_drift_is_the_cosine_to_float32_measured_once(empty_home):
    network, parts = network_for("tiny"), (("last", "avg"),)
    runs = []
    exact = lambda: runs.append(1) or Stub(0)  # noqa: E731
    found = [drift.measure(network, parts, Stub(0.01), exact) for _ in range(3)]
    assert 0.99 < found[0] < 1
    assert found == found[:1] * 3
    assert runs == [1]
    (path,) = converted.networks_folder().iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("damaged")
    assert drift.measure(network, parts, Stub(0.01), exact) == found[0]


def test_drift_counts_zero_rows_as_alike_and_opposite_ones_as_unlike():
    zeros, ones = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    assert drift.cosine(zeros, zeros) == 1
    assert drift.cosine(zeros, ones) == 0
    assert drift.cosine(ones, -ones) == pytest.approx(-1)


def test_a_precision_that_changes_nothing_is_no_such_precision(empty_home):
    with pytest.raises(ValueError, match="Engine 'stub' ignored precision='bfloat16' on this processor"):
        drift.measure(network_for("tiny"), PARTS[:1], Stub(0), lambda: Stub(0))


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_bfloat16_is_announced_with_its_drift_or_refused(saved, fresh, engine):
    native = {
        "openvino": openvino.has_bfloat16(),
        "tensorflow": tensorflow.processor_flags() & tensorflow.NATIVE,
    }
    if native[engine]:
        assert 0.99 < open_engine(network_for(engine), PARTS, engine, "bfloat16").drift < 1
    elif not tensorflow.processor_flags() & tensorflow.EMULATED:
        with pytest.raises(ValueError, match=f"'{engine}' ignored precision='bfloat16' on this processor"):
            open_engine(network_for(engine), PARTS, engine, "bfloat16")


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "Precision 'int8' needs calibration images"),
        ("0123", "No network calibrated by images '0123' is kept"),
        (images(4)[:, ::2], r"Got calibration images of shape \(4, 16, 32, 3\) and uint8, but expected"),
        (images(4), "needs NNCF: pip install"),
    ],
)
def test_int8_says_what_it_lacks(saved, monkeypatch, calibration, message):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ValueError, match=message):
        open_engine(network_for("openvino"), PARTS, "openvino", "int8", calibration)


def test_int8_is_calibrated_once(saved, fresh, monkeypatch):
    pytest.importorskip("nncf")
    network, calibration = network_for("openvino"), images(16)
    first = open_engine(network, PARTS, "openvino", "int8", calibration)
    ((rows, _),) = first.run([images(4)])
    engines._opened.clear()
    monkeypatch.setitem(sys.modules, "nncf", None)
    again = open_engine(network, PARTS, "openvino", "int8", engines.calibration_digest(calibration))
    np.testing.assert_array_equal(next(again.run([images(4)]))[0], rows)
    assert 0.9 < again.drift == first.drift < 1


def test_the_users_tensorflow_keeps_its_settings():
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    opened("tensorflow")
    assert tf.config.optimizer.get_experimental_options() == before
    assert tf.executing_eagerly()


def test_an_engine_opens_inside_anothers_graph_and_policy(fresh):
    import keras
    import tensorflow as tf

    expected = features("tensorflow", images(2))
    engines._opened.clear()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with tf.Graph().as_default():
            found = features("tensorflow", images(2))
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
