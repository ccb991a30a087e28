"""Settings of Sphinx for the site. tools/build_site.py copies this file beside the pages that it gathers."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import perfteach

project = "perfteach"
author = "The perfteach authors"
project_copyright = author
version = release = perfteach.__version__
root_doc = "index"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

# The notebooks are shown as they were executed when they were built; a site must not train.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # with tables, as JupyterLab shows them
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
# A notebook may go from its title straight to an exercise.
suppress_warnings = ["myst.header"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # a method without one would get torch's
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"perfteach {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False

_SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes|Example|Examples|Note|Notes):$")


def markdown_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """The docstrings are written as Markdown is, with `code`; reStructuredText wants to be told so."""
    result: list[str] = []
    before = ""  # the last line that is not empty
    for line in lines:
        indented = line.startswith("    ") and before and not before.startswith(" ")
        if indented and not lines[0].startswith("    ") and result and not result[-1] and not _SECTION.match(before):
            result += ["::", ""]  # an indented block after a paragraph is a formula or a command
        literal = line.startswith("    ") and "::" in result[-_block(result) :]
        result.append(line if literal else _escaped(line))
        before = line or before
    lines[:] = result


def _block(result: list[str]) -> int:
    """How many lines at the end belong to the indented block that is open, with the marker above it."""
    count = 0
    for line in reversed(result):
        count += 1
        if line == "::" or (line and not line.startswith("    ")):
            break
    return count


def _escaped(line: str) -> str:
    bullet = re.match(r"\s*[*-] ", line)
    start = bullet.end() if bullet else 0
    parts = line[start:].split("`")
    parts[::2] = [re.sub(r"(\*|\||(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return line[:start] + "``".join(parts) if len(parts) % 2 else line[:start] + "\\`".join(parts)


def skip_foreign(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leaves out what belongs to other packages, such as a loss of torch's that is a setting's default."""
    return True if not str(getattr(obj, "__module__", None) or "perfteach").startswith("perfteach") else None


def setup(app: Sphinx) -> None:
    """Before napoleon, which adds markup of its own."""
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", markdown_docstring, priority=400)
