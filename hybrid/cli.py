"""`hybrid ...`: each command calls one function of the package and emits what it returns.

Results go to stdout, errors and progress to stderr. The exit status is 0, 1 (the data are bad) or 2 (the call
is wrong).
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hybrid import show
from hybrid.archive import place
from hybrid.show import emit
from hybrid.spelling import plain

if TYPE_CHECKING:
    import pandas as pd

    from hybrid.config import Config

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Deep features for scikit-learn.",
)
store_app = typer.Typer(no_args_is_help=True, help="Look at the feature store, fill it, check it, empty it.")
app.add_typer(store_app, name="store")

Data = Annotated[
    str, typer.Argument(help="A folder with a sub-folder a class, a CSV or Parquet table, or 'sample'.")
]
Images = Annotated[list[str], typer.Argument(help="Image files, and folders of them.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a value: svm.C=10.", metavar="KEY=VALUE")
]
BackboneName = Annotated[
    str | None, typer.Option(help="A name from `hybrid backbones`, or a network's file.")
]
KeyFile = Annotated[Path | None, typer.Option("--key", help="File with the key that signs the bundle.")]
Model = Annotated[Path, typer.Argument(help="A bundle that `hybrid train` wrote.")]
ImageColumn = Annotated[str | None, typer.Option("--image", help="The table's column of image paths.")]
LabelColumn = Annotated[str | None, typer.Option("--label", help="The table's column of labels.")]
GroupColumn = Annotated[
    str | None, typer.Option("--group", help="Column whose equal values stay in one fold.")
]
Urls = Annotated[bool, typer.Option("--urls", help="Fetch the URLs that a table names.")]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Write a page that shows what was found.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Work on the Dask cluster of a scheduler: tls://host:8786.")
]
WeightColumn = Annotated[str | None, typer.Option("--weight", help="Column of sample weights.")]


def main():
    """Run the command line; an error of the data becomes one line and exit status 1, a warning one line."""
    warnings.showwarning = lambda message, *_: note(f"hybrid: {message}")
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as exc:
        from hybrid.images.items import WAY_OUT

        # It is Python's, and there are no arguments here.
        note(f"hybrid: {str(exc).replace(f', or {WAY_OUT}', '')}")
        sys.exit(1)


@app.command(epilog="Examples: hybrid demo | hybrid demo --json")
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the bundle goes.")] = Path("demo.hybrid"),
    report: Report = True,
    as_json: Json = False,
):
    """Go the whole way on the built-in sample: check, search, scores, bundle, one prediction."""
    from hybrid.tasks.demo import demo

    emit(demo(out, note=note, report=report, verbose=watched()), as_json, show.outcome)


@app.command(epilog="Examples: hybrid check photos/ | hybrid check table.csv --fix clean.csv")
def check(
    data: Data,
    fix: Annotated[Path | None, typer.Option(help="Write a clean list; the images stay as they are.")] = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    group: GroupColumn = None,
    backbone: BackboneName = "efficientnet_lite0",
    urls: Urls = False,
    as_json: Json = False,
):
    """Look for unreadable files, duplicates, rare classes, odd sizes and mixed-up labels."""
    from hybrid.experiment.check import check

    if fix:
        place.check(fix)
    frame = read(data, empty=True, image=image, label=label, group=group, urls=urls or None)
    findings = check(frame, backbone=backbone, verbose=watched())
    emit(findings, as_json, show.lines)
    if fix:
        note(f"left out {len(findings.fix(fix))} of {len(frame)} images in {fix}")
    elif not findings.ok:
        raise typer.Exit(1)


@app.command(
    epilog="Examples: hybrid train photos/ -o model.hybrid "
    "| hybrid train table.csv --config configs/svm.toml --set svm.C=10"
)
def train(
    data: Data,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where the bundle goes.")] = None,
    config: Annotated[Path | None, typer.Option(help="An experiment file; see configs/.")] = None,
    settings: Settings = None,
    backbone: BackboneName = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    group: GroupColumn = None,
    weight: WeightColumn = None,
    include_network: Annotated[
        bool | None,
        typer.Option(help="Put the network into the bundle; by default where OpenVINO is installed."),
    ] = None,
    report: Report = True,
    key: KeyFile = None,
    urls: Urls = False,
    scheduler: Scheduler = None,
    as_json: Json = False,
):
    """Fit the best of the config's models and score it honestly."""
    from hybrid.bundle.saving import check_place, save
    from hybrid.cluster.search import searching
    from hybrid.engines.choose import installed
    from hybrid.experiment.plan import plan
    from hybrid.experiment.train import train
    from hybrid.tasks.report import reported

    if out:
        check_place(out)
    frame = read(data, image=image, label=label, group=group, weight=weight, urls=urls or None)
    chosen = _configured(config, settings, backbone)
    try:
        with searching(scheduler=scheduler) if scheduler else nullcontext():
            planned = plan(frame, chosen)
            note(planned)
            outcome = train(frame, chosen, verbose=watched())
    except KeyboardInterrupt:
        note("Stopped. Features and finished folds are kept: the same command goes on from there.")
        raise typer.Exit(130) from None
    outcome = replace(outcome, passes=outcome.passes + planned.probed)
    emit(outcome.to_json(), as_json, show.outcome)
    if out:
        extras = outcome.extras() | (reported(outcome, out, note) if report else {})
        inside = installed("openvino") if include_network is None else include_network
        save(outcome.model, out, include_network=inside, scores=outcome.scores, extras=extras, key=key)
        note(f"saved {out}")
    elif not as_json:
        note("The model was not saved: name a place for it, such as -o model.hybrid.")


