"""One split of images in memory, and the batches drawn from it; augmentation is vectorised over the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N,3,H,W] and their labels int64 [N], on the CPU."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Batches:
    """Iterable of (x float32 [B,3,S,S] normalised, y int64 [B]), from `ImageData.batches`; readable again."""

    split: Split
    batch_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    shuffle: bool
    augment: bool
    seed: int
    size: int | None
    device: torch.device
    drop_last: bool
    channels_last: bool
    cutout: int = 0

    def __len__(self) -> int:
        """Number of batches."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Random numbers always come from the CPU, so that a GPU sees the same batches.
        generator = torch.Generator().manual_seed(self.seed)
        count = len(self.split)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        images, labels, order = (t.to(self.device) for t in (self.split.images, self.split.labels, order))
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        # (x / 255 - mean) / std as one multiplication and one addition
        mean, std = torch.tensor((self.mean, self.std), device=self.device)[..., None, None]
        scale, shift = 1 / (255 * std), -mean / std
        for k in range(len(self)):
            index = order[k * self.batch_size : (k + 1) * self.batch_size]
            x = images[index]
            if self.augment:
                x = _crop_and_mirror(x, generator)
            x = x.to(dtype=torch.float32, memory_format=layout).mul_(scale).add_(shift)
            if self.cutout:
                x = _cut_out(x, self.cutout, generator)
            if self.size is not None and x.shape[2:] != (self.size, self.size):
                x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=False)
            yield x.contiguous(memory_format=layout), labels[index]


def _crop_and_mirror(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image of uint8 [B,3,H,W] by its own offset, black where it left, and mirror half of them."""
    count, _, height, width = x.shape
    pad = max(1, min(height, width) // 8)
    offsets = torch.randint(0, 2 * pad + 1, (2, count), generator=generator).to(x.device)
    mirrored = (torch.rand(count, generator=generator) < 0.5).to(x.device)
    windows = F.pad(x, [pad] * 4).unfold(2, height, 1).unfold(3, width, 1)  # [B,3,2p+1,2p+1,H,W], a view
    cropped = windows[torch.arange(count, device=x.device), :, offsets[0], offsets[1]]
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)


def _cut_out(x: Tensor, edge: int, generator: torch.Generator) -> Tensor:
    """Set a square of `edge` pixels to the mean, 0, in each normalised image [B,3,H,W]; it may reach over the border.

    Source: DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks" (arXiv 1708.04552).
    """
    count, _, height, width = x.shape
    inside = []
    for side in (height, width):
        centre = torch.randint(0, side, (count, 1), generator=generator)
        first = centre - edge // 2
        place = torch.arange(side)
        inside.append(((place >= first) & (place < first + edge)).to(x.device))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)
