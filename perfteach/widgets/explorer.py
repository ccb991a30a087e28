"""`PhaseExplorer(run)`: scrub and play through a run, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

from perfteach.report import CHANGES, epoch_values, what_happens, why_switched
from perfteach.runs import Run
from perfteach.widgets.base import Number, Panel, PictureBox, button, facts, paragraphs, row, text

if TYPE_CHECKING:
    from perfteach.plots import Picture

INTERVAL = 600  # milliseconds an epoch stays while playing


class PhaseExplorer(Panel):
    """Walk through a run: the curves up to an epoch, who learns and who is frozen then, and every layer's score.

    Args:
        run: a recorded run, or one that is being trained ("Latest epoch" then takes up what was added).

    Example:
        `PhaseExplorer(runs.recorded("mini")[0])` as the last line of a cell.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(f"Phase explorer: {run.name}, {run.data_title}")
        self.run = run
        last = max(len(run.epochs), 1)
        self.epoch = Number("Epoch", 1, 1, last, 1, self.on_epoch)
        self.player = ipywidgets.Play(value=1, min=1, max=last, interval=INTERVAL)
        # The player's own buttons have no names, so it stays out of sight and a named button drives it.
        self.player.layout.display = "none"
        self.play = ipywidgets.ToggleButton(
            description="Play", tooltip="Play or pause, one epoch after the other", layout={"width": "auto"}
        )
        self.ties = [
            ipywidgets.link((self.play, "value"), (self.player, "playing")),
            ipywidgets.link((self.player, "value"), (self.epoch.box, "value")),
        ]
        self.switches = button("Next switch", "Go to the next epoch after which a phase ends", self.on_next_switch)
        self.latest = button("Latest epoch", "Take up new epochs of a running training; go to the last", self.on_latest)
        self.words, self.values = text(5), text(3)
        self.curves, self.strip, self.scores = PictureBox(), PictureBox(), PictureBox()
        self._network: dict[str, Any] | None = None  # what the strip shows
        self._heat: tuple[int, int] | None = None  # what the score picture shows
        controls = row(self.epoch.widget, self.play, self.switches, self.latest, self.player)
        pictures = (self.curves.widget, self.strip.widget, self.scores.widget)
        self.fill(controls, self.words, self.values, *pictures)
        self.show(1)

    def on_epoch(self, change: Any) -> None:
        """The slider, the number box or the player moved."""
        self.show(change["new"])

    def on_next_switch(self, _button: Any) -> None:
        """Go to the next epoch whose end changed the phase; from the last one, back to the first."""
        ends = [event.epoch for event in self.run.events if event.event in CHANGES]
        self.epoch.value = next((end for end in ends if end > self.epoch.value), min(ends, default=self.epoch.value))

    def on_latest(self, _button: Any) -> None:
        """Take up the epochs that were added, and go to the last."""
        last = max(len(self.run.epochs), 1)
        self.epoch.limit(last)
        self.player.max = last
        if self.epoch.value == last:
            self.show(last)
        self.epoch.value = last

    def show(self, epoch: int) -> None:
        """Show one epoch (from 1).

        Raises:
            ConfigError: when the run has no such epoch.
        """
        if not self.run.epochs:
            self.words.value = paragraphs("This run has no epochs yet.")
            return
        self.words.value = paragraphs(what_happens(self.run, epoch), why_switched(self.run, epoch))
        self.values.value = facts(epoch_values(self.run, epoch))
        self._draw(epoch)

    def _draw(self, epoch: int) -> None:
        from perfteach import plots

        self.curves.show(plots.training_curves(self.run, until=epoch))
        if not self.run.layers:
            self.strip.say("No layer of this run has had a dendrite phase, so there are no dendrites to show.")
            self.scores.say("")
            return
        network = plots.state_at(self.run, epoch) | {"data": self.run.data_title}
        if self._network != network:  # it stays the same during a neuron phase
            self.strip.show(plots.architecture_strip(**network))
            self._network = network
        heard = [record.epoch for record in self.run.epochs if record.scores]
        heat = (max((e for e in heard if e <= epoch), default=0), len(heard))
        if self._heat != heat:  # so does this
            self.scores.show(plots.score_heatmap(self.run, until=heat[0]))
            self._heat = heat

    def still(self) -> Picture | None:
        """The whole run's curves."""
        from perfteach import plots

        return plots.training_curves(self.run) if self.run.epochs else None

    def summary(self) -> str:
        """The whole run in words."""
        from perfteach import plots

        return plots.describe_training_curves(self.run) if self.run.epochs else "This run has no epochs yet."
