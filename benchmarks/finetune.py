"""A head trained on stored features, against the same head trained on top of the frozen network in Keras."""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import line

BACKBONE = "efficientnet_lite0"
EPOCHS, BATCH, HIDDEN, DROPOUT, RATE, DECAY = 20, 32, 128, 0.3, 1e-3, 0.01


def main(argv):
    """Print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks finetune")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=1, help="that are measured in Keras, on the network")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    print(line())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYBRID_STORE"] = folder
        train, test = pictures(options.images, Path(folder))
        compare(train, test, options)


def pictures(n, folder):
    """The built-in sample as PNG files: `n` to train on and as many to test, ten classes."""
    from PIL import Image

    from hybrid import load_sample

    table = load_sample(n_per_class=n // 5, size=256)
    paths = []
    for i, pixels in enumerate(table["image"]):
        paths.append(str(folder / f"{i:05}.png"))
        Image.fromarray(pixels).save(paths[-1], compress_level=1)
    paths, y = np.array(paths), table["label"].to_numpy(str)
    seen = np.arange(len(y)) % (n // 5) < n // 10
    return (paths[seen], y[seen]), (paths[~seen], y[~seen])


def compare(train, test, options):
    from hybrid import FineTunedClassifier
    from hybrid.store.feature_store import open_store

    classifier = FineTunedClassifier(
        BACKBONE,
        image_size=options.size,
        hidden=(HIDDEN,),
        dropout=DROPOUT,
        epochs=EPOCHS,
        learning_rate=RATE,
        weight_decay=DECAY,
        batch_size=BATCH,
        random_state=0,
    )
    featurizer = classifier.featurizer()
    pixels, features = decode_all(train[0], options.size), featurizer.fit_transform(train[0])
    passes = open_store("auto").stats()["passes"]
    times = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        classifier.fit(*train)
        times.append(time.perf_counter() - start)
    assert open_store("auto").stats()["passes"] == passes, "a forward pass was made"
    ours = statistics.median(times)
    codes = np.unique(train[1], return_inverse=True)[1]
    whole = keras_seconds(on_top(options.size), pixels, codes, options.epochs)
    head = keras_head(features.shape[1])
    alone = keras_seconds(head, features, codes, EPOCHS - 1)
    answers = head.predict(featurizer.transform(test[0]), verbose=0).argmax(axis=1)
    theirs = (np.unique(train[1])[answers] == test[1]).mean()
    head_ratio, whole_ratio = alone * EPOCHS / ours, whole * EPOCHS / ours
    print(f"{len(pixels)} images of {options.size} px, {EPOCHS} epochs, {BACKBONE}, Dense({HIDDEN})")
    print(f"  on stored features: {whole_ratio:.0f}x faster than on top of the frozen network in Keras")
    print(f"    (there {options.epochs} epoch measured, after one that builds the graph, times {EPOCHS})")
    print(f"  Keras on the same features takes {head_ratio:.1f}x the time, its import not counted")
    print(f"  accuracy on {len(test[1])} other images: {classifier.score(*test):.3f}; Keras: {theirs:.3f}")


def decode_all(paths, size):
    from hybrid.features.recipe import read_recipe
    from hybrid.featurizer import ResNetFeaturizer
    from hybrid.images.decoding import decode
    from hybrid.images.source import read

    frame = read_recipe(ResNetFeaturizer(BACKBONE, image_size=size).get_params()).frame
    return np.concatenate([decode(read(path), frame) for path in paths])


def on_top(size):
    """What people write: the head on the frozen network, trained on decoded images."""
    import keras

    from hybrid import network

    base = network(BACKBONE, image_size=size)
    inputs = keras.Input((size, size, 3))
    features = base(inputs, training=False)
    return compiled(keras.Model(inputs, dense(features)))


def keras_head(width):
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((width,))
    return compiled(keras.Model(inputs, dense(inputs)))


def dense(features):
    import keras

    x = keras.layers.BatchNormalization()(features)
    x = keras.layers.Dense(HIDDEN, activation="relu")(x)
    return keras.layers.Dense(10, activation="softmax")(keras.layers.Dropout(DROPOUT)(x))


def compiled(model):
    import keras

    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    return model


def keras_seconds(model, x, codes, epochs):
    """Seconds an epoch, after a first one that builds the graph."""
    model.fit(x, codes, batch_size=BATCH, epochs=1, verbose=0)
    start = time.perf_counter()
    model.fit(x, codes, batch_size=BATCH, epochs=epochs, verbose=0)
    return (time.perf_counter() - start) / epochs
