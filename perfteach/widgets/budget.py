"""`BudgetDesigner`: what a MobileNet with dendrites costs, next to what was recorded at that size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import torch
from torch import nn

from perfteach.errors import ConfigError
from perfteach.runs import Run
from perfteach.widgets import records
from perfteach.widgets.base import Number, Panel, PictureBox, paragraphs, row, table, text

if TYPE_CHECKING:
    from perfteach.plots import Picture

LINE = 1_660_000  # parameters of the published Extra-Small
BYTES = 4  # a parameter in single precision
Head = Literal["task", "imagenet"]


def _is_block(name: str) -> bool:
    return name.startswith("features.") and not name.startswith("features.0.")


def _is_squeeze(name: str) -> bool:
    return name.endswith((".fc1", ".fc2"))


def _is_convolution(name: str, module: nn.Module, depthwise: bool) -> bool:
    return isinstance(module, nn.Conv2d) and not _is_squeeze(name) and (module.groups > 1) is depthwise


LAYERS: dict[str, Callable[[str, nn.Module], bool]] = {
    "all layers": lambda name, module: True,
    "stem": lambda name, module: name.startswith("features.0."),
    "blocks": lambda name, module: _is_block(name),
    "head": lambda name, module: name.startswith("classifier."),
    "squeeze-excite": lambda name, module: _is_squeeze(name),
    "depthwise": lambda name, module: _is_convolution(name, module, depthwise=True),
    "1×1 convolutions": lambda name, module: _is_block(name) and _is_convolution(name, module, depthwise=False),
}


@dataclass(frozen=True)
class Design:
    """What a design costs: parameters by part, multiply-accumulates for one 32×32 image, layers with dendrites."""

    parameters: dict[str, int]
    macs: int
    layers: int

    @property
    def total(self) -> int:
        """Parameters, every dendrite counted."""
        return self.parameters["total"]

    @property
    def megabytes(self) -> float:
        """File size in MB (10⁶ bytes) at 4 bytes a parameter."""
        return self.total * BYTES / 1e6


@lru_cache(maxsize=256)
def design(width: float, head: Head, layers: str, dendrites: int) -> Design:
    """Count a MobileNetV3-Small of this width and head with `dendrites` on the chosen layers; nothing is allocated.

    Raises:
        ConfigError: for an unknown choice of layers, or settings that the model refuses.
    """
    from perfteach.dendrites import add_dendrites
    from perfteach.models import count_macs, count_parameters, mobilenet_small
    from perfteach.selection import perforate

    if layers not in LAYERS:
        raise ConfigError(f"unknown choice of layers {layers!r}; choose one of {', '.join(LAYERS)}")
    wrapped = 0
    with torch.device("meta"):
        model = mobilenet_small(10, width, head=head)
        if dendrites:
            perforate(model, select=LAYERS[layers])
            perforation: Any = model.perforation
            wrapped = len(perforation.wrapped)
            for _ in range(dendrites):
                add_dendrites(model)
    return Design(count_parameters(model).as_dict(), count_macs(model).total, wrapped)


def nearest_run(runs: Sequence[Run], total: int) -> Run | None:
    """The finished run whose total parameters are closest; the first of several equally close; None without runs."""
    finished = [run for run in runs if run.result]
    return min(finished, key=lambda run: abs(_total(run) - total), default=None)


def nearest_sentence(runs: Sequence[Run], total: int) -> str:
    """Names the nearest recorded run with what it reached; says plainly when there is none."""
    run = nearest_run(runs, total)
    if run is None or run.result is None:
        return "There are no recorded runs to compare with, so nothing is said about accuracy."
    size = _total(run)
    away = (
        "the same size" if size == total else f"{abs(size - total) / total:.1%} {'more' if size > total else 'fewer'}"
    )
    return (
        f"Nearest recorded run by parameters: {run.name}, {size:,} parameters ({away}), test accuracy "
        f"{run.result['test_accuracy']:.2f} % on {records.data_of(run)}. That is the run's accuracy, not this design's."
    )


def recorded_points(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Finished runs as points for `plots.pareto`."""
    return [
        {
            "name": run.name.rsplit("-seed", 1)[0],
            "parameters": _total(run),
            "accuracy": run.result["test_accuracy"],
            "arm": records.arm_of(run),
        }
        for run in runs
        if run.result
    ]


