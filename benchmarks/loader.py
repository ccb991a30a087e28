"""Batches from memory, augmented at once, against torchvision's transforms in a `DataLoader` with two workers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.timing import by_turns
from perfteach.data import ImageData


class Pictures(Dataset[tuple[Tensor, int]]):
    """The training images one by one, cropped, mirrored and normalised as `ImageData.batches` does it."""

    def __init__(self, data: ImageData) -> None:
        self.split = data.train
        self.change = v2.Compose(
            [
                v2.RandomCrop(data.train.images.shape[-1], padding=data.train.images.shape[-1] // 8),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.change(self.split.images[row]), int(self.split.labels[row])


def loading(data: ImageData, batch: int = 128, workers: int = 2, rounds: int = 5) -> dict[str, dict[str, float]]:
    """An epoch's batches by the clock, ours first."""
    loader = DataLoader(Pictures(data), batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def ours() -> None:
        _use(data.batches("train", batch, shuffle=True, augment=True))

    kinds = {"perfteach": ours, f"DataLoader, {workers} workers": lambda: _use(iter(loader))}
    return by_turns(kinds, rounds, clock=True)


def _use(batches: Iterator[tuple[Tensor, Tensor]] | object) -> None:
    for _ in batches:
        pass
