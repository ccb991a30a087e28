"""`CorrelationLab`: one neuron, one dendrite, and the hill the dendrite climbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import ipywidgets

from perfteach.data.points import PointData, xor
from perfteach.widgets import figures
from perfteach.widgets.base import Number, Panel, PictureBox, button, paragraphs, row, text
from perfteach.widgets.neuron import LIMIT, OneNeuron

if TYPE_CHECKING:
    from perfteach.plots import Picture

MANY = 50  # steps that "Run" takes
OBJECTIVES = {"covariance (1989)": "covariance", "correlation": "correlation"}


class CorrelationLab(Panel):
    """Set a dendrite's two weights and bias by hand or let it climb; then switch, and see the boundary bend.

    Args:
        data: a two-class problem in the plane; XOR if left out.
        seed: of the dendrite's start.

    Raises:
        ConfigError: for data with other than two classes.
    """

    def __init__(self, data: PointData | None = None, seed: int = 0) -> None:
        data = data or xor(200)
        super().__init__(f"Correlation lab: one neuron and one dendrite on {data.name}")
        self.data, self.seed = data, seed
        self.steps, self.switched, self._moving = 0, False, False
        names = ("Dendrite weight 1", "Dendrite weight 2", "Dendrite bias")
        self.numbers = [Number(name, 0.0, -LIMIT, LIMIT, 0.1, self.on_number, room="9.5em") for name in names]
        self.objective = ipywidgets.Dropdown(
            options=OBJECTIVES, value="correlation", description="Climbs", style={"description_width": "initial"}
        )
        self.objective.observe(self.on_objective, names="value")
        self.rate = Number("Step size", 1.0, 0.1, 5.0, 0.1, lambda change: None)
        self.one = button("Step", "Move the dendrite one step up its gradient", self.on_step)
        self.many = button(f"Run {MANY} steps", f"Move the dendrite {MANY} steps up its gradient", self.on_run)
        self.switch = button(
            "Switch phase", "Freeze the dendrite, and train the neuron with it", self.on_switch, style="primary"
        )
        self.again = button("Start over", "A new dendrite at its random start, and a neuron without it", self.on_again)
        self.words = text(5)
        self.dendrite, self.boundary = PictureBox(3), PictureBox(2)
        self.fill(
            *(number.widget for number in self.numbers),
            row(self.objective, self.rate.widget),
            row(self.one, self.many, self.switch, self.again),
            self.words,
            self.dendrite.widget,
            self.boundary.widget,
        )
        self.on_again(None)

    # ------------------------------------------------------------------ handlers

    def on_number(self, _change: Any) -> None:
        """One of the dendrite's numbers was set by hand; the others keep their exact values."""
        if self._moving:
            return
        exact = self.model.dendrite
        shown = [number.value for number in self.numbers]
        kept = [old if abs(old - new) <= 0.0051 else new for old, new in zip(exact, shown, strict=True)]
        self.model.dendrite = (kept[0], kept[1], kept[2])
        self.show()

    def on_objective(self, _change: Any) -> None:
        """Covariance or correlation."""
        self.show()

    def on_step(self, _button: Any) -> None:
        """One step up the gradient."""
        self._climb(1)

    def on_run(self, _button: Any) -> None:
        """Many steps up the gradient."""
        self._climb(MANY)

    def on_switch(self, _button: Any) -> None:
        """The neuron phase: the dendrite freezes; the neuron and w learn."""
        self.model.train_neuron()
        self.switched = True
        self._freeze(True)
        self.show()
        self.show_boundary()

    def on_again(self, _button: Any) -> None:
        """Back to the start."""
        self.model = OneNeuron(self.data, self.seed)
        self.steps, self.switched = 0, False
        self._freeze(False)
        self.show()
        self.show_boundary()

    def _climb(self, steps: int) -> None:
        self.model.ascend(self.objective.value, self.rate.value, steps)
        self.steps += steps
        self.show()

    def _freeze(self, frozen: bool) -> None:
        for control in (*self.numbers, self.one, self.many, self.switch):
            control.disabled = frozen

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Bring controls, words and the dendrite's picture to the model's state."""
        self._moving = True  # the boxes show rounded values, which must not be taken for input
        try:
            for number, value in zip(self.numbers, self.model.dendrite, strict=True):
                number.value = round(value, 2)
        finally:
            self._moving = False
        self.words.value = paragraphs(*self.sentences())
        self.dendrite.show(self.still())

    def show_boundary(self) -> None:
        """Draw the decision boundary: it only moves when a neuron phase begins or has ended, as w is 0 before."""
        from perfteach import plots

        self.boundary.show(cast("Picture", plots.decision_boundary(self.model, self.data)))

    def sentences(self) -> list[str]:
        """The state in words: phase, covariance and correlation, gradient, and what the neuron gets wrong."""
        moments, slope = self.model.moments(), self.model.gradient(self.objective.value)
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        if self.switched:
            phase = (
                f"Neuron phase done: the dendrite is frozen after {steps} of ascent, and w is {self.model.weight:.2f}."
            )
        else:
            phase = f"Dendrite phase, {steps} so far: the neuron is frozen and w is 0, so the boundary does not move."
        return [
            phase,
            f"Covariance of dendrite output and error: {float(moments.cov[0]):+.4f}; "
            f"correlation r = {float(moments.r[0]):+.3f}. Gradient of its size by (weight 1, weight 2, bias): "
            f"({slope[0]:+.4f}, {slope[1]:+.4f}, {slope[2]:+.4f}).",
            f"The neuron puts {self.model.wrong():.1f} % of {len(self.data.train)} training points on the wrong side.",
        ]

    def still(self) -> Picture:
        """Error map and hill."""
        return figures.dendrite_view(self.model, self.objective.value)

    def summary(self) -> str:
        """The state in words."""
        return " ".join([*self.sentences(), self.still().alt])
