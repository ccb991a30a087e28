"""`BudgetDesigner`: what a MobileNet with dendrites costs, next to what was recorded at that size."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import ipywidgets

from perfteach.errors import ConfigError
from perfteach.metrics import paired_interval
from perfteach.runs import Run
from perfteach.widgets.base import Number, Panel, PictureBox, Said, menu, one_at_a_time, paragraphs, row, table
from perfteach.widgets.design import BYTES, LAYERS, Design, design

if TYPE_CHECKING:
    from perfteach.plots import Picture

LINE = 993_000  # an Extra-Small: 35 % fewer parameters than MobileNet-Small with ten outputs
OWN, PUBLISHED = "of your own", "published"  # their values are texts, because a menu shows nothing for None
HIDDEN = {"1,024 × width (published)": PUBLISHED, "256": 256, "128": 128, "64": 64, "none": 0}


@dataclass(frozen=True)
class Recorded:
    """A network that was trained: all seeds of a study's arm. `controls` are the designer's settings for it."""

    name: str
    runs: tuple[Run, ...]
    controls: dict[str, Any] | None

    @property
    def total(self) -> int:
        """Mean number of parameters, every dendrite counted."""
        return round(fmean(run.ended.total for run in self.runs))

    @property
    def reached(self) -> str:
        """Test error in words, with its interval where there are several seeds."""
        errors, data = [run.error for run in self.runs], self.runs[0].data_title
        if len(errors) == 1:
            return f"test error {errors[0]:.2f} % on {data} (one seed)"
        interval = paired_interval([0.0] * len(errors), errors)
        bounds = f"95 % interval {interval.low:.2f} to {interval.high:.2f}"
        return f"test error {interval.estimate:.2f} % on {data} (mean of {len(errors)} seeds, {bounds})"


def recorded_designs(runs: Iterable[Run]) -> list[Recorded]:
    """Finished runs by study and arm, in the order of their size."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.finished:
            found.setdefault(run.name.rsplit("-seed", 1)[0], []).append(run)
    designs = [Recorded(name, tuple(own), _controls(own[0])) for name, own in found.items()]
    return sorted(designs, key=lambda recorded: recorded.total)


def _controls(run: Run) -> dict[str, Any] | None:
    """The settings with which the designer counts exactly what the run had; None where there are none."""
    grown, width = run.ended.dendrites, run.header.get("width")
    dendrites = max(grown.values(), default=0)
    carriers = {name for name, many in grown.items() if many}
    if width is None or any(many not in (0, dendrites) for many in grown.values()):
        return None
    for layers in LAYERS:
        controls = {"width": width, "head": "task", "layers": layers, "dendrites": dendrites}
        controls["hidden"] = run.header.get("hidden")
        try:
            fits = design(**controls)
        except ConfigError:
            return None
        if fits.total == run.ended.total and fits.layers == len(carriers):
            return controls
    return None


def nearest_sentence(designs: Sequence[Recorded], total: int) -> str:
    """Names the recorded network that is nearest in size, with what it reached; says plainly when there is none."""
    if not designs:
        return "There are no recorded runs to compare with, so nothing is said about accuracy."
    near = min(designs, key=lambda recorded: abs(recorded.total - total))
    gap = f"{100 * abs(near.total - total) / total:.1f} % {'more' if near.total > total else 'fewer'}"
    away = "the same size" if near.total == total else gap
    return (
        f"Nearest recorded network by parameters: {near.name}, {near.total:,} parameters ({away}), {near.reached}. "
        "That was measured there, not for this design."
    )


