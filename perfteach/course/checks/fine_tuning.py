"""Checks of notebook 04: how far chance reaches, same-epochs control, paired interval, what each arm rules out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perfteach import metrics
from perfteach.arms import ARMS
from perfteach.course.checks.core import call, exercise, require, require_close, require_equal, require_type

# A short name for each rival explanation, and the arm that rules it out.
EXPLANATIONS = {
    "it trained for more epochs": "same-epochs",
    "it has more parameters": "wider",
    "untrained dendrites would do as well": "random",
    "the error signal taught the dendrites nothing": "shuffled",
    "plain backpropagation would do as well": "gradient",
}


@exercise("How far chance reaches")
def check_standard_error(answer: Any) -> str:
    """The learner's function (accuracy in percent, images) to the standard error of that accuracy in points."""
    for accuracy, images in [(82.0, 10_000), (50.0, 500), (95.0, 2_000)]:
        got = call(answer, accuracy, images, hint="the arguments are an accuracy in percent and a number of images.")
        require_type(got, float, hint="return one number, in percentage points.")
        wanted = math.sqrt(accuracy * (100 - accuracy) / images)
        hint = "the root of accuracy times error, both in percent, over the number of images."
        if math.isclose(got, wanted / 100, rel_tol=1e-3):
            hint = "that is a fraction; return percentage points."
        elif math.isclose(got, wanted**2, rel_tol=1e-3) or math.isclose(got, wanted**2 / 10_000, rel_tol=1e-3):
            hint = "that is the variance; its root is the standard error."
        require_close(got, wanted, hint=hint, tolerance=1e-3)
    return "at 82 % and 10,000 images, chance alone moves one test result by about 0.38 points."


@exercise("The same-epochs control")
def check_same_epochs(answer: Any) -> str:
    """The learner's function (neuron phases, epochs of a dendrite phase) to the control's neuron phases."""
    for neuron, dendrite in [((8, 4), 3), ((20, 15, 15), 5), ((6,), 4)]:
        got = call(answer, neuron, dendrite, hint="the arguments are a tuple of epochs and a whole number.")
        require_type(got, (tuple, list), hint="return a tuple with one number of epochs for each neuron phase.")
        require_equal(len(got), len(neuron), hint="the control restarts as often, so it has as many neuron phases.")
        total = sum(neuron) + dendrite * (len(neuron) - 1)
        require(
            sum(got) == total,
            f"{tuple(got)}, which is {sum(got)} epochs in all",
            f"{total} epochs in all for {neuron} and a dendrite phase of {dendrite}",
            "a dendrite phase stands before every neuron phase but the first; those epochs count too.",
        )
        wanted = (neuron[0], *(epochs + dendrite for epochs in neuron[1:]))
        require_equal(tuple(got), wanted, hint="the epochs go where the dendrite phase stood: after the restart.")
    return "as many epochs and as many restarts as the run with dendrites."


@exercise("The paired interval")
def check_paired_interval(answer: Any) -> str:
    """The learner's function (control, treated) over seeds to (mean difference, low, high) of the 95 % t interval."""
    cases: list[tuple[Sequence[float], Sequence[float]]] = [
        ([70.0, 74.0, 68.0, 72.0, 71.0], [71.0, 74.6, 69.2, 72.4, 72.3]),
        ([60.1, 61.9, 60.4, 61.0, 59.7], [60.6, 61.5, 61.3, 60.9, 60.8]),
    ]
    for control, treated in cases:
        got = call(answer, list(control), list(treated), hint="the arguments are two lists of five accuracies.")
        require_type(got, (tuple, list), hint="return three numbers: the mean difference, the low and the high end.")
        require_equal(len(got), 3, hint="return three numbers: the mean difference, the low and the high end.")
        wanted = metrics.paired_interval(control, treated)
        require_close(got[0], wanted.estimate, hint="the mean of treated minus control, seed by seed.")
        width, right = float(got[2]) - float(got[1]), wanted.high - wanted.low
        hint = "the half width is t times the standard deviation of the differences over the root of their number."
        if abs(width / right - 1.96 / 2.776) < 0.01:
            hint = "1.96 is for many seeds; with five use t = 2.776."
        elif abs(width / right - (4 / 5) ** 0.5) < 0.01:
            hint = "divide the sum of squares by n − 1: statistics.stdev, not pstdev."
        elif width > 1.5 * right:
            hint = "take the deviation of the differences; what a pair of runs has in common then cancels."
        require_close([float(got[1]), float(got[2])], [wanted.low, wanted.high], hint=hint, tolerance=1e-3)
    return "the same interval as perfteach.metrics.paired_interval."


@exercise("Which arm rules it out?")
def check_rules_out(answer: Any) -> str:
    """The learner's dictionary from a rival explanation to the name of the arm that rules it out."""
    require_type(answer, dict, hint="keep the dictionary, and put the name of an arm beside each explanation.")
    given: Mapping[str, Any] = answer
    require(set(given) == set(EXPLANATIONS), sorted(given), "the five explanations", "leave the keys as they are.")
    for explanation, arm in given.items():
        require(arm in ARMS, f"{arm!r}", f"one of {', '.join(ARMS)}", "use the names in the table above.")
        hint = f"that arm answers another question: {ARMS[arm].rules_out!r}."
        wanted = EXPLANATIONS[explanation]
        require(arm == wanted, f"{arm!r} for {explanation!r}", "another arm", hint)
    return "each rival explanation has an arm of its own."
