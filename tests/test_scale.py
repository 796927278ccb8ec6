"""docs/scale.md reckons right: its tables follow from the constants that it names."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
PRECISIONS = "float32", "bfloat16", "int8"
SIZES = ((1e6, 16, 2048), (1e8, 256, 16384), (1e10, 1024, 65536))


def number(pattern):
    return float(re.search(pattern, TEXT)[1].replace(",", ""))


def engines():
    """Milliseconds of a core an image, by network and precision."""
    rows = re.findall(r"^\| (\S+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]*) ?\|$", TEXT, re.MULTILINE)
    return {
        (name, precision): float(value)
        for name, *values in rows
        for precision, value in zip(PRECISIONS, values, strict=True)
        if value
    }


def before():
    """Milliseconds of a core an image until the engine has it."""
    return number(r"read and hash \| ([\d.]+)") + number(r"decode to 224 x 224 \| ([\d.]+)")


def span(seconds):
    """Name a time in the unit that fits it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count):
    for unit, one in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if count >= one:
            return f"{count / one:.3g} {unit}"


def row(*cells):
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("engine", engines())
def test_the_cost_of_a_million_follows(engine):
    seconds = (before() + engines()[engine]) / 1e3 * 1e6
    hours = f"{seconds / 3600:.1f}"
    assert row(*engine, hours, *(span(seconds / cores) for cores in (2, 16, 64))) in TEXT


def columns():
    image = (before() + engines()["EfficientNet-Lite0", "bfloat16"]) / 1e3
    jpeg, parquet = number(r"and ([\d.]+) KB\; the networks") * 1e3, number(r"([\d,]+) in Parquet, [\d,]+ in")
    task, listed = number(r"client together \| ([\d.]+) ms") / 1e3, number(r"paths \| ([\d.]+) us") / 1e6
    for images, cores, part in SIZES:
        yield {
            "cores": f"{cores:,}",
            "time": span(images * image / cores),
            "images a part": f"{part:,}",
            "parts": f"{-(-images // part):,.0f}",
            "a part, on one core": span(part * image),
            "JPEG in": size(images * jpeg),
            "Parquet out": size(images * parquet),
            "the line": f"{cores / image * jpeg * 8 / 1e9:.2g} Gb/s",
            "the scheduler's time": span(images / part * task),
            "the driver's, for the list": span(images * listed),
        }


@pytest.mark.parametrize("name", next(columns()))
def test_the_cost_of_many_follows(name):
    assert row(name, *(column[name] for column in columns())) in TEXT
