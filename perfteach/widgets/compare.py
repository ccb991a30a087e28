"""`RunCompare(runs)`: arms and seeds of a study side by side."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev
from typing import TYPE_CHECKING, Any

import ipywidgets

from perfteach.compare import CONTROLS, Results, accuracies, gains, results, rows
from perfteach.runs import Run
from perfteach.widgets import figures
from perfteach.widgets.base import Panel, PictureBox, paragraphs, row, table, text

if TYPE_CHECKING:
    from perfteach.plots import Picture


def groups(runs: Sequence[Run]) -> dict[str, Results]:
    """Finished runs by study and data, then by arm and seed: only runs of one group may be compared."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.finished:
            study = run.name.rsplit("/", 1)[0] if "/" in run.name else "runs"
            key = f"{study} · {run.data_title} · {run.data.get('checksum', '')[:6]}"
            found.setdefault(key.rstrip(" ·"), []).append(run)
    return {key: results(of_group) for key, of_group in found.items()}


def compare_table(arms: Results, control: str) -> str:
    """HTML table: one row per arm."""
    head = ("arm", "seeds", "test (%)", "parameters", "minutes", "gain (points)", "error reduction (%)")
    lines = []
    for line in rows(arms, control):
        spread = f" ± {stdev(line.errors):.2f}" if len(line.errors) > 1 else ""
        gain, less = ("control", "–") if line.arm == control else ("needs 2 seeds", "needs 2 seeds")
        if line.gain and len(line.gain.points) > 1:
            gain, less = (str(interval).partition(" (")[0] for interval in (line.gain.interval, line.gain.relative))
        known = f"{100 - line.error:.2f}{spread}", f"{line.parameters:,.0f}", f"{line.minutes:.1f}"
        lines.append((line.arm, str(len(line.runs)), *known, gain, less))
    return table("Mean ± standard deviation over seeds; gains paired by seed, with their 95 % intervals", head, lines)


def verdicts(arms: Results, control: str) -> list[str]:
    """One sentence per arm: better, worse, or not told apart from the control."""
    said = []
    for arm, gain in gains(accuracies(arms), control).items():
        if len(gain.points) < 2:
            said.append(f"{arm}: fewer than two seeds in common with {control}, so no difference can be shown.")
        elif not gain.interval.excludes_zero:
            said.append(f"{arm} and {control} cannot be told apart: the interval {gain.interval} points contains zero.")
        else:
            what = "better" if gain.interval.estimate > 0 else "worse"
            said.append(f"{arm} is {what} than {control}: it gains {gain.interval} points.")
    return said


class RunCompare(Panel):
    """Pick arms and seeds of a study: validation curves, table, and error reduction with its interval.

    Args:
        runs: recorded runs, of one study or several; unfinished ones are left out, and it says so.
    """

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        super().__init__("Compare runs")
        self.groups = groups(runs)
        self.left_out = [run.name for run in runs if not run.finished]
        wide: dict[str, Any] = {"style": {"description_width": "initial"}}
        keys = list(self.groups)
        self.study = ipywidgets.Dropdown(
            options=keys, description="Study and data", layout={"width": "auto", "max_width": "100%"}, **wide
        )
        self.arms = ipywidgets.SelectMultiple(description="Arms", rows=6, layout={"width": "16em"}, **wide)
        self.seeds = ipywidgets.SelectMultiple(description="Seeds", rows=6, layout={"width": "9em"}, **wide)
        self.control = ipywidgets.Dropdown(description="Control", layout={"width": "16em"}, **wide)
        self.words, self.table = text(3), text(6)
        self.curves, self.differences = PictureBox(), PictureBox()
        self._filling = False
        self.study.observe(self.on_study, names="value")
        for control in (self.arms, self.seeds, self.control):
            control.observe(self.on_change, names="value")
        if keys:
            pictures = (self.curves.widget, self.differences.widget)
            self.fill(self.study, row(self.arms, self.seeds, self.control), self.words, self.table, *pictures)
            self.on_study(None)
        else:
            self.words.value = paragraphs(*self.sentences())
            self.fill(self.words)

    def on_study(self, _change: Any) -> None:
        """Another study: all its arms and seeds, and its usual control."""
        arms = self.groups[self.study.value]
        seeds = sorted({seed for by_seed in arms.values() for seed in by_seed})
        self._filling = True  # the options change one after the other; show them once, together
        try:
            self.arms.options, self.seeds.options = list(arms), [(str(seed), seed) for seed in seeds]
            self.control.options = list(arms)
            self.arms.value, self.seeds.value = tuple(arms), tuple(seeds)
            self.control.value = next((name for name in CONTROLS if name in arms), next(iter(arms)))
        finally:
            self._filling = False
        self.on_change(None)

    def on_change(self, _change: Any) -> None:
        """Other arms, seeds or control."""
        if self._filling:
            return
        chosen = self.chosen()
        self.words.value = paragraphs(*self.sentences())
        if not any(chosen.values()):
            self.table.value = ""
            self.curves.say("Nothing is chosen.")
            self.differences.say("")
            return
        self.table.value = compare_table(chosen, self.control.value)
        self._draw(chosen)

    def chosen(self) -> Results:
        """The chosen arms, the control always among them, with the chosen seeds."""
        if not self.groups:
            return {}
        arms = self.groups[self.study.value]
        picked = [name for name in arms if name in self.arms.value or name == self.control.value]
        found = {name: {s: run for s, run in arms[name].items() if s in self.seeds.value} for name in picked}
        if not found.get(self.control.value):
            return {}
        return {name: by_seed for name, by_seed in found.items() if by_seed}

    def _draw(self, chosen: Results) -> None:
        from perfteach import plots

        self.curves.show(self._curves(chosen))
        scores, control = accuracies(chosen), self.control.value
        comparable = {arm: seeds for arm, seeds in scores.items() if len(seeds.keys() & scores[control].keys()) > 1}
        if len(comparable) < 2:
            self.differences.say("Paired differences need a second arm, and two seeds that it shares with the control.")
            return
        self.differences.show(plots.paired_differences(comparable, control, data=self._data(chosen)))

    def _curves(self, chosen: Results) -> Picture:
        return figures.arm_curves({arm: list(runs.values()) for arm, runs in chosen.items()}, self._data(chosen))

    @staticmethod
    def _data(chosen: Results) -> str:
        return next(iter(next(iter(chosen.values())).values())).data_title

    def sentences(self) -> list[str]:
        """What the chosen runs show, and which runs were left out."""
        if not self.groups:
            said = ["There are no finished runs to compare."]
        else:
            chosen = self.chosen()
            said = [" ".join(verdicts(chosen, self.control.value))] if chosen else ["The control has no chosen seed."]
        if self.left_out:
            said.append(f"Left out because they are not finished: {', '.join(self.left_out)}.")
        return said

    def still(self) -> Picture | None:
        """The arms' curves."""
        chosen = self.chosen()
        return self._curves(chosen) if chosen else None

    def summary(self) -> str:
        """The comparison in words."""
        return " ".join(self.sentences())

    def _repr_html_(self) -> str:
        chosen = self.chosen()
        return super()._repr_html_() + (compare_table(chosen, self.control.value) if chosen else "")
