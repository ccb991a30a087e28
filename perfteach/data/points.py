"""Small two-dimensional problems that a figure can show whole: two spirals, and XOR."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perfteach import settings
from perfteach.errors import DataError


@dataclass(frozen=True)
class Points:
    """Points of the plane and their classes. Shapes: inputs [N, 2] float32, labels [N] int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class PointData:
    """A two-class problem in the plane, with the same three splits as the image data."""

    name: str
    train: Points
    validation: Points
    test: Points
    classes: tuple[str, ...] = ("first", "second")
    synthetic: bool = True

    @property
    def checksum(self) -> str:
        """sha256 over all points and labels."""
        parts = (part for split in (self.train, self.validation, self.test) for part in (split.inputs, split.labels))
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()

    @property
    def extent(self) -> tuple[float, float]:
        """Lower and upper edge of the square in which the training points lie, with some room."""
        low, high = float(self.train.inputs.min()), float(self.train.inputs.max())
        room = 0.08 * (high - low)
        return low - room, high + room

    def batches(
        self, split: str, batch_size: int, *, shuffle: bool = False, seed: int = 0, device: Any = "cpu", **ignored: Any
    ) -> list[tuple[Tensor, Tensor]]:
        """Batches of a split, each ([B, 2], [B]); settings that only images know (augment, size) are ignored.

        Raises:
            DataError: for an unknown split or a batch size below 1 or above the number of points.
        """
        settings.text("split", split, ("train", "validation", "test"), error=DataError)
        points: Points = getattr(self, split)
        batch_size = settings.whole("batch_size", batch_size, 1, len(points), error=DataError)
        seed = settings.whole("seed", seed, 0, 2**63 - 1, error=DataError)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(points), generator=generator) if shuffle else torch.arange(len(points))
        return [(points.inputs[k].to(device), points.labels[k].to(device)) for k in order.split(batch_size)]


def two_spirals(points: int = 1000, *, turns: float = 1.5, noise: float = 0.02, seed: int = 0) -> PointData:
    """Two spirals wound around each other (Lang and Witbrock 1988), in the square from −1 to 1.

    Args:
        points: per split; half of them of each class.
        turns: how often each spiral goes around.
        noise: standard deviation of the Gaussian noise on both coordinates.
        seed: every split is a fresh draw from this seed.

    Raises:
        ConfigError: for fewer than 10 points, turns that are not positive, or a seed or noise out of range.
    """
    points, seed = settings.whole("points", points, 10, 10_000_000), settings.seed("seed", seed)
    turns, noise = settings.number("turns", turns, 0, above=True), settings.number("noise", noise, 0)
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Points:
        labels = torch.arange(points) % 2
        along = torch.rand(points, generator=generator).sqrt()
        angle = 2 * torch.pi * turns * along + torch.pi * labels
        inputs = torch.stack([angle.cos(), angle.sin()], dim=1) * (0.1 + 0.9 * along)[:, None]
        return Points(inputs + noise * torch.randn(points, 2, generator=generator), labels)

    return PointData(f"two spirals ({turns:g} turns)", draw(), draw(), draw(), ("first spiral", "second spiral"))


def xor(points: int = 400, *, noise: float = 0.1, seed: int = 0) -> PointData:
    """Four clouds at the corners of a square, opposite corners of one class: no straight line parts them.

    Raises:
        ConfigError: for fewer than 10 points, or a seed or noise out of range.
    """
    points, seed = settings.whole("points", points, 10, 10_000_000), settings.seed("seed", seed)
    noise = settings.number("noise", noise, 0)
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Points:
        corner = torch.randint(0, 2, (points, 2), generator=generator)
        inputs = (2.0 * corner - 1) * 0.6 + noise * torch.randn(points, 2, generator=generator)
        return Points(inputs, corner.sum(1) % 2)

    return PointData("XOR", draw(), draw(), draw())


def small_network(hidden: int = 5, *, seed: int = 0) -> nn.Sequential:
    """Two inputs, one hidden layer of tanh neurons, two outputs: input [B, 2], output [B, 2].

    Raises:
        ConfigError: for other than 1 or more hidden neurons, or a seed out of range.
    """
    hidden, seed = settings.whole("hidden", hidden, 1, 1_000_000), settings.seed("seed", seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 2))
