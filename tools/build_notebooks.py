"""Build the learner's and the solutions edition of every notebook from its one source in notebooks/src.

A source is a jupytext percent script with text, code and solutions. A cell tagged "exercise" holds its solution between
`### BEGIN SOLUTION` and `### END SOLUTION`. The learner's edition gets the lines `### STUB …` in its place, or a single
`...` where there are none. Both editions are executed, one kernel at a time, and stripped of what changes by the run.

    python tools/build_notebooks.py                    build and execute everything
    python tools/build_notebooks.py --only 00 02       only these
    python tools/build_notebooks.py --edition learner  only this edition
    python tools/build_notebooks.py --texts            execute nothing; new texts around the outputs that are there
    python tools/build_notebooks.py --check            execute nothing; fail where a notebook and its source differ
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
SOURCES = NOTEBOOKS / "src"
EDITIONS = {"learner": NOTEBOOKS, "solutions": NOTEBOOKS / "solutions"}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


def _for_colab(extra: str) -> str:
    """The packages of an extra, without those that Colab itself is made of."""
    names = [re.split(r"[\[<>=]", line)[0] for line in PROJECT["optional-dependencies"][extra]]
    return " ".join(name for name in names if name not in ("perfteach", "jupyterlab", "ipywidgets"))


# The first code cell of every notebook. Colab has a torch of its own, which must stay: hence --no-deps.
COLAB = f"""\
# On Google Colab only: fetch the course, keep Colab's own torch. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    %pip install --quiet --no-deps "git+{REPOSITORY}"
    %pip install --quiet {_for_colab("course")} {_for_colab("export")}
    %pip install --quiet {_for_colab("hackathon")}"""

COMPARED, TAG = "# NBVAL_CHECK_OUTPUT\n", "nbval-check-output"  # in the source; in the notebook, out of sight
BEGIN, END, STUB = "### BEGIN SOLUTION", "### END SOLUTION", "### STUB"
EMPTY_STUB = "...  # your code here"
FOLDED = "Solution (folded)"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# One thread, so that the numbers in the committed editions do not depend on the machine's cores.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PERFTEACH_TIER": "quick", "PYTHONHASHSEED": "0"}
SECONDS_A_CELL = 300


def sources(only: Iterable[str] = ()) -> list[Path]:
    """The source scripts in order; `only` keeps those whose names begin with one of its entries."""
    starts = tuple(only)
    return [path for path in sorted(SOURCES.glob("[0-9][0-9]_*.py")) if not starts or path.name.startswith(starts)]


def built_path(source: Path, edition: str) -> Path:
    """Where the notebook of a source stands."""
    return EDITIONS[edition] / f"{source.stem}.ipynb"


def build(source: Path, edition: str) -> NotebookNode:
    """The notebook of a source, not executed.

    Raises:
        ValueError: when a solution's markers do not match, or an exercise has none.
    """
    cells: list[NotebookNode] = []
    for cell in jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent").cells:
        if cell.source.startswith("# ruff:"):  # settings of the linter, for the source only
            continue
        tags = list(cell.metadata.get("tags", []))
        if cell.cell_type == "markdown":
            cells.append(v4.new_markdown_cell(_links(cell.source, edition)))
            if len(cells) == 1:
                cells.append(v4.new_code_cell(COLAB, metadata={"tags": ["colab"], "jupyter": {"source_hidden": True}}))
            continue
        compared = cell.source.startswith(COMPARED)
        tags += [TAG] * compared
        metadata: dict[str, Any] = {"tags": tags} if tags else {}
        if "exercise" in tags and edition == "solutions":
            cells.append(v4.new_markdown_cell(FOLDED))
            metadata["jupyter"] = {"source_hidden": True}
        code = cell.source.removeprefix(COMPARED)
        code = _exercise(code, edition, source.name) if "exercise" in tags else code
        cells.append(v4.new_code_cell(code, metadata=metadata))
    _name_cells(cells)
    notebook = v4.new_notebook(cells=cells, metadata=METADATA)
    nbformat.validate(notebook)
    return notebook


def _exercise(code: str, edition: str, where: str) -> str:
    """An exercise cell with its solution, or with the stub in the solution's place."""
    kept: list[str] = []
    block: list[str] | None = None
    solutions = 0
    for line in code.splitlines():
        word = line.strip()
        if word == BEGIN and block is None:
            block, solutions = [], solutions + 1
        elif word == END and block is not None:
            kept += _stub(block, line) if edition == "learner" else [text for text in block if not _is_stub(text)]
            block = None
        elif word in (BEGIN, END):
            raise ValueError(f"{where}: an exercise has {word!r} without its partner")
        else:
            (kept if block is None else block).append(line)
    if block is not None or not solutions:
        raise ValueError(f"{where}: an exercise needs {BEGIN!r} and {END!r}")
    return "\n".join(kept)