@app.command(
    epilog="Examples: hybrid evaluate model.hybrid photos/ | hybrid evaluate model.hybrid test.csv --json"
)
def evaluate(
    model: Model,
    data: Data,
    image: ImageColumn = None,
    label: LabelColumn = None,
    key: KeyFile = None,
    urls: Urls = False,
    as_json: Json = False,
):
    """Score a model on images that it was not trained on."""
    from hybrid.bundle import loading
    from hybrid.experiment.evaluation import evaluate

    frame = read(data, image=image, label=label, urls=urls or None)
    emit(evaluate(loading.read(model, key), frame), as_json, show.evaluation)


@app.command(
    epilog="Examples: hybrid predict model.hybrid a.jpg b.jpg "
    "| hybrid predict model.hybrid photos/ --csv out.csv --sets 0.9"
)
def predict(
    model: Model,
    images: Images,
    csv: Annotated[Path | None, typer.Option(help="Write the predictions into this file.")] = None,
    sets: Annotated[
        float | None, typer.Option(help="Give sets that hold the right class this often: 0.9.")
    ] = None,
    neighbours: Annotated[int, typer.Option(help="Show the most similar training images.")] = 0,
    key: KeyFile = None,
    as_json: Json = False,
):
    """Predict the class of images; those that cannot be read are named, and the exit status is 1."""
    from hybrid.images.items import LISTED
    from hybrid.tasks.predict import predict, spare_pandas

    if csv:
        place.check(csv)
    spare_pandas()
    records = predict(model, listed(images), sets=sets, neighbours=neighbours, key=key)
    if csv:
        show.write_csv(records, csv)
    if as_json or not csv:
        emit(records, as_json, show.predictions)
    if bad := [one for one in records if "error" in one]:
        for one in bad[:LISTED]:
            note(f"hybrid: Cannot decode {one['image']!r}: {one['error']}.")
        if len(bad) > LISTED:
            note(f"hybrid: ... and {len(bad) - LISTED} more; --csv and --json name them all.")
        raise typer.Exit(1)


@app.command(epilog="Examples: hybrid report model.hybrid | hybrid report model.hybrid -o report.html --json")
def report(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="An .html file.")] = Path("report.html"),
    key: KeyFile = None,
    as_json: Json = False,
):
    """Write a page to look at: scores, errors, odd labels, a map of the images, the search."""
    from hybrid.tasks.report import write_report

    emit(write_report(model, out, key), as_json, show.values)


@app.command(
    epilog="Examples: hybrid explain model.hybrid photo.jpg -o heat.png "
    "| hybrid explain model.hybrid photo.jpg -o heat.png --label cat --json"
)
def explain(
    model: Model,
    image: Annotated[Path, typer.Argument(help="An image file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A .png, .jpg or .webp file.")] = Path("heat.png"),
    label: Annotated[
        str | None, typer.Option(help="The class to explain; the predicted one if left out.")
    ] = None,
    key: KeyFile = None,
    as_json: Json = False,
):
    """Draw which places of an image speak for a class (orange) and which against it (blue)."""
    from hybrid.tasks.explain import write_explanation

    emit(write_explanation(model, image, out, label, key), as_json, show.explanation)


