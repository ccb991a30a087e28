"""The learning rule against a slow loop, against finite differences, and against planted signals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from perfteach.correlation import Correlator, Moments
from perfteach.dendrites import correlate, set_phase
from perfteach.errors import ConfigError
from perfteach.layer import DendriticLayer


def slow_objective(v: Tensor, e: Tensor, objective: str) -> Tensor:
    """S of every neuron, written as the formula is: one neuron and one place at a time. Shapes [P, C] -> [C]."""
    out = []
    for n in range(v.shape[1]):
        places = range(len(v))
        v_mean = sum(v[p, n] for p in places) / len(v)
        e_mean = sum(e[p, n] for p in places) / len(v)
        cov = sum((v[p, n] - v_mean) * (e[p, n] - e_mean) for p in places)
        if objective == "correlation":
            var_v = sum((v[p, n] - v_mean) ** 2 for p in places)
            var_e = sum((e[p, n] - e_mean) ** 2 for p in places)
            cov = cov / (var_v * var_e) ** 0.5
        out.append(abs(cov))
    return torch.stack(out)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    v = torch.randn(24, 5, generator=g, dtype=torch.float64)
    e = 3.0 * torch.randn(24, 5, generator=g, dtype=torch.float64) + 0.4 * v + 1.5
    return v, e


@pytest.mark.parametrize("objective", ["correlation", "covariance"])
def test_gradient_equals_slow_loop_and_finite_differences(pair, objective):
    v, e = pair
    got = Correlator(objective, decay=0).gradient(v, e)
    loop = v.clone().requires_grad_()
    slow_objective(loop, e, objective).sum().backward()
    torch.testing.assert_close(got, loop.grad, rtol=0, atol=1e-9)

    step = 1e-5
    for p, n in [(0, 0), (7, 3), (23, 4)]:
        up, down = v.clone(), v.clone()
        up[p, n] += step
        down[p, n] -= step
        rise = slow_objective(up, e, objective)[n] - slow_objective(down, e, objective)[n]
        assert float(got[p, n]) == pytest.approx(float(rise) / (2 * step), abs=1e-6)


def test_correlation_is_scale_free_and_covariance_is_not(pair):
    v, e = pair
    first, second = Correlator(decay=0), Correlator(decay=0)
    torch.testing.assert_close(first.gradient(v, e), second.gradient(v, 1e-6 * (e - 4)))
    a, b = Correlator("covariance", decay=0), Correlator("covariance", decay=0)
    torch.testing.assert_close(a.gradient(v, e) * 1e-3, b.gradient(v, 1e-3 * e))


def test_pooled_moments_equal_those_of_all_places(pair):
    v, e = pair
    pooled = Moments.of(v[:9], e[:9]).pooled(Moments.of(v[9:], e[9:]))
    whole = Moments.of(v, e)
    for name in ("count", "means", "variances", "cov"):
        assert torch.allclose(torch.as_tensor(getattr(pooled, name)), torch.as_tensor(getattr(whole, name)))


def test_epoch_score_pools_batches(pair):
    v, e = pair
    correlator = Correlator()
    for rows in torch.arange(24).split(7):
        correlator.gradient(v[rows], e[rows])
    expected = [abs(float(torch.corrcoef(torch.stack([v[:, n], e[:, n]]))[0, 1])) for n in range(5)]
    torch.testing.assert_close(correlator.scores, torch.tensor(expected, dtype=torch.float64))


def test_running_sign_is_steadier_than_the_batch_sign():
    g = torch.Generator().manual_seed(0)
    v = torch.randn(4000, 1, generator=g)
    e = 0.15 * v + torch.randn(4000, 1, generator=g)
    steady, flips = Correlator("covariance", decay=0.95), 0
    wrong = 0
    for rows in torch.arange(4000).split(40):
        steady.gradient(v[rows], e[rows])
        wrong += float(steady.running.cov) < 0
        flips += float(Moments.of(v[rows], e[rows]).cov) < 0
    assert flips > 8 and wrong <= 2


def test_constant_dendrite_and_dead_neuron_get_no_gradient_and_no_nan():
    v = torch.cat([torch.zeros(10, 1), torch.randn(10, 1)], dim=1)
    e = torch.cat([torch.randn(10, 1), torch.zeros(10, 1)], dim=1)
    correlator = Correlator()
    assert torch.equal(correlator.gradient(v, e), torch.zeros(10, 2))
    assert correlator.score == 0.0


@pytest.mark.parametrize("bad", [{"objective": "anything"}, {"decay": 1.0}, {"decay": -0.1}])
def test_bad_settings(bad):
    with pytest.raises(ConfigError):
        Correlator(**bad)


CASES = {
    "linear": (lambda: nn.Linear(6, 4), (16, 6)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, padding=1), (5, 3, 8)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (5, 3, 6, 6)),
    "conv2d+norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)), (5, 3, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (5, 4, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (4, 2, 3, 4, 3)),
}


@pytest.mark.parametrize("rule", ["perforated", "covariance"])
@pytest.mark.parametrize("dendrites", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_layer_gradient_equals_autograd_through_the_slow_objective(case, dendrites, rule):
    """The gradient that reaches the dendrite's own parameters, in float64, for every kind of layer and K = 1, 2."""
    torch.manual_seed(0)
    make, shape = CASES[case]
    layer = DendriticLayer(make(), rule).double()
    layer.correlator.decay = 0
    for _ in range(dendrites):
        layer.add_dendrite()
    for parameter in (*layer.weights[:-1], *layer.cascade):  # a dendrite learns while its own w is still zero
        nn.init.normal_(parameter, std=0.5)
    model = set_phase(nn.Sequential(layer), "dendrite")
    x = torch.randn(shape, dtype=torch.float64)
    h = model(x)
    target = torch.randn_like(h)
    ((h - target) ** 2).mean().backward()
    error = 2 * (h.detach() - target) / target.numel()
    correlate(model)
    newest = [p for p in model.parameters() if p.requires_grad]
    got = [p.grad.clone() for p in newest]

    v = layer.dendrite_outputs(x)[-1]
    channel = v.dim() - 1 - layer.space
    flat_v = v.movedim(channel, -1).reshape(-1, layer.neurons)
    flat_e = error.movedim(channel, -1).reshape(-1, layer.neurons)
    objective = "covariance" if rule == "covariance" else "correlation"
    wanted = torch.autograd.grad(-slow_objective(flat_v, flat_e, objective).sum(), newest)
    assert len(newest) == len(list(layer.dendrites[-1].parameters())) + (dendrites == 2)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
        assert b.abs().max() > 0 or "norm" in case


