"""Where the course lives is said in pyproject.toml; badges, launch links and the Colab cell have to agree with it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from conftest import load_tool

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BUILT = [*NOTEBOOKS, *sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))]


tool = load_tool("set_repository")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_readme_opens_every_notebook_in_binder_colab_and_nbviewer(path):
    home, place = tool.repository(), f"notebooks/{path.name}"
    assert f"](https://mybinder.org/v2/gh/{home}/HEAD?urlpath=lab/tree/{place})" in README
    assert f"](https://colab.research.google.com/github/{home}/blob/main/{place})" in README
    assert f"](https://nbviewer.org/github/{home}/blob/main/{place})" in README
    assert f"]({place})" in README


def test_every_link_to_the_project_names_its_home():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for address in re.findall(r"https://[^\s)>\"]+", page.read_text(encoding="utf-8")):
            parts = urlsplit(address)
            launch = parts.netloc in ("mybinder.org", "colab.research.google.com", "nbviewer.org")
            if parts.path.startswith(("/v2/gh/", "/github/")) and launch:
                assert f"/{tool.repository()}/" in parts.path, f"{page.name}: {address}"


def test_links_into_the_repository_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), ROOT / "data/README.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not urlsplit(target).scheme and not target.startswith("#"):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.relative_to(ROOT / "notebooks").as_posix())
def test_one_guarded_cell_fetches_the_course_on_colab(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    guarded = [number for number, cell in enumerate(cells) if "colab" in cell.metadata.get("tags", [])]
    assert guarded == [0], "it is the first code cell, and the only one"
    assert f'"git+https://github.com/{tool.repository()}"' in cells[0].source
    assert "--no-deps" in cells[0].source and not cells[0].outputs


def test_moving_the_project_moves_every_link(tmp_path, monkeypatch, capsys):
    for name in ("pyproject.toml", "CITATION.cff", "README.md", "docs", "notebooks"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    old = tool.repository()
    assert tool.main(["some-one/else.where"]) == 0
    assert tool.repository() == "some-one/else.where"
    pages = [
        tmp_path / "pyproject.toml",
        tmp_path / "CITATION.cff",
        tmp_path / "README.md",
        *tmp_path.glob("notebooks/*.ipynb"),
    ]
    assert not [page for page in pages if f"/{old}" in page.read_text(encoding="utf-8")]
    assert "README.md" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["owner"], ["a/b", "c"], ["https://github.com/a/b"]])
def test_an_address_of_another_form_is_refused(arguments):
    assert tool.main(arguments) == 2
