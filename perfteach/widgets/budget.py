"""`BudgetDesigner`: what a MobileNet with dendrites costs, next to what was recorded at that size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import torch
from torch import nn

from perfteach.errors import ConfigError
from perfteach.runs import Run
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


_KNOWN: dict[tuple[str, ...], dict[str, Fraction]] = {}  # by the names of the layers


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

    Only the plain network is built. What dendrites add follows from the layers' sizes, which is several times quicker
    than growing them, and a slider waits for it. The tests compare both.

    Raises:
        ConfigError: for an unknown choice of layers, or settings that the model refuses.
    """
    from perfteach.counting import count_parameters
    from perfteach.models import mobilenet_small

    if layers not in LAYERS:
        raise ConfigError(f"unknown choice of layers {layers!r}; choose one of {', '.join(LAYERS)}")
    with torch.device("meta"):
        model = mobilenet_small(10, width, head=head)
    every: dict[str, Any] = {
        name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))
    }
    chosen = {name for name, layer in every.items() if dendrites and LAYERS[layers](name, layer)}
    spent = _macs_per_weight(model, every)
    macs = sum((1 + dendrites * (name in chosen)) * layer.weight.numel() * spent[name] for name, layer in every.items())
    parameters = count_parameters(model).as_dict()
    parameters["dendrites"] = sum(_of_dendrites(every[name], dendrites) for name in chosen)
    parameters["total"] += parameters["dendrites"]
    return Design(parameters, int(macs), len(chosen))


def _of_dendrites(layer: Any, many: int) -> int:
    """Parameters of a layer's dendrites: each has the layer's form, with its norm, and hears those before it."""
    neurons = layer.weight.shape[0]
    own = layer.weight.numel() + (2 * neurons if layer.bias is None else neurons)  # here a norm stands for a bias
    return int(many * (own + neurons) + neurons * many * (many - 1) // 2)  # `neurons`: a weight w for each


def _macs_per_weight(model: nn.Module, every: dict[str, Any]) -> dict[str, Fraction]:
    """Multiply-accumulates of each layer for every weight it has: the same at all widths with the same layers.

    They depend on the size of the maps only. A block drops its first convolution at some widths, which renames others.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if tuple(every) not in _KNOWN:
        with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros(1, 3, 32, 32))
        spent = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
        _KNOWN[tuple(every)] = {name: Fraction(spent[name], 2 * layer.weight.numel()) for name, layer in every.items()}
    return _KNOWN[tuple(every)]


def nearest_run(runs: Sequence[Run], total: int) -> Run | None:
    """The finished run whose total parameters are closest; the first of several equally close; None without runs."""
    finished = [run for run in runs if run.finished]
    return min(finished, key=lambda run: abs(run.ended.total - total), default=None)


def nearest_sentence(runs: Sequence[Run], total: int) -> str:
    """Names the nearest recorded run with what it reached; says plainly when there is none."""
    run = nearest_run(runs, total)
    if run is None:
        return "There are no recorded runs to compare with, so nothing is said about accuracy."
    size = run.ended.total
    away = (
        "the same size"
        if size == total
        else f"{100 * abs(size - total) / total:.1f} % {'more' if size > total else 'fewer'}"
    )
    return (
        f"Nearest recorded run by parameters: {run.name}, {size:,} parameters ({away}), test accuracy "
        f"{run.ended.test_accuracy:.2f} % on {run.data_title}. That is the run's accuracy, not this design's."
    )


def recorded_points(runs: Sequence[Run]) -> list[dict[str, Any]]:
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
        runs: recorded runs, shown as points; unfinished ones are left out.
    """

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        super().__init__("Budget designer: MobileNetV3-Small, 10 classes")
        self.runs = [run for run in runs if run.finished]
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
            self.points.show(plots.pareto(points, LINE, data=self._data(), design=now.total))
        else:
            self.points.say("There are no recorded runs yet, so there are no accuracies to draw.")

    def _data(self) -> str:
        return " and ".join(dict.fromkeys(run.data_title for run in self.runs))

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
            f"Dendrites: {where}, {100 * share:.0f} % of the parameters. File: {now.megabytes:.2f} MB. "
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
        (part, f"{count:,}", f"{count * BYTES / 1e6:.2f}", f"{100 * count / now.total:.1f} %")
        for part, count in now.parameters.items()
        if count or part == "dendrites"
    ]
    return table("Parameters by part", ("part", "parameters", "MB", "share"), rows)
