"""Pages from records: `python tools/evidence.py --write` makes them, `--check` says where a committed one differs.

The pages are docs/evidence.md, the section "What was measured" of README.md, and for every study the README and the
figure beside its records. Their text is in tools/templates. Numbers from records are never typed there: an expression
such as `{{ gain("search-early", "relu", "same-epochs") }}` takes them from the records each time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from perfteach import compare, plots, runs
from perfteach.arms import EVERY_ARM, IDEAS
from perfteach.compare import Gain, Results, Row
from perfteach.errors import DataError, PerfteachError
from perfteach.runs import Run
from perfteach.study import STUDIES, Study, find, record_folder

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = Path(__file__).resolve().parent / "templates"
FIGURE = "arms.png"
AIM, LIMIT = 82.25, 1_660_000  # test accuracy (%) and parameters of the published Extra-Small
AGAIN = "run `python tools/evidence.py --write`"
COUNTED: dict[str, int] = {}  # multiply-accumulates by network
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class Facts:
    """What a template can ask: every public method is a function there. Records are read once and kept.

    `control` is the arm compared with, by default the one that trains as long. Numbers come as text with a true minus.
    """

    def __init__(self) -> None:
        self.arms = lru_cache(None)(self.arms)  # type: ignore[method-assign]

    def functions(self) -> dict[str, Any]:
        """The methods by name."""
        names = [name for name in dir(self) if not name.startswith("_") and name != "functions"]
        return {name: getattr(self, name) for name in names}

    # ------------------------------------------------------------------ records

    def arms(self, name: str) -> Results:
        """Finished runs of a study by arm and seed."""
        find(name)
        return compare.results(runs.recorded(name))

    def macs(self, name: str, arm: str) -> int:
        """Multiply-accumulates for one image at the end of training."""
        self._arm(name, arm)
        return _macs(name, arm)

    def declared(self, name: str) -> Study:
        """The study as it is declared."""
        return find(name)

    def recorded(self) -> list[str]:
        """The studies that have records."""
        return [name for name in STUDIES if name in runs.studies()]

    def rows(self, name: str) -> list[Row]:
        """One row per arm, compared with longer training."""
        return compare.rows(self.arms(name))

    def row(self, name: str, arm: str) -> Row:
        """The row of one arm."""
        of_arm = self._arm(name, arm)
        return next(row for row in compare.rows({arm: of_arm}))

    def pair(self, name: str, arm: str, control: str = "same-epochs", first: int | None = None) -> Gain:
        """What an arm gains on its control, over all seeds or only the `first` so many."""
        runs_of = {which: dict(list(self._arm(name, which).items())[:first]) for which in (arm, control)}
        return compare.gain(compare.accuracies(runs_of), arm, control)

    def answers(self, name: str) -> str:
        """The questions that the records answer, as a table."""
        return compare.answers(name)

    def _arm(self, name: str, arm: str) -> dict[int, Run]:
        if arm not in self.arms(name):
            raise DataError(f"study {name!r} has no records of an arm {arm!r}; it has {', '.join(self.arms(name))}")
        return self.arms(name)[arm]

    def _all(self, name: str) -> list[Run]:
        return [run for of_arm in self.arms(name).values() for run in of_arm.values()]

    # ------------------------------------------------------------------ numbers in a sentence

    def gain(self, name: str, arm: str, control: str = "same-epochs", digits: int = 2) -> str:
        """Mean gain in points."""
        return _number(self.pair(name, arm, control).interval.estimate, digits)

    def interval(
        self, name: str, arm: str, control: str = "same-epochs", digits: int = 2, first: int | None = None
    ) -> str:
        """The 95 % interval of the gain, as "0.28 to 1.74", with signs where zero lies within; of the `first` seeds."""
        found = self.pair(name, arm, control, first).interval
        sign = "" if found.excludes_zero else "+"
        return f"{_number(found.low, digits, sign)} to {_number(found.high, digits, sign)}"

    def losing_seeds(self, name: str, arm: str, control: str = "same-epochs") -> str:
        """In how many seeds the arm makes more errors than the control, in words."""
        return NUMBERS[sum(points < 0 for points in self.pair(name, arm, control).points.values())]

    def relative(self, name: str, arm: str, control: str = "same-epochs") -> str:
        """Relative error reduction in percent."""
        return _number(self.pair(name, arm, control).relative.estimate, 1)

    def error(self, name: str, arm: str, digits: int = 2) -> str:
        """Mean test error in percent."""
        return _number(self.row(name, arm).error, digits)

    def accuracy(self, name: str, arm: str) -> str:
        """Mean test accuracy in percent."""
        return _number(100 - self.row(name, arm).error, 2)

    def parameters(self, name: str, arm: str) -> str:
        """Parameters in all, every dendrite counted."""
        return f"{self.row(name, arm).parameters:,.0f}"

    def more_parameters(self, name: str, arm: str, than: str = "same-epochs") -> str:
        """By how many percent an arm has more parameters than another."""
        return _number(100 * (self.row(name, arm).parameters / self.row(name, than).parameters - 1), 0)

    def fewer_parameters(self, name: str, arm: str, than: str) -> str:
        """By how many percent an arm has fewer parameters than another."""
        return _number(100 * (1 - self.row(name, arm).parameters / self.row(name, than).parameters), 0)

    def more_macs(self, name: str, arm: str, than: str = "same-epochs") -> str:
        """By how many percent an arm needs more multiply-accumulates for an image than another."""
        return _number(100 * (self.macs(name, arm) / self.macs(name, than) - 1), 0)

    def seeds(self, name: str, arm: str = "same-epochs") -> str:
        """How many seeds an arm has, in words."""
        return NUMBERS[len(self._arm(name, arm))]

    def epochs(self, name: str, arm: str = "same-epochs") -> int:
        """Epochs of each run of an arm."""
        return len(next(iter(self._arm(name, arm).values())).epochs)

    def sure(self, name: str, control: str, *arms: str) -> str:
        """Nothing; an error where an interval of these arms against the control holds zero."""
        return self._require(name, control, arms, True)

    def unsure(self, name: str, control: str, *arms: str) -> str:
        """Nothing; an error where an interval of these arms against the control leaves out zero."""
        return self._require(name, control, arms, False)

    def _require(self, name: str, control: str, arms: tuple[str, ...], sure: bool) -> str:
        for arm in arms:
            found = self.pair(name, arm, control)
            if found.interval.excludes_zero != sure:
                what = "holds" if sure else "leaves out"
                said = f"{arm} against {control}, {found}, {what} zero"
                raise DataError(f"{name}: {said}; the sentence is no longer true")
        return ""

    # ------------------------------------------------------------------ what a study's section says

    def data(self, name: str) -> dict[str, Any]:
        """Name, checksum and sizes of the data."""
        return self._all(name)[0].data

    def machines(self, name: str) -> list[str]:
        """The machines it ran on."""
        found = (run.header["machine"] for run in self._all(name))
        return sorted(
            {f"{m['cpu']}, threads: {m['threads']}" + (f", GPU: {m['gpu']}" if m.get("gpu") else "") for m in found}
        )

    def revisions(self, name: str) -> list[str]:
        """The revisions of the sources it ran with, shortened."""
        found = {str(run.header["revision"]) for run in self._all(name)}
        return sorted({text[:10] + "+changes" * text.endswith("+changes") for text in found})

    def missing(self, name: str) -> list[str]:
        """What is declared and not run: an arm with its seeds each."""
        study, there = find(name), self.arms(name)
        absent = {arm: [str(seed) for seed in study.seeds if seed not in there.get(arm, {})] for arm in study.arms}
        return [f"{arm} {', '.join(seeds)}" for arm, seeds in absent.items() if seeds]

    def done(self, name: str) -> int:
        """How many of the declared runs there are."""
        there = self.arms(name)
        return sum((seed in there.get(arm, {})) for arm, seed in find(name).grid())

    def late_rise(self, name: str) -> float | None:
        """Points by which the baseline's best validation accuracy rose in its last tenth, mean over seeds."""
        rises = []
        for run in self.arms(name).get("baseline", {}).values():
            reached = run["validation_accuracy"]
            late = len(reached) - len(reached) // 10
            if len(reached) >= 10:
                rises.append(max(max(reached[late:]) - max(reached[:late]), 0.0))
        return fmean(rises) if rises else None

    def figure(self, name: str) -> plots.Picture:
        """Every arm against the control, seed by seed."""
        scores = compare.accuracies(self.arms(name))
        control = next((arm for arm in compare.CONTROLS if arm in scores), next(iter(scores)))
        return plots.paired_differences(scores, control, data=self.data(name)["name"])

    # ------------------------------------------------------------------ tables over several studies

    def gains_found(self) -> dict[str, int]:
        """Arms with dendrites that have an interval against longer training: how many, and where it lies."""
        pairs = [
            row.gain.interval
            for name in self.recorded()
            for row in self.rows(name)
            if row.gain and len(row.gain.points) > 1 and row.arm != "baseline" and _dendritic(row.arm)
        ]
        return {"all": len(pairs), "above": sum(i.low > 0 for i in pairs), "below": sum(i.high < 0 for i in pairs)}

    def best_extra_small(self, name: str) -> tuple[str, float]:
        """The network with the highest test accuracy (%) within the limit of parameters, and that accuracy."""
        within = [row for row in self.rows(name) if row.parameters <= LIMIT]
        best = min(within, key=lambda row: row.error)
        return f"width {find(name).network(best.arm)['width']:g}, {best.arm}", 100 - best.error


