"""Every notebook runs from a clean state, and is kept with its outputs, small and quiet."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = {path.stem: path for path in sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))}
LARGEST = 200_000


def test_there_are_six_notebooks():
    assert [name[0] for name in NOTEBOOKS] == list("123456")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_from_a_clean_state(name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    # In an empty folder: it needs no file of the checkout.
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_kept_with_its_outputs_small_and_quiet(name):
    text = NOTEBOOKS[name].read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert len(text) < LARGEST
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert "/tmp/" not in str(outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_prose_comes_before_code(name):
    kinds = [cell.cell_type for cell in nbformat.read(NOTEBOOKS[name], as_version=4).cells]
    assert all(before == "markdown" for before, kind in zip(kinds, kinds[1:], strict=False) if kind == "code")
