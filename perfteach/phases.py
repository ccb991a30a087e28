"""The two phases and the rules that switch between them: a small state machine with no tensors in it.

neuron ──switch──▶ dendrite ──switch──▶ neuron ──▶ … ──▶ finished
   ▲                                      │
   └── the first neuron phase             └── roll back and finish, if the new dendrites did not help
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from perfteach import settings
from perfteach.errors import ConfigError


class Phase(StrEnum):
    """Who learns: the neurons (with the dendrite-to-neuron weights), or the newest dendrites."""

    NEURON = "neuron"
    DENDRITE = "dendrite"


class Action(StrEnum):
    """What the trainer has to do after an epoch."""

    CONTINUE = "continue"
    SWITCH = "switch"
    ROLL_BACK = "rollback"  # the last cycle did not help: restore what was there before it, and finish
    STOP = "stop"


@dataclass(frozen=True)
class Decision:
    """An action and the reason for it, in words."""

    action: Action
    reason: str = ""


class SwitchRule(Protocol):
    """Says when a phase is over. `scores` are this phase's scores so far, newest last."""

    def ended(self, phase: Phase, cycle: int, scores: list[float]) -> str | None:
        """Returns the reason to end the phase, or None to go on."""
        ...

    def length(self, phase: Phase, cycle: int) -> int | None:
        """Number of epochs the phase will take where that is known beforehand, for schedules; else None."""
        ...


@dataclass(frozen=True)
class FixedSwitch:
    """Phases of fixed length, in epochs.

    Args:
        neuron: epochs of each neuron phase: the first, after one cycle, after two, … (the last one repeats).
        dendrite: epochs of every dendrite phase; 0 leaves the dendrites at their random start.

    Raises:
        ConfigError: for a length that is not a whole number of at least 1 (dendrite: 0).
    """

    neuron: tuple[int, ...] = (8, 4)
    dendrite: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", settings.wholes("neuron", self.neuron, 1))
        object.__setattr__(self, "dendrite", settings.whole("dendrite", self.dendrite))

    def length(self, phase: Phase, cycle: int) -> int | None:
        return self.dendrite if phase is Phase.DENDRITE else self.neuron[min(cycle, len(self.neuron) - 1)]

    def ended(self, phase: Phase, cycle: int, scores: list[float]) -> str | None:
        length = self.length(phase, cycle)
        assert length is not None
        return f"the phase's {length} epochs are over" if len(scores) >= length else None


@dataclass(frozen=True)
class PlateauSwitch:
    """A phase ends when its score has not risen by `min_gain` for `patience` epochs.

    Args:
        patience: epochs without gain that end a neuron phase.
        min_gain: validation accuracy counts as risen when it gains at least this, in percentage points.
        dendrite_patience: the same for a dendrite phase, whose score is the mean |r|.
        dendrite_min_gain: in units of |r| (0 to 1).
        max_epochs: a phase never takes longer than this many epochs.

    Raises:
        ConfigError: for a patience or max_epochs below 1 or a negative gain.
    """

    patience: int = 5
    min_gain: float = 0.1
    dendrite_patience: int = 2
    dendrite_min_gain: float = 0.002
    max_epochs: int = 100

    def __post_init__(self) -> None:
        for name in ("patience", "dendrite_patience", "max_epochs"):
            object.__setattr__(self, name, settings.whole(name, getattr(self, name), 1))
        for name in ("min_gain", "dendrite_min_gain"):
            object.__setattr__(self, name, settings.number(name, getattr(self, name), 0))

    def length(self, phase: Phase, cycle: int) -> int | None:
        return None

    def ended(self, phase: Phase, cycle: int, scores: list[float]) -> str | None:
        neuron = phase is Phase.NEURON
        patience = self.patience if neuron else self.dendrite_patience
        gain = self.min_gain if neuron else self.dendrite_min_gain
        best, since = -math.inf, 0
        for score in scores:
            best, since = (score, 0) if score >= best + gain and score > best else (best, since + 1)
        if since >= patience:
            what = f"validation gain of {gain:g} points" if neuron else f"correlation gain of {gain:g}"
            return f"no {what} for {patience} epoch{'s' if patience > 1 else ''}"
        if len(scores) >= self.max_epochs:
            return f"the limit of {self.max_epochs} epochs a phase is reached"
        return None


