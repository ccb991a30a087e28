"""The notebooks agree with their sources, and keep the rules: links, cell lengths, alternative text, no tricks."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from conftest import load_tool

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks" / "src").glob("[0-9][0-9]_*.py"))
BUILT = sorted([*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "notebooks" / "solutions").glob("*.ipynb")])
TAG = "nbval-check-output"
LONGEST = 25  # lines of a code cell
WIDEST = 92  # characters of a code line that JupyterLab shows beside its side bar in a window of 1150 pixels
SCREEN = 45  # lines of text output
DRY_RUN = json.loads((ROOT / "notebooks" / "dry-run.json").read_text(encoding="utf-8"))
READING = 150  # words a minute
PAUSE = "**A good place to pause.**"


tool = load_tool("build_notebooks")


def name(path: Path) -> str:
    return path.relative_to(ROOT / "notebooks").as_posix()


@pytest.fixture(params=BUILT, ids=name)
def built(request):
    return request.param, nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def texts(output):
    """What an output shows as text, by kind."""
    if output.output_type == "stream":
        return {"stream": output.text}
    return {kind: content for kind, content in output.get("data", {}).items() if kind.startswith("text/")}


def test_both_editions_of_every_source_are_there_and_nothing_else():
    wanted = {tool.built_path(source, edition) for source in SOURCES for edition in tool.EDITIONS}
    assert set(BUILT) == wanted


@pytest.mark.parametrize("edition", ["learner", "solutions"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_built_notebook_agrees_with_its_source(source, edition):
    assert tool.differences(source, edition) == []


def test_enough_compared_cells_each_with_an_output(built):
    _, notebook = built
    marked = [cell for cell in code_cells(notebook) if TAG in cell.metadata.get("tags", [])]
    assert len(marked) >= 5
    assert all(cell.outputs for cell in marked)


def test_compared_cells_show_no_picture_and_no_address(built):
    _, notebook = built
    for cell in code_cells(notebook):
        if TAG in cell.metadata.get("tags", []):
            shown = "".join(text for output in cell.outputs for text in texts(output).values())
            assert "<img" not in shown
            assert not re.search(r"0x[0-9a-f]{6,}", shown)
            assert not any("image/png" in output.get("data", {}) for output in cell.outputs)


def test_no_error_and_nothing_unfinished(built):
    _, notebook = built
    kinds = {output.output_type for cell in code_cells(notebook) for output in cell.outputs}
    assert "error" not in kinds


def test_cells_fit_on_a_screen(built):
    path, notebook = built
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= LONGEST, cell.source
        assert max(map(len, cell.source.splitlines())) <= WIDEST, cell.source
        for output in cell.outputs:
            plain = texts(output)
            for kind, text in plain.items():
                if kind == "stream" or (kind == "text/plain" and "text/html" not in plain):
                    assert len(text.splitlines()) <= SCREEN, f"{name(path)}: {text[:200]}"


def test_no_tricks(built):
    _, notebook = built
    for cell in code_cells(notebook):
        guarded = '"google.colab" in sys.modules' in cell.source
        assert "sys.path" not in cell.source
        assert guarded or not re.search(r"\bpip3? install|^\s*[%!]\w*pip\b", cell.source, re.M), cell.source
        assert not re.search(r"^\s*(try|except\b.*):", cell.source, re.M), cell.source
        assert not re.search(r"[\"'](/(home|root|Users|tmp|mnt|work)\b|[A-Z]:\\)", cell.source), cell.source


def test_no_machine_s_folder_in_what_is_shown(built):
    _, notebook = built
    for cell in code_cells(notebook):
        for output in cell.outputs:
            for text in texts(output).values():
                assert str(ROOT) not in text
                assert not re.search(r"(?<![\w.])/(root|home/\w+|Users/\w+)/", text), text[:300]


def test_every_image_has_alternative_text(built):
    path, notebook = built
    for cell in notebook.cells:
        pages = [cell.source] if cell.cell_type == "markdown" else []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert not any(kind.startswith("image/") for kind in data), f"{name(path)}: a picture without words"
            pages.append(data.get("text/html", ""))
        for page in pages:
            for image in re.findall(r"<img\b[^>]*>", page):
                alt = re.search(r'\balt="([^"]*)"', image)
                assert alt, image[:200]
                assert len(alt.group(1)) > 20, alt.group(1)
            assert not re.search(r"!\[\s*\]\(", page)


def test_links_resolve_inside_the_repository(built):
    path, notebook = built
    text = markdown(notebook)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:href|src)="([^"]+)"', text)
    assert links
    for link in links:
        if re.match(r"https://", link):
            continue
        target = (path.parent / link.partition("#")[0]).resolve()
        assert target.is_relative_to(ROOT), link
        assert target.exists(), f"{name(path)} links to {link}, which is not there"


def test_page_has_its_parts(built):
    _, notebook = built
    shown = [texts(output).get("text/html", "") for cell in code_cells(notebook) for output in cell.outputs]
    text = markdown(notebook) + "".join(shown)
    parts = ("Minutes", "You need", "Exercise 1", "Quiz", "<details>", "What could go wrong", "Take away", "References")
    assert [part for part in parts if part not in text] == []


def test_every_exercise_says_how_hard_and_is_followed_by_its_check(built):
    path, notebook = built
    cells = notebook.cells
    exercises = [i for i, cell in enumerate(cells) if "exercise" in cell.metadata.get("tags", [])]
    assert len(exercises) >= 2
    for i in exercises:
        texts_before = [cell.source for cell in cells[:i] if cell.cell_type == "markdown"]
        heading = [line for line in "\n".join(texts_before).splitlines() if line.startswith("#")][-1]
        assert re.search(r"Exercise \d.* (easy|medium|hard) · \d+ minutes", heading), f"{name(path)}: {heading}"
        assert "checks.check_" in cells[i + 1].source
        verdict = cells[i + 1].outputs[0].data["text/plain"]
        solved = path.parent.name == "solutions"
        assert verdict.startswith("✓ " if solved else "Not attempted yet: "), verdict
        assert "### " not in cells[i].source
        assert cells[i].metadata.get("jupyter", {}).get("source_hidden", False) is solved


def rounded(minutes, to=1):
    return max(to * math.floor(minutes / to + 0.5), 2)


def texts_of(source):
    return [cell.source for cell in jupytext.read(source, fmt="py:percent").cells if cell.cell_type == "markdown"]


def exercises_of(text):
    """Of every exercise heading: its number, difficulty and minutes."""
    found = re.findall(r"^### Exercise (\d+) · .+ · ([a-z ]+) · (\d+) minutes$", text, re.M)
    return [(int(number), level, int(minutes)) for number, level, minutes in found]


def minutes_of(text):
    """For its words and its exercises, without those that are very hard."""
    words = re.findall(r"\S*\w\S*", re.sub(r"\]\([^)]*\)", "]", text))
    exercises = sum(minutes for _, level, minutes in exercises_of(text) if level != "very hard")
    return rounded(len(words) / READING + exercises, to=5)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_minutes_are_those_of_the_dry_run(source):
    measured = {row["exercise"]: rounded(row["minutes"]) for row in DRY_RUN if row["notebook"] == source.stem}
    headings = exercises_of("\n".join(texts_of(source)))
    assert [number for number, _, _ in headings] == list(range(1, len(headings) + 1)), "in the order of their numbers"
    assert {number: minutes for number, _, minutes in headings} == measured
    assert len(headings) == "\n".join(texts_of(source)).count("### Exercise ")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_s_minutes_are_its_words_and_its_exercises(source):
    text = "\n".join(texts_of(source))
    last = [minutes for _, level, minutes in exercises_of(text) if level == "very hard"]
    total, first = minutes_of(text), minutes_of(text.split(PAUSE)[0])
    more = f", with a place to pause after {first}" if PAUSE in text else ""
    more += "".join(f", and {minutes} more for the last exercise if you like" for minutes in last)
    assert f"| **Minutes** | {total}{more} |" in text
    (row,) = re.findall(rf"^\| \[.*{source.stem}\.ipynb\) \|.*", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert row.split(" | ")[2] == f"{total}" + "".join(f" + {minutes}" for minutes in last)


def test_one_very_hard_exercise_stands_at_the_end_of_three_notebooks():
    hardest = [
        (source.stem[:2], [level for _, level, _ in exercises_of("\n".join(texts_of(source)))]) for source in SOURCES
    ]
    assert [name for name, levels in hardest if "very hard" in levels] == ["03", "05", "07"]
    assert all("very hard" not in levels[:-1] for _, levels in hardest)


def test_stub_and_solution_are_told_apart(tmp_path):
    source = tmp_path / "00_x.py"
    source.write_text(
        '# %% tags=["exercise"]\ndef f(x):\n    ### BEGIN SOLUTION\n    return x + 1\n    ### END SOLUTION\n\n\n'
        '# %% tags=["exercise"]\n### BEGIN SOLUTION\n### STUB y = ...  # your number\ny = 3\n### END SOLUTION\n'
    )
    learner, solved = (tool.build(source, edition) for edition in ("learner", "solutions"))
    assert [cell.source for cell in learner.cells] == ["def f(x):\n    ...  # your code here", "y = ...  # your number"]
    assert [cell.source for cell in code_cells(solved)] == ["def f(x):\n    return x + 1", "y = 3"]


@pytest.mark.parametrize("block", ["### BEGIN SOLUTION\ny = 3", "y = 3\n### END SOLUTION", "y = 3"])
def test_markers_have_to_match(tmp_path, block):
    source = tmp_path / "00_x.py"
    source.write_text(f'# %% tags=["exercise"]\n{block}\n')
    with pytest.raises(ValueError, match="an exercise"):
        tool.build(source, "learner")


def test_a_changed_source_is_noticed(tmp_path, monkeypatch):
    source = tmp_path / SOURCES[0].name
    source.write_text(SOURCES[0].read_text(encoding="utf-8").replace("# # 00", "# # Changed 00"), encoding="utf-8")
    assert any("source differs" in line for line in tool.differences(source, "learner"))


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A small source, and its learner's edition as if it had been executed."""
    source, path = tmp_path / "00_x.py", tmp_path / "built" / "00_x.ipynb"
    path.parent.mkdir()
    source.write_text("# %% [markdown]\n# Old words.\n\n# %%\n1 + 1\n\n# %% [markdown]\n# The end.\n")
    monkeypatch.setattr(tool, "SOURCES", tmp_path)
    monkeypatch.setitem(tool.EDITIONS, "learner", path.parent)
    notebook = tool.build(source, "learner")
    for number, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = number
    result = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=2)
    code_cells(notebook)[1].outputs = [result]
    nbformat.write(notebook, path)
    return source, path


def test_new_texts_keep_the_outputs(executed, capsys):
    source, path = executed
    before = nbformat.read(path, as_version=4)
    source.write_text(source.read_text().replace("Old words.", "New words.\n\n# %% [markdown]\n# One cell more."))
    assert tool.main(["--texts", "--edition", "learner"]) == 0, capsys.readouterr().err
    after = nbformat.read(path, as_version=4)
    assert [cell.id for cell in after.cells] == [cell.id for cell in tool.build(source, "learner").cells]
    assert "New words." in markdown(after) and "One cell more." in markdown(after)
    assert code_cells(after) == code_cells(before)


@pytest.mark.parametrize(("old", "new"), [("1 + 1", "1 + 2"), ("1 + 1", "1 + 1\n\n# %%\n3"), ("# %%\n1 + 1\n", "")])
def test_changed_code_is_not_given_old_outputs(executed, capsys, old, new):
    source, path = executed
    before = path.read_bytes()
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new).replace("Old words.", "New words."))
    assert tool.main(["--texts", "--edition", "learner"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "00_x.ipynb: code cell" in said and "without --texts" in said
    assert path.read_bytes() == before