def _total(run: Run) -> int:
    assert run.result is not None
    return int(run.result["parameters"]["total"])


class BudgetDesigner(Panel):
    """Choose width, head, and which layers get how many dendrites; see what it costs and what was recorded there.

    Args:
        runs: recorded runs, shown as points; unfinished ones are left out.
    """

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        super().__init__("Budget designer: MobileNetV3-Small, 10 classes")
        self.runs = [run for run in runs if run.result]
        self.width = Number("Width", 0.5, 0.1, 1.0, 0.05, self.on_change, continuous=False)
        self.dendrites = Number("Dendrites a neuron", 1, 0, 5, 1, self.on_change, continuous=False)
        wide = {"style": {"description_width": "initial"}}
        heads = {"10 outputs (task)": "task", "1000 outputs (published)": "imagenet"}
        self.head = ipywidgets.Dropdown(options=heads, description="Head", **wide)
        self.layers = ipywidgets.Dropdown(options=list(LAYERS), description="Layers with dendrites", **wide)
        for control in (self.head, self.layers):
            control.observe(self.on_change, names="value")
        self.words, self.numbers = text(4), text(6)
        self.bars, self.points = PictureBox(), PictureBox()
        self.fill(
            row(self.width.widget, self.head),
            row(self.dendrites.widget, self.layers),
            self.words,
            self.numbers,
            self.bars.widget,
            self.points.widget,
        )
        self.on_change(None)

    @property
    def design(self) -> Design:
        """What the present settings cost."""
        return design(round(self.width.value, 3), self.head.value, self.layers.value, self.dendrites.value)

    def on_change(self, _change: Any) -> None:
        """A control moved: count again."""
        from perfteach import plots

        now = self.design
        self.words.value = paragraphs(*self.sentences(now))
        self.numbers.value = cost_table(now)
        self.bars.show(plots.parameter_bars(self._counts(now), limit=LINE))
        points = recorded_points(self.runs)
        if points:
            self.points.show(marked(plots.pareto(points, LINE, data=self._data()), now.total))
        else:
            self.points.say("There are no recorded runs yet, so there are no accuracies to draw.")

    def _data(self) -> str:
        return " and ".join(dict.fromkeys(records.data_of(run) for run in self.runs))

    def _counts(self, now: Design) -> dict[str, dict[str, int]]:
        small = design(1.0, self.head.value, "all layers", 0)
        rows = {"MobileNet-Small": small.parameters, "this design": now.parameters}
        return {name: {k: v for k, v in parts.items() if k != "total"} for name, parts in rows.items()}

    def sentences(self, now: Design) -> list[str]:
        """The design against the 1.66 M line, and the nearest recorded run."""
        gap, which = now.total - LINE, "above" if now.total > LINE else "below"
        where = f"{self.dendrites.value} a neuron in {now.layers} layers" if now.layers else "none"
        share = now.parameters["dendrites"] / now.total
        return [
            f"{now.total:,} parameters with every dendrite counted, {abs(gap):,} {which} the 1.66 M line. "
            f"Dendrites: {where}, {share:.0%} of the parameters. File: {now.megabytes:.2f} MB. "
            f"One 32×32 image: {now.macs / 1e6:.2f} million multiply-accumulates.",
            nearest_sentence(self.runs, now.total),
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
        (part, f"{count:,}", f"{count * BYTES / 1e6:.2f}", f"{count / now.total:.1%}")
        for part, count in now.parameters.items()
        if count or part == "dendrites"
    ]
    return table("Parameters by part", ("part", "parameters", "MB", "share"), rows)


def marked(figure: Picture, total: int) -> Picture:
    """Draw where the design stands on the axis of parameters; it has no accuracy of its own."""
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, total / 1.1), max(high, total * 1.1))
    axes.axvline(total, color="#1f2933", lw=1.6, gid="design", zorder=1)
    low, high = axes.get_xlim()
    left = total > (low * high) ** 0.5  # in the right half of a logarithmic axis
    axes.annotate(
        "this design", (total, 0), (-4 if left else 4, 18), xycoords=("data", "axes fraction"), size=8, weight="bold",
        textcoords="offset points", ha="right" if left else "left",
    )  # fmt: skip
    figure.alt += f" A line marks this design's {total:,} parameters; it has no measured error."
    return figure
