"""JPEG files to ResNet50 features, against the script one would write with Keras, both in one run."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import line
from benchmarks.photos import jpegs

KERAS_SCRIPT = """
import sys, time, numpy as np, keras
from keras.applications.resnet50 import ResNet50, preprocess_input
model = ResNet50(weights=sys.argv[1], include_top=False, pooling="avg")
def features(paths):
    rows = []
    for start in range(0, len(paths), 32):
        batch = [keras.utils.load_img(path, target_size=(224, 224)) for path in paths[start:start + 32]]
        images = [keras.utils.img_to_array(image) for image in batch]
        rows.append(model.predict(preprocess_input(np.stack(images)), verbose=0))
    return np.concatenate(rows)
"""
FIRST_KERAS = KERAS_SCRIPT + "features(sys.argv[2:3])\n"
FIRST_HYBRID = """
import sys
from hybrid import ResNetFeaturizer
ResNetFeaturizer("resnet50", weights=sys.argv[1], store=None).fit_transform(sys.argv[2:3])
"""
MEMORY = """
import re, sys
from hybrid import ResNetFeaturizer
from pathlib import Path
paths = sorted(map(str, Path(sys.argv[2]).iterdir()))
paths = (paths * (int(sys.argv[3]) // len(paths) + 1))[:int(sys.argv[3])]
ResNetFeaturizer("resnet50", weights=sys.argv[1], image_size=32, store=None).fit_transform(paths)
# Not getrusage: its peak is handed on by the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def main(argv):
    """Print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks featurize")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--memory-images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    print(line())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYBRID_STORE"] = folder
        photos = Path(folder) / "photos"
        photos.mkdir()
        paths = jpegs(options.images, photos)
        weights = save_weights(folder)
        rates(weights, paths, options.rounds)
        first_vector(weights, paths, options.rounds)
        memory(weights, photos, options.memory_images)


def save_weights(folder):
    """ResNet50 with seeded weights in a file that Keras reads as well."""
    from hybrid.sources.catalogue import find
    from hybrid.sources.network import headless, locate

    path = str(Path(folder) / "resnet50.weights.h5")
    record = find("resnet50")
    headless(locate(record, None, 0, record.size, False)).save_weights(path)
    return path


def rates(weights, paths, rounds):
    from hybrid import ResNetFeaturizer

    scope = {}
    sys_argv, sys.argv = sys.argv, ["keras", weights]
    exec(KERAS_SCRIPT, scope)
    sys.argv = sys_argv
    contestants = {
        engine: ResNetFeaturizer("resnet50", weights=weights, store=None, engine=engine)
        for engine in ("auto", "tensorflow")
    }
    times = {"keras": [], "auto": [], "tensorflow": []}
    runs = {"keras": scope["features"]} | {name: f.fit_transform for name, f in contestants.items()}
    for run in runs.values():
        run(paths[:32])
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(paths)
            times[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    auto = contestants["auto"].fit(paths)
    print(
        f"{len(paths)} JPEG files of 500 x 375, {rounds} rounds, medians; auto = {auto.engine_}, {auto.precision_}"
    )
    for name in ("auto", "tensorflow"):
        print(f"  {name}: {median['keras'] / median[name]:.2f}x the plain Keras script")
    print(f"  mean cosine to Keras on the same pixels: {cosine(auto, scope['model'], paths[:64]):.5f}")
    engine_rate, decode_time = parts(auto, paths)
    bound = 1 / (1 / engine_rate + decode_time / os.cpu_count())
    print(f"  {len(paths) / median['auto'] / bound:.2f} of the bound 1 / (1/engine rate + decode time/cores)")


def cosine(featurizer, model, paths):
    from keras.applications.resnet50 import preprocess_input

    pixels = np.concatenate(decode_all(featurizer, paths))
    expected = model.predict(preprocess_input(pixels.astype("float32")), verbose=0)
    rows = featurizer.transform(paths)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((rows * expected).sum(axis=1) / norms).mean())


def decode_all(featurizer, paths):
    from hybrid.features.recipe import read_recipe
    from hybrid.images.decoding import decode
    from hybrid.images.source import read

    frame = read_recipe(featurizer.get_params()).frame
    return [decode(read(path), frame) for path in paths]


def parts(featurizer, paths):
    """Images a second of the engine alone, and seconds to decode one image in one thread."""
    from hybrid.features.recipe import read_recipe

    start = time.perf_counter()
    pixels = decode_all(featurizer, paths)
    decode_time = (time.perf_counter() - start) / len(paths)
    engine = read_recipe(featurizer.get_params()).open()
    batches = [np.concatenate(pixels[i : i + 32]) for i in range(0, len(pixels), 32)]
    engine_times = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in engine.run(iter(batches)):
            pass
        engine_times.append(time.perf_counter() - start)
    return len(paths) / statistics.median(engine_times), decode_time


def first_vector(weights, paths, rounds):
    times = {FIRST_KERAS: [], FIRST_HYBRID: []}
    for _ in range(rounds + 1):
        for program, seconds in times.items():
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", program, weights, paths[0]], check=True, capture_output=True
            )
            seconds.append(time.perf_counter() - start)
    keras, hybrid = (statistics.median(seconds[1:]) for seconds in times.values())
    print(f"first vector of a fresh process, network converted: {keras / hybrid:.1f}x sooner than the script")


def memory(weights, photos, n):
    def peak(count):
        program = [sys.executable, "-c", MEMORY, weights, str(photos), str(count)]
        return int(subprocess.check_output(program, stderr=subprocess.DEVNULL))

    peak(1)  # converts the network, which takes TensorFlow
    print(f"peak memory for {n} images: {peak(n) - peak(500)} MB above that for 500 (ResNet50 at 32 px)")