def recorded_points(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Finished runs as points for `plots.pareto`."""
    return [
        {
            "name": run.name.rsplit("-seed", 1)[0],
            "parameters": run.result.total,
            "accuracy": run.result.test_accuracy,
            "arm": run.arm,
        }
        for run in runs
        if run.result
    ]


class BudgetDesigner(Panel):
    """Choose width, head, and which layers get how many dendrites; see what it costs and what was recorded there.

    Args:
        runs: recorded runs, shown as means of their seeds with intervals. Unfinished ones are left out, and networks
            of a single seed too, unless there are no others.
    """

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        super().__init__("Budget designer: MobileNetV3-Small, 10 classes")
        every = recorded_designs(runs)
        self.designs = [recorded for recorded in every if len(recorded.runs) > 1] or every
        self.left_out = len(every) - len(self.designs)
        self.width = Number("Width", 0.5, 0.1, 1.0, 0.01, self.on_change, continuous=False)
        self.dendrites = Number("Dendrites a neuron", 1, 0, 5, 1, self.on_change, continuous=False)
        self.head = menu("Outputs", {"10 (task)": "task", "1,000 (published)": "imagenet"}, self.on_change)
        self.hidden = menu("Hidden layer of the head", HIDDEN, self.on_change)
        self.layers = menu("Layers with dendrites", list(LAYERS), self.on_change)
        known = {recorded.name: recorded for recorded in self.designs if recorded.controls}
        self.recorded = menu("Recorded network", {OWN: "", **known}, self.on_recorded)
        self.bars, self.words = ipywidgets.HTML(), Said()
        self.points = PictureBox()
        self.described, title = ipywidgets.HTML(), "Parameters by part, and the pictures in words"
        self.more = ipywidgets.Checkbox(value=False, indent=False, description=title, layout={"width": "auto"})
        self.more.observe(self.on_more, names="value")
        self._filling = False
        self.fill(
            row(self.width.widget, self.head, self.hidden),
            row(self.dendrites.widget, self.layers, self.recorded),
            self.bars,
            self.points.image,
            self.words,  # at the end, so that a line more moves no picture
            self.more,  # an accordion's heading cannot be reached from the keyboard
            self.described,
        )
        self.on_more(None)
        self.on_change(None)

    def on_more(self, _change: Any) -> None:
        """Show or hide the table and the words."""
        self.described.layout.display = None if self.more.value else "none"

    @property
    def design(self) -> Design:
        """What the present settings cost."""
        hidden = None if self.hidden.value == PUBLISHED else self.hidden.value
        return design(round(self.width.value, 3), self.head.value, self.layers.value, self.dendrites.value, hidden)

    @one_at_a_time
    def on_recorded(self, change: Any) -> None:
        """Take the settings of a network that was trained."""
        if not change["new"] or self._filling:
            return
        self._filling = True
        for name, value in change["new"].controls.items():
            getattr(self, name).value = PUBLISHED if value is None else value
        self._filling = False
        self._show()

    @one_at_a_time
    def on_change(self, _change: Any) -> None:
        """A control moved: count again; the design is no longer the recorded one."""
        if self._filling:
            return
        self._filling = True
        self.recorded.value = ""
        self._filling = False
        self._show()

    def _show(self) -> None:
        from perfteach import plots

        now = self.design
        self.words.sentences = self.sentences(now)
        self.bars.value = part_bars(self._counts(now), LINE)
        points = recorded_points(run for recorded in self.designs for run in recorded.runs)
        if points:
            self.points.show(plots.pareto(points, LINE, data=self._data(), design=now.total))
        else:
            self.points.say("There are no recorded runs yet, so there are no accuracies to draw.")
        self.described.value = cost_table(now) + paragraphs(self.points.summary)

    def _data(self) -> str:
        return " and ".join(dict.fromkeys(run.data_title for recorded in self.designs for run in recorded.runs))

    def _counts(self, now: Design) -> dict[str, dict[str, int]]:
        small = design(1.0, self.head.value, "all layers", 0)
        rows = {"MobileNet-Small": small.parameters, "this design": now.parameters}
        return {name: {k: v for k, v in parts.items() if k != "total"} for name, parts in rows.items()}

    def sentences(self, now: Design) -> list[str]:
        """The design against the line, and what was recorded at this size."""
        gap, which = now.total - LINE, "above" if now.total > LINE else "below"
        where = f"{self.dendrites.value} a neuron in {now.layers} layers" if now.layers else "none"
        share, head = (100 * now.parameters[part] / now.total for part in ("dendrites", "head"))
        chosen: Recorded | str = self.recorded.value
        known = (
            f"This network was trained: {chosen.reached}."
            if isinstance(chosen, Recorded)
            else nearest_sentence(self.designs, now.total)
        )
        left = f" Left out: {self.left_out} networks with a single seed." if self.left_out else ""
        return [
            f"{now.total:,} parameters with every dendrite counted, {abs(gap):,} {which} the line of {LINE:,}. "
            f"Dendrites: {where}, {share:.0f} % of the parameters; the head: {head:.0f} %. File: {now.megabytes:.2f} "
            f"MB. One 32×32 image: {now.macs / 1e6:.2f} million multiply-accumulates.",
            known + left,
        ]

    def still(self) -> Picture:
        """Parameters by part."""
        from perfteach import plots

        return plots.parameter_bars(self._counts(self.design), limit=LINE)

    def summary(self) -> str:
        """The design in words."""
        return " ".join(self.sentences(self.design))


def cost_table(now: Design) -> str:
    """HTML table of parameters by part with the size each takes in the file."""
    rows = [
        (part, f"{count:,}", f"{count * BYTES / 1e6:.2f}", f"{100 * count / now.total:.1f} %")
        for part, count in now.parameters.items()
        if count or part == "dendrites"
    ]
    return table("Parameters by part", ("part", "parameters", "MB", "share"), rows)


def part_bars(counts: Mapping[str, Mapping[str, int]], limit: int) -> str:
    """`plots.parameter_bars` as HTML: it takes a few lines, and its words keep their size on a narrow page."""
    from perfteach.plots.comparison import PART_LOOKS, parameters_in_words

    def look(part: str) -> str:
        edge, fill = PART_LOOKS[part]["edgecolor"], PART_LOOKS[part]["facecolor"]
        hatched = f"repeating-linear-gradient(135deg,{edge} 0 2px,{fill} 2px 6px)"
        return f"background:{hatched if 'hatch' in PART_LOOKS[part] else fill}"

    totals = {name: sum(parts.values()) for name, parts in counts.items()}
    widest = max(*totals.values(), limit) * 1.01
    mark = f"position:absolute;left:{100 * limit / widest:.2f}%;height:100%;border-left:2px dashed"
    rows = ""
    for name, parts in counts.items():
        pieces = "".join(
            f'<span title="{part}: {size:,}" style="width:{100 * size / widest:.3f}%;{look(part)}"></span>'
            for part, size in parts.items()
        )
        rows += (
            f'<span>{html.escape(name)}</span><span style="position:relative;display:flex;height:20px;overflow:hidden">'
            f'{pieces}<span style="{mark}"></span></span><strong>{totals[name]:,}</strong>'
        )
    box = "display:inline-block;width:13px;height:10px"
    key = "".join(
        f'<span style="white-space:nowrap"><span style="{box};{look(part)}"></span> {part}</span>'
        for part in PART_LOOKS
        if any(parts.get(part) for parts in counts.values())
    )
    words = html.escape(parameters_in_words(counts, limit), quote=True)
    columns = "max-content minmax(40px,1fr) max-content"
    return (
        f'<div role="img" aria-label="{words}" style="line-height:1.5;margin:4px 0">'
        f'<div style="display:grid;gap:4px 8px;grid-template-columns:{columns};max-width:800px">{rows}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:0 14px">{key}<span>┆ limit {limit:,}</span></div></div>'
    )
