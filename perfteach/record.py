"""The lines of a record: `Epoch`, `Event`, `Result`, and `Band`, which is several epochs of one phase."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perfteach.settings import said

# What the header's fields may be; None stands for one that is not there.
HEADER: dict[str, tuple[type, ...]] = {
    "name": (str, type(None)), "arm": (str, type(None)), "seed": (int, type(None)), "config": (dict, type(None)),
    "data": (dict, type(None)), "layers": (list, type(None)), "schema": (int, type(None)), "grown": (int, type(None)),
}  # fmt: skip
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "str": (str,), "dict[str, float]": (dict,), "dict[str, int]": (dict,),
    "float | None": (int, float, type(None)),
}  # fmt: skip


class _Fields:
    """Lets `epoch["phase"]` read what `epoch.phase` reads, as in the lines on disk."""

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None


@dataclass
class Epoch(_Fields):
    """One epoch. Accuracies are in percent, `seconds` is wall time, `scores` has the mean |r| of each layer.

    `cycle` counts the dendrites per neuron that were asked for by then, `parameters` all there are.
    """

    epoch: int
    phase: str = "neuron"
    cycle: int = 0
    train_loss: float = math.nan
    train_accuracy: float = math.nan
    validation_loss: float = math.nan
    validation_accuracy: float = math.nan
    lr: float = math.nan
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    parameters: int = 0

    @property
    def train_error(self) -> float:
        """Training error in percent."""
        return 100 - self.train_accuracy

    @property
    def validation_error(self) -> float:
        """Validation error in percent."""
        return 100 - self.validation_accuracy

    @property
    def score(self) -> float | None:
        """Mean |r| over the layers; None where none was measured."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None

    @property
    def dendritic(self) -> bool:
        """Whether the dendrites learned, and the neurons were frozen."""
        return self.phase == "dendrite"


@dataclass
class Event(_Fields):
    """What happened after an epoch, and why, in words: switch, restore, rollback, stop, warning, resume."""

    epoch: int
    event: str
    reason: str = ""
    phase: str = ""


@dataclass
class Result(_Fields):
    """How the run ended: accuracies in percent with the weights of `best_epoch`, parameters by part, wall time.

    `fresh_accuracy` is that on held-out training images, where there are any.
    """

    test_accuracy: float
    best_epoch: int = 0
    validation_accuracy: float = math.nan
    test_loss: float = math.nan
    parameters: dict[str, int] = field(default_factory=dict)
    dendrites: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    fresh_accuracy: float | None = None

    @property
    def error(self) -> float:
        """Test error in percent."""
        return 100 - self.test_accuracy

    @property
    def total(self) -> int:
        """Parameters in all, every dendrite counted."""
        return self.parameters.get("total", sum(self.parameters.values()))


@dataclass(frozen=True)
class Band:
    """Consecutive epochs of one phase: `first` and `last` are included. `cycle` counts the dendrites per neuron."""

    phase: str
    cycle: int
    first: int
    last: int

    @property
    def dendritic(self) -> bool:
        """Whether it is a dendrite phase."""
        return self.phase == "dendrite"

    def __len__(self) -> int:
        return self.last - self.first + 1


L = TypeVar("L", Epoch, Event, Result)


def checked(line: L) -> L:
    """The line of a record again, if its fields have the types they are declared with.

    Raises:
        ValueError: naming the field that has another.
    """
    for name, declared in type(line).__annotations__.items():
        value = getattr(line, name)
        inner = value.values() if isinstance(value, dict) else [value]
        numbers = [item for item in inner if item is not None and not isinstance(item, str)]
        fits = all(isinstance(item, float) or (isinstance(item, int) and abs(item) < 2**63) for item in numbers)
        if (
            not isinstance(value, _KINDS[declared])
            or not fits
            or (isinstance(value, dict) and len(numbers) < len(value))
        ):
            raise ValueError(f"{name} is {said(value)}")
    return line