def _stub(block: list[str], end: str) -> list[str]:
    stubs = [line.replace(f"{STUB} ", "", 1).rstrip() for line in block if _is_stub(line)]
    indent = end[: len(end) - len(end.lstrip())]
    return stubs or [indent + EMPTY_STUB]


def _is_stub(line: str) -> bool:
    return line.lstrip().startswith(STUB)


def _links(text: str, edition: str) -> str:
    """Sources link from notebooks/; the solutions edition lies one folder deeper."""
    if edition == "learner":
        return text
    text = re.sub(r"""(\]\(|(?:href|src)=")\.\./""", r"\1../../", text)
    return re.sub(r"""(\]\(|(?:href|src)=")solutions/""", r"\1", text)


def _name_cells(cells: list[NotebookNode]) -> None:
    """Ids from the content, so that inserting a cell leaves the others' ids alone."""
    seen: Counter[str] = Counter()
    for cell in cells:
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        if cell.source == COLAB:  # the address in it may change without a new execution
            name = "colab"
        cell.id = f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1


# ---------------------------------------------------------------------------------------------- executing


def execute(notebook: NotebookNode, folder: Path) -> tuple[float, int]:
    """Run all cells in `folder`; returns the kernel's CPU seconds and peak memory in MiB (0 where they are not told).

    Raises:
        CellExecutionError: when a cell raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = Path(tempfile.mkdtemp(prefix="perfteach-progress-"), "progress.json")
    os.environ["PERFTEACH_PROGRESS"] = str(progress)  # nobody's own: a built notebook shows its own exercises only
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    with client.setup_kernel():
        for index, cell in enumerate(client.nb.cells):
            client.execute_cell(cell, index)
        spent = _spent(getattr(getattr(client.km, "provisioner", None), "pid", 0))
    strip(notebook)
    return spent


def _spent(pid: int) -> tuple[float, int]:
    folder = Path(f"/proc/{pid}")
    if not folder.is_dir():
        return 0.0, 0
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]  # own and ended children's, user and system
    peak = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), int(peak.group(1)) // 1024 if peak else 0


def strip(notebook: NotebookNode) -> None:
    """Take out what changes from run to run or names this machine: widget models, progress bars, folders."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [_clean(output) for output in cell.outputs if not _is_widget_only(output)]


def _is_widget_only(output: NotebookNode) -> bool:
    """A progress bar: a widget without a still edition."""
    data = output.get("data", {})
    return WIDGET_VIEW in data and "text/html" not in data


def _clean(output: NotebookNode) -> NotebookNode:
    if output.output_type == "stream":
        output.text = _without_folders(re.sub(r"[^\n]*\r", "", output.text))
    data = output.get("data", {})
    data.pop(WIDGET_VIEW, None)
    if "<img alt=" in data.get("text/html", ""):
        data.pop("image/png", None)  # the same picture again, without its words
    for kind, content in data.items():
        if kind.startswith("text/"):
            data[kind] = _without_folders(content)
    return output


