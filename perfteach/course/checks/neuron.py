"""Checks of notebook 02: the neuron's error, the correlation, and the dendrite's direction of ascent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perfteach.correlation import Moments
from perfteach.course.checks.core import call, describe, exercise, require, require_close, require_shape, require_type


def _draw(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(count)]


@exercise("The neuron's error")
def check_neuron_error(answer: Any) -> str:
    """The learner's function takes (h [P], y [P] of 0 and 1) and returns E = ∂L/∂h of each point, [P]."""
    (h,) = _draw(1, 12)
    y = torch.arange(12) % 2
    error = call(answer, h, y, hint="h and y are tensors of the same length; y.float() helps where types differ.")
    require_type(error, Tensor, hint="use tensor operations.")
    require_shape(error, (12,), hint="one error for each point, no mean.")
    wanted = h.sigmoid() - y
    hints = [
        (-wanted, "the sign is turned: E grows when h is too high."),
        (h - y, "h is not a probability yet; the sigmoid makes it one."),
        (wanted / 12, "the error of each point, not divided by their number."),
        (h.sigmoid() - 2 * y + 1, "the classes are 0 and 1."),
    ]
    hint = next((text for value, text in hints if torch.allclose(error.double(), value)), "σ(h) − y.")
    require_close(error, wanted, hint)
    return "σ(h) − y. Autograd gives the same for the cross-entropy."


@exercise("Correlation")
def check_correlation(answer: Any) -> str:
    """The learner's function takes (v, e), each [P, C], and returns r of each column, [C]."""
    v, e = _draw(2, 40, 3)
    v, e = v + 2, e + 0.6 * v - 1  # means far from zero, so that forgetting them shows
    r = call(answer, v, e, hint="take means over the points, axis 0; each column is a neuron of its own.")
    require_type(r, Tensor, hint="one number for each neuron, as a tensor.")
    hint = "take means over the points, axis 0; each column is a neuron of its own."
    require_shape(r, (3,), hint)
    mean_free = (v * e).mean(0) / (v.square().mean(0) * e.square().mean(0)).sqrt()
    moments = Moments.of(v, e)
    hints = [
        (mean_free, "subtract the means of v and of e first, also below the root."),
        ((v * e).mean(0) / (moments.var_v * moments.var_e).sqrt(), "subtract both means above the line, too."),
        (moments.cov, "that is the covariance; divide it by both standard deviations."),
        (moments.cov / (moments.var_v * moments.var_e), "divide by the roots of the variances."),
        (moments.r * 39 / 40, "divide by P above and below; v.std() divides by P − 1 unless told."),
        (moments.r.abs(), "keep the sign of r; the size is taken later."),
    ]
    hint = next((text for wrong, text in hints if torch.allclose(r.double(), wrong)), "cov / (σ_V · σ_E), by column.")
    require_close(r, moments.r, hint)
    return "equal to perfteach.correlation, column by column."


@exercise("Direction of ascent")
def check_ascent(answer: Any) -> str:
    """The learner's function takes (x [P, 2], v [P], e [P]); returns ∂S/∂a, [2], for V = tanh(a·x + c)."""
    for turn in (1.0, -1.0):
        x, (a, noise) = _draw(1, 30, 2)[0], (torch.tensor([0.8, -0.5], dtype=torch.float64), _draw(2, 30)[1])
        a.requires_grad_()
        v = (x @ a + 0.3).tanh()
        e = turn * (v.detach() + 0.5 * noise) + 0.7
        direction = call(answer, x, v.detach(), e)
        require_type(direction, Tensor, hint="return the gradient by the two weights, as a tensor.")
        require_shape(direction, (2,), hint="sum over the points: one number for each weight of the dendrite.")
        (wanted,) = torch.autograd.grad(((v - v.mean()) * (e - e.mean())).sum().abs(), a)
        slope, free = (1 - v.detach().square())[:, None] * x, e - e.mean()
        hints = [
            (free @ slope, "a negative covariance is made larger by going down: use its sign."),
            (-wanted, "the sign is turned: it is that of the covariance."),
            (turn * free @ x, "the chain rule through tanh: times 1 − V²."),
            (turn * e @ slope, "subtract the mean of e."),
            (wanted / 30, "S is a sum over the points, not their mean."),
        ]
        hint = "sign(cov) · Σ (E − Ē)(1 − V²) x."
        hint = next((text for value, text in hints if torch.allclose(direction.double(), value)), hint)
        require_close(direction, wanted, hint)
    return "equal to autograd's, for a positive and for a negative covariance."


@exercise("The sign of w")
def check_sign_of_w(answer: Any) -> str:
    """The learner's answer is "positive" or "negative"."""
    require_type(answer, str, hint='write "positive" or "negative", with the quotation marks.')
    word = answer.strip().lower()
    require(word in ("positive", "negative"), describe(answer), '"positive" or "negative"', "one of the two words.")
    hint = "where r is positive, V is high where the neuron's h is too high. Should V then be added or taken away?"
    require(word == "negative", f'"{word}"', "the sign that makes h' smaller where E is positive", hint)
    return "V is high where h is too high, so the neuron takes it away."
