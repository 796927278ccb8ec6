"""`hybrid train` with its defaults on real photographs; scores with intervals go to benchmarks/results/."""

import argparse
import json
from pathlib import Path

from benchmarks.machine import line
from benchmarks.photos import PHOTOGRAPHS
from hybrid.datasets.folder import load_folder
from hybrid.experiment.train import train

RESULTS = Path(__file__).parent / "results"
KEPT = ("scores", "baselines", "best", "duplicates", "classes", "warnings", "fits", "seed")


def main(argv):
    """Train on each set and print its accuracy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks photographs")
    parser.add_argument("sets", nargs="*", default=["caltech20", "ants_bees", "dtd10", "wbc"])
    options = parser.parse_args(argv)
    RESULTS.mkdir(exist_ok=True)
    print(line())
    for name in options.sets:
        outcome = train(load_folder(PHOTOGRAPHS / name))
        found = {key: value for key, value in outcome.to_json().items() if key in KEPT}
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        accuracy, raw = found["scores"]["accuracy"], found["baselines"]["raw_pixels"]["accuracy"]
        print(
            f"{name}: accuracy {accuracy['mean']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f}), "
            f"raw pixels {raw['mean']:.3f}"
        )
