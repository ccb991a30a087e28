"""A trimmed convolution gives what the whole one gives, and its gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from perfteach.models import mobilenet_small
from perfteach.trimmed import TrimmedConv2d, trim


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 12, (1, 4), (5, 2)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(5, 1, 2), (5, 2, 2), (7, 3, 3), ((5, 3), (1, 2), (2, 1))])
def test_output_and_gradients_are_those_of_the_whole_convolution(size, kernel, stride, padding):
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6).double()
    trimmed = TrimmedConv2d(6, 6, kernel, stride, padding, groups=6).double()
    trimmed.load_state_dict(plain.state_dict())
    height, width = size if isinstance(size, tuple) else (size, size)
    x, y = (torch.randn(3, 6, height, width, generator=torch.Generator().manual_seed(1)).double() for _ in range(2))
    x.requires_grad_()
    y.requires_grad_()
    a, b = plain(x), trimmed(y)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(plain.weight.grad, trimmed.weight.grad, rtol=0, atol=1e-10)


def test_trim_keeps_the_parameters_and_touches_wide_depthwise_convolutions_only():
    model = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.Conv2d(4, 4, 5), nn.Conv2d(4, 4, 3, groups=4))
    weight = model[0].weight
    trim(model)
    assert [type(m) is TrimmedConv2d for m in model] == [True, False, False]
    assert model[0].weight is weight


def test_the_small_mobilenet_is_trimmed():
    assert sum(isinstance(m, TrimmedConv2d) for m in mobilenet_small(width=0.25).modules()) == 8


@pytest.mark.parametrize("how", [{"dilation": 2}, {"padding_mode": "reflect"}, {"padding": "same"}], ids=str)
def test_what_a_trimmed_convolution_cannot_do_stays_as_it_is(how):
    model = nn.Sequential(nn.Conv2d(4, 4, 5, **({"padding": 4} | how), groups=4))
    x = torch.randn(2, 4, 9, 9)
    before = model(x)
    assert torch.equal(trim(model)(x), before) and type(model[0]) is nn.Conv2d
