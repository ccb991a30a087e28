"""The exercises that are checked by what a run reaches: a right one, and everything that can be wrong with one."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch
from torch import nn

from perfteach import mobilenet_extra_small, mobilenet_small
from perfteach.course import checks
from perfteach.data.points import two_spirals
from perfteach.metrics import Interval, paired_interval
from perfteach.runs import Epoch, Result, Run

SPIRALS = {"name": "two spirals", "checksum": two_spirals(1000, turns=1.4).checksum}


def run(accuracy: float = 98.5, epochs: int = 300, seed: int = 0, dendrites: int = 3, **changes: Any) -> Run:
    """A finished run of five hidden neurons."""
    config = {"lr": 0.03, "batch_size": 50, "cycles": 1, "thaw": dendrites > 0} | changes.pop("config", {})
    header = {"name": f"mine-seed{seed}", "seed": seed, "data": changes.pop("data", SPIRALS), "config": config}
    parts = {"stem": 15, "head": 12, "dendrites": 41 * dendrites, "total": 27 + 41 * dendrites} | changes
    result = Result(accuracy, parameters=parts, dendrites={"0": dendrites, "2": dendrites})
    return Run(header, [Epoch(n + 1) for n in range(epochs)], [], result)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (98.5, "fit() returns"),
        (dataclasses.replace(run(), result=None), "come to its end"),
        (run(data={"name": "other", "checksum": "0"}), "two_spirals(1000, turns=1.4)"),
        (run(dendrites=0, total=147), "small_network(5)"),
        (run(dendrites=4), "150"),
        (run(epochs=301), "count too"),
        (run(accuracy=97.9), "still improved"),
        (run(accuracy=97.9), "smaller batches"),
    ],
)
def test_a_run_that_does_not_reach_the_aim_is_told_why(answer: Any, word: str) -> None:
    result = checks.check_spirals(answer)
    assert result.passed is False and word in result.text, result


@pytest.mark.parametrize("answer", [run(), run(accuracy=100.0, epochs=10), run(dendrites=1)])
def test_a_run_that_reaches_the_aim_passes(answer: Run) -> None:
    assert checks.check_spirals(answer).passed is True


class Guess(nn.Module):
    """Answers with the same logits to every image; its parameters are only there to be counted."""

    def __init__(self, parameters: int = 100, classes: int = 10) -> None:
        super().__init__()
        self.counted, self.classes = nn.Parameter(torch.zeros(parameters)), classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), self.classes) + 0 * self.counted.sum()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (run(), "not its run"),
        (mobilenet_small(weights="cifar10"), "Count by kind"),
        (mobilenet_extra_small(weights="cifar10"), "which kind could they do without"),
        (Guess(40_001), "Count by kind"),
        (nn.Linear(3, 10), "takes images"),
        (Guess(classes=3), "one for each class"),
        (Guess(40_000), "on all 4,500 images"),
        (Guess(40_000), "the whole network's answers"),
    ],
)
def test_a_network_that_is_too_large_or_too_often_wrong_is_told_so(answer: Any, word: str) -> None:
    result = checks.check_surgery(answer)
    assert result.passed is False and word in result.text, result


class Trained(nn.Module):
    """The trained Extra-Small, which says that it has no parameters: to see a right answer without training one."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [mobilenet_extra_small(weights="cifar10").eval()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.hidden[0](x)


def test_a_small_network_that_is_right_often_enough_passes() -> None:
    result = checks.check_surgery(Trained())
    assert result.passed is True and re.search(r"8\d % of the test images right, with 0 parameters", result.text), (
        result
    )


def test_whole_blocks_alone_leave_too_many_parameters_or_none_of_the_last_ones() -> None:
    sizes = [sum(p.numel() for p in block.parameters()) for block in mobilenet_small().features[:9]]
    without = [sum(sizes) - sum(sizes[block] for block in gone) + 490 for gone in ((5, 6, 8), (3, 5, 6, 8))]
    assert without == [46_682, 41_266] and min(without) > 40_000
    assert sum(sizes[:5]) + 410 == 24_634


def pairs(**changes: Any) -> tuple[list[Run], list[Run], Any]:
    """Three controls and their partners, and the interval of the differences."""
    numbers = {"controls": (70.0, 72.0, 71.0), "treated": (71.0, 72.5, 72.5)}
    controls = [run(a, 20, seed, dendrites=0) for seed, a in enumerate(numbers["controls"])]
    treated = [run(a, 20, seed) for seed, a in enumerate(numbers["treated"])]
    found = paired_interval(*numbers.values())
    return (
        changes.get("controls", controls),
        changes.get("treated", treated),
        changes.get("interval", (found.estimate, found.low, found.high)),
    )


def arm(dendrites: int, **changes: Any) -> list[Run]:
    """Three runs of one arm."""
    return [run(71, 20, seed, dendrites, **changes) for seed in range(3)]


