"""Mutated bundles: a seed in, and what loading each of them came to out.

Mutations hit the zip's bytes, the manifest, the model's schema and its arrays, the network's XML and weights; what
the manifest lists is sealed again, as an attacker would. Each runs in a worker that a crash ends and a hang is ended.

`python tests/fuzz.py COUNT SEED` prints the counts.
"""

import contextlib
import io
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import forge
import numpy as np

TOUGH = [0, 1, -1, 2, 127, 255, 2**31 - 1, 2**31, -(2**31), 2**62, 10**9, 10**30, 0.5, -0.0, 1e308, float("nan"), None,
         True, False, "", "a", "/etc/hostname", "x" * 5000, [], {}, [[]], {"a": 1}]  # fmt: skip
LOADERS = [
    "JsonNode", "ListNode", "TupleNode", "DictNode", "NdArrayNode", "ObjectNode", "TypeNode", "TreeNode",
    "SliceNode", "FunctionNode", "MethodNode", "PartialNode", "SetNode", "BytesNode", "LossNode",
    "CachedNode", "RandomStateNode", "SparseMatrixNode", "ConstructorFromReduceNode"
]  # fmt: skip
SECONDS, TOLERANCE = 60, 2e-3


def mutate_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 4, 32])):
        place = rng.randrange(len(data))
        action = rng.randrange(4)
        if action == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif action == 1:
            data[place] = rng.randrange(256)
        elif action == 2:
            del data[place : place + rng.choice([1, 8, 200])]
        else:
            data[place:place] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 8])))
        if not data:
            break
    return bytes(data)


def places(value, path=()):
    """Every place in nested lists and dicts."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


def mutate_json(rng, data):
    content = json.loads(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        found = list(places(content))
        if not found:
            break
        holder, key = rng.choice(found)
        value, action = holder[key], rng.randrange(6)
        if action == 0:
            del holder[key]
        elif action == 1:
            other, place = rng.choice(found)
            holder[key] = json.loads(json.dumps(other[place])) if place in range_of(other) else None
        elif key == "content" and isinstance(value, str) and action < 5:
            holder[key] = json.dumps(rng.choice(TOUGH))
        elif key == "__loader__":
            holder[key] = rng.choice(LOADERS)
        elif key == "__id__":
            holder[key] = rng.choice([one[name] for one, name in found if name == "__id__"])
        elif isinstance(value, (int, float)) and action == 2:
            holder[key] = value + rng.choice([-1, 1])
        elif isinstance(value, str) and value and action == 3:
            holder[key] = mutate_bytes(rng, value.encode()).decode(errors="replace")
        else:
            holder[key] = rng.choice(TOUGH)
    return json.dumps(content).encode()


def range_of(holder):
    return holder if isinstance(holder, dict) else range(len(holder))


def mutate_array(rng, data):
    with contextlib.suppress(ValueError):
        array = np.load(io.BytesIO(data))
        action = rng.randrange(6)
        if action == 0 and array.size:
            array = array.copy()
            names = array.dtype.names
            target = array[rng.choice(names)] if names else array
            value = rng.choice([0, -1, 1, 2**31 - 1, 200_000_000, 2**62, 1e308, 1e-300, float("nan")])
            with contextlib.suppress(OverflowError, ValueError, TypeError):
                target.flat[rng.randrange(target.size)] = value
        elif action == 1 and array.ndim:
            array = array[: rng.randrange(len(array) + 1)]
        elif action == 2:
            array = np.concatenate([array, array]) if array.ndim else np.stack([array, array])
        elif action == 3 and not array.dtype.names:
            kind = rng.choice(["f4", "f8", "i4", "i8", "u1", "?", ">f8", "c16", "U3", "M8[s]"])
            with contextlib.suppress(ValueError, TypeError):
                array = array.astype(kind)
        elif action == 4:
            array = np.asfortranarray(array).reshape(-1) if rng.random() < 0.5 else array[..., None]
        elif array.size and array.dtype.kind == "f":
            array = array * array.dtype.type(rng.choice([-1, 0, 1.01, 1e6]))
        return forge.as_npy(array)
    return data


def mutate_model(rng, data):
    files = forge.members(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        arrays = [name for name in files if name.endswith(".npy")]
        if rng.random() < 0.5 or not arrays:
            files["schema.json"] = mutate_json(rng, files["schema.json"])
        elif rng.random() < 0.8:
            name = rng.choice(arrays)
            files[name] = mutate_array(rng, files[name])
        elif rng.random() < 0.5:
            one, other = rng.choice(arrays), rng.choice(arrays)
            files[one], files[other] = files[other], files[one]
        else:
            name = rng.choice(arrays)
            files[name] = mutate_bytes(rng, files[name])
    return forge.packed(files)


def mutate(rng, files):
    """A bundle's bytes, changed somewhere."""
    said = json.loads(files["manifest.json"])
    parts = {name: data for name, data in files.items() if name != "manifest.json"}
    place = rng.random()
    if place < 0.12:
        return mutate_bytes(rng, zipped(files))
    if place < 0.27:
        return zipped(files | {"manifest.json": mutate_json(rng, files["manifest.json"])})
    if place < 0.85 or len(parts) == 1:
        name, change = "model.skops", mutate_model if place < 0.8 else mutate_bytes
    else:
        name, change = rng.choice(sorted(parts.keys() - {"model.skops"})), mutate_bytes
    parts[name] = change(rng, parts[name])
    return zipped(forge.manifest.seal(parts, {key: value for key, value in said.items() if key != "parts"}))


