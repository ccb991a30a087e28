"""Settings of a training run: `TrainConfig`, with the default optimiser and schedule."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from perfteach import settings
from perfteach.engine import ENGINES
from perfteach.errors import ConfigError
from perfteach.phases import FixedSwitch, Phase, PhaseMachine, SwitchRule

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}


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
        cycles: at most so many; each gives every neuron one more dendrite. 0 trains without.
        grow: False keeps the cycles' restarts and reloads but grows nothing: the same-epochs control.
        thaw: let dendrites go on learning from their own neuron's error in the neuron phases.
        roll_back: undo a cycle that did not raise the best validation accuracy, and end.
        batch_size: images a step.
        size: edge in pixels to which batches are resized; None leaves the images as they are.
        augment: crop and flip training images at random.
        cutout: edge in pixels of a square that is blanked out in each training image; 0 for none.
        lr, dendrite_lr, weight_decay: peak learning rates by phase, and weight decay of the neuron phase.
        decay_norms: False spares norms, biases and the dendrites' weights w (one number a neuron) from decay.
        average: decay per step of a running average of the weights, such as 0.999, which then is validated, kept and
            tested in place of the weights themselves; 0 for none.
        label_smoothing: share of the training target that is spread over all classes, 0 to below 1.
        thawed_lr: peak learning rate of dendrites that learn beside their neurons, as a multiple of `lr`.
        engine: how a neuron phase's steps are run: "eager"; "graph", which on a GPU records a step once as a CUDA graph
            and replays it; or "compile" with `torch.compile`. The numbers are the same up to rounding. The last two
            need a forward pass that does the same operations for each batch.
        seed: order and augmentation of batches, dropout, and the start of new dendrites.
        device: "auto" takes a GPU where there is one.
        optimizer: "adamw" (also None), "sgd" (momentum 0.9 after Nesterov), or a function of (parameters, phase) that
            builds a fresh optimiser at every switch.
        schedule: function of (optimizer, phase, steps or None) that builds its schedule, stepped per batch.
        loss: function of (outputs, labels); the mean over the batch.

    Raises:
        ConfigError: for a value of another type or out of range, such as a batch size below 1 or a rate that is no
            finite number above 0, and for settings that contradict each other.
    """

    switch: SwitchRule = field(default_factory=FixedSwitch)
    cycles: int = 1
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
    optimizer: Callable[[list[nn.Parameter], Phase], Optimizer] | str | None = None
    schedule: Callable[[Optimizer, Phase, int | None], LRScheduler | None] = warm_cosine
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    cutout: int = 0
    decay_norms: bool = True
    average: float = 0.0
    label_smoothing: float = 0.0
    thawed_lr: float = 1.0
    engine: str = "eager"

    def __post_init__(self) -> None:
        for name in ("grow", "thaw", "roll_back", "augment", "decay_norms"):
            self._set(name, settings.flag(name, getattr(self, name)))
        for name, low in (("cycles", 0), ("batch_size", 1), ("cutout", 0)):
            self._set(name, settings.whole(name, getattr(self, name), low))
        if self.size is not None:
            self._set("size", settings.whole("size", self.size, 1, 1 << 14))
        self._set("seed", settings.seed("seed", self.seed))
        for name in ("lr", "dendrite_lr", "thawed_lr"):
            self._set(name, settings.number(name, getattr(self, name), 0, above=True))
        self._set("weight_decay", settings.number("weight_decay", self.weight_decay, 0))
        for name in ("average", "label_smoothing"):
            self._set(name, settings.number(name, getattr(self, name), 0, 1, below=True))
        device: Any = self.device
        self._set("device", settings.text("device", str(device) if isinstance(device, torch.device) else device))
        if self.optimizer is not None and not callable(self.optimizer):
            settings.text("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("schedule", "loss"):
            if not callable(getattr(self, name)):
                raise ConfigError(f"{name} is {settings.said(getattr(self, name))}; use a function")
        settings.text("engine", self.engine, ENGINES)
        PhaseMachine(self.switch)  # which refuses what is no rule
        if self.cutout and not self.augment:
            raise ConfigError(f"cutout is {self.cutout}, and needs augment=True")
        if self.label_smoothing and self.loss is not functional.cross_entropy:
            raise ConfigError("label_smoothing goes with the default loss; put it into your own, or leave it out")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def build_optimizer(
        self, parameters: list[nn.Parameter], phase: Phase, dendritic: Container[nn.Parameter] = ()
    ) -> Optimizer:
        """The optimiser for one phase. Dendrites get no weight decay while they learn to correlate.

        Args:
            parameters: the tensors that learn in the phase.
            dendritic: those of them that belong to dendrites.
        """
        if callable(self.optimizer):
            return self.optimizer(parameters, phase)
        build = OPTIMIZERS[self.optimizer or "adamw"]
        if phase is Phase.DENDRITE:
            return build(parameters, lr=self.dendrite_lr, weight_decay=0.0)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in parameters:
            decay = self.weight_decay if self.decay_norms or parameter.dim() > 1 else 0.0
            rate = self.lr * (self.thawed_lr if parameter in dendritic else 1.0)
            groups.setdefault((rate, decay), []).append(parameter)
        return build([{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()])

    def training_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss to train on: `loss`, with the targets smoothed where that is set.

        Raises:
            ConfigError: when it is not one number.
        """
        if self.label_smoothing:
            return functional.cross_entropy(outputs, labels, label_smoothing=self.label_smoothing)
        loss = self.loss(outputs, labels)
        if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
            raise ConfigError(f"the loss is {settings.said(loss)}; use a function whose result is one number, a mean")
        return loss

    def describe(self) -> dict[str, Any]:
        """The settings as plain values for the record; functions by their names."""
        rule: Any = self.switch
        described = {type(rule).__name__: getattr(rule, "__dict__", {})}
        # What came later is left out where it has no effect, so that earlier records say the same. So is the engine,
        # which is about where the numbers are computed and not about which.
        later = ("cutout", "decay_norms", "average", "label_smoothing", "thawed_lr")
        unset = {item.name for item in fields(self) if item.name in later and getattr(self, item.name) == item.default}
        plain = {name: _plain(value) for name, value in vars(self).items() if name not in {*unset, "engine"}}
        return plain | {"switch": _plain(described)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: when there is no such device, or it cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "meta":
        raise ConfigError("device 'meta' holds shapes without numbers, which cannot be trained; use 'cpu' or 'auto'")
    try:
        torch.empty(0, device=name, dtype=torch.float64)  # scores are added up in it, and Apple's GPUs do not have it
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"device {name!r} cannot be used here ({reason}); use 'cpu' or 'auto'") from error
    return torch.device(name)


def check_arguments(model: object, data: object, config: object, name: object) -> None:
    """Refuse a model, data, settings or a name that cannot be trained with.

    Raises:
        ConfigError: naming what was given and what to use.
    """
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    assert isinstance(model, nn.Module)
    if config is not None:
        settings.a(TrainConfig, "config", config, "a TrainConfig, or None for its defaults")
    settings.text("name", name)
    needed = ("name", "classes", "checksum", "synthetic", "train", "validation", "test", "batches")
    missing = [member for member in needed if not hasattr(data, member)]
    if missing:
        raise ConfigError(
            f"data is {settings.said(data)} without {missing[0]}; use what perfteach.data.load returns, or "
            "perfteach.data.from_loaders for DataLoaders of your own"
        )
    for part, tensor in model.named_parameters():
        if nn.parameter.is_lazy(tensor):
            raise ConfigError(f"{part} is lazy, its shape is not known yet; run one batch through the model first")
        if tensor.device.type == "meta":
            raise ConfigError(f"{part} is on the meta device, without numbers; build the model on the CPU")
        if tensor.dtype != torch.float32:
            raise ConfigError(f"{part} is {tensor.dtype}, and batches are torch.float32; call model.float() first")