@app.command(
    epilog="Examples: hybrid serve model.hybrid | hybrid serve model.hybrid --host 0.0.0.0 --port 80 --queue 512"
)
def serve(
    model: Model,
    port: Annotated[int, typer.Option(help="0 takes one that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets everyone in who reaches this machine.")
    ] = "127.0.0.1",
    sets: Annotated[float, typer.Option(help="How often the sets of classes hold the right one.")] = 0.9,
    neighbours: Annotated[int, typer.Option(min=0, help="Name the most similar training images.")] = 5,
    megabytes: Annotated[int, typer.Option(min=1, help="The largest request.")] = 32,
    images: Annotated[
        int, typer.Option(min=1, help="The most images a request, and a run of the network.")
    ] = 32,
    queue: Annotated[int, typer.Option(min=1, help="The most images that wait.")] = 128,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a request may come in, or wait.")] = 30,
    urls: Annotated[bool, typer.Option("--urls", help="Fetch the URLs that clients send.")] = False,
    key: KeyFile = None,
):
    """Answer with predictions: a page for people, JSON for programs; uploads are not kept."""
    from hybrid.tasks.predict import spare_pandas

    spare_pandas()
    try:
        from hybrid.server.limits import Limits
        from hybrid.server.run import serve
    except ModuleNotFoundError as exc:
        raise ImportError(f'`hybrid serve` needs {exc.name}: pip install "hybrid-features[serve]"') from exc
    limits = Limits(megabytes, images, queue, seconds)
    serve(model, host, port, limits, sets, neighbours, urls, key, note)


@app.command(
    epilog="Examples: hybrid compare photos/ --config configs/svm.toml --config configs/logistic.toml "
    "| hybrid compare sample --config configs/svm.toml --config configs/layers.toml -o comparison.html"
)
def compare(
    data: Data,
    config: Annotated[list[Path], typer.Option(help="An experiment file; give two or more.")],
    settings: Settings = None,
    backbone: BackboneName = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    group: GroupColumn = None,
    weight: WeightColumn = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write a page that shows what was found: an .html file."),
    ] = None,
    urls: Urls = False,
    as_json: Json = False,
):
    """Score several experiments on the same folds and test their differences."""
    from hybrid.experiment.compare import compare

    if out:
        place.check(out)
    frame = read(data, image=image, label=label, group=group, weight=weight, urls=urls or None)
    configs = {path.stem: _configured(path, settings, backbone) for path in config}
    found = compare(frame, configs, verbose=watched())
    emit(found, as_json, show.comparison)
    if out:
        from hybrid.report.page import write_comparison

        note(f"report: {write_comparison(found, out, Path(data).name)}")


@app.command(
    epilog="Examples: hybrid featurize photos/ -o features.parquet "
    "| hybrid featurize s3://bucket/photos -o features/ --workers 8"
)
def featurize(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder, with a sub-folder a class or without labels, a table, or 'sample'; for parts, a prefix "
            "such as s3://bucket/photos, too."
        ),
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", help="A .parquet or .csv file, or a folder/ of Parquet parts.")
    ],
    backbone: BackboneName = "efficientnet_lite0",
    layers: Annotated[list[str] | None, typer.Option(help="A layer or stage; may be repeated.")] = None,
    pooling: Annotated[
        list[str] | None, typer.Option(help="avg, max, gem or flatten; may be repeated.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Write parts, in so many processes of this machine.")
    ] = None,
    scheduler: Scheduler = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    urls: Urls = False,
    as_json: Json = False,
):
    """Write the features of all images into a table, or, of any number of them, into a folder of parts.

    A folder's parts are made on Dask; after a stop, the same command makes what is missing.
    """
    from hybrid.featurizer import ResNetFeaturizer
    from hybrid.tasks.featurize import is_folder, write_features

    params = {"backbone": backbone, "layers": layers or "last", "pooling": pooling or "avg"}
    if workers or scheduler or is_folder(out):
        from hybrid.cluster.driver import featurize

        where = {"workers": workers, "scheduler": scheduler, "verbose": watched()}
        try:
            found = featurize(data, out, image=image, label=label, urls=urls, **where, **params)
        except KeyboardInterrupt:
            note("Stopped. Finished parts are kept: the same command goes on from there.")
            raise typer.Exit(130) from None
        emit(found, as_json, show.values)
        if found["errors"]:
            note(f"{found['errors']} images could not be read: see {os.path.join(out, '_errors.parquet')}")
        return
    frame = read(data, image=image, label=label, urls=urls or None)
    featurizer = ResNetFeaturizer(**params)
    emit(write_features(frame, out, featurizer, verbose=watched()), as_json, show.values)