@dataclass(frozen=True)
class ManualSwitch:
    """Phases end only when someone asks (a button, or `machine.request_switch()`), or at `max_epochs`."""

    max_epochs: int = 1000

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_epochs", settings.whole("max_epochs", self.max_epochs, 1))

    def length(self, phase: Phase, cycle: int) -> int | None:
        return None

    def ended(self, phase: Phase, cycle: int, scores: list[float]) -> str | None:
        return f"the limit of {self.max_epochs} epochs is reached" if len(scores) >= self.max_epochs else None


@dataclass
class PhaseMachine:
    """Counts epochs, remembers the best scores, and decides when a phase ends and when training does.

    Args:
        dendrite_phase: False skips the dendrite phases: a cycle is then a restart of the neuron phase, as the
            gradient rule and the control without dendrites need it.
        rule, cycles, roll_back: as in `DendriteCycle`, whose `switch` is the rule.

    Raises:
        ConfigError: for a negative `cycles`, or a rule without its two methods.
    """

    rule: SwitchRule
    cycles: int = 1
    roll_back: bool = True
    dendrite_phase: bool = True
    score_format: str = "score {:.4g}"  # how a neuron phase's score reads in a reason: one word and the number
    phase: Phase = Phase.NEURON
    cycle: int = 0
    scores: list[float] = field(default_factory=list)
    best_before: float = -math.inf  # best neuron score of all earlier neuron phases
    finished: bool = False
    requested: str = ""

    def __post_init__(self) -> None:
        self.cycles = settings.whole("cycles", self.cycles)
        if not callable(getattr(self.rule, "ended", None)) or not callable(getattr(self.rule, "length", None)):
            use = "FixedSwitch, PlateauSwitch, ManualSwitch, or an object with the methods ended and length"
            raise ConfigError(f"switch is {settings.said(self.rule)}; use {use}")

    @property
    def best(self) -> float:
        """The best score of the current phase (minus infinity before its first epoch)."""
        return max(self.scores, default=-math.inf)

    def request_switch(self, reason: str = "asked for by hand") -> None:
        """End the current phase after the epoch that is running."""
        self.requested = reason

    def observe(self, score: float) -> Decision:
        """Take the score of the epoch just done and say what follows.

        Args:
            score: validation accuracy in percent (neuron phase) or mean |r| (dendrite phase); must be finite.

        Raises:
            ConfigError: when training has already finished, or the score is not a finite number.
        """
        if self.finished:
            raise ConfigError("training has finished; start a new PhaseMachine to train on")
        self.scores.append(settings.number("score", score))
        reason = self.requested or self.rule.ended(self.phase, self.cycle, self.scores)
        self.requested = ""
        if not reason:
            return Decision(Action.CONTINUE)
        if self.phase is Phase.NEURON:
            return self._end_neuron_phase(reason)
        self._enter(Phase.NEURON)
        return Decision(Action.SWITCH, reason)

    def _end_neuron_phase(self, reason: str) -> Decision:
        if self.roll_back and self.cycle > 0 and self.best <= self.best_before:
            self.finished = True
            best, before = (self.score_format.format(score) for score in (self.best, self.best_before))
            lost = f"best {best} is not above the {before.partition(' ')[2]} before it"
            return Decision(Action.ROLL_BACK, f"cycle {self.cycle} did not help: {lost}")
        if self.cycle >= self.cycles:
            self.finished = True
            return Decision(Action.STOP, f"{reason}; {self.cycle} of {self.cycles} cycles done")
        self.best_before = max(self.best, self.best_before)
        self.cycle += 1
        self._enter(Phase.DENDRITE)
        if not self.dendrite_phase or self.rule.length(self.phase, self.cycle) == 0:
            self._enter(Phase.NEURON)
        return Decision(Action.SWITCH, reason)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.scores = []

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes while training, as plain values (for JSON or a checkpoint)."""
        state = asdict(self)
        for settled in ("rule", "cycles", "roll_back", "dendrite_phase", "score_format"):
            del state[settled]
        return state | {"phase": self.phase.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name, value in state.items():
            setattr(self, name, Phase(value) if name == "phase" else value)
        self.scores = list(self.scores)
