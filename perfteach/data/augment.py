"""Augmentation, a whole batch at once. What is drawn for each image comes from outside, so that it can be repeated."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pad(height: int, width: int) -> int:
    """Black pixels around an image before it is cropped: 4 at 32x32, an eighth of the shorter side elsewhere."""
    return max(1, min(height, width) // 8)


def crop_and_mirror(x: Tensor, down: Tensor, right: Tensor, mirrored: Tensor) -> Tensor:
    """Shift each image of uint8 [B,3,H,W] by its own offset, black where it left, and mirror those marked with 1.

    `down` and `right`, int64 [B], count from 0 to twice the padding; in the middle an image stays where it is.
    """
    count, _, height, width = x.shape
    windows = F.pad(x, [pad(height, width)] * 4).unfold(2, height, 1).unfold(3, width, 1)  # [B,3,2p+1,2p+1,H,W], a view
    cropped = windows[torch.arange(count, device=x.device), :, down, right]
    return torch.where(mirrored[:, None, None, None] > 0, cropped.flip(3), cropped)


def cut_out(x: Tensor, edge: int, row: Tensor, column: Tensor) -> Tensor:
    """Set a square of `edge` pixels to the mean, 0, in each normalised image [B,3,H,W]; it may reach over the border.

    `row` and `column`, int64 [B], are its middle.
    Source: DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks" (arXiv 1708.04552).
    """
    inside = []
    for centre, side in ((row, x.shape[2]), (column, x.shape[3])):
        first = centre[:, None] - edge // 2
        place = torch.arange(side, device=x.device)
        inside.append((place >= first) & (place < first + edge))
    return x.masked_fill(inside[0][:, None, :, None] & inside[1][:, None, None, :], 0.0)
