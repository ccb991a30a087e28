"""The site: every page is gathered, every link between pages holds, and Sphinx has no complaint."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import load_tool

import perfteach

ROOT = Path(__file__).resolve().parent.parent
tool = load_tool("build_site")
PLACES = tool.pages()


def texts() -> dict[str, str]:
    """The pages by their place, as Sphinx reads them; of a notebook, its Markdown."""
    result = {}
    for name, place in PLACES.items():
        if name.endswith(".md"):
            result[place] = tool.relink((ROOT / name).read_text(encoding="utf-8"), name, PLACES)
        elif name.endswith(".ipynb"):
            cells = json.loads(tool.notebook((ROOT / name).read_text(encoding="utf-8"), name, PLACES))["cells"]
            result[place] = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    return result


def test_every_document_and_both_editions_of_every_notebook_are_pages():
    for pattern in ("docs/**/*.md", "notebooks/*.ipynb", "notebooks/solutions/*.ipynb", "data/runs/*/README.md"):
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)]
        assert names and set(names) <= set(PLACES), pattern
    assert PLACES["docs/index.md"] == "index.md" and len(set(PLACES.values())) == len(PLACES)


def test_every_link_of_the_site_leads_to_a_page_or_to_the_project():
    places, seen = set(PLACES.values()), 0
    for place, text in texts().items():
        for _, target in tool.LINK.findall(text):
            if urlsplit(target).scheme or target.startswith(("#", "data:")):
                continue
            file = os.path.normpath(Path(place).parent / target.partition("#")[0])
            if re.search(r"\.(md|ipynb|png|svg)$", file):
                assert file.replace(os.sep, "/") in places, f"{place}: {target}"
                seen += 1
    assert seen > 50


def test_links_are_turned_into_ones_for_the_site(tmp_path):
    for name in ("docs/word.md", "notebooks/00.ipynb", "README.md", "code.py", "docs/images/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    places = {"docs/word.md": "word.md", "notebooks/00.ipynb": "notebooks/00.ipynb", "README.md": "readme.md"}
    places["docs/images/a.png"] = "images/a.png"

    def turned(text: str, name: str) -> str:
        return tool.relink(text, name, places, tmp_path)

    assert turned("[a](../docs/word.md#b)", "notebooks/00.ipynb") == "[a](../word.md#b)"
    assert turned("[a](../README.md)", "docs/word.md") == "[a](readme.md)"
    assert turned("![a](docs/images/a.png)", "README.md") == "![a](images/a.png)"
    assert turned('<a href="notebooks/00.ipynb">', "README.md") == '<a href="notebooks/00.ipynb">'
    assert turned("[a](../code.py)", "docs/word.md") == f"[a]({tool.URLS['Repository']}/blob/main/code.py)"
    assert turned("[a](../notebooks)", "docs/word.md") == f"[a]({tool.URLS['Repository']}/tree/main/notebooks)"
    for text in ("[a](#b)", "[a](gone.md)", "[a](../../outside)", "f[0](x)", "[a](mailto:b)"):
        assert turned(text, "docs/word.md") == text


def test_a_notebook_loses_what_is_not_for_readers_and_keeps_its_outputs():
    name = "notebooks/solutions/00_start_here.ipynb"
    before = json.loads((ROOT / name).read_text(encoding="utf-8"))["cells"]
    after = json.loads(tool.notebook((ROOT / name).read_text(encoding="utf-8"), name, PLACES))["cells"]
    assert len(after) == len(before) - 1
    assert after[0]["source"].splitlines()[0].endswith(", solved")
    code = [cell for cell in after if cell["cell_type"] == "code"]
    assert not [cell for cell in code if "google.colab" in cell["source"]]
    assert [cell["outputs"] for cell in code] == [
        cell["outputs"] for cell in before if cell.get("outputs") is not None
    ][1:]
    assert any("hide-input" in cell["metadata"].get("tags", []) for cell in code)


def test_the_reference_has_every_public_name_and_the_side_bar_every_page():
    reference = tool.reference()
    for name in set(perfteach.__all__) - set(tool.MODULES):
        assert f":: perfteach.{name}\n" in reference["api/perfteach.md"]
    assert {f"api/perfteach.{name}.md" for name in tool.MODULES} < set(reference)
    listed = set(re.findall(r"^(?:.*<)?([\w./-]+)>?$", tool.trees(PLACES, ["api/index"]), re.M))
    documents = {place.rpartition(".")[0] for place in PLACES.values() if place.endswith((".md", ".ipynb"))}
    assert documents - {"index"} <= listed


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(importlib.util.find_spec("myst_nb") is None, reason="the extra `site` is not installed: make site")
def test_the_site_builds_without_a_warning():
    done = subprocess.run([sys.executable, "tools/build_site.py"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    start = (ROOT / "build" / "site" / "index.html").read_text(encoding="utf-8")
    assert "07 · Your own model" in start and 'action="search.html"' in start
    assert "perfteach.PerforatedTrainer" in (ROOT / "build/site/api/perfteach.html").read_text(encoding="utf-8")
