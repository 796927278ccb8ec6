"""A few photographs a class: the default pipeline against raw pixels, nearest neighbours and fine-tuning in Keras."""

import argparse
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm, t
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.finetune import decode_all
from benchmarks.heads import FOLDERS, sizes, split
from benchmarks.machine import line
from benchmarks.photos import PHOTOGRAPHS
from hybrid import ResNetFeaturizer, build_pipeline, load_folder, network

RESULTS = Path(__file__).parent / "results"
BACKBONE, CUT = "efficientnet_lite0", "block6d_add"
MODELS = ("hybrid", "nearest", "raw pixels", "Keras, head", "Keras, head and top")
# Learning rate, epochs and patience of the head alone, and of the head with the network above CUT.
HEAD = {"rate": 1e-3, "epochs": 200, "patience": 20}
TOP = {"rate": 1e-4, "epochs": 10, "patience": 3}


def main(argv):
    """Print the table, and keep it in benchmarks/results/ as it grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks smalldata")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--keras-splits", type=int, default=3)
    parser.add_argument("--keras-images", type=int, default=100, help="the most that Keras is trained on")
    parser.add_argument("sets", nargs="*", default=FOLDERS)
    options = parser.parse_args(argv)
    head = [f"{time.strftime('%Y-%m-%d')}, {line()}", f"{BACKBONE}, {options.splits} splits; in Keras"]
    head[1] += f" {options.keras_splits}, of up to {options.keras_images} training images"
    rows = []
    RESULTS.mkdir(exist_ok=True)
    for measure, name in product((measure_heads, measure_keras), options.sets):
        frame = load_folder(PHOTOGRAPHS / name)
        found = measure(list(frame["image"]), frame["label"].to_numpy(str), options)
        rows += [(name, *row) for row in found]
        table = pd.DataFrame(rows, columns=["set", "a class", "model", "accuracy", "tested"])
        table = table.groupby(["set", "a class", "model"], sort=False).apply(interval).unstack()
        text = "\n".join([*head, table.reindex(columns=MODELS).fillna("").to_string()])
        (RESULTS / "smalldata.txt").write_text(text + "\n")
    print(text)


def measure_heads(images, y, options):
    """Yield the accuracy of what needs no training of a network, on every split."""
    pipeline, pixels = (
        build_pipeline(backbone=BACKBONE),
        decode_all(images, 32).reshape(len(y), -1).astype(np.float32),
    )
    features = pipeline[:1].fit_transform(images)
    models = {
        "hybrid": (pipeline[1:], features),
        "nearest": (KNeighborsClassifier(1, metric="cosine"), features),
        "raw pixels": (make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000)), pixels),
    }
    for size, seed in product(sizes(y), range(options.splits)):
        train, test = split(y, size, seed)
        for name, (model, X) in models.items():
            yield size, name, model.fit(X[train], y[train]).score(X[test], y[test]), len(test)


def measure_keras(images, y, options):
    """Yield the accuracy of a new head on the frozen network, then with the network's top tuned as well."""
    cells = [(size, seed, *split(y, size, seed)) for size in sizes(y) for seed in range(options.keras_splits)]
    cells = [cell for cell in cells if len(cell[2]) <= options.keras_images]
    if not cells:
        return
    maps, top = halves(images)
    classes, codes = np.unique(y, return_inverse=True)
    models = stages(top, len(classes))
    inputs = (answers(top, maps), maps)
    start = [weight.numpy() for model in models for weight in (*model.weights, *model.optimizer.variables)]
    for size, seed, train, test in cells:
        for model, name, X, course in zip(models, MODELS[3:], inputs, (HEAD, TOP), strict=True):
            learn(model, X, codes, *hold_out(train, codes, seed), **course)
            right = answers(model, X[test]).argmax(axis=1) == codes[test]
            yield size, name, float(right.mean()), len(test)
        weights = [weight for model in models for weight in (*model.weights, *model.optimizer.variables)]
        for weight, value in zip(weights, start, strict=True):
            weight.assign(value)


def halves(images):
    """The maps of what stays frozen, which need to run only once, for no image is augmented; and what lies above."""
    import keras

    base = next(layer for layer in network(BACKBONE).layers if isinstance(layer, keras.Model))
    middle = base.get_layer(CUT).output
    below = ResNetFeaturizer(BACKBONE, layers=CUT, pooling="flatten", precision="float32", store=None)
    maps = below.fit_transform(images).reshape(-1, *middle.shape[1:])
    top = keras.Model(middle, keras.layers.GlobalAveragePooling2D()(base.outputs[0]))
    for layer in top.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return maps, top


def stages(top, n_classes):
    """A head on vectors, and the same head on the network's top, ready to be trained."""
    import keras

    keras.utils.set_random_seed(0)
    head = keras.Sequential([keras.layers.Dropout(0.2), keras.layers.Dense(n_classes, "softmax")])
    models = [
        keras.Sequential([keras.Input(part.shape[1:]), *layers])
        for part, layers in ((top.output, [head]), (top.input, [top, head]))
    ]
    for model, course in zip(models, (HEAD, TOP), strict=True):
        model.compile(keras.optimizers.Adam(course["rate"]), "sparse_categorical_crossentropy")
        model.optimizer.build(model.trainable_variables)
    return models


def hold_out(train, codes, seed):
    """A fifth to stop by, each class in it where that can be."""
    strata = codes[train]
    counts = np.unique(strata, return_counts=True)[1]
    held = max(len(counts), len(train) // 5)
    stratify = strata if counts.min() > 1 else None
    return train_test_split(train, test_size=held, stratify=stratify, random_state=seed)


def learn(model, X, codes, fit, held, epochs, patience, **_):
    """Train until the images held out get no better, and go back to the best epoch."""
    import keras

    stop = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
    data = {"validation_data": (X[held], codes[held]), "callbacks": [stop]}
    model.fit(X[fit], codes[fit], batch_size=16, epochs=epochs, verbose=0, **data)


def answers(model, X):
    return np.concatenate([np.asarray(model(X[i : i + 64], training=False)) for i in range(0, len(X), 64)])


def interval(rows):
    """The mean over splits, with what the draw of training images and the number of test images leave open."""
    mean, splits = rows["accuracy"].mean(), len(rows)
    drawn = t.ppf(0.975, splits - 1) * rows["accuracy"].std() / np.sqrt(splits)
    tested = norm.ppf(0.975) * np.sqrt(mean * (1 - mean) / rows["tested"].mean())
    half = np.hypot(drawn, tested)
    return f"{mean:.3f} ({max(0, mean - half):.3f} to {min(1, mean + half):.3f})"
