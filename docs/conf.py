"""How the documents of this repository become a site: `make docs`.

The source folder is the repository itself, so that a link means the same here and where the files are read as they are.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

import hybrid
from hybrid.cli import app as command_line

project, author, release = "hybrid", "The hybrid developers", hybrid.__version__
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/generated/*.rst"]
exclude_patterns = [".*", "benchmarks", "configs", "docs/site", "hybrid", "notebooks", "tests"]

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
myst_heading_anchors = 3
# Several kinds of text that no lexer knows stand in the pages: a terminal's output, mostly.
highlight_language = "none"
autodoc_typehints = "none"
# scikit-learn makes these, with links into its own site.
autodoc_default_options = {"exclude-members": "set_fit_request, set_score_request, set_transform_request"}
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"hybrid {release}"
html_additional_pages = {"index": "start.html"}
# Relative to the source folder for some of Sphinx, to this one for the rest.
templates_path = [str(Path(__file__).parent / "_templates")]
html_theme_options = {"show_prev_next": False, "navbar_center": [], "footer_start": [], "footer_end": []}
html_sidebars = {"**": ["globaltoc.html"]}
html_show_sourcelink = False


class Commands(SphinxDirective):
    """Every command's help, read off the program itself."""

    def run(self) -> list[nodes.Node]:
        lines = [
            line for path, command in commands(get_command(command_line)) for line in page(path, command)
        ]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def commands(group, path: str = "hybrid"):
    """Yield each command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def page(path: str, command):
    """Yield a command's section, in Markdown."""
    yield from ("", f"## {path}", "", command.help, "")
    examples = command.epilog.removeprefix("Examples: ").split(" | ")
    yield from (
        "```",
        *(f"$ {example}" for example in examples),
        "```",
        "",
        "| | what | default |",
        "|---|---|---|",
    )
    for one in command.params:
        default = "" if one.required or one.default in (None, False, ()) else f"`{one.default}`"
        spelt = (
            one.name.upper()
            if one.param_type_name == "argument"
            else ", ".join(one.opts + one.secondary_opts)
        )
        yield f"| `{spelt}` | {getattr(one, 'help', None) or ''} | {default} |"


def setup(app: Sphinx):
    app.add_directive("commands", Commands)