def _without_folders(text: str) -> str:
    for folder, name in ((ROOT, "."), (Path.home(), "~")):
        text = re.sub(re.escape(str(folder)) + r"(?=[/\\])", name, text)
    return text


def retext(source: Path, edition: str) -> NotebookNode:
    """The notebook of a source with the outputs of the built one, for a source in which only text has changed.

    Raises:
        ValueError: when the built notebook is missing or its code is not the source's, so that it has to be executed.
    """
    path, notebook = built_path(source, edition), build(source, edition)
    name = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise ValueError(f"{name} is not there yet: build it without --texts.")
    old, new = (
        [cell for cell in one.cells if cell.cell_type == "code"]
        for one in (nbformat.read(path, as_version=4), notebook)
    )
    for number, (before, after) in enumerate(zip_longest(old, new), 1):
        if before is None or after is None or before.source != after.source:
            raise ValueError(f"{name}: code cell {number} has changed; build it without --texts, to execute it.")
        after.outputs, after.execution_count = before.outputs, before.execution_count
    return notebook


# ---------------------------------------------------------------------------------------------- comparing


def differences(source: Path, edition: str) -> list[str]:
    """What distinguishes a built notebook from its source, in words; empty when they agree."""
    path = built_path(source, edition)
    name = path.relative_to(ROOT).as_posix()
    if not path.is_file():
        return [f"{name} is missing"]
    notebook, wanted = nbformat.read(path, as_version=4), build(source, edition)
    found = []
    if len(notebook.cells) != len(wanted.cells):
        found.append(f"{name} has {len(notebook.cells)} cells, its source makes {len(wanted.cells)}")
    for number, (old, new) in enumerate(zip(notebook.cells, wanted.cells, strict=False)):
        for what in ("cell_type", "source", "id", "metadata"):
            if old[what] != new[what]:
                found.append(f"{name}, cell {number}: {what} differs from {source.name}")
                break
    if dict(notebook.metadata) != METADATA:
        found.append(f"{name}: the notebook's metadata differ")
    if any(cell.cell_type == "code" and not cell.execution_count for cell in notebook.cells):
        found.append(f"{name} was not executed")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Build, or compare; returns the exit code."""
    parser = argparse.ArgumentParser(description="Build both editions of the notebooks from notebooks/src.")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="first characters of the sources' names")
    parser.add_argument("--edition", choices=EDITIONS, help="build one edition only")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="compare only; fail where a notebook differs")
    how.add_argument("--texts", action="store_true", help="keep the outputs; fail where code has changed")
    asked = parser.parse_args(arguments)
    chosen, editions = sources(asked.only), [asked.edition] if asked.edition else list(EDITIONS)
    if not chosen:
        print("No source has such a name; they are in notebooks/src.", file=sys.stderr)
        return 1
    if asked.check:
        found = [line for source in chosen for edition in editions for line in differences(source, edition)]
        print("\n".join([*found, "Run `make notebooks` to build them again."] if found else ["Up to date."]))
        return 1 if found else 0
    if asked.texts:
        return _retext_all([(source, edition) for source in chosen for edition in editions])
    os.environ.update(ENVIRONMENT)
    for source in chosen:
        for edition in editions:
            start, path = time.perf_counter(), built_path(source, edition)
            notebook = build(source, edition)
            cpu, peak = execute(notebook, path.parent)
            nbformat.write(notebook, path)
            seconds, size = time.perf_counter() - start, path.stat().st_size / 1024
            print(
                f"{path.relative_to(ROOT)}: {seconds:.1f} s ({cpu:.1f} s of CPU), {peak} MiB, file {size:.0f} KiB",
                flush=True,
            )
    return 0


def _retext_all(chosen: list[tuple[Path, str]]) -> int:
    """New texts for all of them, or for none where one has to be executed."""
    try:
        notebooks = [(retext(*one), built_path(*one)) for one in chosen]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for notebook, path in notebooks:
        nbformat.write(notebook, path)
    print(f"{len(notebooks)} notebooks have their source's texts; nothing was executed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
