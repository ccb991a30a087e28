"""What a learner has done: kept in one file in their own folder, shown as a map, and printed as a certificate.

Checks and quizzes record themselves while a notebook runs. Nothing leaves the machine; the file may be deleted.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import sys
import tomllib
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfteach.files import replacing

if TYPE_CHECKING:
    from perfteach.runs import Run

VARIABLE = "PERFTEACH_PROGRESS"
FILE, PAGE = "perfteach-progress.json", "certificate.html"
NOTEBOOKS = {
    "00": ("Start here", "Can a network that is too small be helped without making it wider?"),
    "01": ("MobileNet basics", "What makes a MobileNet small, and where do its parameters sit?"),
    "02": ("One neuron, one dendrite", "What is the least that bends a straight border?"),
    "03": ("Perforated backpropagation", "How does a whole network learn in two phases?"),
    "04": ("Perforated fine-tuning", "Do dendrites improve a MobileNet, measured fairly?"),
    "05": ("Building Extra-Small", "What do dendrites cost, and where would they pay?"),
    "06": ("Shipping it", "What does it cost on the device?"),
    "07": ("Your own model", "How does it go with your network and your data?"),
}


@cache
def questions() -> dict[str, Any]:
    """The quizzes' questions, by number."""
    text = (files("perfteach.course") / "quizzes.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def file() -> Path | None:
    """Where progress is kept: the file that PERFTEACH_PROGRESS names, else one beside the running notebook.

    None outside a notebook, where nobody follows the course.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return Path.cwd() / FILE if hasattr(shell, "kernel") else None


def load() -> dict[str, dict[str, str]]:
    """The exercises passed and the questions answered, each by its number, such as "01.2", with the day.

    A damaged file is put aside and counts as none.
    """
    path, kinds = file(), ("exercises", "questions")
    if path is not None and path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return {what: dict(found[what]) for what in kinds}
        except (ValueError, KeyError, TypeError, OSError):
            with contextlib.suppress(OSError):
                path.replace(path.with_suffix(".damaged"))
    return {what: {} for what in kinds}


def record(what: str, number: str) -> None:
    """Keep that one of the "exercises" has passed its check, or one of the "questions" was answered rightly."""
    from filelock import FileLock

    path = file()
    if path is None:
        return
    with (
        contextlib.suppress(OSError),  # a folder that cannot be written must not stop an exercise
        # Two notebooks may be open, and the kernel answers a quiz in another thread than a cell.
        FileLock(path.with_name(f".{path.name}.lock"), timeout=10),
    ):
        kept = load()
        if number in kept[what]:
            return
        kept[what][number] = date.today().isoformat()
        with replacing(path) as part:
            part.write_text(json.dumps({"schema": 1, **kept}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


class Page:
    """HTML for a notebook, and the same in words where HTML is not shown."""

    def __init__(self, page: str, words: str) -> None:
        self.page, self.words = page, words

    def _repr_html_(self) -> str:
        return self.page

    def __repr__(self) -> str:
        return self.words


def show() -> Page:
    """The map of the course: every notebook with its question, and which of its exercises and questions are done."""
    from perfteach.course.checks import TITLES

    kept, rows, words = load(), [], []
    for number, (title, question) in NOTEBOOKS.items():
        exercises = {key: TITLES[key] for key in sorted(TITLES) if key.startswith(number)}
        done = [key for key in exercises if key in kept["exercises"]]
        asked = [key for key in questions() if key.startswith(number)]
        right = [key for key in asked if key in kept["questions"]]
        marks = " ".join(_mark(key, text, key in done) for key, text in exercises.items())
        name = f"{number}_{title.lower().replace(',', '').replace('-', '_').replace(' ', '_')}.ipynb"
        counts = f"{len(done)} of {len(exercises)}", f"{len(right)} of {len(asked)}"
        rows.append(
            f'<tr><td>{number}</td><td><a href="{name}">{html.escape(title)}</a></td><td>{html.escape(question)}</td>'
            f"<td>{marks} {counts[0]}</td><td>{counts[1]}</td></tr>"
        )
        words.append(f"{number} {title}: exercises {counts[0]}, questions {counts[1]}")
    head = "".join(f"<th>{text}</th>" for text in ("", "Notebook", "Its question", "Exercises done", "Quiz"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return Page(table.replace("<td>", '<td style="text-align:left">').replace("<th>", '<th style="text-align:left">'),
                "\n".join(words))  # fmt: skip


def _mark(number: str, title: str, done: bool) -> str:
    state = "done" if done else "open"
    label = html.escape(f"Exercise {number[3:]}, {title}: {state}")
    return f'<span role="img" aria-label="{label}" title="{label}">{"●" if done else "○"}</span>'


_STYLE = """
@page { size: A4 landscape; margin: 15mm }
body { font-family: Georgia, serif; color: #222; background: #fff; max-width: 230mm; margin: 10mm auto; padding: 10mm;
       border: 2px solid #0173b2 }
h1 { font-weight: normal; margin: 0 0 4mm } .name { font-size: 2em; margin: 4mm 0 }
table { border-collapse: collapse } td, th { text-align: left; padding: 1mm 6mm 1mm 0 } small { color: #555 }
@media print { button { display: none } body { margin: 0 } }
"""


def certificate(name: str, run: Run | None = None, folder: Path | str = ".") -> Page:
    """Write a page to print, `certificate.html`: name, day, what was done, and the numbers of the learner's network.

    Args:
        name: as it should stand on the page.
        run: a finished run of the learner's own network.
        folder: where to write the page.
    """
    from perfteach.course.checks import TITLES

    kept = load()
    count = sum(key in kept["exercises"] for key in TITLES)
    rows = [
        (f"{number} {title}", sum(key in kept["exercises"] for key in keys), len(keys))
        for number, (title, _) in NOTEBOOKS.items()
        if (keys := [key for key in TITLES if key.startswith(number)])
    ]
    table = "".join(f"<tr><th>{html.escape(text)}</th><td>{done} of {all_}</td></tr>" for text, done, all_ in rows)
    body = (
        f"<h1>Perforated backpropagation with MobileNets</h1><p>This says that</p>"
        f'<p class="name">{html.escape(name)}</p>'
        f"<p>has solved <b>{count} of {len(TITLES)} exercises</b> of the course, on {date.today():%d %B %Y}.</p>"
        f"<table>{table}</table>{_network(run)}"
        "<p><small>The exercises were checked by the course on the learner's own machine. Nobody has looked on."
        "</small></p>"
    )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Certificate: {html.escape(name)}</title>'
        f"<style>{_STYLE}</style></head><body>{body}"
        '<button onclick="window.print()">Print this page</button></body></html>\n'
    )
    path = Path(folder) / PAGE
    path.write_text(page, encoding="utf-8")
    shown = f'<p>Open <a href="{PAGE}" target="_blank">{PAGE}</a> and print it.</p>'
    return Page(f'<div style="border:2px solid #0173b2;padding:1em">{body}</div>{shown}',
                f"{name}: {count} of {len(TITLES)} exercises; the page is {PAGE}")  # fmt: skip


def _network(run: Run | None) -> str:
    if run is None or not run.finished:
        return "<p>No network of their own yet.</p>"
    facts = (
        f"{run.ended.total:,} parameters, every dendrite counted",
        f"{len(run.epochs)} epochs on {run.data_title}",
        f"{run.ended.test_accuracy:.1f} % of the test images right",
    )
    return f"<p>Their own network, <i>{html.escape(run.name)}</i>: {html.escape('; '.join(facts))}.</p>"
