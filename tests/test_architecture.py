"""The house: no module imports from a layer above its own, and none imports itself by a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import hybrid

ROOT = Path(hybrid.__file__).parent
# From low to high; those of one row stand side by side.
LAYERS = (
    ("__init__", "home"),
    ("archive",),
    ("weights",),
    ("sources",),
    ("images", "store", "statistics", "datasets"),
    ("engines",),
    ("features",),
    ("featurizer", "finetune"),
    ("pipeline", "prefetching"),
    ("bundle",),
    ("config", "experiment", "tasks"),
    ("show", "cli"),
)
HEIGHTS = {name: height for height, names in enumerate(LAYERS) for name in names}


def modules():
    return {
        ".".join(("hybrid", *path.relative_to(ROOT).with_suffix("").parts)): path
        for path in ROOT.rglob("*.py")
    }


def imports(path):
    """The modules of the package that a file imports, at its top or within functions."""
    known, found = modules(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & set(known)


@pytest.mark.parametrize("name", modules())
def test_no_module_imports_from_above(name):
    height = HEIGHTS[name.split(".")[1]]
    assert {one for one in imports(modules()[name]) if HEIGHTS[one.split(".")[1]] > height} == set()


def test_no_module_imports_itself_by_a_circle():
    TopologicalSorter({name: imports(path) for name, path in modules().items()}).prepare()
