"""`PhaseMonitor`: a callback that shows a training while it runs, with buttons that work meanwhile.

JupyterLab from 4.4 on hands the messages of widgets to a subshell of the kernel, which is a thread of its own, so a
button's handler runs while the cell is still training. Handlers only set flags that the trainer reads between two
batches; everything else is drawn from the training thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ipywidgets

from perfteach.trainer import Callback, PerforatedTrainer
from perfteach.widgets.base import Panel, PictureBox, answer_while_running, button, paragraphs, row, text

if TYPE_CHECKING:
    from perfteach.plots import Picture
    from perfteach.runs import Epoch, Event, Run

REDRAW = 0.5  # seconds between two updates at least
SHARE = 0.2  # of the training time, at most, goes into drawing


class PhaseMonitor(Panel, Callback):
    """Progress, curves as they grow, who is learning, and three buttons.

    The buttons switch the phase now, pause or continue, and stop and keep the best.
    Give it to the trainer; it shows itself when training begins, unless it was shown before:
    `PerforatedTrainer(model, data, config, callbacks=[PhaseMonitor()]).fit(progress=False)`.
    """

    def __init__(self) -> None:
        super().__init__("Phase monitor")
        self.trainer: PerforatedTrainer | None = None
        bar = {"style": {"description_width": "initial"}, "layout": ipywidgets.Layout(width="240px")}
        self.epochs = ipywidgets.IntProgress(description="Epochs", value=0, min=0, max=1, **bar)
        self.batches = ipywidgets.IntProgress(description="Batches", value=0, min=0, max=1, **bar)
        self.counts = text(1)
        self.switch = button("Switch phase now", "End the running phase after this batch", self.on_switch)
        self.pause = button("Pause", "Hold training after this batch; press again to continue", self.on_pause)
        self.stop = button(
            "Stop and keep the best", "End training after this batch; the best weights stay", self.on_stop
        )
        self.answer, self.words = text(1), text(2)
        self.curves, self.strip = PictureBox(), PictureBox()
        self._shown = False
        self._handle: Any = None
        self._next = 0.0  # when the next redraw is due, on the clock of time.monotonic
        self.fill(
            row(self.epochs, self.batches, self.counts),
            row(self.switch, self.pause, self.stop),
            self.answer,
            self.words,
            self.curves.widget,
            self.strip.widget,
        )
        for each in (self.switch, self.pause, self.stop):
            answer_while_running(each)
        self._enable(False)
        self.words.value = paragraphs("Training has not begun.")

    # ------------------------------------------------------------------ buttons; these run in another thread

    def on_switch(self, _button: Any) -> None:
        """End the running phase after the batch that is being trained."""
        if trainer := self._training():
            trainer.request_switch()
            self.answer.value = paragraphs("Switch asked for: the phase ends after this batch.")

    def on_pause(self, _button: Any) -> None:
        """Hold training between two batches, or go on."""
        if trainer := self._training():
            trainer.paused = not trainer.paused
            self.pause.description = "Continue" if trainer.paused else "Pause"
            self.answer.value = paragraphs("Paused." if trainer.paused else "Training goes on.")

    def on_stop(self, _button: Any) -> None:
        """End training after the batch that is being trained; the best weights are kept."""
        if trainer := self._training():
            trainer.request_stop()
            self.answer.value = paragraphs("Stop asked for: training ends after this batch, the best weights are kept.")

    def _training(self) -> PerforatedTrainer | None:
        if self.trainer is None:
            self.answer.value = paragraphs("No training is running.")
        return self.trainer

    def _enable(self, enabled: bool) -> None:
        for each in (self.switch, self.pause, self.stop):
            each.disabled = not enabled
        self.pause.description = "Pause"

    # ------------------------------------------------------------------ the trainer's calls

    def on_fit_start(self, trainer: PerforatedTrainer) -> None:
        """Show the monitor if it is not on the page yet, and enable the buttons."""
        self.trainer = trainer
        self._next = 0.0
        self.answer.value = ""
        self._enable(True)
        self._progress(trainer, 0, 1)
        self._redraw(trainer.run)
        if not self._shown:
            self._display()

    def on_batch_end(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None:
        """Move the bars, at most twice a second."""
        if time.monotonic() >= self._next:
            self._progress(trainer, batch, batches)
            self._next = time.monotonic() + REDRAW

    def on_epoch_end(self, trainer: PerforatedTrainer, record: Epoch) -> None:
        """Draw the curves anew, at most twice a second."""
        if time.monotonic() >= self._next:
            self._progress(trainer, self.batches.max, self.batches.max, done=record.epoch)
            self._redraw(trainer.run)

    def on_event(self, trainer: PerforatedTrainer, event: Event) -> None:
        """Say what happened, and why."""
        name = {"switch": "Phase switched", "restore": "Restored", "rollback": "Rolled back", "stop": "Training ended"}
        what = name.get(event.event, event.event.capitalize())
        self.words.value = paragraphs(
            f"{what} after epoch {event.epoch}: {event.reason}.",
            "" if trainer.machine.finished else f"Now: {trainer.machine.phase} phase.",
        )

    def on_fit_end(self, trainer: PerforatedTrainer, run: Run) -> None:
        """Draw the whole run once more and disable the buttons."""
        self._progress(trainer, self.batches.max, self.batches.max, done=len(run.epochs))
        self.epochs.max = max(len(run.epochs), 1)
        self._redraw(run)
        self.trainer = None
        self._enable(False)
        result = run.ended
        self.answer.value = paragraphs(
            f"Training has ended. Best epoch {result.best_epoch}, test accuracy {result.test_accuracy:.2f} % "
            "with its weights."
        )
        if self._handle is not None:  # so that the saved notebook holds the finished picture
            self._handle.update(self)

    # ------------------------------------------------------------------ drawing

    def _progress(self, trainer: PerforatedTrainer, batch: int, batches: int, *, done: int | None = None) -> None:
        epochs, planned = len(trainer.run.epochs) if done is None else done, planned_epochs(trainer)
        self.epochs.max = max(planned or epochs, epochs, 1)
        self.epochs.value = epochs
        self.batches.max, self.batches.value = max(batches, 1), batch
        of = f" of {planned}" if planned else ""
        self.counts.value = paragraphs(
            f"{epochs}{of} epochs done, batch {batch} of {batches}, {trainer.machine.phase} phase, "
            f"cycle {trainer.machine.cycle}"
        )

    def _redraw(self, run: Run) -> None:
        from perfteach import plots

        self._run, start = run, time.monotonic()
        if run.epochs:
            self.curves.show(plots.training_curves(run))
            if run.layers:  # records of older versions name them only once there are scores
                network = plots.state_at(run, run.epochs[-1].epoch) | {"data": run.data_title}
                self.strip.show(plots.architecture_strip(**network))
        else:
            self.words.value = paragraphs("The first epoch is running; the curves appear when it is done.")
        cost = time.monotonic() - start
        self._next = time.monotonic() + max(REDRAW, cost / SHARE)

    def _display(self) -> None:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:  # a plain Python program has no page to show it on
            self._handle = display(self, display_id=True)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        self._shown = True
        return super()._repr_mimebundle_(include, exclude)

    def still(self) -> Picture | None:
        """The curves so far."""
        from perfteach import plots

        run = getattr(self, "_run", None)
        return plots.training_curves(run) if run and run.epochs else None

    def summary(self) -> str:
        """The training so far, in words."""
        return self.curves.summary or "Training has not begun."


def planned_epochs(trainer: PerforatedTrainer) -> int | None:
    """How many epochs the whole training will take where the switch rule knows it beforehand, else None."""
    from perfteach.phases import Phase

    machine = trainer.machine
    total = 0
    for cycle in range(machine.cycles + 1):
        phases = [Phase.DENDRITE, Phase.NEURON] if cycle and machine.dendrite_phase else [Phase.NEURON]
        for phase in phases:
            length = machine.rule.length(phase, cycle)
            if length is None:
                return None
            total += length
    return total
