"""What a study is: a grid of arms and seeds, what each run trains, and the networks that cost as much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import lru_cache
from inspect import signature
from typing import Any

import torch

from perfteach import counting, models
from perfteach import settings as check
from perfteach.arms import EVERY_ARM, Settings
from perfteach.config import TrainConfig
from perfteach.cycle import seeded
from perfteach.data import ImageData
from perfteach.dendrites import add_dendrites
from perfteach.layer import ACTIVATIONS
from perfteach.phases import FixedSwitch
from perfteach.selection import perforate

NETWORK = tuple(signature(models.mobilenet_small).parameters)
TRAINING = tuple(field.name for field in fields(TrainConfig))


@dataclass(frozen=True)
class Study:
    """A declared grid. Epochs: `baseline` to train the network, then per cycle `dendrite` and `neuron`.

    `size` is the image edge in pixels (None: 32), `train` the number of training images (None: all of them), `fresh`
    how many training images are held out for a second test. `net` and `settings` go to `mobilenet_small` and
    `TrainConfig`. `claim` is the arm whose cost a wider network has; without it, one dendrite a neuron and cycle.

    Raises:
        ConfigError: for an unknown arm, or a field of another type or range.
    """

    about: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    width: float
    baseline: int
    dendrite: int
    neuron: int
    cycles: int = 1
    lr: float = 4e-3
    dendrite_lr: float = 4e-3
    batch_size: int = 256
    size: int | None = None
    select: str | None = None
    activation: str = "tanh"
    train: int | None = None
    fresh: int = 0
    claim: str | None = None
    net: Settings = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.text("about", self.about)
        check.a((tuple, list), "arms", self.arms, "the names of arms")
        for name in (*self.arms, *([self.claim] if self.claim is not None else [])):
            check.text("an arm", name, EVERY_ARM)
        check.wholes("seeds", self.seeds, 0, check.LARGEST_SEED)
        check.number("width", self.width, 0, above=True)
        for name in ("baseline", "batch_size", "dendrite", "neuron", "cycles", "fresh"):
            check.whole(name, getattr(self, name), 1 if name in ("baseline", "batch_size") else 0)
        for name in ("lr", "dendrite_lr"):
            check.number(name, getattr(self, name), 0, above=True)
        for name in ("size", "train"):
            if getattr(self, name) is not None:
                check.whole(name, getattr(self, name), 1)
        if self.select is not None:
            check.text("select", self.select)
        for name, known in (("net", NETWORK), ("settings", TRAINING)):
            check.a(dict, name, getattr(self, name), "a dictionary")
            for key in getattr(self, name):
                check.text(f"a key of {name}", key, known)
        check.text("activation", self.activation, ACTIVATIONS)

    def config(self, arm: str, seed: int) -> TrainConfig:
        """The settings of one run. All arms train the same number of epochs, overwritten ones included, unless
        the arm itself is about their number."""
        kind = EVERY_ARM[arm]
        after = self.dendrite + self.neuron if kind.joint else self.neuron
        cycles = self.cycles if kind.cycles else 0
        own = {
            "switch": FixedSwitch(
                (self.baseline * kind.times, *[after] * cycles), 0 if kind.joint or not cycles else self.dendrite
            ),
            "cycles": cycles,
            "grow": kind.grow,
            "thaw": kind.thaw,
            "roll_back": False,  # a cycle is measured whether it helped or not
            "batch_size": self.batch_size,
            "size": self.size,
            "lr": self.lr,
            "dendrite_lr": self.dendrite_lr,
            "seed": seed,
        }
        return TrainConfig(**{**own, **self.settings, **kind.settings})

    def shares_baseline(self, arm: str) -> bool:
        """Whether an arm starts as the baseline does: with the same layers and settings."""
        kind = EVERY_ARM[arm]
        return bool(kind.cycles and self.cycles and not (kind.wider or kind.select or kind.activation or kind.net))

    def images(self, data: ImageData) -> ImageData:
        """The study's part of these images, with those set apart that it holds out."""
        if self.train and self.train < len(data.train):
            data = data.subset(self.train, validation=len(data.validation), test=len(data.test))
        return data.hold_out(self.fresh) if self.fresh else data

    def model(self, arm: str, seed: int, classes: int = 10) -> torch.nn.Module:
        """The network of one run, perforated in every arm, so that all start alike."""
        how = self.network(arm, classes)
        grown, weight = how.pop("grown", 0), how.pop("start_weight", 0.0)
        select, activation = how.pop("select"), how.pop("activation")
        how.pop("candidates", None)  # drawn when dendrites grow
        model = models.mobilenet_small(classes, **how, seed=seed)
        model = perforate(model, select, EVERY_ARM[arm].rule, activation=activation)
        with seeded(seed):
            for _ in range(grown):
                add_dendrites(model, weight=weight)
        return model

    def network(self, arm: str, classes: int = 10) -> dict[str, Any]:
        """What a record says about its network."""
        kind = EVERY_ARM[arm]
        net = {"width": self.width, **self.net, **kind.net}
        if kind.wider:
            name = "early_width" if kind.early else "width"
            net[name] = self.wider_width(classes, kind.wider, name)
        if kind.dendrites:
            net["grown"] = kind.dendrites
        if kind.weight:
            net["start_weight"] = kind.weight
        if kind.candidates > 1:
            net["candidates"] = kind.candidates
        return net | {"select": kind.select or self.select, "activation": kind.activation or self.activation}

    def wider_width(self, classes: int = 10, what: str = "parameters", name: str = "width") -> float:
        """The width at which the plain network has the parameters, or MACs, of the dendritic one, as near as it gets.

        Args:
            what: "parameters", all of them, or "MACs", the multiply-accumulates for one image.
            name: "width", or "early_width" for that of the stem and the first blocks alone.
        """
        edge = self.size or 32
        target = _cost(self._grown(self.claim or "perforated", classes), what, edge)

        def cost(width: int) -> int:
            net = {"width": self.width, **self.net, name: width / 100}
            return _plain(tuple(sorted(net.items())), classes, what, edge)

        low, high = round(self.width * 100), 300  # the cost rises with the width, so the nearest is found by halving
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cost(middle) <= target else (low, middle)
        return min(low, high, key=lambda width: abs(cost(width) - target)) / 100

    def _grown(self, arm: str, classes: int = 10) -> torch.nn.Module:
        """The network of an arm at the end of training, without its numbers."""
        kind = EVERY_ARM[arm]
        with torch.device("meta"):
            model = self.model(arm, 0, classes)
            for _ in range(self.cycles if kind.cycles and kind.grow else 0):
                add_dendrites(model)
        return model

    def macs(self, arm: str) -> int:
        """Multiply-accumulates for one image at the end of training, every dendrite counted."""
        return _cost(self._grown(arm), "MACs", self.size or 32)

    def grid(self) -> Iterator[tuple[str, int]]:
        """Arms and seeds in the order they run: seed by seed, the baseline first, so that early results are paired."""
        order = sorted(self.arms, key=lambda arm: arm != "baseline")
        return ((arm, seed) for seed in self.seeds for arm in order)


def _cost(model: torch.nn.Module, what: str, edge: int) -> int:
    counted = counting.count_macs(model, (3, edge, edge)) if what == "MACs" else counting.count_parameters(model)
    return counted.total


@lru_cache
def _plain(net: tuple[tuple[str, Any], ...], classes: int, what: str, edge: int) -> int:
    with torch.device("meta"):
        return _cost(models.mobilenet_small(classes, **dict(net)), what, edge)
