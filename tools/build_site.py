"""Build the site: `make site`, or `python tools/build_site.py [--gather-only]`, with the packages of the extra `site`.

The pages lie where their readers on a code host look for them: docs/, notebooks/, data/ and the root. This script
copies them into build/site-source, turns every link between them into one that holds there, writes the pages of the
library's reference, and runs Sphinx into build/site. A warning is an error. Nothing is executed and nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / "build" / "site-source", ROOT / "build" / "site"
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
# Pages of the root, with their places on the site.
TOP = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
NOTEBOOKS = ("notebooks/*.ipynb", "notebooks/solutions/*.ipynb")
FILES = ("data/README.md", "data/runs/*/README.md", "data/runs/**/*.png", "docs/**/*.png", "docs/**/*.svg")
# The modules whose public names are described beside those of `perfteach` itself.
MODULES = {
    "data": "images: embedded, CIFAR-10, your own",
    "metrics": "accuracy and intervals",
    "runs": "the record of a training",
    "compare": "arms side by side, with intervals",
    "cycle": "dendrites in a training loop of your own",
    "checkpoint": "what a run leaves on disk",
    "study": "grids of arms and seeds",
    "plots": "figures",
    "widgets": "sliders and buttons, with the extra `course`",
    "course": "the tiers of the course",
    "errors": "what is raised on purpose",
    "extras": "parts installed on request",
}
# A target of a Markdown link, or of href and src in HTML.
LINK = re.compile(r"""(\]\(|(?:href|src)=")([^)\s"]+)""")


def pages(root: Path = ROOT) -> dict[str, str]:
    """Where each file of the site stands in the repository, and where on the site."""
    found = {name: place for name, place in TOP.items() if (root / name).is_file()}
    for path in sorted((root / "docs").rglob("*.md")):
        name = path.relative_to(root).as_posix()
        found[name] = name.removeprefix("docs/")
    for pattern in (*NOTEBOOKS, *FILES):
        for path in sorted(root.glob(pattern)):
            name = path.relative_to(root).as_posix()
            found[name] = name.removeprefix("docs/")
    return found


def relink(text: str, name: str, places: dict[str, str], root: Path = ROOT) -> str:
    """The text of a page with its relative links turned into ones for the site.

    A file that is no page of the site is linked where the project lives; what leads nowhere in the repository is left
    as it is, for Sphinx to complain about.
    """
    here = PurePosixPath(places[name]).parent

    def new(match: re.Match[str]) -> str:
        target, mark, anchor = match[2].partition("#")
        if not target or urlsplit(target).scheme:
            return match[0]
        path = os.path.normpath((root / name).parent / target)
        if not path.startswith(str(root) + os.sep) or not os.path.exists(path):
            return match[0]
        file = Path(path).relative_to(root).as_posix()
        if file in places:
            return match[1] + os.path.relpath(places[file], here).replace(os.sep, "/") + mark + anchor
        kind = "tree" if os.path.isdir(path) else "blob"
        return f"{match[1]}{URLS['Repository']}/{kind}/main/{file}{mark}{anchor}"

    return LINK.sub(new, text)


def notebook(text: str, name: str, places: dict[str, str], root: Path = ROOT) -> str:
    """A notebook as the site shows it: links as on the other pages, solutions folded, nothing for Colab or tests."""
    content = json.loads(text)
    cells = []
    for cell in content["cells"]:
        settings = cell["metadata"]
        if "colab" in settings.get("tags", []):
            continue
        if cell["cell_type"] == "markdown":
            cell["source"] = relink("".join(cell["source"]), name, places, root)
            if not cells and "/solutions/" in name:  # the two editions have to be told apart in a search
                cell["source"] = re.sub(r"^(# .+)", r"\1, solved", cell["source"], count=1)
        if settings.get("jupyter", {}).get("source_hidden"):
            settings["tags"] = [*settings.get("tags", []), "hide-input"]
        cells.append(cell)
    return json.dumps(content | {"cells": cells}, ensure_ascii=False)


def trees(places: dict[str, str], reference: list[str]) -> str:
    """The side bar's contents, to stand below the front page."""
    documents = [place.rpartition(".")[0] for place in places.values() if place.endswith((".md", ".ipynb"))]
    documents = [page for page in documents if page != "index"]
    course = [page for page in documents if page.startswith("notebooks/0")]
    solutions = [page for page in documents if page.startswith("notebooks/solutions/")]
    project = ["contributing", "changelog"]
    first = ["readme", "own-loop", "evidence", "evidence-tables", "performance"]
    first += ["instructor-guide", "glossary", "troubleshooting"]
    data = [page for page in documents if page.startswith("data/")]
    taken = {*course, *solutions, *project, *data, *first}
    reading = [page for page in first if page in documents] + sorted(page for page in documents if page not in taken)
    parts = {
        "The course": course,
        "Reading": reading,
        "The library": reference,
        "Data and records": data,
        "Worked solutions": solutions,
        "The project": [page for page in project if page in documents],
    }
    blocks = []
    for caption, entries in parts.items():
        lines = "\n".join("Start and overview <readme>" if entry == "readme" else entry for entry in entries)
        blocks.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n:maxdepth: 1\n\n{lines}\n```\n")
    return "\n" + "\n".join(blocks)


def reference() -> dict[str, str]:
    """The pages of the library's reference by place: one for the names of `perfteach`, one for each main module."""
    sys.path.insert(0, str(ROOT))
    import perfteach

    described, rows = [], []
    for name in sorted(perfteach.__all__):
        value = getattr(perfteach, name)
        if name in MODULES:
            continue
        kind = "autoclass" if isinstance(value, type) else "autofunction" if callable(value) else "autodata"
        options = "\n   :members:" if kind == "autoclass" else ""
        described.append(f".. {kind}:: perfteach.{name}{options}\n")
    result = {"api/perfteach.md": _page("perfteach", "The names that `import perfteach` offers.", "\n".join(described))}
    public = set(perfteach.__all__)
    for name, about in MODULES.items():
        module = f"perfteach.{name}"
        options = f"\n   :members:\n   :imported-members:\n   :exclude-members: {', '.join(sorted(public))}"
        if not _declares_all(module):  # without __all__ what a module imports would be taken for its own
            options = options.replace("\n   :imported-members:", "")
        result[f"api/{module}.md"] = _page(module, "", f".. automodule:: {module}{options}\n")
        rows.append(f"* [{module}]({module}.md): {about}")
    start = "* [perfteach](perfteach.md): networks, dendrites, phases, training"
    front = "# Reference\n\n" + "\n".join([start, *rows]) + "\n\n```{toctree}\n:hidden:\n\n"
    return {"api/index.md": front + "\n".join(Path(place).stem for place in result) + "\n```\n", **result}


