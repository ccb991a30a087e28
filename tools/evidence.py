"""Pages from records: `python tools/evidence.py --write` makes them, `--check` says where a committed one differs.

The pages are docs/evidence.md with its figure, its appendix docs/evidence-tables.md, in README.md the answer to "Did
it work?" and the section "What was measured", and for every study the README and the figure beside its records. Their
text is in tools/templates, and tools/facts.py has what it can ask. Numbers from records are never typed there: an
expression such as `{{ gain("search-early", "relu", "same-epochs") }}` takes them from the records each time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

sys.path.insert(0, str(Path(__file__).resolve().parent))

from facts import AIM, IN_WORDS, LIMIT, MARGIN, NETWORKS, Facts

from perfteach import compare, plots
from perfteach.arms import EVERY_ARM
from perfteach.errors import DataError, PerfteachError
from perfteach.study import record_folder

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = Path(__file__).resolve().parent / "templates"
IMAGES = ROOT / "docs" / "images"
FOREST, FRONT = IMAGES / "forest.png", IMAGES / "extra-small.png"
SHARP = 150  # dots per inch: 1200 pixels for a figure that is shown at 800
AGAIN = "run `python tools/evidence.py --write`"


def environment(facts: Facts) -> Environment:
    """Templates in which the facts are functions and a name that does not exist is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    made.globals |= facts.functions() | {
        "every_arm": EVERY_ARM, "in_words": IN_WORDS, "AIM": AIM, "LIMIT": LIMIT, "MARGIN": MARGIN,
        "networks": NETWORKS,
    }  # fmt: skip
    return made


def render(template: str, facts: Facts, **names: Any) -> str:
    """A template with the numbers of the records.

    Raises:
        DataError: when it asks for what is not there, such as an unknown arm; says where.
    """
    try:
        return environment(facts).get_template(template).render(**names)
    except (PerfteachError, TemplateError) as error:
        steps = [step for step in traceback.extract_tb(error.__traceback__) if step.filename.endswith(".jinja")]
        line = steps[-1].lineno if steps else getattr(error, "lineno", None)
        where = Path(steps[-1].filename).name if steps else template
        raise DataError(f"tools/templates/{where}, line {line}: {error}") from error


def pages(facts: Facts | None = None) -> dict[Path, str]:
    """What every page has to say, by path."""
    facts = facts or Facts()
    made = {ROOT / "docs" / f"{name}.md": render(f"{name}.md.jinja", facts) for name in ("evidence", "evidence-tables")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for template, start, end in (
        ("answer", "**Did it work?**", "[What was measured](#what-was-measured) says"),
        ("measured", "## What was measured\n", "\n## Data\n"),
    ):
        head, rest = readme.split(start, 1)
        readme = head + start + render(f"{template}.md.jinja", facts) + rest[rest.index(end) :]
    made[ROOT / "README.md"] = readme
    for name in facts.recorded():
        made[record_folder(name) / "README.md"] = render("records.md.jinja", facts, name=name)
    return made


def figures(facts: Facts) -> dict[Path, tuple[plots.Picture, Any]]:
    """Every figure by path, and the accuracies that it was drawn from."""
    scores = {name: compare.accuracies(facts.arms(name)) for name in facts.recorded()}
    made: dict[Path, tuple[plots.Picture, Any]] = {
        record_folder(name) / "arms.png": (facts.figure(name), scores[name]) for name in scores
    }
    made[FOREST] = (facts.forest(), {name: scores[name] for name in facts.compared()})
    made[FRONT] = (facts.front(), scores.get("extra-small"))
    return made


def fingerprint(picture: plots.Picture, scores: Any) -> str:
    """What a figure shows, as a checksum that is stored in it: pixels differ between machines, this does not."""
    return hashlib.sha256(json.dumps([picture.alt, scores], sort_keys=True).encode()).hexdigest()


def write() -> None:
    """Write every page and every figure."""
    facts = Facts()
    for path, text in pages(facts).items():
        path.write_text(text, encoding="utf-8")
    for path, (picture, scores) in figures(facts).items():
        note = PngInfo()
        note.add_text("records", fingerprint(picture, scores))
        if path in (FOREST, FRONT):  # sharp, and in few colours a quarter of the size; 64 make two of FRONT's one
            image = (
                Image.open(io.BytesIO(plots.png(picture, SHARP))).convert("RGB").quantize(64 if path == FOREST else 256)
            )
        else:
            image = Image.open(io.BytesIO(plots.png(picture)))
        image.save(path, optimize=True, pnginfo=note)


def check() -> None:
    """Compare the committed pages and figures with the records.

    Raises:
        DataError: when one says something else; names the first line that differs.
    """
    facts = Facts()
    for path, text in pages(facts).items():
        compare_page(path, text)
    for path, (picture, scores) in figures(facts).items():
        compare_figure(path, picture, scores)


def compare_page(path: Path, text: str) -> None:
    """Raise a DataError that names the first line in which a committed page differs from this text."""
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    new = text.splitlines()
    for number in range(max(len(old), len(new))):
        is_line, should = (lines[number] if number < len(lines) else "(nothing)" for lines in (old, new))
        if is_line != should:
            raise DataError(f"{path}, line {number + 1}, says {is_line!r} and should say {should!r}; {AGAIN}")


def compare_figure(path: Path, picture: plots.Picture, scores: Any) -> None:
    """Raise a DataError when a committed figure was drawn from other records, or is not there."""
    drawn_from = ""
    if path.is_file():
        with Image.open(path) as image:
            drawn_from = image.info.get("records", "")
    if drawn_from != fingerprint(picture, scores):
        raise DataError(f"{path} was not drawn from these records; {AGAIN}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write all pages and figures from the records")
    what.add_argument("--check", action="store_true", help="write nothing; name the first line that differs")
    arguments = parser.parse_args()
    try:
        write() if arguments.write else check()
    except DataError as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 1
    print("written from the records" if arguments.write else "every page says what the records say")
    return 0


if __name__ == "__main__":
    sys.exit(main())
