"""Say where the course lives: `python tools/set_repository.py OWNER/NAME` rewrites every link that names it.

pyproject.toml holds the address; the README's badges, the documents, the citation and the notebooks' Colab cell repeat
it. Nothing is executed, so the notebooks keep their outputs.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("pyproject.toml", "CITATION.cff", "*.md", "docs/*.md", "notebooks/*.ipynb", "notebooks/solutions/*.ipynb")
# What stands before OWNER/NAME in a link.
HOSTS = (
    "https://github.com/",
    "https://mybinder.org/v2/gh/",
    "https://colab.research.google.com/github/",
    "https://nbviewer.org/github/",
)


def repository() -> str:
    """OWNER/NAME as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix(HOSTS[0])


def main(arguments: list[str]) -> int:
    """Rewrite the links; returns the exit code."""
    if len(arguments) != 1 or not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments[0]):
        print("usage: python tools/set_repository.py OWNER/NAME", file=sys.stderr)
        return 2
    before, inside = repository(), quote(repository(), safe="")  # a link inside a link is written with %2F
    old = re.compile(f"({'|'.join(map(re.escape, HOSTS))}){re.escape(before)}(?![\\w-])")
    quoted = re.compile(f"({re.escape(quote(HOSTS[0], safe=''))}){re.escape(inside)}(?![\\w-])")
    for page in sorted(path for pattern in PAGES for path in ROOT.glob(pattern)):
        text = page.read_text(encoding="utf-8")
        new, links = old.subn(rf"\g<1>{arguments[0]}", text)
        new, more = quoted.subn(rf"\g<1>{quote(arguments[0], safe='')}", new)
        if links := links + more:
            page.write_text(new, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: {links} links")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
