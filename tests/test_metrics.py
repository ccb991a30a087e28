"""Metrics: the numbers by hand, planted differences found, intervals that cover as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perfteach.data import ImageData, Split
from perfteach.errors import ConfigError, DataError
from perfteach.metrics import (
    Interval,
    accuracy,
    error_reduction,
    eval_mode,
    paired_bootstrap,
    paired_interval,
    predictions,
)


def _data(n: int = 30) -> ImageData:
    """Images of one grey level each; the label is the level's third. Normalising keeps their order."""
    level = torch.linspace(0, 255, n).to(torch.uint8)
    images = level.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    split = Split(images, (torch.arange(n) * 3 // n).long())
    return ImageData(
        name="grey",
        classes=("dark", "middle", "bright"),
        train=split,
        validation=split,
        test=split,
        mean=(0.5, 0.5, 0.5),
        std=(1.0, 1.0, 1.0),
        checksum="none",
        synthetic=True,
    )


class _Thirds(nn.Module):
    """Answers right on every grey image, except that it calls whatever is above `blind` dark."""

    def __init__(self, blind: float = 2.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)  # moves its statistics unless in eval mode
        self.blind = blind
        self.modes: list[bool] = []
        self.grads: list[bool] = []
        self.edges: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.norm.training)
        self.grads.append(self.norm(x).requires_grad)
        self.edges.append(x.shape[-1])
        level = x.mean((1, 2, 3)) + 0.5
        third = torch.where(level > self.blind, 0, (level * 2.999).long())
        return nn.functional.one_hot(third, 3).float()


def test_accuracy_and_predictions_by_hand() -> None:
    data = _data()
    assert accuracy(_Thirds(), data, "test") == 100.0
    # 30 images; the top 3 (levels 27/29, 28/29, 1) are called dark.
    assert accuracy(_Thirds(blind=26.5 / 29), data, "test", batch_size=7) == pytest.approx(90.0)
    predicted = predictions(_Thirds(blind=26.5 / 29), data, "validation", batch_size=7)
    expected = data.validation.labels.clone()
    expected[27:] = 0
    assert predicted.dtype == torch.int64
    assert torch.equal(predicted, expected)


def test_accuracy_evaluates_without_gradient_at_the_size_asked_for() -> None:
    model = _Thirds()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    accuracy(model, _data(), "test", batch_size=10, size=16)
    assert model.modes == [False] * 3
    assert model.grads == [False] * 3
    assert model.edges == [16] * 3
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("fails", [False, True])
def test_every_submodule_gets_its_own_mode_back(fails: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.BatchNorm1d(192), nn.Dropout()), nn.Linear(192, 3))
    model.train()
    model[1][0].eval()  # like the norm of a frozen dendrite inside a training model
    model[2].eval()
    before = [m.training for m in model.modules()]
    assert len(set(before)) == 2
    if fails:
        with pytest.raises(RuntimeError, match="stop"), eval_mode(model):
            raise RuntimeError("stop")
    else:
        accuracy(model, _data(), "test")
    assert [m.training for m in model.modules()] == before


def test_a_model_without_logits_and_an_unknown_split_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"logits \[B"):
        accuracy(nn.Identity(), _data(), "test")
    with pytest.raises(DataError):
        accuracy(_Thirds(), _data(), "tset")
    with pytest.raises(DataError):
        accuracy(_Thirds(), _data(), "test", batch_size=0)


def test_error_reduction_by_hand() -> None:
    assert error_reduction(80, 82) == pytest.approx(10.0)
    assert error_reduction(80, 75) == pytest.approx(-25.0)
    assert error_reduction(37.5, 37.5) == 0.0
    assert error_reduction(0, 100) == 100.0


