"""Each document runs: its Python, its commands and what they are said to print; and all make one site."""

import io
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path

import pytest
from PIL import Image
from serving import serving

import hybrid.cluster
from hybrid.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# A command as the first cell of a table has it, alone or in a row of them.
CELL = re.compile(r"^\| (`hybrid [^|]*`) \|", re.M)
# The machine that documents of a cluster speak of.
CLUSTER = "tls://host"
CLASSES = ("bricks", "dots", "star", "waves")


def programs(text):
    """Blocks of Python, but for doctests, which have tests of their own, and for what needs a cluster."""
    found = [body for language, body in FENCE.findall(text) if language == "python"]
    return [body for body in found if not body.startswith(">>>") and CLUSTER not in body]


def sessions(text):
    """Every command that a document's terminal or tables show, and what it prints, if that is shown."""
    found = {}
    for body in (body for language, body in FENCE.findall(text) if not language):
        for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
            command, _, printed = part.replace("\\\n", " ").partition("\n")
            found[command] = printed
    for cell in CELL.findall(text):
        for command in re.findall(r"`(hybrid [^`]*)`", cell):
            found.setdefault(command, "")
    return found.items()


RUNNING = [name for name, text in DOCUMENTS.items() if programs(text) or any(sessions(text))]


def call(*arguments):
    """Run a command in this process; return what a terminal would show of it."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "argv", ["hybrid", *arguments])
        with redirect_stdout(shown), redirect_stderr(shown), pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0, (arguments, shown.getvalue())
    return shown.getvalue()


def agree(expected, got):
    return OutputChecker().check_output(expected, got, ELLIPSIS | NORMALIZE_WHITESPACE)


def draw(folder):
    """Photographs with labels, patients and ages in a table, others without, and a network's settings."""
    sample, other = hybrid.load_sample(16, size=128), hybrid.load_sample(3, seed=1, size=128)
    rows = ["image,label,patient,age"]
    for i, (pixels, label) in enumerate(zip(sample["image"], sample["label"], strict=True)):
        if label in CLASSES:
            path = folder / "photos" / label / f"{i:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=95)
            rows.append(f"{path.relative_to(folder)},{label},{i // 2},{20 + i % 7}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    (folder / "new").mkdir()
    rows = ["image,label"]
    for i, (pixels, label) in enumerate(zip(other["image"], other["label"], strict=True)):
        if label in CLASSES:
            Image.fromarray(pixels).save(folder / "new" / f"{i:02}.jpg", quality=95)
            rows.append(f"new/{i:02}.jpg,{label}")
    (folder / "test.csv").write_text("\n".join(rows) + "\n")
    shutil.copy(folder / "new" / f"{i:02}.jpg", folder / "photo.jpg")
    shutil.copytree(ROOT / "configs", folder / "configs")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What the documents speak of, and a model of it."""
    folder = tmp_path_factory.mktemp("documents")
    draw(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        call("train", "photos", "-o", "model.hybrid", "--config", "configs/quick.toml")
    return folder


@pytest.fixture(scope="module", params=RUNNING)
def document(request, drawn, tmp_path_factory):
    """A document's text, and a folder of its own: its commands find what its Python left there."""
    return DOCUMENTS[request.param], shutil.copytree(drawn, tmp_path_factory.mktemp("own") / "work")


def test_python_runs_and_prints_what_is_shown(document):
    """The blocks of a document are one program, and a comment behind print() says what that prints."""
    text, folder = document
    program = "\n".join(programs(text))
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    shown = re.findall(r"^print\(.*\)  # (.*)$", program, re.M)
    assert agree("\n".join(shown), run.stdout), run.stdout


def test_commands_run_and_print_what_is_shown(document, monkeypatch):
    text, folder = document
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    for command, expected in sessions(text):
        program, *arguments = shlex.split(command, comments=True)
        if program != "hybrid" or CLUSTER in command:
            continue
        if arguments[0] == "serve":
            with serving(folder / arguments[1], *arguments[2:]) as server:
                assert server.ask("/health").status == 200
        else:
            shown = call(*arguments)
            assert not expected or agree(expected, shown), (command, shown)


def test_the_reference_lists_every_public_name():
    listed = re.findall(r"^   (\w+)$", DOCUMENTS["docs/api.md"], re.M)
    assert sorted(listed) == sorted([*hybrid.__all__, *hybrid.cluster.__all__])


def test_the_site_is_built_without_a_warning(tmp_path):
    options = ["-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), "-d", str(tmp_path / "trees")]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT), str(tmp_path / "site")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "site" / "docs" / "index.html").exists()
