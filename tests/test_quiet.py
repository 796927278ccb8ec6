"""TensorFlow's start-up lines, and what must come through beside them; in processes of their own."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

CHATTER = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795643711.830775   23443 port.cc:153] oneDNN custom operations are on.",
    "I0000 00:00:1795643711.830807   23443 cudart_stub.cc:31] Could not find cuda drivers on your machine.",
    "W0000 00:00:1795643711.830807   23443 gpu_device.cc:2344] Cannot dlopen some GPU libraries.",
    "2026-01-31 12:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This binary is optimized",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.",
    "E0000 00:00:1795643719.857764   23443 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error",
]
REAL = "E0000 00:00:1795643719.857764   23443 op.cc:52] out of memory"


def stderr(program):
    code = f"import os, sys, threading\nfrom hybrid.engines.quiet import quiet\n{program}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def written(lines, then="pass"):
    text = "".join(f"{line}\n" for line in lines).encode()
    return f"with quiet():\n    os.write(2, {text!r})\n    {then}\n"


def test_start_up_lines_are_silent_and_others_are_not():
    assert stderr(written(CHATTER)) == ""
    assert stderr(written([*CHATTER, REAL, "WARNING: of the user"])) == f"{REAL}\nWARNING: of the user\n"


@pytest.mark.parametrize("end", ["raise ValueError('the end')", "os.abort()", "os._exit(1)"])
def test_what_was_written_before_an_error_or_a_crash_is_shown(end):
    assert "last words\n" in stderr(written([*CHATTER, "last words"], end))


def test_afterwards_stderr_is_as_it_was():
    program = written(CHATTER) * 3 + "sys.stderr.write('after')\nos.write(2, b'; I0000 1 a.cc:1] and last')"
    assert stderr(program) == "after; I0000 1 a.cc:1] and last"


def test_threads_may_be_inside_at_once():
    line = CHATTER[1].encode() + b"\n"
    program = f"""
first, second = threading.Event(), threading.Event()
def other():
    with quiet():
        first.set(); second.wait()
        os.write(2, {line!r})
    os.write(2, b"done")
thread = threading.Thread(target=other)
thread.start()
with quiet():
    first.wait()
second.set(); thread.join()
"""
    assert stderr(program) == "done"


def test_without_a_filter_nothing_is_hidden():
    program = "import hybrid.engines.quiet as module\nmodule.FILTER = ('absent-program',)\n" + written(
        CHATTER
    )
    assert stderr(program).splitlines() == CHATTER


@pytest.mark.skipif(not find_spec("tensorflow"), reason="needs TensorFlow")
def test_a_first_conversion_no_longer_prints_seven_lines(tmp_path):
    program = """
from hybrid import ResNetFeaturizer, load_sample
ResNetFeaturizer("efficientnet_lite0", image_size=64, store=None).fit_transform(load_sample(1)["image"][:1])
"""
    code = f"import os\nos.environ['HYBRID_STORE'] = {str(tmp_path)!r}\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
