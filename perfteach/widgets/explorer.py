"""`PhaseExplorer(run)`: scrub and play through a run, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from perfteach.runs import Run
from perfteach.widgets.base import Panel, View, module
from perfteach.widgets.story import NO_EPOCHS, describe, opening, story
from perfteach.widgets.watch import Watch

if TYPE_CHECKING:
    from perfteach.plots import Picture


class ExplorerView(View):
    """The explorer in the browser: the whole run, sent once, and the epoch that is shown."""

    _esm = module("explorer")
    run = traitlets.Dict().tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)


class PhaseExplorer(Panel):
    """Walk through a run: who learns and who is frozen, the curves, and how well the dendrites follow the error.

    Args:
        run: a recorded run, or one that is being trained ("Latest epoch" then takes up what was added).
        watch: what a `Watch` saw of the run: the border in the plane, and |r| of every neuron.

    Example:
        `PhaseExplorer(runs.recorded("mini")[0])` as the last line of a cell.
    """

    def __init__(self, run: Run, watch: Watch | None = None) -> None:
        self.run, self.watch = run, watch
        super().__init__(f"Phase explorer: {run.name}, {run.data_title}", ExplorerView(run=self.story()))
        self.widget.epoch = opening(run)
        self.widget.on_msg(self.on_message)

    def story(self) -> dict[str, Any]:
        """All that the browser shows."""
        return story(self.run) | (self.watch.story(self.run.layers) if self.watch else {})

    @property
    def epoch(self) -> int:
        """The epoch that is shown, from 1; 0 for a run without epochs."""
        return int(self.widget.epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.run.at(epoch)  # refuses an epoch that is not there
        self.widget.epoch = epoch

    def on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """The button "Latest epoch": take up the epochs that were added, and go to the last."""
        if content.get("do") == "latest" and self.run.epochs:
            with self.widget.hold_sync():
                self.widget.epoch = len(self.run.epochs)
                self.widget.run = self.story()

    def still(self) -> Picture | None:
        """The whole run's curves."""
        from perfteach import plots

        return plots.training_curves(self.run) if self.run.epochs else None

    def summary(self) -> str:
        """The whole run in words, and what happens where the explorer opens."""
        from perfteach import plots

        if not self.run.epochs:
            return NO_EPOCHS
        return f"{plots.describe_training_curves(self.run)} {describe(self.run, opening(self.run))}"
