"""`RunCompare(runs)`: arms and seeds of a study side by side."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev
from typing import TYPE_CHECKING, Any

from perfteach.compare import CONTROLS, Results, accuracies, gains, results, rows
from perfteach.metrics import Interval
from perfteach.runs import Run
from perfteach.widgets.base import Choices, Panel, PictureBox, Said, menu, one_at_a_time, paragraphs, row, table

if TYPE_CHECKING:
    from perfteach.plots import Picture

VIEWS = ("gains", "curves", "curves of the last quarter", "table", "in words")
SIGN = "Fewer errors are positive."
ALONE = "Paired differences need a second arm, and two seeds that it shares with the control."


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
    head = ("arm", "seeds", "test error (%)", "parameters", "minutes", "fewer errors (points)", "fewer errors (%)")
    lines = []
    for line in rows(arms, control):
        spread = f" ± {stdev(line.errors):.2f}" if len(line.errors) > 1 else ""
        gain, less = ("control", "–") if line.arm == control else ("needs 2 seeds", "needs 2 seeds")
        if line.gain and len(line.gain.points) > 1:
            gain, less = signed(line.gain.interval, 2), signed(line.gain.relative, 1)
        known = f"{line.error:.2f}{spread}", f"{line.parameters:,.0f}", f"{line.minutes:.1f}"
        lines.append((line.arm, str(len(line.runs)), *known, gain, less))
    caption = f"Mean ± standard deviation over seeds; gains on {control} paired by seed, with 95 % intervals. {SIGN}"
    return table(caption, head, lines)


def signed(interval: Interval, digits: int) -> str:
    """A gain with its interval, as the pictures write it."""
    middle, low, high = (f"{value:+.{digits}f}".replace("-", "−") for value in interval[:3])
    return f"{middle}\u00a0[{low},\u00a0{high}]"  # in one piece on a narrow page


def verdicts(arms: Results, control: str) -> list[str]:
    """One sentence per arm: better, worse, or not told apart from the control."""
    said = []
    for arm, gain in gains(accuracies(arms), control).items():
        if len(gain.points) < 2:
            said.append(f"{arm}: fewer than two seeds in common with {control}, so no difference can be shown.")
        elif not gain.interval.excludes_zero:
            said.append(f"{arm} and {control} cannot be told apart: {signed(gain.interval, 2)} points.")
        else:
            what = "better" if gain.interval.estimate > 0 else "worse"
            said.append(f"{arm} is {what} than {control}: {signed(gain.interval, 2)} points.")
    return said


class RunCompare(Panel):
    """Pick arms and seeds of a study: verdicts, and of gains with intervals, curves and table the one that is chosen.

    Args:
        runs: recorded runs, of one study or several; unfinished ones are left out, and it says so.
    """

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        super().__init__("Compare runs")
        self.groups = groups(runs)
        self.left_out = [run.name for run in runs if not run.finished]
        self.study = menu("Study and data", list(self.groups), self.on_study)
        self.arms, self.seeds = Choices("Arms", self.on_change), Choices("Seeds", self.on_change, "seed")
        self.control, self.view = menu("Control", (), self.on_change), menu("Show", VIEWS, self.on_change)
        self.control.layout.width = "16em"  # the same for every study
        self.words, self.picture = Said(), PictureBox()
        self._filling = False
        if self.groups:
            self.fill(row(self.study, self.control), self.arms.widget, self.seeds.widget, self.words,
                      self.view, self.picture.image)  # fmt: skip
            self.on_study(None)
        else:
            self.words.sentences = self.sentences()
            self.fill(self.words)

    @one_at_a_time
    def on_study(self, _change: Any) -> None:
        """Another study: all its arms and seeds, and its usual control."""
        arms = self.groups[self.study.value]
        seeds = sorted({seed for by_seed in arms.values() for seed in by_seed})
        self._filling = True  # the options change one after the other; show them once, together
        try:
            self.arms.offer(list(arms))
            self.seeds.offer(seeds)
            self.control.options = list(arms)
            self.control.value = next((name for name in CONTROLS if name in arms), next(iter(arms)))
        finally:
            self._filling = False
        self.on_change(None)

    @one_at_a_time
    def on_change(self, _change: Any) -> None:
        """Other arms, seeds or control, or another view of them."""
        if self._filling:
            return
        chosen = self.chosen()
        self.words.sentences = self.sentences()
        shown = self._shown(chosen) if chosen else ""
        if isinstance(shown, str):
            self.picture.image.value = shown
        else:
            self.picture.show(shown)

    def _shown(self, chosen: Results) -> Picture | str:
        """What the chosen view shows: a figure, or HTML."""
        gains, curves, last, as_table, _ = VIEWS
        if self.view.value == gains:
            return self._differences(chosen) or paragraphs(ALONE)
        if self.view.value in (curves, last):
            return self._curves(chosen, zoom=self.view.value == last)
        if self.view.value == as_table:
            return compare_table(chosen, self.control.value)
        pictures = self._differences(chosen), self._curves(chosen)
        return paragraphs(*(figure.alt for figure in pictures if figure is not None))

    def chosen(self) -> Results:
        """The chosen arms, the control always among them, with the chosen seeds; nothing where it has none of these."""
        if not self.groups:
            return {}
        arms, seeds = self.groups[self.study.value], self.seeds.value
        picked = [name for name in arms if name in self.arms.value or name == self.control.value]
        found = {name: {s: run for s, run in arms[name].items() if s in seeds} for name in picked}
        if not found.get(self.control.value):
            return {}
        return {name: by_seed for name, by_seed in found.items() if by_seed}

    def _differences(self, chosen: Results) -> Picture | None:
        from perfteach import plots

        scores, control = accuracies(chosen), self.control.value
        comparable = {arm: seeds for arm, seeds in scores.items() if len(seeds.keys() & scores[control].keys()) > 1}
        return plots.paired_differences(comparable, control, data=self._data(chosen)) if len(comparable) > 1 else None

    def _curves(self, chosen: Results, zoom: bool = False) -> Picture:
        from perfteach import plots

        by_arm = {arm: list(runs.values()) for arm, runs in chosen.items()}
        last = max(len(run.epochs) for runs in by_arm.values() for run in runs)
        first = last - last // 4 + 1 if zoom else 1
        return plots.arm_curves(by_arm, data=self._data(chosen), among=list(self.groups[self.study.value]), first=first)

    @staticmethod
    def _data(chosen: Results) -> str:
        return next(iter(next(iter(chosen.values())).values())).data_title

    def sentences(self) -> list[str]:
        """What the chosen runs show, a line for each arm, and which runs were left out."""
        if not self.groups:
            said = ["There are no finished runs to compare."]
        else:
            chosen = self.chosen()
            said = verdicts(chosen, self.control.value) if chosen else ["Choose a seed that the control has."]
            said = said or ["Choose an arm beside the control."]
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