def zipped(files):
    return forge.packed(files)


def bundles(folder):
    """Sound bundles of every kind of estimator, small ones: their files, and what they say of the probes."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import RandomForestClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC, LinearSVC

    tails = [
        SVC(),
        LogisticRegression(max_iter=500),
        KNeighborsClassifier(3),
        RandomForestClassifier(3, max_depth=4, random_state=0),
        CalibratedClassifierCV(SVC(), ensemble=False, cv=2),
        CalibratedClassifierCV(LinearSVC(), method="isotonic", cv=2),
        make_pipeline(PCA(5), LinearDiscriminantAnalysis()),
        VotingClassifier([("a", SVC()), ("b", RidgeClassifier())]),
    ]
    memory = {"features": np.ones((2, 64), np.float32), "distances": np.ones(2, np.float32)}
    extras = {
        "memory": memory,
        "images": ["a", "b"],
        "labels": ["a", "b"],
        "conformity": np.linspace(0, 1, 5),
    }
    found = []
    for i, tail in enumerate(tails):
        path = Path(folder) / f"{i}.hybrid"
        forge.seal(path, *forge.content_of(forge.fitted(tail), extras))
        found.append(forge.members(path.read_bytes()))
    with contextlib.suppress(ImportError):
        path = forge.with_network(Path(folder) / "network.hybrid", SVC(), forge.network(folder))
        found.append(forge.members(path.read_bytes()))
    return found


def answers(model):
    from hybrid.bundle import probes

    images = probes.images()
    found = {"predict": [str(one) for one in model.predict(images)]}
    if hasattr(model, "predict_proba"):
        found["predict_proba"] = model.predict_proba(images)
    return found


def load(path, expected):
    """What loading a mutated bundle comes to: refused, or the same answers; else a wrong one or a raw exception."""
    from hybrid.archive.files import BundleError
    from hybrid.bundle.loading import read

    try:
        bundle = read(path)
    except BundleError:
        return "refused"
    except Exception as exc:
        return f"raw {type(exc).__name__}"
    try:
        found = answers(bundle.model)
    except Exception as exc:
        return f"raw in predict: {type(exc).__name__}"
    same = found["predict"] == expected["predict"] and found.keys() == expected.keys()
    if same and "predict_proba" in expected:
        same = np.allclose(found["predict_proba"], expected["predict_proba"], atol=TOLERANCE)
    return "same" if same else "wrong"


def work(connection, folder):
    """Load what comes through a pipe until it ends; no mutation may take more than 2 GB."""
    import resource
    import warnings

    warnings.simplefilter("ignore")
    path = Path(folder) / "mutated.hybrid"
    originals, known = bundles(folder), []
    for files in originals:
        path.write_bytes(zipped(files))
        from hybrid.bundle.loading import read

        known.append(answers(read(path).model))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
    connection.send("ready")
    while (seed := connection.recv()) is not None:
        rng = random.Random(seed)
        which = rng.randrange(len(originals))
        path.write_bytes(mutate(rng, originals[which]))
        connection.send(load(path, known[which]))


def run(count, seed):
    """Load so many mutated bundles; return the counts of what came of it, and the seeds of what went wrong."""
    context = multiprocessing.get_context("spawn")
    counts, bad, worker = Counter(), [], None
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            if worker is None:
                here, there = context.Pipe()
                worker = context.Process(target=work, args=(there, folder), daemon=True)
                worker.start()
                there.close()
                here.recv()
            here.send(f"{seed}-{i}")
            outcome = "hang"
            if here.poll(SECONDS):
                try:
                    outcome = here.recv()
                except EOFError:
                    outcome = "crash"
            if outcome in ("hang", "crash"):
                worker.kill()
                worker.join()
                worker = None
            counts[outcome] += 1
            if outcome not in ("refused", "same"):
                bad.append((f"{seed}-{i}", outcome))
        if worker is not None:
            here.send(None)
            worker.join()
    return counts, bad


if __name__ == "__main__":
    started = time.monotonic()
    counts, bad = run(int(sys.argv[1]), int(sys.argv[2]))
    print(dict(counts), bad[:50], f"{time.monotonic() - started:.0f} s")
