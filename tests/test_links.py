"""Where the course lives is said in pyproject.toml; badges, launch links and the Colab cell have to agree with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from urllib.parse import quote, unquote, urlsplit

import nbformat
import pytest
from conftest import free_port, load_tool, running

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
            if parts.netloc == "github.com":
                assert f"{parts.path}/".startswith(f"/{tool.repository()}"), f"{page.name}: {address}"
            launch = parts.netloc in ("mybinder.org", "colab.research.google.com", "nbviewer.org")
            if parts.path.startswith(("/v2/gh/", "/github/")) and launch:
                assert f"/{tool.repository()}/" in parts.path, f"{page.name}: {address}"


def test_links_into_the_repository_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), ROOT / "data/README.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not urlsplit(target).scheme and not target.startswith("#"):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def slugs(page: Path) -> list[str]:
    """The anchors that GitHub and the site give to a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+?)\s*$", text, re.M)
    return [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]


def markdown(path: Path) -> str:
    """The text of a page, or of a notebook's text cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join(c.source for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "markdown")


def test_every_anchor_is_a_heading_of_its_page():
    seen = 0
    for page in [*BUILT, *(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", markdown(page)):
            place, _, anchor = target.partition("#")
            if anchor and not urlsplit(target).scheme and (not place or place.endswith(".md")):
                there = page if not place else page.parent / place
                assert unquote(anchor) in slugs(there), f"{page.name}: {target}"
                seen += 1
    assert seen > 100


def test_every_word_of_the_glossary_is_an_anchor_in_jupyterlab_too():
    words = re.findall(r"^### (.+)$", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.M)
    linked = {anchor for path in NOTEBOOKS for anchor in re.findall(r"glossary\.md#([^)]+)\)", markdown(path))}
    assert len(linked) > 30
    # JupyterLab keeps a heading's capitals and signs in its anchor, GitHub does not.
    assert linked <= {word.replace(" ", "-") for word in words}


TERM = re.compile(r"\[([^]]+)\]\(\.\./docs/glossary\.md#([^)]+)\)")


def running_text(path: Path) -> str:
    """What is read aloud: no headings, no tables, no code, no formulas; of a link, only the text, except a term's."""
    lines = markdown(path).splitlines()
    lines = [line for line in lines if not re.match(r"#|\||    |\*\*[^*]+\*\*$", line)]
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", "\n".join(lines), flags=re.S)
    text = re.sub(r"(\[[^]]+\]\()(?!\.\./docs/glossary)[^)]+\)", r"\1)", text)
    text = re.sub(r"\[`([^`\]]+)`\]", r"[\1]", text)
    return re.sub(r"\s+", " ", re.sub(r"`[^`]+`", "", text).replace("\n> ", "\n"))


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem > "01"], ids=lambda path: path.stem)
def test_a_term_is_linked_where_it_is_used_first(path):
    text = running_text(path)
    found = list(TERM.finditer(text))
    anchors = [match[2] for match in found]
    assert 5 <= len(anchors) <= 12, anchors
    assert len(set(anchors)) == len(anchors), "a term is linked once"
    for match in found:
        before = TERM.sub(r"\1", text[: match.start()])
        for word in {match[1].removesuffix("s"), match[2].replace("-", " ")}:
            earlier = re.search(rf"(?<!\w){re.escape(word)}s?(?!\w)", before, re.I)
            assert not earlier, f"{word!r} is used before: …{before[max(0, earlier.start() - 60) : earlier.end()]}"


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
        *tmp_path.glob("docs/*.md"),
    ]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    assert not [name for name, text in texts.items() if f"/{old}" in text or f"%2F{quote(old, safe='')}" in text]
    assert quote("https://github.com/some-one/else.where", safe="") in texts["workshop-hub.md"]
    assert "README.md" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["owner"], ["a/b", "c"], ["https://github.com/a/b"]])
def test_an_address_of_another_form_is_refused(arguments):
    assert tool.main(arguments) == 2


# ---------------------------------------------------------------------------------------------- the running server


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The server that `make lab` starts: its address, and its runtime folder."""
    folder = tmp_path_factory.mktemp("links")
    own = {f"JUPYTER{name}": str(folder / name.lower()) for name in ("_CONFIG_DIR", "_DATA_DIR", "_RUNTIME_DIR")}
    port = free_port()
    options = "--no-browser --ServerApp.ip=127.0.0.1 --ServerApp.port_retries=0 --IdentityProvider.token="
    said = subprocess.run(["make", "-n", "lab", f"PORT={port}", f"LAB_ARGS={options}", "VENV=none"], cwd=ROOT,
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    command = said[said.rindex("env JUPYTER_CONFIG_PATH") :].replace('"none/bin/python"', f'"{sys.executable}"')
    address, settings = f"http://127.0.0.1:{port}", {"shell": True, "cwd": ROOT, "env": os.environ | own}
    with running(f"exec {command}", f"{address}/api/status", folder / "lab.log", **settings):
        yield address, Path(own["JUPYTER_RUNTIME_DIR"])


def links(path: Path) -> set[str]:
    """Where a notebook's or a page's relative links lead, as paths below the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]+)\"", markdown(path))
    targets = [unquote((first or second).partition("#")[0]) for first, second in found]
    here = path.parent.relative_to(ROOT).as_posix()
    return {normpath(f"{here}/{target}") for target in targets if target and not urlsplit(target).scheme}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="there is no make with a shell beside it")
def test_every_link_works_in_the_server_that_make_lab_starts(lab):
    address, runtime = lab
    (opened,) = runtime.glob("jpserver-file-to-run-*-open.html")
    assert "/lab/tree/notebooks/00_start_here.ipynb" in opened.read_text(), "notebook 00 is what the browser opens"
    pages = [*BUILT, *(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    wanted = {target: page.name for page in pages for target in links(page)}
    assert len(wanted) > 30 and {"docs/troubleshooting.md", "docs/glossary.md"} <= set(wanted)
    dead = []
    for target, page in wanted.items():
        try:
            with urllib.request.urlopen(f"{address}/api/contents/{quote(target)}?content=0", timeout=60) as answer:
                assert answer.status == 200
        except urllib.error.HTTPError as error:
            dead.append(f"{page}: {target} ({error.code})")
    assert dead == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="there is no make with a shell beside it")
def test_the_question_about_news_stays_away_in_the_server_that_make_lab_starts(lab):
    address = f"{lab[0]}/lab/api/settings/@jupyterlab/apputils-extension:notification"
    with urllib.request.urlopen(address, timeout=60) as answer:
        settings = json.load(answer)["schema"]["properties"]
    assert (settings["fetchNews"]["default"], settings["checkForUpdates"]["default"]) == ("false", False)