def _dendritic(arm: str) -> bool:
    kind = EVERY_ARM[arm]
    return bool(kind.grow or kind.dendrites) and not kind.wider


@lru_cache(None)
def _macs(name: str, arm: str) -> int:
    study, kind = find(name), EVERY_ARM[arm]
    network = [study.network(arm), study.size, study.cycles if kind.cycles and kind.grow else 0]
    same = json.dumps(network, sort_keys=True)  # counting takes a second, and many arms share a network
    if same not in COUNTED:
        COUNTED[same] = study.macs(arm)
    return COUNTED[same]


def _number(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def environment(facts: Facts) -> Environment:
    """Templates in which the facts are functions and a name that does not exist is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    made.globals |= facts.functions() | {"every_arm": EVERY_ARM, "ideas": IDEAS, "AIM": AIM, "LIMIT": LIMIT}
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
    made = {ROOT / "docs" / "evidence.md": render("evidence.md.jinja", facts)}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start, end = "## What was measured\n", "\n## Data\n"
    head, rest = readme.split(start, 1)
    made[ROOT / "README.md"] = head + start + render("measured.md.jinja", facts) + rest[rest.index(end) :]
    for name in facts.recorded():
        made[record_folder(name) / "README.md"] = render("records.md.jinja", facts, name=name)
    return made


def fingerprint(name: str, facts: Facts) -> str:
    """What a figure shows, as a checksum that is stored in it: pixels differ between machines, this does not."""
    shown = [facts.figure(name).alt, compare.accuracies(facts.arms(name))]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def write() -> None:
    """Write every page and every figure that differs."""
    facts = Facts()
    for path, text in pages(facts).items():
        path.write_text(text, encoding="utf-8")
    for name in facts.recorded():
        note = PngInfo()
        note.add_text("records", fingerprint(name, facts))
        picture = Image.open(io.BytesIO(plots.png(facts.figure(name))))
        picture.save(record_folder(name) / FIGURE, optimize=True, pnginfo=note)


def check() -> None:
    """Compare the committed pages and figures with the records.

    Raises:
        DataError: when one says something else; names the first line that differs.
    """
    facts = Facts()
    for path, text in pages(facts).items():
        compare_page(path, text)
    for name in facts.recorded():
        compare_figure(name, facts)


def compare_page(path: Path, text: str) -> None:
    """Raise a DataError that names the first line in which a committed page differs from this text."""
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    new = text.splitlines()
    for number in range(max(len(old), len(new))):
        is_line, should = (lines[number] if number < len(lines) else "(nothing)" for lines in (old, new))
        if is_line != should:
            raise DataError(f"{path}, line {number + 1}, says {is_line!r} and should say {should!r}; {AGAIN}")


def compare_figure(name: str, facts: Facts) -> None:
    """Raise a DataError when the committed figure of a study was drawn from other records."""
    with Image.open(record_folder(name) / FIGURE) as image:
        if image.info.get("records") != fingerprint(name, facts):
            raise DataError(f"data/runs/{name}/{FIGURE} was drawn from other records; {AGAIN}")


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
