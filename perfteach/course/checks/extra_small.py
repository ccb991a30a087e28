"""Checks of notebook 05: two ways to count, what fits the budget, where dendrites pay, and the Pareto front."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from perfteach.counting import count_parameters
from perfteach.course.checks.core import call, exercise, require, require_equal, require_type
from perfteach.dendrites import add_dendrites, dendritic_layers
from perfteach.models import mobilenet_small
from perfteach.selection import perforate

LIMIT = 1_660_000


@exercise("Two ways to count")
def check_two_counts(answer: Any) -> str:
    """The learner's function of a model to (parameters without the dendrites' own weights, all parameters)."""
    for width, cycles in ((0.35, 1), (0.2, 2)):
        model = perforate(mobilenet_small(10, width, seed=0))
        for _ in range(cycles):
            add_dendrites(model)
        got = call(answer, model, hint="the argument is a perforated model with dendrites.")
        require_type(got, (tuple, list), hint="return two whole numbers.")
        require_equal(len(got), 2, hint="return two whole numbers.")
        counts = count_parameters(model)
        links = sum(w.numel() for _, layer in dendritic_layers(model) for w in layer.weights)
        require_equal(got[1], counts.total, hint="the second number is every parameter: sum the sizes of all of them.")
        own = counts.total - counts.dendrites
        hint = "the first number is the network without dendrites plus one weight w for each dendrite."
        if got[0] == own:
            hint = "the weights w from dendrite to neuron are missing: layer.weights of every DendriticLayer."
        require_equal(got[0], own + links, hint=hint)
    return "the same network, two numbers: say which one you print."


@exercise("The widest that fits")
def check_widest(answer: Any) -> str:
    """The learner's function (dendrites a neuron, limit) to the largest width that fits, of 0.3, 0.4, … 1.0."""
    for dendrites, limit in ((1, LIMIT), (2, 900_000), (0, total_parameters(0.6, 0))):
        got = call(answer, dendrites, limit, hint="the arguments are dendrites a neuron and a limit of parameters.")
        require_type(got, float, hint="return a width, such as 0.5.")
        wanted = widest(dendrites, limit)
        used = total_parameters(round(float(got), 2), dendrites) if 0.05 <= got <= 3 else 0
        hint = "every dendrite has as many weights as its neuron, and they count."
        if used <= limit:
            hint = f"it fits with {used:,} parameters, but a wider one does too; the limit itself is allowed."
        require(
            abs(float(got) - wanted) < 1e-6,
            f"{float(got):g}, which has {used:,} parameters",
            f"{wanted:g} for {dendrites} dendrites a neuron and at most {limit:,} parameters",
            hint,
        )
    return f"with one dendrite a neuron everywhere, width {widest(1, LIMIT):g} is the widest under {LIMIT:,}."


@lru_cache
def total_parameters(width: float, dendrites: int) -> int:
    """All parameters of a MobileNetV3-Small with 10 classes and `dendrites` a neuron; nothing is allocated."""
    with torch.device("meta"):
        model = perforate(mobilenet_small(10, width))
        for _ in range(dendrites):
            add_dendrites(model)
    return count_parameters(model).total


def widest(dendrites: int, limit: int) -> float:
    """The largest width of 0.3, 0.4, … 1.0 that has at most `limit` parameters."""
    low, high = 3, 10
    while low < high:  # the number of parameters grows with the width
        middle = (low + high + 1) // 2
        low, high = (middle, high) if total_parameters(middle / 10, dendrites) <= limit else (low, middle - 1)
    return low / 10


@exercise("Choose layers for a budget")
def check_choose_layers(answer: Any) -> str:
    """The learner's function (scores, costs, budget) to the chosen layers: best score per parameter first."""
    cases: list[tuple[dict[str, float], dict[str, int], int, list[str]]] = [
        ({"a": 0.10, "b": 0.30, "c": 0.12}, {"a": 100, "b": 900, "c": 200}, 400, ["a", "c"]),
        ({"a": 0.20, "b": 0.19, "c": 0.05}, {"a": 600, "b": 500, "c": 50}, 550, ["c", "b"]),
        ({"big": 0.9, "mid": 0.3, "low": 0.1}, {"big": 500, "mid": 400, "low": 150}, 650, ["big", "low"]),
    ]
    for scores, costs, budget, wanted in cases:
        got = call(answer, dict(scores), dict(costs), budget, hint="the arguments are two dictionaries and a number.")
        require_type(got, (list, tuple), hint="return the names of the layers, the best one first.")
        names = list(got)
        require(set(names) <= set(scores), names, f"names from {', '.join(scores)}", "return the names of layers.")
        spent = sum(costs[name] for name in names)
        require(spent <= budget, f"layers that cost {spent}", f"at most {budget}", "skip a layer that does not fit.")
        hint = "sort by score divided by cost, highest first; a layer that just fills the budget still fits."
        if names == sorted(names, key=lambda name: -scores[name]) and names != wanted and names[0] != wanted[0]:
            hint = "that is sorted by score alone; divide by what the dendrites cost."
        elif names == wanted[: len(names)]:
            hint = "go on after a layer that does not fit: a later one may, and one that just fills the budget fits."
        require(names == wanted, names, f"{wanted}", hint)
    return "the best score per parameter first, and whatever still fits."


@exercise("The Pareto front")
def check_front(answer: Any) -> str:
    """The learner's function of points (name, parameters, accuracy) to the names on the front, smallest first."""
    cases = [
        ([("m", 900, 70.0), ("s", 400, 66.0), ("l", 1500, 74.0), ("bad", 1000, 68.0)], ["s", "m", "l"]),
        ([("a", 500, 70.0), ("b", 500, 72.0), ("c", 800, 72.0)], ["b"]),
        ([("x", 300, 60.0), ("y", 200, 61.0), ("z", 250, 61.5)], ["y", "z"]),
    ]
    for points, wanted in cases:
        got = call(answer, list(points), hint="the argument is a list of (name, parameters, accuracy).")
        require_type(got, (list, tuple), hint="return the names, the smallest network first.")
        hint = "go from the smallest on and keep a network only if it is better than all the smaller ones."
        if set(got) == set(wanted):
            hint = "the right networks in another order: the smallest first."
        elif set(wanted) < set(got):
            hint = "a network as large or larger with no higher accuracy than another does not belong to the front."
        require(list(got) == wanted, list(got), f"{wanted} from {points}", hint)
    return "no network on the front is beaten by one of at most its size."
