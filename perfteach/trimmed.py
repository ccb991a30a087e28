"""A convolution that skips the part of its kernel that only ever meets padding.

At 32×32 pixels the last blocks of a MobileNetV3 slide 5×5 kernels over maps of 4×4, 2×2 or even 1×1 positions. Most of
such a kernel multiplies zeros, and on a CPU three quarters of a training step went into its backward pass.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

SMALL = 8  # positions along an edge below which padding by hand pays (torch 2.15, 5×5 kernels)


class TrimmedConv2d(nn.Conv2d):
    """`nn.Conv2d` with the same weights and results; on small maps it uses only the part that reaches.

    Shapes, arguments and state are those of `nn.Conv2d` (numeric padding, zeros, dilation 1).
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        (top, rows, up), (left, columns, side) = (self._reach(input.shape[axis - 2], axis) for axis in (0, 1))
        if (rows, columns) != self.kernel_size:
            weight = weight[:, :, top : top + rows, left : left + columns]
        if max(input.shape[-2:]) < SMALL:  # the CPU's backward pass is up to 18 times faster on a padded copy
            input, up, side = functional.pad(input, (side, side, up, up)), 0, 0
        return functional.conv2d(input, weight, bias, self.stride, (up, side), self.dilation, self.groups)

    def _reach(self, size: int, axis: int) -> tuple[int, int, int]:
        """First kernel row that meets the map, number of such rows, and the padding that is left, along one axis."""
        kernel, stride, padding = self.kernel_size[axis], self.stride[axis], int(self.padding[axis])
        outputs = (size + 2 * padding - kernel) // stride + 1
        first = max(0, padding - stride * (outputs - 1))
        last = min(kernel - 1, size - 1 + padding)
        return first, last - first + 1, padding - first


def trim(model: nn.Module) -> nn.Module:
    """Replace the depthwise convolutions wider than 3 by trimmed ones, in place, keeping every parameter.

    Those that are dilated, pad with other than zeros, or name their padding stay as they are.
    """
    for name, module in list(model.named_modules()):
        plain = type(module) is nn.Conv2d and module.dilation == (1, 1) and module.padding_mode == "zeros"
        if plain and not isinstance(module.padding, str) and module.groups > 1 and max(module.kernel_size) > 3:
            settings: dict[str, Any] = {
                key: getattr(module, key)
                for key in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
            }
            trimmed = TrimmedConv2d(**settings, bias=module.bias is not None, device="meta")
            trimmed.weight, trimmed.bias = module.weight, module.bias
            model.set_submodule(name, trimmed)
    return model
