"""`PhaseBar()`: one line for a live cell: phase, epoch and the time that is left. It needs no widgets."""

from __future__ import annotations

import html
import time
from statistics import fmean
from typing import TYPE_CHECKING, Any

from perfteach.phases import Phase
from perfteach.trainer import Callback, PerforatedTrainer

if TYPE_CHECKING:
    from perfteach.runs import Epoch, Run

UPDATE = 0.2  # seconds between two updates at least
RECENT = 5  # epochs whose time says how long the others will take


class PhaseBar(Callback):
    """A progress bar for a notebook: `PerforatedTrainer(…, callbacks=[PhaseBar()]).fit(progress=False)`.

    When training has ended, one line says what came out. Outside a notebook it shows nothing.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._next = 0.0

    def on_fit_start(self, trainer: PerforatedTrainer) -> None:
        """Show the bar."""
        from IPython import get_ipython
        from IPython.display import HTML, display

        if get_ipython() is not None:
            self._handle = display(HTML(self.line(trainer, 0, 1)), display_id=True)

    def on_batch_end(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None:
        """Move the bar, a few times a second."""
        self._show(trainer, batch, batches)

    def on_epoch_end(self, trainer: PerforatedTrainer, record: Epoch) -> None:
        """Move the bar, a few times a second."""
        self._show(trainer, 0, 1)

    def on_fit_end(self, trainer: PerforatedTrainer, run: Run) -> None:
        """One line about the whole run stays."""
        phases = ", ".join(f"{band.phase} {len(band)}" for band in run.bands())
        self._update(f"<small>{html.escape(run.name)}: {len(run.epochs)} epochs done ({phases}).</small>")

    def line(self, trainer: PerforatedTrainer, batch: int, batches: int) -> str:
        """The bar as HTML."""
        done = len(trainer.run.epochs)
        planned, left = time_left(trainer, batch / batches)
        of = f" of {planned}" if planned else ""
        words = " · ".join(filter(None, [f"{trainer.machine.phase} phase", f"epoch {done + 1}{of}", left]))
        whole = max(planned or 0, done + 1)
        bar = f'<progress max="{whole}" value="{done + batch / batches:.2f}" aria-label="epochs"></progress>'
        return f'<div style="display:flex;gap:12px;align-items:center">{bar}<span>{words}</span></div>'

    def _show(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None:
        if self._handle is not None and time.monotonic() >= self._next:
            self._update(self.line(trainer, batch, batches))
            self._next = time.monotonic() + UPDATE

    def _update(self, text: str) -> None:
        from IPython.display import HTML

        if self._handle is not None:
            self._handle.update(HTML(text))


def planned_epochs(trainer: PerforatedTrainer) -> int | None:
    """How many epochs the whole training will take where the switch rule knows it beforehand, else None."""
    machine, total = trainer.machine, 0
    for cycle in range(machine.cycles + 1):
        phases = [Phase.DENDRITE, Phase.NEURON] if cycle and machine.dendrite_phase else [Phase.NEURON]
        lengths = [machine.rule.length(phase, cycle) for phase in phases]
        if None in lengths:
            return None
        total += sum(length or 0 for length in lengths)
    return total


def time_left(trainer: PerforatedTrainer, share: float) -> tuple[int | None, str]:
    """The planned epochs, and the time that is left in words; both say nothing where it is not known.

    Args:
        share: of the running epoch that is done, 0 to 1.
    """
    planned, seconds = planned_epochs(trainer), trainer.run["seconds"]
    if not planned or not seconds or len(seconds) >= planned:
        return planned, ""
    left = fmean(seconds[-RECENT:]) * max(planned - len(seconds) - share, 0)
    return planned, f"about {left:.0f} s left" if left < 90 else f"about {left / 60:.0f} min left"
