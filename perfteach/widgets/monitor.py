"""`PhaseMonitor`: a callback that shows a training while it runs, with buttons that work meanwhile.

JupyterLab from 4.4 on hands the messages of widgets to a subshell of the kernel, which is a thread of its own, so a
button's message is heard while the cell is still training. It only sets flags that the trainer reads between two
batches. Where messages wait until the cell has ended, the page says so after a few seconds.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any

import traitlets

from perfteach.trainer import Callback, PerforatedTrainer
from perfteach.widgets.bar import time_left
from perfteach.widgets.base import Panel, View, module
from perfteach.widgets.story import banner, learners, story

if TYPE_CHECKING:
    from perfteach.plots import Picture
    from perfteach.runs import Epoch, Event, Run

PROGRESS = 0.2  # seconds between two updates of the progress line at least
SHARE = 0.2  # of the training time, at most, goes into sending the curves,
ALWAYS = 40  # but for so many epochs, each of which is sent
TELLING = Lock()  # buttons are answered in another thread than the one that trains
EVENTS = {"switch": "Phase switched", "restore": "Restored", "rollback": "Rolled back", "stop": "Training ended"}


class MonitorView(View):
    """The monitor in the browser: progress often, and the run so far after its epochs."""

    _esm = module("monitor")
    run = traitlets.Dict().tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)


def answer_while_running(widget: Any) -> None:
    """Let the widget's messages be handled while a cell runs, in the subshell that the page chose for them.

    ipykernel 7.4 hands a message to the shell that used the widget last, which is the one that is busy with the cell.
    Kernels without this routing are left alone; without subshells the messages wait until the cell is done.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, chosen: chosen


class PhaseMonitor(Panel, Callback):
    """Progress, who is learning, curves as they grow, and three buttons.

    The buttons switch the phase now, pause or continue, and stop and keep the best.
    Give it to the trainer; it shows itself when training begins, unless it was shown before:
    `PerforatedTrainer(model, data, config, callbacks=[PhaseMonitor()]).fit(progress=False)`.
    """

    def __init__(self) -> None:
        self.trainer: PerforatedTrainer | None = None
        self.run: Run | None = None
        self.heard = 0  # buttons, by which the page tells an answer from the progress that comes anyway
        waits = {"running": False, "paused": False, "done": 0, "epoch": 0, "planned": 0, "phase": "neuron", "said": ""}
        waits |= {"says": "not yet", "frozen": "", "words": "Training has not begun.", "heard": 0}
        super().__init__("Phase monitor", MonitorView(run={"opens": 0}, progress=waits))
        self._shown = False
        self._handle: Any = None
        self._behind = False  # whether an epoch has not been sent yet
        self._due = self._next = 0.0  # when curves and progress may be sent again, on the clock of time.monotonic
        self.widget.on_msg(self.on_message)
        answer_while_running(self.widget)

    def on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any = None) -> None:
        """A button: end the phase, hold or go on, or end training, after the batch that is being trained."""
        trainer, what = self.trainer, content.get("do")
        self.heard += 1
        if trainer is None:
            self._tell(said="No training is running.")
        elif what == "switch":
            trainer.request_switch()
            self._tell(said="Switch asked for: the phase ends after this batch.")
        elif what == "pause":
            trainer.paused = not trainer.paused
            self._tell(paused=trainer.paused, said="Paused." if trainer.paused else "Training goes on.")
        elif what == "stop":
            trainer.request_stop()
            self._tell(said="Stop asked for: training ends after this batch, the best weights are kept.")

    def on_fit_start(self, trainer: PerforatedTrainer) -> None:
        """Show the monitor if it is not on the page yet, and enable the buttons."""
        self.trainer, self.run = trainer, trainer.run
        trainer.paused = False  # of a training that was broken off while it was held
        self._due = self._next = 0.0
        self._progress(trainer, 0, 1, running=True, paused=False, said="")
        self._send()
        if not self._shown:
            self._display()

    def on_batch_end(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None:
        """Move the progress line a few times a second, and send an epoch that is behind."""
        now = time.monotonic()
        if self._behind and now >= self._due:
            self._send()
        if now >= self._next:
            self._progress(trainer, batch, batches)

    def on_epoch_end(self, trainer: PerforatedTrainer, record: Epoch) -> None:
        """Send the curves, unless the time that goes into it would hold training up."""
        self._behind = True
        if record.epoch <= ALWAYS or time.monotonic() >= self._due:
            self._send()

    def on_event(self, trainer: PerforatedTrainer, event: Event) -> None:
        """Say what happened, and why."""
        what = EVENTS.get(event.event, event.event.capitalize())
        self._progress(trainer, 0, 1, said=f"{what} after epoch {event.epoch}: {event.reason}.")

    def on_fit_broken(self, trainer: PerforatedTrainer) -> None:
        """Say that training goes on only when it is called again, and disable the buttons."""
        self.trainer = None
        done = f"Training was broken off after {len(trainer.run.epochs)} epochs"
        words = f"{done}. After an interrupt, fit() goes on from there."
        self._tell(running=False, paused=False, said="", words=words)

    def on_fit_end(self, trainer: PerforatedTrainer, run: Run) -> None:
        """Send the whole run once more and disable the buttons."""
        self._send()
        self.trainer = None
        words = (
            f"Training has ended after {len(run.epochs)} epochs. Best epoch {run.ended.best_epoch}, test accuracy "
            f"{run.ended.test_accuracy:.2f} % with its weights."
        )
        self._tell(running=False, paused=False, words=words, done=len(run.epochs), planned=len(run.epochs))
        if self._handle is not None:  # so that the saved notebook holds the finished picture
            self._handle.update(self)

    def _tell(self, **changes: Any) -> None:
        with TELLING:
            self.widget.progress = self.widget.progress | {"heard": self.heard} | changes

    def _progress(self, trainer: PerforatedTrainer, batch: int, batches: int, **more: Any) -> None:
        done, machine = len(trainer.run.epochs), trainer.machine
        planned, left = time_left(trainer, batch / batches)
        says, frozen = banner(learners(trainer.run, machine.phase == "dendrite", machine.cycle))
        now = {"phase": machine.phase.value, "cycle": machine.cycle, "says": says, "frozen": frozen}
        now |= {"done": done, "epoch": done + 1, "planned": planned or 0, "batch": batch, "batches": batches}
        self._tell(**now, left=left, **more)
        self._next = time.monotonic() + PROGRESS

    def _send(self) -> None:
        start = time.monotonic()
        assert self.run is not None
        self.widget.run = story(self.run, latest_scores=True)
        self._behind = False
        now = time.monotonic()
        self._due = now + (now - start) / SHARE

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

        return plots.training_curves(self.run) if self.run and self.run.epochs else None

    def summary(self) -> str:
        """The training so far, in words."""
        from perfteach import plots

        if self.run is None or not self.run.epochs:
            return "Training has not begun."
        return f"{plots.describe_training_curves(self.run)} {self.widget.progress['words']}"
