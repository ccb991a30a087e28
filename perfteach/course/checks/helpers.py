"""What the expressions of exercises.toml call: solutions with one thing changed, and the arguments to try them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean, median, pstdev, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import SqueezeExcitation

from perfteach.correlation import Moments
from perfteach.counting import count_parameters
from perfteach.cycle import seeded
from perfteach.dendrites import add_dendrites, dendritic_layers
from perfteach.metrics import error_reduction
from perfteach.models import mobilenet_small
from perfteach.phases import Phase, PlateauSwitch
from perfteach.runs import Epoch, Run
from perfteach.selection import perforate

__all__ = ["Phase", "PlateauSwitch", "fmean", "functional", "median", "pstdev"]  # for the expressions only


def draw(seed: int, *shape: int) -> Tensor:
    """Normal numbers, float64, always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run_of(neuron: int, dendrite: int) -> tuple[Run]:
    """A record with two dendrite phases, the first of them after `neuron` epochs."""
    phases = ["neuron"] * neuron + ["dendrite"] * dendrite + ["neuron"] * 2 + ["dendrite", "neuron"]
    return (Run(epochs=[Epoch(n, phase, int(n > neuron)) for n, phase in enumerate(phases, start=1)]),)


def dendritic(run: Run) -> list[int]:
    """The numbers of the epochs in which dendrites learned."""
    return [entry["epoch"] for entry in run.epochs if entry["phase"] == "dendrite"]


def gate(x: Tensor) -> Tensor:
    """The hard sigmoid."""
    return torch.clamp(x + 3, 0, 6) / 6


def blocks() -> list[tuple[Tensor, nn.Module, nn.Module]]:
    """A map [4, 6, 5, 7] and the two layers of a squeeze-and-excite block, with weights that make all parts matter."""
    with seeded(0):  # the learner's random numbers stay as they were
        block = SqueezeExcitation(6, 3, scale_activation=nn.Hardsigmoid)
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=0.5)
        return [(torch.randn(4, 6, 5, 7) + 0.5, block.fc1, block.fc2)]


@torch.no_grad()
def squeezed(
    x: Tensor,
    fc1: nn.Module,
    fc2: nn.Module,
    pool: Callable[[Tensor], Tensor] = lambda x: x.mean((2, 3), keepdim=True),
    gate: Callable[[Tensor], Tensor] = functional.hardsigmoid,
    linear: bool = False,
    add: bool = False,
    scale: bool = False,
) -> Tensor:
    """Squeeze-and-excite."""
    hidden = fc1(pool(x)) if linear else functional.relu(fc1(pool(x)))
    factor = gate(fc2(hidden))
    return x + factor if add else factor.expand_as(x) if scale else x * factor


def columns() -> list[tuple[Tensor, Tensor]]:
    """Points [40, 3] with means far from zero, and a positive, a negative and a small correlation."""
    v = draw(5, 40, 3)
    return [(v + 2, draw(6, 40, 3) + v * torch.tensor([0.6, -0.8, 0.1]).double() - 1)]


def r(v: Tensor, e: Tensor) -> Tensor:
    """The correlation of each column."""
    return Moments.of(v, e).r


def ascent_cases() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Covariances of either sign; twice the mean error is so large that the plain sum of v·e has the other sign."""
    x, noise = draw(5, 30, 2), draw(7, 30)
    v = (x @ torch.tensor([0.8, -0.5]).double() + 0.6).tanh()
    wide = torch.cat([x, torch.ones(30, 1).double()], 1)
    cases = ((x, 1.0, 0.5), (wide, 1.0, -4.0), (x, -1.0, -4.0))
    return [(inputs, v, turn * (v + 0.3 * noise + mean)) for inputs, turn, mean in cases]


def ascent(x: Tensor, v: Tensor, e: Tensor, mean: bool = True, slope: bool = True, sign: Any = None) -> Tensor:
    """∂S/∂a of notebook 02."""
    free = e - e.mean()
    turn = torch.sign(((v - v.mean()) * free).sum()) if sign is None else sign
    return (turn * (free if mean else e) * (1 - v.square() if slope else 1)) @ x


Records = list[dict[str, Any]]


def phase_records() -> list[tuple[Records]]:
    """Two dendrite phases of two layers."""
    first = [(9, 0.10, 0.40), (10, 0.30, 0.35), (11, 0.20, 0.50), (12, 0.25, 0.20)]
    second = [(41, 0.02, 0.07), (42, 0.01, 0.09)]
    return [
        ([{"epoch": epoch, "scores": {"first": one, "second": two}} for epoch, one, two in rows],)
        for rows in (first, second)
    ]


def layers(records: Records) -> list[str]:
    """The names of the layers."""
    return list(records[0]["scores"])


def best(records: Records, layer: str, of: Any = max) -> Any:
    """The record with the layer's best score."""
    return of(records, key=lambda record: record["scores"][layer])