@pytest.mark.parametrize(
    ("control", "treated", "message"),
    [(100, 90, "no error"), (-1, 50, "-1"), (50, 100.5, "100.5"), (float("nan"), 50, "nan")],
)
def test_error_reduction_refuses(control: float, treated: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        error_reduction(control, treated)


def test_t_interval_by_hand() -> None:
    # differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653
    interval = paired_interval([80, 81, 82], torch.tensor([81.0, 83.0, 85.0]))
    half = 4.302653 / np.sqrt(3)
    assert interval == pytest.approx((2.0, 2 - half, 2 + half, 0.95), abs=1e-6)
    assert not interval.excludes_zero
    narrow = paired_interval([80, 81, 82], [81, 83, 85], level=0.5)
    assert interval.low < narrow.low < 2 < narrow.high < interval.high


def test_identical_runs_differ_by_exactly_nothing() -> None:
    values = [61.3, 60.2, 64.7, 59.9]
    assert paired_bootstrap(values, values) == (0.0, 0.0, 0.0, 0.95)
    assert paired_interval(values, values) == (0.0, 0.0, 0.0, 0.95)


def test_a_constant_shift_has_no_width() -> None:
    values = np.array([61.3, 60.2, 64.7, 59.9])
    for interval in (paired_interval(values, values + 0.1), paired_bootstrap(values, values + 0.1)):
        assert interval.estimate == pytest.approx(0.1)
        assert interval.low == interval.high == interval.estimate
        assert interval.excludes_zero


@pytest.mark.parametrize("interval", [paired_interval, paired_bootstrap])
def test_pairing_finds_a_small_difference_under_large_common_noise(interval) -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(70, 10, 30)
    control = common + rng.normal(0, 0.3, 30)
    treated = common + 1.0 + rng.normal(0, 0.3, 30)
    found = interval(control, treated)
    assert found.low < 1.0 < found.high
    assert found.excludes_zero
    assert found.high - found.low < 1.0
    # The same values with the pairs torn apart show nothing.
    assert not interval(control, rng.permutation(treated)).excludes_zero


def test_bootstrap_of_images_right_or_wrong() -> None:
    control = np.arange(2000) >= 400  # 80 % right
    treated = np.arange(2000) >= 320  # a fifth of the errors mended, nothing broken
    points = paired_bootstrap(control, treated, resamples=1999)
    # 80 of 2000 pairs differ: standard error 100 sqrt(0.04 * 0.96 / 2000) points
    half = 1.96 * 100 * np.sqrt(0.04 * 0.96 / 2000)
    assert points == pytest.approx((4.0, 4 - half, 4 + half, 0.95), abs=0.15)
    assert points == paired_bootstrap(torch.as_tensor(control), torch.as_tensor(treated), resamples=1999)
    assert points != paired_bootstrap(control, treated, resamples=1999, seed=1)


def test_t_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(1000):
        common = rng.normal(60, 5, 5)
        hits += _covers(paired_interval(common + rng.normal(0, 1, 5), common + 2 + rng.normal(0, 1, 5), level=0.9), 2)
    # 900 expected, standard deviation 9.5
    assert 860 <= hits <= 940


def test_bootstrap_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        common = rng.normal(60, 5, 40)
        treated = common + 0.5 + rng.exponential(1.5, 40)  # skewed, true mean difference 2
        hits += _covers(paired_bootstrap(common, treated, level=0.9, resamples=499), 2)
    # 270 expected, standard deviation 5.2; the bootstrap is known to fall a little short
    assert 245 <= hits <= 288


def _covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("interval", [paired_interval, paired_bootstrap])
@pytest.mark.parametrize(
    ("control", "treated", "level", "message"),
    [
        ([1, 2, 3], [1, 2], 0.95, "3 values and treated 2"),
        ([1], [2], 0.95, "1 pairs"),
        ([], [], 0.95, "0 pairs"),
        ([1, float("nan")], [1, 2], 0.95, "control"),
        ([1, 2], [1, float("inf")], 0.95, "treated"),
        ([[1, 2]], [[1, 2]], 0.95, "shape"),
        ([1, 2], [1, 3], 95, "level"),
    ],
)
def test_bad_pairs_are_refused(interval, control, treated, level, message) -> None:
    with pytest.raises(ConfigError, match=message):
        interval(control, treated, level=level)


def test_bootstrap_refuses_too_few_resamples() -> None:
    with pytest.raises(ConfigError, match="resamples"):
        paired_bootstrap([1, 2], [1, 3], resamples=10)


def test_a_bootstrap_that_nearly_always_agrees_still_has_bounds() -> None:
    control = np.zeros(50)
    treated = np.zeros(50)
    treated[0] = 1e-9
    interval = paired_bootstrap(control, treated, resamples=200)
    assert np.isfinite(interval[:3]).all()
    assert interval.low <= interval.estimate <= interval.high


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(1.2, 0.3, 2.0), "1.2 [0.3, 2.0] (95 %)"),
        (Interval(0.031, 0.012, 0.05, 0.9), "0.031 [0.012, 0.050] (90 %)"),
        (Interval(12.34, -8.0, 40.0), "12.3 [-8.0, 40.0] (95 %)"),
        (Interval(-0.01, -1.0, 1.0), "0.0 [-1.0, 1.0] (95 %)"),
        (Interval(0.0, 0.0, 0.0), "0.0 [0.0, 0.0] (95 %)"),
    ],
)
def test_interval_reads_well(interval: Interval, text: str) -> None:
    assert str(interval) == text
    assert f"{interval}" == text
