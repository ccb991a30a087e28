"""Checks of notebook 01: arithmetic of convolutions, hard-swish, and squeeze-and-excitation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from perfteach.counting import count_macs
from perfteach.course.checks.core import (
    call,
    exercise,
    require,
    require_close,
    require_equal,
    require_shape,
    require_type,
)


@exercise("Weights of a separable convolution")
def check_separable_weights(answer: Any) -> str:
    """The learner's function takes (c_in, c_out, k) and returns the weights of depthwise and pointwise together."""
    for c_in, c_out, k in ((16, 32, 3), (32, 16, 5), (8, 8, 1)):
        count = call(answer, c_in, c_out, k)
        require_type(count, int, hint="a number of weights is a whole number.")
        wrong = {
            c_in * c_out * k * k: "that is the ordinary convolution; depthwise means one k×k kernel per input channel.",
            c_out * k * k + c_in * c_out: "the depthwise step comes first, so it has a kernel per *input* channel.",
            c_in * k * k * c_in * c_out: "the two steps follow each other: their weights add up.",
            c_in * k * k + c_in * c_out + c_in + c_out: "count no biases: the norm that follows has its own.",
        }
        hint = wrong.get(
            count, "depthwise: k·k for each input channel; pointwise: one weight for each pair of channels."
        )
        hint = f"for c_in={c_in}, c_out={c_out}, k={k}: {hint}"
        require_equal(count, c_in * k * k + c_in * c_out, hint)
    return "k·k·c_in for the depthwise step and c_in·c_out for the pointwise one."


@exercise("Multiply-accumulates of a convolution")
def check_convolution_macs(answer: Any) -> str:
    """The learner's function takes (c_in, c_out, k, side, stride) and returns the MACs for one image."""
    for c_in, c_out, k, side, stride in ((3, 16, 3, 32, 1), (3, 16, 3, 32, 2), (8, 4, 5, 15, 2)):
        count = call(answer, c_in, c_out, k, side, stride)
        require_type(count, int, hint="use // to divide whole numbers.")
        layer = nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=False)
        outside = -(-side // stride)
        wrong = {
            c_in * c_out * k * k * side * side: "the kernel is applied once for each position of the *output* map.",
            c_in * c_out * k * k: "that is the number of weights; each is used once at every output position.",
            c_in * c_out * k * k * (side // stride) ** 2: "an odd side rounds up: 15 positions at stride 2 give 8.",
            c_in * c_out * k * k * outside: "the map has two sides.",
        }
        hint = f"for c_in={c_in}, c_out={c_out}, k={k}, side={side}, stride={stride}: "
        hint += wrong.get(count, "weights times output positions, and no biases.")
        require_equal(count, count_macs(layer, (c_in, side, side)).total, hint)
    return "count_macs, which runs the layer and counts, finds the same."


@exercise("Hard-swish")
def check_hard_swish(answer: Any) -> str:
    """The learner's function takes a tensor of any shape and returns hard-swish of each element."""
    x = torch.linspace(-5, 5, 21).view(3, 7)
    before = x.clone()
    y = call(answer, x)
    require_type(y, Tensor, hint="use tensor operations, such as torch.clamp(x + 3, 0, 6).")
    require_shape(y, (3, 7), hint="the function works on each element by itself.")
    require_equal(torch.equal(x, before), True, hint="leave the input as it is; clamp_ and *= change it in place.")
    gate = torch.clamp(x + 3, 0, 6) / 6
    hint = (
        "the gate alone runs from 0 to 1; multiply it by x."
        if torch.allclose(y, gate)
        else "x · clamp(x + 3, 0, 6) / 6."
    )
    if torch.allclose(y, 6 * x * gate):
        hint = "the gate has to end at 1: divide by 6."
    require_close(y, nn.functional.hardswish(x), hint)
    return "equal to torch.nn.functional.hardswish."


@exercise("Squeeze and excite")
def check_squeeze_excite(answer: Any) -> str:
    """The learner's function takes (x [B, C, H, W], fc1, fc2) and returns x scaled by channel, [B, C, H, W]."""
    generator = torch.Generator().manual_seed(0)
    block = SqueezeExcitation(6, 3, scale_activation=nn.Hardsigmoid)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(2 * torch.randn(parameter.shape, generator=generator))
    x = torch.randn(4, 6, 5, 7, generator=generator) + 0.5
    y = call(answer, x, block.fc1, block.fc2, hint="fc1 and fc2 are 1×1 convolutions: they take [B, C, 1, 1].")
    require_type(y, Tensor, hint="return the scaled map.")
    require_shape(y, x.shape, hint="the map keeps its shape; only its channels are scaled.")
    with torch.no_grad():
        wanted, scale = block(x), block._scale(x)
        hint = "mean over H and W → fc1 → relu → fc2 → hardsigmoid → times x."
        if torch.allclose(y, scale.expand_as(x), atol=1e-5):
            hint = "that is the scale; multiply it by x."
        squeezed = x.mean((2, 3), keepdim=True)
        if torch.allclose(y, x * block.fc2(block.fc1(squeezed).relu()).sigmoid(), atol=1e-5):
            hint = "MobileNetV3 uses hardsigmoid, clamp(z + 3, 0, 6) / 6, and not the sigmoid."
    pictures = torch.allclose(y[:1], call(answer, x[:1], block.fc1, block.fc2), atol=1e-5)
    said = "another result for an image when others are in the batch"
    require(pictures, said, "each image by itself", "take the mean over H and W, the last two axes, only.")
    require_close(y, wanted, hint)
    return "equal to torchvision's SqueezeExcitation."