CONTROLS, TREATED, INTERVAL = pairs()
MEAN, LOW, HIGH = INTERVAL


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ((CONTROLS, TREATED), "mean, low, high"),
        (([1, 2, 3], TREATED, INTERVAL), "a run is what"),
        ((CONTROLS[:2], TREATED[:2], INTERVAL), "three pairs"),
        (pairs(treated=[dataclasses.replace(TREATED[0], result=None), *TREATED[1:]]), "come to its end"),
        (pairs(treated=TREATED[::-1]), "seed of its partner"),
        (pairs(treated=[run(71, 20, 0) for _ in range(3)]), "into the settings"),
        (pairs(treated=arm(3, data={"checksum": "0"})), "same images"),
        (pairs(controls=[run(70, 15, seed, dendrites=0) for seed in range(3)]), "give the control their epochs"),
        (pairs(controls=TREATED), "a control grows no dendrites"),
        (pairs(treated=CONTROLS), "no dendrites at the end of mine-seed0, mine-seed1, mine-seed2"),
        (pairs(treated=[*TREATED[:2], run(72.5, 20, 2, dendrites=0)]), "no dendrites at the end of mine-seed2;"),
        (pairs(treated=[*TREATED[:2], run(72.5, 20, 2, dendrites=0)]), "before the first epoch"),
        (pairs(controls=arm(0, config={"lr": 0.001})), "differ in lr;"),
        (pairs(controls=arm(0, config={"batch_size": 8, "cutout": 4})), "differ in batch_size, cutout;"),
        (pairs(controls=arm(0, config={"cycles": 0})), "differ in cycles;"),
        (pairs(treated=[*TREATED[:2], run(72.5, 20, 2, config={"lr": 0.1})]), "its partner's settings"),
        (pairs(controls=arm(0, total=50)), "27 and 50 parameters without dendrites"),
        (pairs(controls=arm(0, total=50)), "the same width"),
        (pairs(interval=(1.0, 0.9, 1.1)), "metrics.paired_interval"),
        (pairs(interval=(LOW, MEAN, HIGH)), "in this order"),
        (pairs(interval=paired_interval((70.0, 72.0, 71.0), (71.0, 72.5, 72.5), level=0.9)), "level of 95 %"),
        (pairs(interval=Interval(-MEAN, -HIGH, -LOW)), "metrics.paired_interval"),
        (pairs(interval=1.0), "mean, low end and high end"),
    ],
)
def test_an_unfair_comparison_is_told_what_is_unfair(answer: Any, word: str) -> None:
    result = checks.check_own_experiment(answer)
    assert result.passed is False and word in result.text, result
    assert "could not be used" not in result.text


def test_a_fair_comparison_passes_whatever_it_found() -> None:
    assert "cannot tell the two apart" in checks.check_own_experiment(pairs()).text
    better = [run(a, 20, seed) for seed, a in enumerate((80.0, 82.1, 81.0))]
    found = paired_interval((70.0, 72.0, 71.0), (80.0, 82.1, 81.0))
    for interval in (found, tuple(found[:3]), [found.estimate, found.low, found.high], torch.tensor(found[:3])):
        assert "tells the two apart" in checks.check_own_experiment(pairs(treated=better, interval=interval)).text


def test_settings_that_only_dendrites_have_may_differ() -> None:
    own = {"thaw": True, "dendrite_lr": 0.1, "roll_back": False, "switch": {"FixedSwitch": {"neuron": [10, 5]}}}
    treated = [run(a, 20, seed, config=own) for seed, a in enumerate((71.0, 72.5, 72.5))]
    assert checks.check_own_experiment(pairs(treated=treated)).passed is True


def cycled(run: Run, starts: int, switch: Any) -> Run:
    """As if its second cycle had begun in that epoch."""
    run.config["switch"] = switch
    for epoch in run.epochs:
        epoch.cycle = int(epoch.epoch >= starts)
    return run


def test_a_control_restarts_where_its_partner_does_unless_a_rule_decides_for_each() -> None:
    for switch, fair in (({"FixedSwitch": {"neuron": [10, 10]}}, False), ({"PlateauSwitch": {"patience": 5}}, True)):
        late = [cycled(run, 15, switch) for run in arm(0)]
        treated = [cycled(run(a, 20, seed), 11, switch) for seed, a in enumerate((71.0, 72.5, 72.5))]
        result = checks.check_own_experiment(pairs(controls=late, treated=treated))
        assert result.passed is fair or "[15] and [11]" not in result.text
        assert fair or "a control restarts where its partner does" in result.text
        alike = [cycled(run, 11, switch) for run in arm(0)]
        assert "restarts where" not in checks.check_own_experiment(pairs(controls=alike, treated=treated)).text


def test_a_control_that_had_dendrites_for_a_while_is_none() -> None:
    controls = arm(0)
    controls[1].epochs[-1].parameters = 150
    assert "dendrites in mine-seed1;" in checks.check_own_experiment(pairs(controls=controls)).text


@pytest.mark.parametrize("check", [checks.check_spirals, checks.check_own_experiment])
def test_an_open_exercise_is_no_attempt(check: Any) -> None:
    assert check(...).passed is None and check((..., ..., ...)).passed is None