def interval(
    control: Sequence[float],
    treated: Sequence[float],
    t: float = 2.776,
    spread: Callable[[Sequence[float]], float] = stdev,
    root: float = 0.5,
) -> tuple[float, float, float]:
    """Mean difference and the ends of its interval."""
    differences = [after - before for before, after in zip(control, treated, strict=True)]
    middle, half = fmean(differences), t * spread(differences) / len(differences) ** root
    return middle, middle - half, middle + half


def unpaired(control: Sequence[float], treated: Sequence[float]) -> tuple[float, float, float]:
    """The interval of somebody who forgets that seeds come in pairs."""
    middle = fmean(treated) - fmean(control)
    half = 2.776 * ((stdev(control) ** 2 + stdev(treated) ** 2) / len(control)) ** 0.5
    return middle, middle - half, middle + half


def grown_to(width: float, dendrites: int) -> nn.Module:
    """A MobileNetV3-Small with 10 classes and `dendrites` a neuron."""
    with seeded(0):  # the learner's random numbers stay as they were
        model = perforate(mobilenet_small(10, width))
        for _ in range(dendrites):
            add_dendrites(model)
    return model


def grown() -> list[tuple[nn.Module]]:
    """Two perforated networks, with one and with two dendrites a neuron."""
    return [(grown_to(0.35, 1),), (grown_to(0.2, 2),)]


def two(model: nn.Module, of: Callable[[int, int, int, int], tuple[int, int]]) -> tuple[int, int]:
    """`of` all parameters, those that dendrites brought, the w among these, and the cascade weights."""
    counts, found = count_parameters(model), [layer for _, layer in dendritic_layers(model)]
    w = sum(p.numel() for layer in found for p in layer.weights)
    u = sum(p.numel() for layer in found for p in layer.cascade.parameters())
    return of(counts.total, counts.dendrites, w, u)


@lru_cache
def total_parameters(width: float, dendrites: int) -> int:
    """All parameters of that network."""
    return count_parameters(grown_to(width, dendrites)).total


def widest(dendrites: int, limit: int) -> float:
    """The largest width of 0.3, 0.4, … 1.0 that has at most `limit` parameters."""
    low, high = 3, 10
    while low < high:  # the number of parameters grows with the width
        middle = (low + high + 1) // 2
        low, high = (middle, high) if total_parameters(middle / 10, dendrites) <= limit else (low, middle - 1)
    return low / 10


def width_hint(got: float, dendrites: int, limit: int) -> str:
    """Too wide, or not wide enough?"""
    if round(float(got), 6) not in [tenths / 10 for tenths in range(3, 11)]:
        return "return one of the widths 0.3, 0.4, … 1.0."
    if (used := total_parameters(round(float(got), 2), dendrites)) > limit:
        return f"that has {used:,} parameters: every dendrite has as many weights as its neuron, and they count."
    return f"it fits with {used:,} parameters, but a wider one does too; the limit itself is allowed."


def taken(
    scores: dict[str, float],
    costs: dict[str, int],
    budget: int,
    order: Callable[[float, int], float] = lambda score, cost: score / cost,
    stop: bool = False,
    strict: bool = False,
) -> list[str]:
    """A greedy choice; `stop` ends at the first layer that is too dear, `strict` never fills the budget."""
    chosen = []
    for name in sorted(scores, key=lambda name: -order(scores[name], costs[name])):
        if costs[name] < budget + (not strict):
            chosen.append(name)
            budget -= costs[name]
        elif stop:
            break
    return chosen


def layers_hint(got: list[str], scores: dict[str, float], costs: dict[str, int], budget: int) -> str:
    """What is wrong with another choice."""
    if not set(got) <= set(scores):
        return f"return names from {', '.join(scores)}."
    if sum(costs[name] for name in got) > budget:
        return "these cost more than the budget: skip a layer that does not fit."
    right = taken(scores, costs, budget)
    if set(got) == set(right):
        return "the right layers in another order: the one with the best score per parameter first."
    if sum(scores[name] for name in got) > sum(scores[name] for name in right):
        return "that scores more in all, but the exercise asks for the greedy way: best score per parameter first."
    return "sort by score divided by cost, highest first, and take whatever still fits."


