"""`BudgetDesigner`: what a MobileNet with dendrites costs, next to what was recorded at that size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import torch
from torch import nn

from perfteach.errors import ConfigError
from perfteach.metrics import paired_interval
from perfteach.runs import Run
from perfteach.widgets.base import Number, Panel, PictureBox, folded, paragraphs, row, table, text

if TYPE_CHECKING:
    from perfteach.plots import Picture

LINE = 1_660_000  # parameters of the published Extra-Small
BYTES = 4  # a parameter in single precision
Head = Literal["task", "imagenet"]
HIDDEN = {"1,024 × width (published)": None, "256": 256, "128": 128, "64": 64, "none": 0}


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
    "stem and blocks 1 to 4": lambda name, module: name.startswith(tuple(f"features.{k}." for k in range(5))),
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


@lru_cache(maxsize=64)
def _plain(width: float, head: Head, hidden: int | None) -> tuple[dict[str, Any], dict[str, int], dict[str, Fraction]]:
    """A network without dendrites: its layers, its parameters by part, and multiply-accumulates for every weight."""
    from perfteach.counting import count_parameters
    from perfteach.models import mobilenet_small

    with torch.device("meta"):
        model = mobilenet_small(10, width, head=head, hidden=hidden)
    every = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    return every, count_parameters(model).as_dict(), _macs_per_weight(model, every)


def design(width: float, head: Head, layers: str, dendrites: int, hidden: int | None = None) -> Design:
    """Count a MobileNetV3-Small of this width and head with `dendrites` on the chosen layers; nothing is allocated.

    Only the plain network is built. What dendrites add follows from the layers' sizes, which is several times quicker
    than growing them, and a slider waits for it. The tests compare both.

    Args:
        width: multiplier of the channels.
        head: "task" has 10 outputs, "imagenet" 1,000.
        layers: one of `LAYERS`.
        dendrites: for every neuron of these.
        hidden: neurons of the head's hidden layer: None for the published number, 0 for no such layer.

    Raises:
        ConfigError: for an unknown choice of layers, or settings that the model refuses.
    """
    if layers not in LAYERS:
        raise ConfigError(f"unknown choice of layers {layers!r}; choose one of {', '.join(LAYERS)}")
    every, plain, spent = _plain(width, head, hidden)
    chosen = {name for name, layer in every.items() if dendrites and LAYERS[layers](name, layer)}
    macs = sum((1 + dendrites * (name in chosen)) * layer.weight.numel() * spent[name] for name, layer in every.items())
    grown = sum(_of_dendrites(every[name], dendrites) for name in chosen)
    return Design({**plain, "dendrites": grown, "total": plain["total"] + grown}, int(macs), len(chosen))


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
        self.head = self._menu("Outputs", {"10 (task)": "task", "1,000 (published)": "imagenet"})
        self.hidden = self._menu("Hidden layer of the head", HIDDEN)
        self.layers = self._menu("Layers with dendrites", list(LAYERS))
        known = {recorded.name: recorded for recorded in self.designs if recorded.controls}
        self.recorded = self._menu("Recorded network", {"of your own": None, **known}, self.on_recorded)
        self.words = text(3)
        self.bars, self.points = PictureBox(), PictureBox()
        self.described, described = folded("Parameters by part, and the pictures in words")
        self._filling = False
        self.fill(
            row(self.width.widget, self.head, self.hidden),
            row(self.dendrites.widget, self.layers, self.recorded),
            self.words,
            self.bars.image,
            self.points.image,
            described,
        )
        self.on_change(None)

    def _menu(self, name: str, options: Any, handler: Callable[[Any], None] | None = None) -> Any:
        menu = ipywidgets.Dropdown(
            options=options, description=name, style={"description_width": "initial"}, layout={"width": "auto"}
        )
        menu.observe(handler or self.on_change, names="value")
        return menu

    @property
    def design(self) -> Design:
        """What the present settings cost."""
        return design(
            round(self.width.value, 3), self.head.value, self.layers.value, self.dendrites.value, self.hidden.value
        )

    def on_recorded(self, change: Any) -> None:
        """Take the settings of a network that was trained."""
        if change["new"] is None or self._filling:
            return
        self._filling = True
        for name, value in change["new"].controls.items():
            getattr(self, name).value = value
        self._filling = False
        self._show()

    def on_change(self, _change: Any) -> None:
        """A control moved: count again; the design is no longer the recorded one."""
        if self._filling:
            return
        self._filling = True
        self.recorded.value = None
        self._filling = False
        self._show()

    def _show(self) -> None:
        from perfteach import plots

        now = self.design
        self.words.value = paragraphs(*self.sentences(now))
        self.bars.show(plots.parameter_bars(self._counts(now), limit=LINE))
        points = recorded_points(run for recorded in self.designs for run in recorded.runs)
        if points:
            self.points.show(plots.pareto(points, LINE, data=self._data(), design=now.total))
        else:
            self.points.say("There are no recorded runs yet, so there are no accuracies to draw.")
        self.described.value = cost_table(now) + paragraphs(self.bars.summary, self.points.summary)

    def _data(self) -> str:
        return " and ".join(dict.fromkeys(run.data_title for recorded in self.designs for run in recorded.runs))

    def _counts(self, now: Design) -> dict[str, dict[str, int]]:
        small = design(1.0, self.head.value, "all layers", 0)
        rows = {"MobileNet-Small": small.parameters, "this design": now.parameters}
        return {name: {k: v for k, v in parts.items() if k != "total"} for name, parts in rows.items()}

    def sentences(self, now: Design) -> list[str]:
        """The design against the 1.66 M line, and what was recorded at this size."""
        gap, which = now.total - LINE, "above" if now.total > LINE else "below"
        where = f"{self.dendrites.value} a neuron in {now.layers} layers" if now.layers else "none"
        share, head = (100 * now.parameters[part] / now.total for part in ("dendrites", "head"))
        chosen: Recorded | None = self.recorded.value
        known = f"This network was trained: {chosen.reached}." if chosen else nearest_sentence(self.designs, now.total)
        left = f" Left out: {self.left_out} networks with a single seed." if self.left_out else ""
        return [
            f"{now.total:,} parameters with every dendrite counted, {abs(gap):,} {which} the 1.66 M line. "
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
