"""Settings of a training run: `TrainConfig`, the default optimiser and schedule, and the base class of callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from perfteach.errors import ConfigError
from perfteach.phases import FixedSwitch, Phase, SwitchRule

if TYPE_CHECKING:
    from perfteach.runs import Run
    from perfteach.trainer import PerforatedTrainer


class Batches(Protocol):
    """An iterable of (inputs, labels) that knows how many batches it has."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Data(Protocol):
    """What the trainer needs of a data set; `perfteach.data.ImageData` and `perfteach.points.PointData` have it."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def checksum(self) -> str: ...

    @property
    def synthetic(self) -> bool: ...

    @property
    def train(self) -> Sized: ...

    @property
    def validation(self) -> Sized: ...

    @property
    def test(self) -> Sized: ...

    @property
    def batches(self) -> Callable[..., Batches]: ...  # (split, batch_size, shuffle, augment, seed, size, device)


def require_logits(output: Tensor, classes: int) -> None:
    """Refuse outputs that are not logits [B, `classes` or more]; a loss would say it less clearly, or on a GPU crash.

    Raises:
        ConfigError: naming the shape that came and the one that is needed.
    """
    shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < classes:
        raise ConfigError(f"the model returned {shape}; data of {classes} classes need logits [B, {classes} or more]")


def adamw(parameters: list[nn.Parameter], phase: Phase, *, lr: float, dendrite_lr: float, decay: float) -> Optimizer:
    """The default optimiser of a phase. Dendrites get no weight decay while they learn to correlate."""
    if phase is Phase.DENDRITE:
        return torch.optim.AdamW(parameters, lr=dendrite_lr, weight_decay=0.0, fused=True)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)


def warm_cosine(optimizer: Optimizer, phase: Phase, steps: int | None) -> LRScheduler | None:
    """The default schedule: a short warm-up and a cosine to zero where the phase's length is known, else constant."""
    if steps is None:
        return None
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=steps + 1, pct_start=0.15, cycle_momentum=False)


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Every field has a sensible default for a small MobileNet on 32×32 images.

    Args:
        switch: when phases end: `FixedSwitch`, `PlateauSwitch` or `ManualSwitch`.
        max_dendrites: cycles at most; each gives every neuron one more dendrite.
        grow: False keeps the cycles' restarts and reloads but grows nothing: the same-epochs control.
        thaw: let dendrites go on learning from their own neuron's error in the neuron phases.
        roll_back: undo a cycle that did not raise the best validation accuracy, and end.
        batch_size: images a step.
        size: edge in pixels to which batches are resized; None leaves the images as they are.
        augment: crop and flip training images at random.
        lr, dendrite_lr, weight_decay: peak learning rates by phase, and weight decay of the neuron phase.
        seed: order and augmentation of batches, dropout, and the start of new dendrites.
        device: "auto" takes a GPU where there is one.
        optimizer: function of (parameters, phase) that builds a fresh optimiser at every switch.
        schedule: function of (optimizer, phase, steps or None) that builds its schedule, stepped per batch.
        loss: function of (outputs, labels); the mean over the batch.

    Raises:
        ConfigError: for a batch size below 1, a negative number of dendrites or a learning rate that is not positive.
    """

    switch: SwitchRule = field(default_factory=FixedSwitch)
    max_dendrites: int = 1
    grow: bool = True
    thaw: bool = False
    roll_back: bool = True
    batch_size: int = 128
    size: int | None = None
    augment: bool = True
    lr: float = 2e-3
    dendrite_lr: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    device: str = "auto"
    optimizer: Callable[[list[nn.Parameter], Phase], Optimizer] | None = None
    schedule: Callable[[Optimizer, Phase, int | None], LRScheduler | None] = warm_cosine
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.max_dendrites < 0:
            raise ConfigError(f"max_dendrites must be 0 or more, got {self.max_dendrites}")
        if min(self.lr, self.dendrite_lr) <= 0:
            raise ConfigError(f"learning rates must be above 0, got lr={self.lr}, dendrite_lr={self.dendrite_lr}")

    def build_optimizer(self, parameters: list[nn.Parameter], phase: Phase) -> Optimizer:
        """The optimiser for one phase, from the user's factory or the default one."""
        default = partial(adamw, lr=self.lr, dendrite_lr=self.dendrite_lr, decay=self.weight_decay)
        return (self.optimizer or default)(parameters, phase)

    def describe(self) -> dict[str, Any]:
        """The settings as plain values for the record; functions by their names."""
        rule: Any = self.switch
        described = {type(rule).__name__: vars(rule)}
        return {name: _plain(value) for name, value in vars(self).items()} | {"switch": _plain(described)}


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: when there is no such device, or it cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"device {name!r} cannot be used here ({reason}); use 'cpu' or 'auto'") from error
    return torch.device(name)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)


class Callback:
    """Base class: override what you need. The trainer is passed to every method."""

    def on_fit_start(self, trainer: PerforatedTrainer) -> None: ...

    def on_batch_end(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None: ...

    def on_epoch_end(self, trainer: PerforatedTrainer, record: dict[str, Any]) -> None: ...

    def on_event(self, trainer: PerforatedTrainer, event: dict[str, Any]) -> None: ...

    def on_fit_end(self, trainer: PerforatedTrainer, run: Run) -> None: ...
