"""The declared studies: grids of arms and seeds, what each run trains, and the networks that cost as much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from inspect import signature
from typing import Any

import torch

from perfteach import counting, models
from perfteach import settings as check
from perfteach.arms import EARLY, EVERY_ARM, FROM_THE_START, RECIPE, Settings
from perfteach.config import TrainConfig
from perfteach.cycle import seeded
from perfteach.data import ImageData
from perfteach.dendrites import add_dendrites
from perfteach.errors import ConfigError
from perfteach.layer import known_activation
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
        for name, low in (
            ("baseline", 1),
            ("dendrite", 0),
            ("neuron", 0),
            ("cycles", 0),
            ("fresh", 0),
            ("batch_size", 1),
        ):
            check.whole(name, getattr(self, name), low)
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
        known_activation(self.activation)

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


FEW = ("baseline", "same-epochs", "wider", "thawed", "thawed-random", "gradient")
CONTROLS = ("baseline", "same-epochs", "wider", "perforated", "thawed", "gradient")
SEARCH = Study(
    about="Search for the gain: width 0.15, 20,000 training images, 30 epochs after growth",
    arms=(*FEW, "relu", "early"),
    seeds=(0, 1, 2),
    width=0.15,
    baseline=20,
    dendrite=3,
    neuron=30,
    train=20_000,
)
PUBLISHED = Study(
    about="MobileNet-Small at 64×64, as published",
    arms=CONTROLS,
    seeds=(0, 1, 2),
    width=1.0,
    baseline=30,
    dendrite=6,
    neuron=24,
    size=64,
)
# What the prototypes of the recipe had in common.
SGD: Settings = {"optimizer": "sgd", "lr": 0.2, "batch_size": 128, "weight_decay": 5e-4, "decay_norms": False}
EARLY_DENDRITES = Study(
    about="What early dendrites bring from the first epoch on, and what else would bring as much",
    arms=("same-epochs", "early-start", *(arm for arm in FROM_THE_START if not arm.startswith("original"))),
    seeds=(0, 1, 2),
    width=0.15,
    baseline=20,
    dendrite=0,
    neuron=0,
    cycles=0,
    fresh=5_000,
    select=EARLY,
    activation="relu",
    claim="early-start",
    net={"output_stride": 16},
    settings=SGD,
)
EXTRA_SMALL = replace(
    EARLY_DENDRITES,
    about="Extra-Small, which has nine blocks, no hidden layer and early dendrites, against the original",
    arms=("original", "early-start", "same-epochs", "wider", "original-fine"),
    width=0.75,
    baseline=60,
    net={"output_stride": 8, "hidden": 0, "blocks": 9},
)
STUDIES = {
    "mini": Study(
        about="All eight arms on a MobileNetV3-Small of width 0.25 at 32×32",
        arms=("baseline", "same-epochs", "wider", "random", "shuffled", "thawed", "gradient", "perforated"),
        seeds=(0, 1, 2, 3, 4),
        width=0.25,
        baseline=60,
        dendrite=5,
        neuron=15,
    ),
    "case-study": PUBLISHED,
    "case-study-extra-small": replace(
        PUBLISHED, about="MobileNet-Extra-Small (width 0.5) at 64×64", arms=(*CONTROLS, "early-relu"), width=0.5
    ),
    "search": SEARCH,
    "search-all-images": replace(
        SEARCH,
        about="Search for the gain, as `search` but with all 45,000 training images",
        arms=FEW,
        train=None,
    ),
    "search-early": replace(
        SEARCH,
        about="dendrites in the stem and blocks 1 to 4 only, which have few weights; all 45,000 training images",
        arms=("baseline", "same-epochs", "wider", "wider-macs", "thawed-random", "relu"),
        seeds=(0, 1, 2, 3, 4),
        select=EARLY,
        train=None,
    ),
    "search-early-wide": replace(
        SEARCH,
        about="the best of `search-early` in a network of width 0.25; all 45,000 training images",
        arms=("baseline", "same-epochs", "wider", "wider-macs", "relu"),
        seeds=(0, 1, 2, 3, 4),
        width=0.25,
        select=EARLY,
        train=None,
    ),
    "search-depthwise": replace(
        SEARCH,
        about="dendrites on ten of the eleven depthwise convolutions only, which have few weights",
        arms=FEW,
        select="features.*.block.1.0",
    ),
    "search-early-growth": replace(
        SEARCH,
        about="dendrites that grow after 2 epochs and have 51 left, instead of after 20 with 33 left",
        arms=("baseline", "same-epochs", "wider", "thawed-random", "gradient"),
        baseline=2,
        neuron=48,
    ),
    "recipe": Study(
        about="What a recipe is made of, one thing changed at a time, and where the resolution is kept",
        arms=("same-epochs", *RECIPE),
        seeds=(0,),
        width=0.35,
        baseline=12,
        dendrite=0,
        neuron=0,
        cycles=0,
        fresh=5_000,
        net={"output_stride": 16},
        settings=SGD,
    ),
    "early": EARLY_DENDRITES,
    "early-control": replace(
        EARLY_DENDRITES,
        about="Early dendrites against plain networks that spend as much, everywhere or in the same place",
        arms=("same-epochs", "early-start", "wider", "wider-macs", "wider-early", "wider-early-macs"),
        seeds=(0, 1, 2, 3, 4),
        width=0.25,
        net={"output_stride": 8},
    ),
    "error-signal": replace(
        EARLY_DENDRITES,
        about="Whether early dendrites are better for having learned from their neurons' errors first",
        arms=("baseline", "same-epochs", "thawed", "thawed-random", "thawed-best-of-8", "thawed-identity"),
        seeds=(0, 1, 2, 3, 4),
        dendrite=3,
        neuron=12,
        cycles=1,
        claim=None,
    ),
    "extra-small": EXTRA_SMALL,
    "extra-small-short": replace(
        EXTRA_SMALL,
        about="Extra-Small against the original, trained for 36 epochs on one core of a CPU",
        arms=("original", "early-start", "same-epochs"),
        seeds=(0,),
        baseline=36,
    ),
    "extra-small-eleven": replace(
        EARLY_DENDRITES,
        about="A first Extra-Small with all eleven blocks, at output stride 16; its last two turned out to do nothing",
        arms=("early-start",),
        seeds=(0,),
        width=1.0,
        baseline=36,
        net={"output_stride": 16, "hidden": 0},
    ),
    "search-two-cycles": replace(
        SEARCH,
        about="two cycles instead of one",
        arms=("baseline", "same-epochs", "wider", "thawed-random"),
        cycles=2,
    ),
}


def find(name: str) -> Study:
    """The study of that name.

    Raises:
        ConfigError: when there is none; the message lists them.
    """
    if not isinstance(name, str) or name not in STUDIES:
        raise ConfigError(f"there is no study called {check.said(name)}; choose one of {', '.join(STUDIES)}")
    return STUDIES[name]