@app.command(epilog="Examples: hybrid label photo.jpg | hybrid label *.jpg --top 3 --json")
def label(
    images: Images,
    backbone: BackboneName = "efficientnet_lite0",
    top: Annotated[int, typer.Option(min=1, help="How many names an image.")] = 5,
    as_json: Json = False,
):
    """Name what is in photographs, by ImageNet's 1000 classes."""
    from hybrid.tasks.label import label

    images = listed(images)
    names = dict(zip(images, label(images, backbone, top=top), strict=True))
    emit(names, as_json, show.labels)
    if not all(names.values()):
        raise typer.Exit(1)


@app.command(epilog="Examples: hybrid backbones efficientnet | hybrid backbones --wide")
def backbones(
    word: Annotated[str, typer.Argument(help="Only networks with this word in their name or family.")] = "",
    wide: Annotated[bool, typer.Option("--wide", help="All columns, in lines longer than 80.")] = False,
    as_json: Json = False,
):
    """List the networks: size, width, parameters, and whether their weights are at hand."""
    from hybrid.sources.catalogue import backbones

    rows = [
        row
        for row in backbones().to_dict("records")
        if word.lower() in f"{row['name']} {row['family']}".lower()
    ]
    if not rows:
        raise ValueError(f"Got {word!r}, but no network's name or family has that in it: `hybrid backbones`.")
    emit(rows, as_json, show.wide if wide else show.networks)


@store_app.command(
    epilog="Examples: hybrid store info | HYBRID_STORE=/data/features hybrid store info --json"
)
def info(as_json: Json = False):
    """Show where the store is, what it holds and how often it was asked."""
    from hybrid.store.feature_store import FeatureStore

    emit(FeatureStore().stats(), as_json, show.values)


@store_app.command(epilog="Examples: hybrid store verify | hybrid store verify --json")
def verify(as_json: Json = False):
    """Check every row against its checksum and remove damaged ones."""
    from hybrid.store.feature_store import FeatureStore

    found = FeatureStore().verify()
    emit(found, as_json, show.values)
    if found["damaged"]:
        raise typer.Exit(1)


@store_app.command(
    "import", epilog="Examples: hybrid store import features/ | hybrid store import /mnt/features --json"
)
def import_(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder of parts that `hybrid featurize` wrote, of whose maker you are sure."),
    ],
    as_json: Json = False,
):
    """Take over features that a cluster computed, so that they are not computed again here."""
    from hybrid.cluster.merge import import_features

    emit(import_features(folder), as_json, show.values)


@store_app.command(epilog="Examples: hybrid store clear | hybrid store clear --backbone resnet50")
def clear(
    backbone: Annotated[str | None, typer.Option(help="Only the features of this network.")] = None,
    as_json: Json = False,
):
    """Remove features; they are computed again when they are asked for."""
    from hybrid.store.feature_store import FeatureStore

    emit({"removed": FeatureStore().clear(backbone=backbone)}, as_json, show.values)


def read(data: str, empty: bool = False, **columns: str | None) -> pd.DataFrame:
    """Read the images that a command was pointed at."""
    from hybrid.datasets.load import load_images

    return load_images(data, empty=empty, **columns)


def listed(images: list[str]) -> list[str]:
    """Put the images below it in place of a folder; refuse a table."""
    from hybrid.datasets.folder import list_images
    from hybrid.datasets.tables import SUFFIXES

    if tables := [one for one in images if one.lower().endswith(SUFFIXES)]:
        raise ValueError(
            f"Got the table {tables[0]!r}, but expected image files and folders. Pass the files that it names; "
            "`hybrid evaluate` takes a table with labels, and `hybrid featurize` any."
        )
    return [file for one in images for file in (list_images(one) if os.path.isdir(one) else [one])]


def _configured(path: Path | None, settings: list[str] | None, backbone: str | None) -> Config:
    """Read an experiment file with what the command line overrides."""
    from hybrid.config import read_config

    return read_config(path, [*(settings or ()), *([f"features.backbone={backbone}"] if backbone else ())])


def watched() -> int:
    """Whether somebody watches the progress bars."""
    return int(sys.stderr.isatty())


def note(text: object):
    print(plain(str(text), "\n\t"), file=sys.stderr)


if __name__ == "__main__":
    main()
