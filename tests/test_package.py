"""What the package shows the world: names, import weight, help, and documents that run."""

import inspect
import pkgutil
import re
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import hybrid
from hybrid.cli import app


def python(program):
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_import_brings_in_no_heavy_package():
    heavy = ("tensorflow", "keras", "openvino", "pandas", "sklearn")
    program = f"import sys, hybrid; print([name for name in {heavy} if name in sys.modules])"
    assert python(program).strip() == "[]"


def test_import_takes_hardly_longer_than_that_of_sklearn_svm():
    program = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    ours, theirs = (
        min(float(python(program.format(name))) for _ in range(3)) for name in ("hybrid", "sklearn.svm")
    )
    assert ours < theirs + 0.15


@pytest.mark.parametrize("name", hybrid.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert inspect.getdoc(getattr(hybrid, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hybrid.nothing  # noqa: B018


def modules():
    return [module.name for module in pkgutil.walk_packages(hybrid.__path__, "hybrid.")]


@pytest.mark.parametrize("name", modules())
def test_every_module_is_imported_by_its_full_path(name):
    bound = {}
    exec(f"import hybrid\nimport {name} as module", bound)
    assert bound["module"] is sys.modules[name]


def test_no_module_takes_the_place_of_a_public_name():
    assert not {name.split(".")[1] for name in modules()} & set(hybrid.__all__)


@pytest.mark.parametrize("name", [name for name in hybrid.__all__ if inspect.isclass(getattr(hybrid, name))])
def test_documented_defaults_are_the_signatures(name):
    described = getattr(hybrid, name)
    documented = dict(re.findall(r"^(\w+) : .*default=(.+)$", inspect.getdoc(described), re.M))
    signature = inspect.signature(described).parameters
    assert documented.keys() <= signature.keys()
    for parameter, value in documented.items():
        assert value.replace('"', "'") == repr(signature[parameter].default)


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), list(commands(get_command(app))), ids=lambda value: str(value)[:30]
)
def test_every_command_has_help_with_two_examples(path, command):
    assert command.help
    assert command.epilog.count("hybrid " + " ".join(path)) == 2
    assert CliRunner().invoke(app, [*path, "--help"]).exit_code == 0