def _page(title: str, text: str, directives: str) -> str:
    return f"# {title}\n\n{text}\n\n```{{eval-rst}}\n{directives}```\n"


def _declares_all(module: str) -> bool:
    __import__(module)
    return hasattr(sys.modules[module], "__all__")


def gather() -> int:
    """Write everything that Sphinx reads into build/site-source, anew; returns the number of pages."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    places, written = pages(), reference()
    for name, place in places.items():
        target = SOURCE / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".ipynb"):
            written[place] = notebook((ROOT / name).read_text(encoding="utf-8"), name, places)
        elif name.endswith(".md"):
            written[place] = relink((ROOT / name).read_text(encoding="utf-8"), name, places)
        else:
            shutil.copy(ROOT / name, target)
    written["index.md"] += trees(places, ["api/index"])
    for place, text in written.items():
        (SOURCE / place).parent.mkdir(parents=True, exist_ok=True)
        (SOURCE / place).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "docs" / "conf.py", SOURCE)
    (SOURCE / "_static").mkdir()
    shutil.copy(ROOT / "docs" / "site.css", SOURCE / "_static")
    return len(written)


def main(arguments: list[str] | None = None) -> int:
    """Gather and build; returns Sphinx's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gather-only", action="store_true", help="only write what Sphinx reads")
    if parser.parse_args(arguments).gather_only:
        print(f"{gather()} pages in {SOURCE.relative_to(ROOT)}")
        return 0
    gather()
    shutil.rmtree(SITE, ignore_errors=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(SOURCE), str(SITE)]
    code = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode
    if code == 0:
        print(f"The site begins at {SITE.relative_to(ROOT) / 'index.html'}.")
    return code


if __name__ == "__main__":
    sys.exit(main())