def front(points: list[tuple[str, int, float]], equal: bool = False, ties: int = -1) -> list[str]:
    """The Pareto front; `equal` keeps larger networks of the same accuracy, `ties` 1 puts the worse of two first."""
    names, highest = [], float("-inf")
    for name, _, accuracy in sorted(points, key=lambda point: (point[1], ties * point[2])):
        if accuracy > highest or (equal and accuracy == highest):
            names.append(name)
            highest = accuracy
    return names


def norms() -> list[tuple[Any, ...]]:
    """A convolution's weight and the numbers of a norm, with an eps so large that forgetting it shows."""
    gamma, beta, mean, variance = draw(1, 4, 4).float()
    return [(draw(0, 4, 3, 3, 3).float(), gamma, beta, mean, variance.abs() + 0.2, 0.5)]


def fold(
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    scale: Callable[..., Tensor] = lambda gamma, variance, eps: gamma / (variance + eps).sqrt(),
    bias: Callable[..., Tensor] = lambda beta, mean, scale: beta - mean * scale,
) -> tuple[Tensor, Tensor]:
    """The folded weight and bias."""
    factor = scale(gamma, variance, eps)
    return weight * factor[:, None, None, None], bias(beta, mean, factor)


def share(reference: Tensor, shipped: Tensor, axis: int = 1) -> float:
    """Percent of equal labels."""
    return 100 * float((reference.argmax(axis) == shipped.argmax(axis)).double().mean())


def logits() -> list[tuple[Tensor, Tensor]]:
    """Pairs [8, 5] in which some labels differ, once with the largest difference up and once down."""
    pairs = []
    for seed, moved in ((0, 2), (1, 3)):
        numbers = torch.Generator().manual_seed(seed)
        reference = torch.randn(8, 5, generator=numbers)
        shipped = reference + 0.01 * torch.randn(8, 5, generator=numbers)
        shipped[range(moved), reference[:moved].argmin(1)] = 9.0
        shipped[7, reference[7].argsort()[:2]] = shipped[7, reference[7].argsort()[[1, 0]]]  # two losers change places
        pairs.append((reference, shipped) if seed == 0 else (shipped, reference))
    return pairs


def ms(seconds: list[float], warm_up: int, of: Callable[[list[float]], float]) -> float:
    """Milliseconds, `of` the sorted times after the warm-up."""
    return 1000 * of(sorted(seconds[warm_up:]))


def values() -> list[tuple[Tensor]]:
    """Weights to round, none of them half way between two whole numbers."""
    rows = ([-1.27, 0.0054, 0.6238, 1.0], [0.3, 2.54, -0.1995, 0.017], [-3.0, -0.5, 1.5, 0.02])
    return [(torch.tensor([row]),) for row in rows]


def int8(x: Tensor, to_whole: Callable[[Tensor], Tensor] = torch.round) -> tuple[Tensor, float]:
    """The rounded weights and their scale."""
    scale = x.abs().max() / 127
    return to_whole(x / scale).to(torch.int8), float(scale)


LIMIT = 993_000
RULES: dict[str, Callable[[dict[str, Any], dict[str, Any]], bool]] = {
    "finished": lambda control, entry: control["finished"] and entry["finished"],
    "same data": lambda control, entry: control["data"] == entry["data"],
    "same epochs": lambda control, entry: control["epochs"] == entry["epochs"],
    "within the limit": lambda control, entry: entry["parameters"] <= LIMIT,
}


def broken(control: dict[str, Any], entry: dict[str, Any], **other: Callable[..., bool]) -> set[str]:
    """The rules that a pair breaks, with some of them replaced."""
    rules = RULES | {name.replace("_", " "): rule for name, rule in other.items()}
    return {name for name, holds in rules.items() if not holds(control, entry)}


def record(**changes: Any) -> dict[str, Any]:
    """What the rules read of a run."""
    return {"finished": True, "data": "d0", "epochs": 20, "parameters": 900_000} | changes


Entry = tuple[str, float, float, int]


def ordered(entries: list[Entry], key: Callable[[Entry], Any]) -> list[str]:
    """The teams by a key, lowest first."""
    return [entry[0] for entry in sorted(entries, key=key)]


def gain(entry: Entry) -> float:
    """Error reduction, turned round so that the highest is first; rounded, so that equal ones are equal."""
    return -round(error_reduction(entry[1], entry[2]), 6)


def rank(entries: list[Entry]) -> list[str]:
    """Teams by error reduction against their own control, equal ones by parameters, fewest first."""
    return ordered(entries, key=lambda entry: (gain(entry), entry[3]))
