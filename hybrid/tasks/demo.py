"""The built-in sample in; the whole way out: check, search, scores beside baselines, bundle, page, prediction."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

CONFIG = {"features": {"layers": "last"}, "model": {"kind": "logistic"}}


def demo(
    out: str | os.PathLike,
    backbone: str = "efficientnet_lite0",
    note: Callable[[str], object] = lambda text: None,
    report: bool = False,
    verbose: int = 0,
) -> dict:
    """Go the whole way on the built-in sample.

    Parameters
    ----------
    out : path
        Where the bundle goes.
    backbone : str, default="efficientnet_lite0"
    note : callable
        Called with a line before each step.
    report : bool, default=False
        Write a page beside the bundle that shows what was found.
    verbose : int, default=0
        1 shows progress bars.

    Returns
    -------
    found : dict
        What :meth:`Outcome.to_json` holds, and "prediction", that of one image read from a file.
    """
    from PIL import Image

    from hybrid.bundle.saving import check_place, save
    from hybrid.datasets.sample import load_sample
    from hybrid.experiment.check import check
    from hybrid.experiment.train import train
    from hybrid.tasks.predict import predict
    from hybrid.tasks.report import reported

    check_place(out)
    sample = load_sample()
    note(f"{len(sample)} drawn images of {sample['label'].nunique()} classes")
    note("\n".join(check(sample, backbone=backbone, verbose=verbose).lines()))
    config = CONFIG | {"features": CONFIG["features"] | {"backbone": backbone}}
    outcome = train(sample, config, verbose=verbose)
    extras = outcome.extras() | (reported(outcome, out, note) if report else {})
    save(outcome.model, out, include_network=True, scores=outcome.scores, extras=extras)
    photo = Path(out).with_suffix(".png")
    Image.fromarray(load_sample(1, seed=1)["image"][0]).save(photo)
    note(f"saved {out} and {photo}; now: hybrid predict {out} {photo} --neighbours 3")
    return outcome.to_json() | {"prediction": predict(out, [str(photo)])[0]}
