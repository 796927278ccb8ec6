"""The house as it stands: layers, circles, sizes, names and annotations, read off the files by ast."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import hybrid

ROOT = Path(hybrid.__path__[0])
# From low to high: a module imports from its own row and from rows above it in this list.
LAYERS = (
    ("home", "fields", "normalise", "spelling"),
    ("archive",),
    ("weights",),
    ("sources",),
    ("images", "store", "statistics", "datasets"),
    ("engines",),
    ("features",),
    ("featurizer", "finetune", "precomputed"),
    ("kinds",),
    ("pipeline", "prefetching"),
    ("explain",),
    ("bundle",),
    ("config", "experiment"),
    ("report",),
    ("tasks", "cluster"),
    ("show", "server", "cli"),
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
LONGEST_FUNCTION, LONGEST_INIT = 50, 40
# What scikit-learn hands to an estimator's methods.
UNTYPED = {"self", "cls", "X", "y"}
NETWORK_WORDS = {"family", "package"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__", path


PATHS = dict(modules())
everywhere = pytest.mark.parametrize("module", PATHS)


@cache
def tree(module):
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


@cache
def imports(module):
    """The modules that one imports, inside functions too; what is for annotations only runs never."""
    found = set()
    skipped = {
        inner
        for node in ast.walk(tree(module))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree(module)):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{module} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = {name.removeprefix("hybrid.") for name in found if name.startswith("hybrid.")}
    return {name if name in PATHS else name.rpartition(".")[0] for name in found} & set(PATHS)


def test_every_module_has_its_layer():
    assert {module.split(".")[0] for module in PATHS} - {"__init__"} <= set(LEVELS)


@everywhere
def test_no_module_imports_from_a_higher_layer(module):
    own = LEVELS.get(module.split(".")[0], len(LAYERS))
    assert not [name for name in imports(module) if LEVELS.get(name.split(".")[0], 0) > own]


def test_no_modules_import_each_other_in_a_circle():
    rest = {module: set(imports(module)) - {module} for module in PATHS}
    while free := [module for module, needed in rest.items() if not needed & rest.keys()]:
        rest = {module: needed for module, needed in rest.items() if module not in free}
    assert not {module: sorted(needed & rest.keys()) for module, needed in rest.items()}


@cache
def words():
    """All names that each file of the project speaks of."""
    files = [
        path for folder in ("hybrid", "tests", "benchmarks") for path in (ROOT.parent / folder).rglob("*.py")
    ]
    files += (ROOT.parent / "notebooks").glob("*.ipynb")
    return {path: set(re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8"))) for path in files}


def is_named_by_others(node):
    """Whether a command line, or a document of the server's interface, shows this name."""
    bases = {ast.unparse(base) for base in getattr(node, "bases", ())}
    return bool(node.decorator_list and "app" in ast.unparse(node.decorator_list[0])) or "BaseModel" in bases


@everywhere
def test_an_underscore_marks_what_is_used_in_its_own_file_alone(module):
    public = {"main", *hybrid.__all__}
    elsewhere = set().union(*(found for path, found in words().items() if path != PATHS[module]))
    defined = [node for node in tree(module).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    bare = {node.name for node in defined if not node.name.startswith("_") and not is_named_by_others(node)}
    assert bare - elsewhere - public == set()
    imported = [node for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom)]
    taken = [one.name for node in imported if (node.module or "").startswith("hybrid") for one in node.names]
    assert not [name for name in taken if name.startswith("_")]


def functions(module):
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef)]


@everywhere
def test_no_function_is_long(module):
    def length(node):
        return node.end_lineno - node.lineno + 1 - documented(node)

    assert not [node.name for node in functions(module) if length(node) > LONGEST_FUNCTION]


def documented(node):
    """How many lines a docstring takes."""
    text = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    return text.end_lineno - text.lineno + 1 if text else 0


def test_no_init_does_more_than_hand_names_on():
    inits = [path for path in PATHS.values() if path.name == "__init__.py"]
    assert not [path for path in inits if len(path.read_text().splitlines()) > LONGEST_INIT]


@cache
def networks():
    """What families and packages of networks are called."""
    from hybrid.sources.catalogue import known

    return {name for one in known() for name in (one.family, getattr(one, "package", "")) if name}


@pytest.mark.parametrize("module", [module for module in PATHS if module.split(".")[0] != "sources"])
def test_no_family_of_networks_is_compared_by_its_name_outside_sources(module):
    def names(node):
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and part.attr in NETWORK_WORDS:
                yield part.attr
            if isinstance(part, ast.Constant) and part.value in networks():
                yield part.value

    compared = [
        (node.lineno, name)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Compare)
        for name in names(node)
    ]
    assert not compared


@everywhere
def test_functions_and_records_are_annotated(module):
    """Each parameter of a function of the module's own; a method's are scikit-learn's to name."""
    bare = []
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare += [f"{node.name}({one.arg})" for one in arguments if not one.annotation]
        if isinstance(node, ast.ClassDef) and "dataclass" in "".join(map(ast.unparse, node.decorator_list)):
            plain = [one for one in node.body if isinstance(one, ast.Assign)]
            bare += [f"{node.name}.{ast.unparse(one.targets[0])}" for one in plain]
            bare += [
                f"{node.name}.{method.name}({one.arg})"
                for method in node.body
                if isinstance(method, ast.FunctionDef)
                for one in method.args.args
                if not one.annotation and one.arg not in UNTYPED
            ]
    assert not bare
