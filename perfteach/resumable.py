"""What lets a training be stopped anywhere and continued: undone to its last whole epoch, saved, and resumed.

Arms of a study that begin as their baseline does take its first neuron phase over, in place of training it once more.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from perfteach import checkpoint, files, ranks
from perfteach.cycle import DendriteCycle, Kept, copied, snapshot
from perfteach.errors import CheckpointError, ConfigError, NonFiniteLossError
from perfteach.interrupts import Interrupts
from perfteach.phases import Phase
from perfteach.provenance import code, provenance
from perfteach.runs import Event, Run

if TYPE_CHECKING:
    from perfteach.trainer import PerforatedTrainer


class Resumable:
    """The part of `PerforatedTrainer` that keeps and brings back what it changes."""

    model: nn.Module
    cycle: DendriteCycle
    run: Run
    folder: Path | None
    device: torch.device
    asked: str
    stopping: bool
    paused: bool

    def __init__(self) -> None:
        self.interrupts = Interrupts()
        self.optimizer: Any = None
        self.schedule: Any = None
        self.average: Any = None
        self._start: dict[str, Any] | None = None  # what the running epoch began with, until it is saved

    def _begin_phase(self) -> None:
        raise NotImplementedError

    def _event(self, event: Event) -> None:
        raise NotImplementedError

    def save(self) -> None:
        """Write a checkpoint to the folder, if the trainer has one, and beside it a copy of its record to read."""
        if not self.folder or ranks.rank():
            return
        state = {name: part.state_dict() for name, part in self._parts().items()}
        checkpoint.save(self.folder, self.run, self.model, {"cycle": self.cycle.state_dict(), **state})
        self.run.save(self.folder / "run.jsonl")

    def _parts(self) -> dict[str, Any]:
        """What has a state of its own beside the model and the cycle."""
        parts = {"optimizer": self.optimizer, "schedule": self.schedule, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The claim on the folder; a finished run is only read, which needs none. Says what an interrupt leaves."""
        done = self.folder and checkpoint.record(self.folder)
        writes = self.folder and not ranks.rank() and not (done and done.finished)
        with files.alone(self.folder) if self.folder and writes else nullcontext():
            try:
                yield
            except KeyboardInterrupt as stopped:
                count = max(
                    len(self.run.epochs), len(done.epochs) if done else 0
                )  # it can come before the folder is read
                kept = "1 epoch is" if count == 1 else f"{count} epochs are"
                stopped.args = (f"{kept} kept, and training goes on from there when it is started again",)
                raise

    def _resume(self) -> None:
        """Undo what is half done, and go on from the folder where that is further than memory."""
        with self.interrupts.shield():
            self._undo()
            if saved := self._further():
                saved.restore(self.model)
                self._load({"model": saved.weights, **saved.state})
                self.run = saved.run  # last, so that a resume that breaks off is done again
            if len(self.run.epochs) != ranks.agreed(len(self.run.epochs)):
                raise CheckpointError(
                    f"the processes do not see the same checkpoint in {str(self.folder)!r}; "
                    "put the folder on a disk that all machines share"
                )
            if saved and not self.run.finished:
                reason = "continued from the checkpoint" + _elsewhere(self.run.header)
                self._event(Event(len(self.run.epochs), "resume", reason, self.cycle.phase.value))

    def _further(self) -> checkpoint.Checkpoint | None:
        """The folder's checkpoint, if it goes further than what is in memory."""
        newest = checkpoint.record(self.folder) if self.folder and self.run.epochs else None
        if not self.folder or (self.run.epochs and not (newest and newest.is_further_than(self.run))):
            return None
        saved = checkpoint.load(self.folder, self.device)
        if saved:
            saved.refuse_other(self.run)
        return saved if saved and saved.run.is_further_than(self.run) else None

    @contextmanager
    def _as_a_whole(self) -> Iterator[None]:
        """A block that is done to its end, or undone."""
        self._start = self._state()
        try:
            yield
        except NonFiniteLossError:  # the best weights are in place now; the next fit() undoes the epoch
            raise
        except BaseException:
            with self.interrupts.shield():
                self._undo()
            raise
        self._start = None

    def _state(self) -> dict[str, Any]:
        """All that an epoch changes, as it is now."""
        parts = {name: copied(part.state_dict()) for name, part in self._parts().items()}
        about: dict[str, Any] = {"epochs": len(self.run.epochs), "events": len(self.run.events)}
        about |= {"asked": self.asked, "stopping": self.stopping}
        return {"model": snapshot(self.model), "cycle": self.cycle.state_dict(), **parts, "about": about}

    def _undo(self) -> None:
        """Go back to the start of the epoch that was not finished, if there is one."""
        if self._start is None:
            return
        about = self._start["about"]
        self._load(self._start)
        del self.run.epochs[about["epochs"] :], self.run.events[about["events"] :]
        self.run.result, self.paused = None, False
        self.asked, self.stopping = about["asked"], about["stopping"]
        self._start = None

    def _load(self, state: dict[str, Any]) -> None:
        """Bring model, cycle, optimiser, schedule and average to a state; its tensors are taken over."""
        self.model.load_state_dict(state["model"])
        self.cycle.load_state_dict(state["cycle"])
        if self.cycle.finished:  # nothing will learn any more, and the model has its best weights
            self.average = None
            self.model.eval()
            return
        self._begin_phase()
        for name, part in self._parts().items():
            part.load_state_dict(state[name])


def _elsewhere(header: dict[str, Any]) -> str:
    """Where a run goes on, if that is not where it began: its header says that only."""
    here = provenance()
    if all(header.get(part) == here[part] for part in ("machine", "versions", "revision")):
        return ""
    machine = here["machine"]
    return f", on {machine['gpu'] or machine['cpu']} with PyTorch {here['versions']['torch']} and {code()}"


def is_finished(baseline: Path) -> bool:
    """Whether a folder has a finished run whose checkpoint can be used; warns where it is damaged."""
    try:
        saved = checkpoint.load(baseline)
    except CheckpointError as error:
        warnings.warn(f"{error}; until then the other arms train from the start", stacklevel=2)
        return False
    return saved is not None and saved.run.finished


def continue_from(trainer: PerforatedTrainer, baseline: Path) -> None:
    """Let a trainer take over its first neuron phase from the folder of a finished baseline run.

    Raises:
        ConfigError: when the baseline is not finished, or was trained on other data, as another network, or with
            another seed or other settings.
        CheckpointError: when its checkpoint cannot be used.
    """
    saved = checkpoint.load(baseline, trainer.device)
    if saved is None or not saved.run.finished:
        raise ConfigError(f"the baseline in {baseline} is not finished; run the arm baseline first")
    run = saved.run
    if any(run.header[key] != trainer.run.header[key] for key in ("data", "seed", "model", "layers")):
        raise ConfigError(f"the baseline in {baseline} was trained on other data, another network or another seed")
    own = ("switch", "cycles", "grow", "thaw")  # what distinguishes arms
    old, new = ({key: value for key, value in one.config.items() if key not in own} for one in (run, trainer.run))
    if old != new or len(run.epochs) != trainer.config.switch.length(Phase.NEURON, 0):
        raise ConfigError(f"the baseline in {baseline} was trained with other settings; delete it to train it again")
    trainer.take_over(run, Kept(run.ended.best_epoch, run.ended.validation_accuracy, saved.weights))
