"""Checks of notebook 06: folding a norm, rounding to eight bits, and measuring a latency."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from perfteach.course.checks.core import (
    call,
    exercise,
    require,
    require_close,
    require_equal,
    require_shape,
    require_type,
)


@exercise("Fold a BatchNorm")
def check_fold(answer: Any) -> str:
    """The learner's function (weight, gamma, beta, mean, variance, eps) to the folded (weight, bias)."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, generator=draw)
    norm = nn.BatchNorm2d(4, eps=0.5).eval()  # a large eps, so that forgetting it shows
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            assert isinstance(tensor, Tensor)
            tensor.copy_(torch.randn(4, generator=draw))
        assert isinstance(norm.running_var, Tensor) and isinstance(norm.running_mean, Tensor)
        norm.running_var.copy_(torch.rand(4, generator=draw) + 0.2)
    statistics = (norm.weight.detach(), norm.bias.detach(), norm.running_mean, norm.running_var, norm.eps)
    got = call(answer, weight, *statistics, hint="a tensor [4] multiplies the outputs of weight [4, 3, 3, 3].")
    require_type(got, (tuple, list), hint="return the new weight and the new bias.")
    require_equal(len(got), 2, hint="return the new weight and the new bias.")
    for part in got:
        require_type(part, Tensor, hint="return two tensors.")
    require_shape(got[0], weight.shape, hint="the folded weight has the shape of the old one.")
    require_shape(got[1], [4], hint="one bias for each output channel.")
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    wanted = (weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale)
    hint = "each output channel is multiplied by gamma / sqrt(variance + eps); the channel is the first axis."
    require_close(got[0], wanted[0], hint=hint)
    require_close(got[1], wanted[1], hint="the mean passes through the same scale: beta − mean · gamma / sqrt(…).")
    return "convolution and norm are one convolution with a bias."


@exercise("Round to eight bits")
def check_quantize(answer: Any) -> str:
    """The learner's function of a float tensor to (int8 tensor, scale), symmetric around zero."""
    for values in ([-1.27, 0.005, 0.624, 1.0], [0.3, 2.54, -0.199, 0.01], [-3.0, -0.5, 1.5, 0.017]):
        x = torch.tensor(values)
        got = call(answer, x, hint="the argument is a float tensor.")
        require_type(got, (tuple, list), hint="return the int8 tensor and the scale.")
        require_equal(len(got), 2, hint="return the int8 tensor and the scale.")
        q, scale = got
        require_type(q, Tensor, hint="the first of the two is a tensor.")
        require(q.dtype == torch.int8, str(q.dtype), "torch.int8", "convert at the end: q.to(torch.int8).")
        require_shape(q, x.shape, hint="one whole number for each value.")
        wanted = float(x.abs().max()) / 127
        hint = "the largest absolute value becomes 127, the largest int8; so the scale is max |x| / 127."
        require_close(torch.as_tensor(scale).reshape(()), wanted, hint=hint)
        error = float((q.float() * wanted - x).abs().max())
        require(
            error <= 0.501 * wanted,
            f"an error of {error / wanted:.2f} steps",
            "at most half a step",
            "round to the nearest whole number before converting; a conversion alone cuts off.",
        )
    return "four bytes became one, and no weight moved by more than half a step."


@exercise("Measure a latency")
def check_latency(answer: Any) -> str:
    """The learner's function (seconds, warm-up runs to drop) to the median latency in milliseconds."""
    for seconds, warm_up in (([0.9, 0.2, 0.004, 0.003, 0.005, 0.1, 0.003], 2), ([0.5, 0.01, 0.02, 0.03], 1)):
        got = call(answer, list(seconds), warm_up, hint="the arguments are a list of seconds and a whole number.")
        require_type(got, float, hint="return one number, in milliseconds.")
        wanted = 1000 * median(seconds[warm_up:])
        hint = "the median of what remains after the first runs are dropped."
        if math.isclose(got, wanted / 1000, rel_tol=1e-6):
            hint = "that is in seconds; return milliseconds."
        elif math.isclose(got, 1000 * median(seconds), rel_tol=1e-6):
            hint = "the warm-up runs are still in it: the first ones pay for memory and caches."
        elif math.isclose(got, 1000 * sum(seconds[warm_up:]) / len(seconds[warm_up:]), rel_tol=1e-6):
            hint = "one interruption by another program moves a mean; the median stays."
        require_close(got, wanted, hint=hint)
    return "the median does not mind the one slow run."


@exercise("Does it still give the same answers?")
def check_same_answers(answer: Any) -> str:
    """The learner's function (reference logits, shipped logits) to (largest difference, share of equal labels in %)."""
    draw = torch.Generator().manual_seed(0)
    reference = torch.randn(8, 5, generator=draw)
    shipped = reference + 0.01 * torch.randn(8, 5, generator=draw)
    for row in range(2):  # two images get another label
        shipped[row, int(reference[row].argmin())] = 9.0
    got = call(answer, reference, shipped, hint="the arguments are two tensors of logits [N, classes].")
    require_type(got, (tuple, list), hint="return two numbers.")
    require_equal(len(got), 2, hint="return two numbers.")
    require_close(got[0], (reference - shipped).abs().max(), hint="the largest absolute difference over all logits.")
    hint = "compare the labels, argmax over the classes (the last axis), and return percent."
    require_close(got[1], 75.0, hint=hint)
    return "the numbers may move a little; what counts is whether the labels do."
