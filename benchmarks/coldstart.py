"""From process start to a printed class: `hybrid.tasks.predict` on a bundle against a Keras script, in one run."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.featurize import save_weights
from benchmarks.machine import line
from benchmarks.photos import jpegs

KERAS_SCRIPT = """
import sys, keras
from keras.applications.resnet50 import ResNet50, preprocess_input
model = ResNet50(weights=sys.argv[1], include_top=False, pooling="avg")
image = keras.utils.img_to_array(keras.utils.load_img(sys.argv[2], target_size=(224, 224)))
print(model.predict(preprocess_input(image[None]), verbose=0).argmax())
"""
SKLEARN = (
    "from hybrid.tasks.predict import spare_pandas; spare_pandas(); import sklearn.pipeline, sklearn.svm"
)
SKOPS = f"{SKLEARN}; import skops.io"


def main(argv):
    """Print the ratio, and what is left of ours."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks coldstart")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    print(line())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYBRID_STORE"] = str(Path(folder, "training"))
        weights = save_weights(folder)
        (photos := Path(folder, "photos")).mkdir()
        paths = jpegs(8, photos)
        bundle = make_bundle(folder, weights, paths)
        commands = {
            "keras": ["-c", KERAS_SCRIPT, weights, paths[0]],
            "hybrid": ["-m", "hybrid.cli", "predict", bundle, paths[0]],
            "python": ["-c", "import hybrid.tasks.predict"],
            "sklearn": ["-c", SKLEARN],
            "skops": ["-c", SKOPS],
        }
        # Round by round, so that a busy minute hits them alike.
        rounds = [
            {name: seconds(args, folder, i) for name, args in commands.items()} for i in range(options.rounds)
        ]
        report(rounds, os.path.getsize(bundle))


def make_bundle(folder, weights, paths) -> str:
    """Save a fitted pipeline with its network inside."""
    from hybrid import build_pipeline, save

    model = build_pipeline("svm", weights=weights).fit(paths, [i % 2 for i in range(len(paths))])
    return str(save(model, Path(folder, "model.hybrid"), include_network=True))


def seconds(args, folder, i) -> float:
    """Time a process of its own, which finds no store and no converted network."""
    environment = os.environ | {"HYBRID_STORE": str(Path(folder, f"home{i}"))}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *args], env=environment, capture_output=True, text=True, check=False
    )
    passed = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr)
    return passed


def report(rounds, size):
    median = {name: statistics.median(round[name] for round in rounds) for name in rounds[0]}
    ratio = statistics.median(round["keras"] / round["hybrid"] for round in rounds)
    sklearn, skops = median["sklearn"] - median["python"], median["skops"] - median["sklearn"]
    print(f"ResNet50, one image, process start to answer; medians of {len(rounds)} rounds")
    print(f"  Keras script:   {median['keras']:.2f} s")
    print(
        f"  hybrid predict: {median['hybrid']:.2f} s, from a bundle of {size / 1e6:.0f} MB with its network inside"
    )
    print(f"  ratio:          {ratio:.1f}x sooner")
    print(
        f"  of ours, importing scikit-learn takes {sklearn:.2f} s, and all of it, for skops, {skops:.2f} s more"
    )
