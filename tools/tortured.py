"""What `make torture` trains: a hundred small images, a tiny network, a run of a second through every kind of phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from perfteach.config import TrainConfig
from perfteach.data.images import ImageData, Split, assemble
from perfteach.phases import FixedSwitch, PlateauSwitch
from perfteach.runs import Run
from perfteach.selection import perforate
from perfteach.trainer import PerforatedTrainer

CHANGING = ("seconds", "started", "revision")
RULES = {
    "fixed": FixedSwitch((2, 2, 1), dendrite=1),
    "plateau": PlateauSwitch(patience=1, max_epochs=2, dendrite_patience=1),
}


def images(side: int = 16, count: int = 100, classes: int = 4) -> ImageData:
    """A hundred images to train on, each class with a brightness of its own."""
    draw = np.random.default_rng(0)

    def split(size: int) -> Split:
        labels = np.arange(size) % classes
        pixels = draw.integers(0, 120, (size, 3, side, side)) + 30 * labels[:, None, None, None]
        return Split(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels))

    names = tuple(f"class{k}" for k in range(classes))
    return assemble("noise", names, split(count), split(20), split(20), synthetic=True)


def network(classes: int = 4) -> nn.Module:
    """Two convolutions with a norm and dropout: all that has a state of its own."""
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1)]
    second = [nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return perforate(nn.Sequential(*first, *second, nn.Linear(6, classes)))


def trainer(rule: str = "fixed", folder: Path | None = None, data: ImageData | None = None, **how: Any) -> Any:
    """A training of a second: several cycles, an average, a schedule."""
    config = TrainConfig(
        RULES[rule], cycles=2, roll_back=False, batch_size=32, lr=0.02, dendrite_lr=0.05, average=0.9, device="cpu",
    )  # fmt: skip
    return PerforatedTrainer(network(), data or images(), config, folder=folder, **how)


def outcome(run: Run, model: nn.Module) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Record and weights of a finished run, without wall times and without the note that it was resumed."""
    lines = [line for line in run.lines() if line.get("event") != "resume"]
    said = [{key: value for key, value in line.items() if key not in CHANGING} for line in lines]
    return said, {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
