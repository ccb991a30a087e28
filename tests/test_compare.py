"""Arms against controls: one sign, pairs by seed, intervals that cover, and a look for every arm."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from perfteach import compare, plots
from perfteach.arms import EVERY_ARM
from perfteach.errors import ConfigError
from perfteach.metrics import error_reduction, paired_interval
from perfteach.plots.style import NAMED, arm_look
from perfteach.runs import Run
from perfteach.study import STUDIES

SCORES = {"control": {0: 60.0, 1: 61.0, 2: 59.5, 7: 1.0}, "better": {2: 62.0, 0: 62.0, 1: 62.5}, "far": {9: 50.0}}


def made(arm: str, seed: int, accuracy: float | None) -> Run:
    run = Run({"name": f"s/{arm}-seed{seed}", "seed": seed})
    if accuracy is not None:
        run.take({"kind": "result", "test_accuracy": accuracy, "parameters": {"total": 10 + seed}, "seconds": 60.0})
    return run


def test_a_gain_is_fewer_errors_over_the_seeds_that_both_have():
    gain = compare.gain(SCORES, "better", "control")
    assert gain.points == {0: 2.0, 1: 1.5, 2: 2.5}
    assert gain.interval == paired_interval([38.0, 37.5, 38.0], [40.0, 39.0, 40.5])
    assert gain.interval == paired_interval([60, 61, 59.5], [62, 62.5, 62]), "accuracies give the same"
    assert gain.relative.estimate == pytest.approx(error_reduction(180.5 / 3, 186.5 / 3))
    assert str(gain) == "+2.00 [+0.76, +3.24]" and gain.verdict == "yes"
    other = compare.gain(SCORES, "control", "better")
    assert other.interval.estimate == -2.0 and other.verdict == "no, it is worse"


def test_two_seeds_that_agree_have_an_interval_and_no_verdict():
    two = compare.gain({"a": {0: 60.0, 1: 60.0}, "b": {0: 62.0, 1: 62.1}}, "b", "a")
    assert two.interval.low > 0 and two.verdict == "cannot tell"
    three = compare.gain({"a": dict.fromkeys(range(3), 60.0), "b": {0: 62.0, 1: 62.1, 2: 62.0}}, "b", "a")
    assert three.interval.low > 0 and three.verdict == "yes"


def test_one_seed_has_an_infinite_interval_and_none_has_nothing():
    one = compare.gain({"a": {0: 60.0}, "b": {0: 61.0}}, "b", "a")
    assert one.interval[:3] == (1.0, -math.inf, math.inf) and one.verdict == "cannot tell"
    assert str(one) == "+1.00 (one seed, no interval)" and one.relative.estimate == pytest.approx(2.5)
    none = compare.gain(SCORES, "far", "control")
    assert none.points == {} and str(none) == "–" and math.isnan(none.interval.estimate)


def test_nothing_can_be_reduced_where_the_control_makes_no_error():
    gain = compare.gain({"a": {0: 100.0, 1: 100.0}, "b": {0: 99.0, 1: 98.0}}, "b", "a")
    assert gain.interval.estimate == -1.5 and math.isnan(gain.relative.estimate)


def test_unknown_arms_and_impossible_accuracies_are_refused():
    with pytest.raises(ConfigError, match="no arm 'x' to compare with; there are: control, better, far"):
        compare.gain(SCORES, "x", "control")
    for wrong in (101.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="not an accuracy in percent"):
            compare.gains({"a": {0: wrong}}, "a")


def test_the_interval_of_the_relative_gain_covers_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(600):
        old = rng.normal(40, 2, 5)
        new = 0.9 * old + rng.normal(0, 0.7, 5)  # a tenth fewer errors
        scores = {"old": dict(enumerate(100 - old)), "new": dict(enumerate(100 - new))}
        low, high = compare.gain(scores, "new", "old").relative[1:3]
        hits += low <= 10 <= high
    assert 548 <= hits <= 588, "570 expected, standard deviation 5.3"


def test_results_are_by_arm_and_seed_without_the_unfinished():
    runs = [made("mine", 1, 50.0), made("wider", 1, 60.0), made("wider", 0, 61.0), made("thawed", 0, None)]
    by_arm = compare.results(runs)
    assert list(by_arm) == ["wider", "mine"] and list(by_arm["wider"]) == [0, 1]
    assert compare.accuracies(by_arm) == {"wider": {0: 61.0, 1: 60.0}, "mine": {1: 50.0}}


def test_the_table_has_a_line_an_arm():
    runs = [made("same-epochs", s, 60.0 + s) for s in range(3)] + [made("thawed", s, 62.0 + s) for s in range(2)]
    control, thawed = compare.table(compare.results(runs)).splitlines()[1:]
    assert control.split() == ["same-epochs", "3", "39.00", "11", "1.0", "–", "–"]
    assert thawed.split() == ["thawed", "2", "37.50", "10", "1.0", "+2.00", "[+2.00,", "+2.00]", "5.1"]
    alone = compare.table(compare.results(runs[3:])).splitlines()[1]
    assert alone.split()[5:] == ["–", "–"], "the control has no runs"


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_a_study_has_a_look_of_its_own(name):
    looks = {arm: arm_look(arm, []) for arm in STUDIES[name].arms}
    assert all(color in NAMED.values() for color, _ in looks.values())
    for (one, a), (other, b) in itertools.combinations(looks.items(), 2):
        assert a != b, f"{one} and {other} look alike"
    assert {one for one, _ in looks.items()} <= set(EVERY_ARM)
    control = "same-epochs" if "same-epochs" in looks else next(iter(looks))
    figure = plots.paired_differences({arm: {0: 50.0, 1: 51.0} for arm in looks}, control)
    figure.draw_without_rendering()