def ascend(shuffled: bool, planted: bool, steps: int = 200) -> tuple[float, float]:
    """Score of the first and the last quarter while a dendrite learns; E holds a signal of x where `planted`."""
    torch.manual_seed(0)
    layer = DendriticLayer(nn.Linear(8, 3), "shuffled" if shuffled else "perforated")
    layer.add_dendrite()
    model = set_phase(nn.Sequential(layer), "dendrite")
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    signal = torch.randn(8, 3)
    scores = []
    for step in range(steps):
        if step % (steps // 4) == 0:
            scores.append(layer.correlator.score)
            layer.correlator.start_epoch()
        x = torch.randn(256, 8)
        error = torch.randn(256, 3) + (torch.tanh(x @ signal) if planted else 0)
        optimizer.zero_grad()
        (model(x) * error).sum().backward()  # dL/dh' is exactly `error`
        correlate(model)
        optimizer.step()
    return scores[1], layer.correlator.score


def test_scores_rise_on_a_planted_signal():
    first, last = ascend(shuffled=False, planted=True, steps=80)
    assert last > 0.4 and last > first + 0.1


def test_scores_stay_at_noise_on_shuffled_errors_and_without_signal():
    assert ascend(shuffled=True, planted=True)[1] < 0.03
    assert ascend(shuffled=False, planted=False)[1] < 0.03
