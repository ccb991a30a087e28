"""`CorrelationLab`: one neuron, one dendrite, and the hill the dendrite climbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from perfteach.data.points import xor
from perfteach.runs import marked
from perfteach.widgets.base import Panel, View, module, one_at_a_time
from perfteach.widgets.neuron import LIMIT, OneNeuron
from perfteach.widgets.watch import CELLS, distances, margins, square, within

if TYPE_CHECKING:
    from perfteach.plots import Picture

FINE = 120  # steps of the border's distance: one picture need not be as small as a frame of a film
MANY = 50  # steps that "Run" takes
OBJECTIVES = {"covariance (1989)": "covariance", "correlation": "correlation"}
RATES = (0.1, 5.0)


class LabView(View):
    """The lab in the browser: the problem once, and the state after every move."""

    _esm = module("lab")
    problem = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)


class CorrelationLab(Panel):
    """Set a dendrite's two weights and bias by hand or let it climb; then switch, and see the boundary bend."""

    def __init__(self) -> None:
        self.data = xor(200)
        self.answered = 0
        self.objective, self.rate = "correlation", 1.0
        self._grid = square(*self.data.extent, CELLS)
        self.restart()
        title = f"Correlation lab: one neuron and one dendrite on {marked(self.data.name, self.data.synthetic)}"
        super().__init__(title, LabView(problem=self.problem(title), state=self.state()))
        self.widget.on_msg(self.on_message)

    def restart(self) -> None:
        """A new dendrite at its random start, and a neuron without it."""
        self.model = OneNeuron(self.data)
        self.steps, self.switched = 0, False

    @one_at_a_time
    def on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any = None) -> None:
        """What the page asks for: a move by hand, steps up the hill, the switch, another objective or step size."""
        match content.get("do"), self.switched:
            case "move", False:
                first, second, bias = (max(-LIMIT, min(LIMIT, float(value))) for value in content["dendrite"])
                self.model.dendrite = (first, second, bias)
            case ("step" | "run") as how, False:
                steps = 1 if how == "step" else MANY
                self.model.ascend(self.objective, self.rate, steps)
                self.steps += steps
            case "switch", False:
                self.model.train_neuron()
                self.switched = True
            case "again", _:
                self.restart()
            case "objective", _ if content["value"] in OBJECTIVES.values():
                self.objective = content["value"]
            case "rate", _:
                self.rate = max(RATES[0], min(RATES[1], float(content["value"])))
        self.answered += 1  # the page waits for an answer to each move, and an equal state would not be sent
        self.widget.state = self.state()

    def problem(self, title: str) -> dict[str, Any]:
        """What stays the same: the points, and the ends of the axes."""
        points = self.data.train
        x, y = points.inputs.double().numpy().round(3).T.tolist()
        labels = points.labels.tolist()
        edge = round(float(points.inputs.abs().max()) * 1.1, 1)
        unit = {**within(self.data, points.inputs), "labels": labels}
        about = {"title": title, "x": x, "y": y, "labels": labels, "unit": unit, "edge": edge, "limit": LIMIT}
        return about | {"cells": CELLS, "many": MANY, "objectives": OBJECTIVES}

    def state(self) -> dict[str, Any]:
        """What moves: the dendrite, its objective with slope and hill, the neuron's errors and its border."""
        model, (_, heights) = self.model, self.model.landscape(self.objective)
        numbers, *_ = self.sentences()
        says, frozen = "the dendrite learns", "the neuron is frozen and w is 0: the border stands still"
        if self.switched:
            says, frozen = "the neuron learns", f"the dendrite is frozen and w is {model.weight:.2f}: the border bends"
        return {
            "says": says,
            "frozen": frozen,
            "dendrite": list(model.dendrite),
            "gradient": model.gradient(self.objective)[:2],
            "height": model.objective(self.objective),
            "answered": self.answered,
            "objective": self.objective,
            "rate": self.rate,
            "switched": self.switched,
            "errors": model.error()[:, 0].double().numpy().round(3).tolist(),
            "landscape": heights.numpy().astype("<f4").tobytes(),
            "top": float(heights.max()) or 1.0,
            "border": distances(margins(model, self._grid), FINE).tobytes(),
            "numbers": numbers,
            "words": self.summary(),
            "sees": "The neuron's error at every training point, and the line on which the dendrite's output is zero.",
            "climbs": self.climbs(),
            "draws": f"The neuron's border: {model.wrong():.1f} % of {len(self.data.train)} points on the wrong side.",
        }

    def sentences(self) -> list[str]:
        """The state: covariance and correlation, phase, gradient, and what the neuron gets wrong."""
        moments, slope = self.model.moments(), self.model.gradient(self.objective)
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        phase = f"Dendrite phase, {steps} so far: the neuron is frozen and w is 0, so the border does not move."
        if self.switched:
            phase = (
                f"Neuron phase done: the dendrite is frozen after {steps} of ascent, and w is {self.model.weight:.2f}."
            )
        return [
            f"Covariance {float(moments.cov[0]):+.4f}, correlation r {float(moments.r[0]):+.3f} after {steps}; "
            f"{self.model.wrong():.1f} % of the points on the wrong side.",
            phase,
            f"The gradient of |{self.objective}| by (weight 1, weight 2, bias) is "
            f"({slope[0]:+.4f}, {slope[1]:+.4f}, {slope[2]:+.4f}).",
        ]

    def climbs(self) -> str:
        """The second picture in words."""
        a1, a2, c = self.model.dendrite
        return (
            f"|{self.objective}| over the dendrite's two weights at bias {c:.2f}: the dendrite stands at "
            f"({a1:.2f}, {a2:.2f}) at height {self.model.objective(self.objective):.4f}."
        )

    def still(self) -> Picture:
        """The border."""
        from perfteach import plots

        return plots.decision_boundary(self.model, self.data, split="train")

    def summary(self) -> str:
        """The state in words."""
        return " ".join([*self.sentences(), self.climbs()])
