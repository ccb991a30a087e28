"""Loaders of your own in place of images in memory: PyTorch's `DataLoader`s as the three splits of a trainer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from perfteach import settings
from perfteach.errors import DataError


@dataclass(frozen=True)
class _Moved:
    """The batches of a loader on a device."""

    loader: DataLoader[Any]
    device: Any

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in self.loader:
            yield inputs.to(self.device), labels.to(self.device)


@dataclass(frozen=True, eq=False)
class LoaderData:
    """Three loaders as a data set; made by `from_loaders`, which says what holds."""

    name: str
    classes: tuple[str, ...]
    loaders: dict[str, DataLoader[Any]]
    train: Any  # the data sets behind the loaders
    validation: Any
    test: Any
    synthetic: bool = False

    def batches(self, split: str, batch_size: int = 0, *, device: Any = "cpu", **ignored: Any) -> _Moved:
        """The loader's own batches of a split; batch size, order and augmentation are the loader's.

        Raises:
            DataError: for an unknown split.
        """
        settings.text("split", split, self.loaders, error=DataError)
        return _Moved(self.loaders[split], device)

    @cached_property
    def checksum(self) -> str:
        """sha256 over the validation and test batches and the number of training samples.

        Training batches are left out, since they may be augmented. Reads both loaders once.
        """
        digest = hashlib.sha256(str(len(self.train)).encode())
        for split in ("validation", "test"):
            for inputs, labels in self.loaders[split]:
                for part in (inputs, labels):
                    digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()


def from_loaders(
    train: DataLoader[Any],
    validation: DataLoader[Any],
    test: DataLoader[Any],
    classes: int | Sequence[str],
    *,
    name: str = "your own data",
) -> LoaderData:
    """Take loaders of your own where the trainer wants data.

    Batch size, shuffling and augmentation stay the loaders': `batch_size`, `size`, `augment` and `cutout` of
    `TrainConfig` change nothing. Before each epoch the trainer seeds torch's global generator, from which a
    `DataLoader` without a generator of its own shuffles, so that runs repeat.

    Args:
        train, validation, test: of (inputs float32 [B, …], labels int64 [B]), from data sets of known length. The
            validation and test loaders must give the same batches every time.
        classes: their names, or how many.
        name: what figures and records call the data.

    Raises:
        DataError: for something that is no `DataLoader`, a data set without a length, batches that are not pairs of
            such tensors, or fewer than two classes.
    """
    names = [str(number) for number in range(classes)] if isinstance(classes, int) else [str(one) for one in classes]
    if len(names) < 2:
        raise DataError(f"classes is {settings.said(classes)}; two or more are needed")
    loaders = {"train": train, "validation": validation, "test": test}
    for split, loader in loaders.items():
        settings.a(DataLoader, split, loader, "a torch.utils.data.DataLoader", error=DataError)
        if not hasattr(loader.dataset, "__len__"):
            raise DataError(f"the data set of {split} has no length; the trainer has to know how long an epoch is")
        _check_batch(split, next(iter(loader), None), len(names))
    return LoaderData(name, tuple(names), loaders, train.dataset, validation.dataset, test.dataset)


def _check_batch(split: str, batch: Any, classes: int) -> None:
    if batch is None:
        raise DataError(f"{split} has no batches")
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)
    if not pair or batch[0].dtype != torch.float32 or batch[1].dtype != torch.int64 or batch[1].dim() != 1:
        raise DataError(f"a batch of {split} has to be (inputs float32 [B, …], labels int64 [B])")
    if int(batch[1].min()) < 0 or int(batch[1].max()) >= classes:
        raise DataError(f"{split} has a label outside 0 to {classes - 1}")
