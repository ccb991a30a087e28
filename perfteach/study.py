"""Studies: declared grids of runs, arms by seeds, whose records are the numbers the course stands on.

A study is resumable: a finished run is never repeated and a killed one continues after its last epoch.
Every arm of a seed with the baseline's layers starts from the same trained baseline, which is trained once.
Because each epoch draws its randomness from its own seed, that gives the same numbers as training every arm from the
start.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from perfteach import models
from perfteach.config import TrainConfig
from perfteach.data import ImageData
from perfteach.dendrites import add_dendrites
from perfteach.errors import ConfigError, DataError
from perfteach.phases import FixedSwitch, Phase
from perfteach.runs import RECORDS, Run
from perfteach.selection import perforate
from perfteach.trainer import PerforatedTrainer, State, seeded

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """How one arm differs from the claim. `joint` arms have no dendrite phase and get its epochs as neuron epochs.

    `wider` names what the plain network of an arm has as much of as the dendritic one: "parameters" or "MACs".
    `select`, `activation`, `net` and `settings` take the place of the study's own where they are given. `early` puts a
    wider network's width into the stem and the first blocks only. `dendrites` are grown before the first epoch.
    """

    rules_out: str
    rule: str = "perforated"
    joint: bool = False
    grow: bool = True
    thaw: bool = False
    wider: str | None = None
    early: bool = False
    cycles: bool = True
    select: str | None = None
    activation: str | None = None
    dendrites: int = 0
    net: Settings = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)


# The controls of every claim.
ARMS = {
    "baseline": Arm("–", cycles=False),
    "same-epochs": Arm("it just trained longer", joint=True, grow=False),
    "wider": Arm("any extra parameters would do", joint=True, grow=False, wider="parameters"),
    "random": Arm("the correlation phase did nothing", joint=True),
    "shuffled": Arm("the error signal did nothing", rule="shuffled"),
    "thawed": Arm("freezing is what helps", thaw=True),
    "thawed-random": Arm("thawing alone is what helps", joint=True, thaw=True),
    "gradient": Arm("the perforated rule is no better than plain training", rule="gradient", joint=True),
    "perforated": Arm("(the claim)"),
}
# What was tried in the search for a gain: thawed dendrites from a random start with one thing changed, and a control.
EARLY = "features.[0-4].*"
IDEAS = {
    "wider-macs": Arm("any extra multiply-accumulates would do", joint=True, grow=False, wider="MACs"),
    "relu": Arm("φ is ReLU", joint=True, thaw=True, activation="relu"),
    "early": Arm("only the stem and blocks 1 to 4", joint=True, thaw=True, select=EARLY),
    "early-relu": Arm(
        "φ is ReLU, only the stem and blocks 1 to 4", joint=True, thaw=True, select=EARLY, activation="relu"
    ),
}
# What a recipe is made of, one thing changed at a time.
RECIPE = {
    "rate-0.1": Arm("a peak rate of 0.1", settings={"lr": 0.1}),
    "rate-0.4": Arm("a peak rate of 0.4", settings={"lr": 0.4}),
    "batch-256": Arm("batches of 256, with a peak rate of 0.4", settings={"batch_size": 256, "lr": 0.4}),
    "decay-all": Arm("weight decay on norms and biases too", settings={"decay_norms": True}),
    "smoothing": Arm("targets smoothed by 0.1", settings={"label_smoothing": 0.1}),
    "average": Arm("a running average of the weights, 0.999 a step", settings={"average": 0.999}),
    "cutout": Arm("a square of 8 pixels blanked out", settings={"cutout": 8}),
    "adamw": Arm(
        "AdamW with a peak rate of 0.004 and decay 0.05",
        settings={"optimizer": "adamw", "lr": 4e-3, "weight_decay": 0.05},
    ),
    "stride-32": Arm("the published strides", net={"output_stride": 32}),
    "stride-8": Arm("stride 1 in the stem and block 4", net={"output_stride": 8}),
    "stride-8-first": Arm("stride 1 in the stem and the first block", net={"output_stride": "8-first"}),
}
EVERY_ARM = ARMS | IDEAS | RECIPE


@dataclass(frozen=True)
class Study:
    """A declared grid. Epochs: `baseline` to train the network, then per cycle `dendrite` and `neuron`.

    `size` is the image edge in pixels (None: 32), `train` the number of training images (None: all of them), `fresh`
    how many training images are held out for a second test. `net` and `settings` go to `mobilenet_small` and
    `TrainConfig`. `claim` is the arm whose cost a wider network has; without it, one dendrite a neuron and cycle.
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

    def config(self, arm: str, seed: int) -> TrainConfig:
        """The settings of one run. All arms train the same number of epochs, overwritten ones included."""
        kind = EVERY_ARM[arm]
        after = self.dendrite + self.neuron if kind.joint else self.neuron
        cycles = self.cycles if kind.cycles else 0
        own = {
            "switch": FixedSwitch((self.baseline, *[after] * cycles), 0 if kind.joint or not cycles else self.dendrite),
            "max_dendrites": cycles,
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

    def model(self, arm: str, seed: int, classes: int = 10) -> torch.nn.Module:
        """The network of one run, perforated in every arm, so that all start alike."""
        how = self.network(arm, classes)
        grown = how.pop("grown", 0)
        select, activation = how.pop("select"), how.pop("activation")
        model = models.mobilenet_small(classes, **how, seed=seed)
        model = perforate(model, select, EVERY_ARM[arm].rule, activation=activation)
        with seeded(seed):
            for _ in range(grown):
                add_dendrites(model)
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
        return net | {"select": kind.select or self.select, "activation": kind.activation or self.activation}

    def wider_width(self, classes: int = 10, what: str = "parameters", name: str = "width") -> float:
        """The width at which the plain network has the parameters, or MACs, of the dendritic one, as near as it gets.

        Args:
            what: "parameters", all of them, or "MACs", the multiply-accumulates for one image.
            name: "width", or "early_width" for that of the stem and the first blocks alone.
        """
        edge = self.size or 32
        with torch.device("meta"):
            grown = self.model(self.claim or "perforated", 0, classes)
            for _ in range(self.cycles):
                add_dendrites(grown)
            target = _cost(grown, what, edge)

        def cost(width: int) -> int:
            net = {"width": self.width, **self.net, name: width / 100}
            return _plain(tuple(sorted(net.items())), classes, what, edge)

        low, high = round(self.width * 100), 300  # the cost rises with the width, so the nearest is found by halving
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cost(middle) <= target else (low, middle)
        return min(low, high, key=lambda width: abs(cost(width) - target)) / 100

    def grid(self) -> Iterator[tuple[str, int]]:
        """Arms and seeds in the order they run: seed by seed, the baseline first, so that early results are paired."""
        order = sorted(self.arms, key=lambda arm: arm != "baseline")
        return ((arm, seed) for seed in self.seeds for arm in order)


def _cost(model: torch.nn.Module, what: str, edge: int) -> int:
    counted = models.count_macs(model, (3, edge, edge)) if what == "MACs" else models.count_parameters(model)
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
    if name not in STUDIES:
        raise ConfigError(f"there is no study called {name!r}; choose one of {', '.join(STUDIES)}")
    return STUDIES[name]


def record_folder(name: str) -> Path:
    """Where a checkout keeps the records of a study: data/runs/NAME.

    Raises:
        DataError: when the package runs outside a checkout, where records would be lost in the installation.
    """
    if not RECORDS[1].parent.is_dir():
        raise DataError("a study is kept in data/runs of a checkout: clone the repository and run it there")
    return RECORDS[1] / name


def record_path(name: str, arm: str, seed: int) -> Path:
    """Where the record of one run is kept: data/runs/NAME/ARM-seedS.jsonl."""
    return record_folder(name) / f"{arm}-seed{seed}.jsonl"


def run_study(
    name: str,
    data: ImageData,
    work: Path,
    *,
    seeds: Sequence[int] | None = None,
    arms: Sequence[str] | None = None,
    minutes: float | None = None,
    progress: bool = True,
) -> list[Run]:
    """Run what is missing of a study, one line per run; returns the finished runs.

    Args:
        data: the images, CIFAR-10 in whatever form is at hand; its name and checksum enter every record.
        work: folder for checkpoints of runs under way.
        seeds, arms: only these of the grid.
        minutes: start no new run after this many minutes; a run under way is finished.

    Raises:
        ConfigError: for an unknown study, or an arm or seed that it does not have.
        DataError: when any record of the study was made on other data or with other settings, or outside a checkout.
    """
    study, start = find(name), time.monotonic()
    unknown = [*(set(arms or ()) - set(study.arms)), *(set(seeds or ()) - set(study.seeds))]
    if unknown:
        there = f"arms {', '.join(study.arms)}; seeds {', '.join(map(str, study.seeds))}"
        raise ConfigError(f"the study {name} has no {unknown[0]!r}; it has {there}")
    if study.train and study.train < len(data.train):
        data = data.subset(study.train, validation=len(data.validation), test=len(data.test))
    if study.fresh:
        data = data.hold_out(study.fresh)
    _refuse_foreign_records(name, study, data)
    grid = [(a, s) for a, s in study.grid() if s in (seeds or study.seeds) and a in (arms or study.arms)]
    done: list[Run] = []
    with tqdm(grid, unit="run", disable=not progress) as bar:
        for arm, seed in bar:
            bar.set_description(f"{name} {arm} seed {seed}")
            path = record_path(name, arm, seed)
            if not path.is_file() and minutes is not None and time.monotonic() - start > 60 * minutes:
                continue
            run = Run.load(path) if path.is_file() else _run(name, study, arm, seed, data, work, progress)
            assert run.result is not None
            bar.write(f"{run.name}: test accuracy {run.result['test_accuracy']:.2f} %, {run.result['seconds']:.0f} s")
            done.append(run)
    return done


def _refuse_foreign_records(name: str, study: Study, data: ImageData) -> None:
    """The records of a study are compared with each other, so all of them have to share images and settings."""
    for arm, seed in study.grid():
        path = record_path(name, arm, seed)
        if not path.is_file():
            continue
        header = Run.load(path).header
        if header["data"]["checksum"] != data.checksum:
            raise DataError(f"{path} was made on other data ({header['data']['name']}); keep studies apart")
        declared = {"config": study.config(arm, seed).describe(), **study.network(arm, len(data.classes))}
        # The first records name neither the selection nor the activation.
        if any(header.get(key, value) != value for key, value in declared.items()):
            raise DataError(f"{path} was made with other settings than {name} has now; move it away to run it again")


def _run(name: str, study: Study, arm: str, seed: int, data: ImageData, work: Path, progress: bool) -> Run:
    folder = work / name / f"{arm}-seed{seed}"
    trainer = PerforatedTrainer(
        study.model(arm, seed, len(data.classes)),
        data,
        study.config(arm, seed),
        name=f"{name}/{arm}-seed{seed}",
        folder=folder,
    )
    trainer.run.header |= {"study": name, "arm": arm, **study.network(arm, len(data.classes))}
    baseline = work / name / f"baseline-seed{seed}" / "checkpoint.pt"
    kind = EVERY_ARM[arm]
    # That is, the same layers and settings.
    shared = kind.cycles and study.cycles and not (kind.wider or kind.select or kind.activation or kind.net)
    if shared and baseline.is_file() and not (folder / "checkpoint.pt").is_file():
        continue_from(trainer, baseline)  # without it the arm trains from the start, to the same numbers
    run = trainer.fit(progress=False)
    run.save(record_path(name, arm, seed))
    return run


def continue_from(trainer: PerforatedTrainer, checkpoint: Path) -> None:
    """Let a trainer take over its first neuron phase from a finished baseline run of the same seed and settings.

    Raises:
        ConfigError: when the baseline is not finished, or was trained on other data, as another network, or with
            another seed or other settings.
    """
    state = torch.load(checkpoint, map_location=trainer.device, weights_only=True)
    run = Run.of(state["run"])
    if not run.finished:
        raise ConfigError(f"the baseline in {checkpoint} is not finished; run the arm baseline first")
    if any(run.header[key] != trainer.run.header[key] for key in ("data", "seed", "model", "layers")):
        raise ConfigError(f"the baseline in {checkpoint} was trained on other data, another network or another seed")
    own = ("switch", "max_dendrites", "grow", "thaw")  # what distinguishes arms
    old, new = (
        {key: value for key, value in one.header["config"].items() if key not in own} for one in (run, trainer.run)
    )
    if old != new or len(run.epochs) != trainer.config.switch.length(Phase.NEURON, 0):
        raise ConfigError(f"the baseline in {checkpoint} was trained with other settings; delete it to train it again")
    best: dict[str, object] = state["best"]
    weights: State = state["model"]
    trainer.model.load_state_dict(weights)
    trainer.best = trainer.phase_best = best
    for record in run.epochs[:-1]:
        trainer.machine.observe(record["validation_accuracy"])
    trainer.run.epochs = run.epochs
    trainer.follow(run.epochs[-1])
