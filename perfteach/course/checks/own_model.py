"""Checks of notebook 07: perforating a chosen part, a valid submission, and the order of a scoreboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from perfteach.course.checks.core import call, exercise, require, require_equal, require_type
from perfteach.dendrites import dendrite_counts
from perfteach.metrics import error_reduction

RULES = ("finished", "same data", "same epochs", "within the limit")
LIMIT = 1_660_000


class TinyResNet(nn.Module):
    """Two residual blocks on 8 channels and a Linear head; images [B, 3, H, W] to logits [B, classes]."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = self._convolution(3)
        self.first, self.second = self._convolution(8), self._convolution(8)
        self.head = nn.Linear(8, classes)

    @staticmethod
    def _convolution(inputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(x)
        x = x + self.second(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


@exercise("Dendrites on the convolutions only")
def check_perforate_convolutions(answer: Any) -> str:
    """The learner's function of a model: one dendrite a neuron on every convolution and nowhere else."""
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = TinyResNet().eval()
    images = torch.randn(2, 3, 8, 8)
    torch.random.set_rng_state(torch_state)
    before = model(images)
    got = call(answer, model, hint="the argument is a network that has not been perforated yet.")
    require_type(got, nn.Module, hint="return the model.")
    counts = dendrite_counts(got)
    require(counts, "a model without dendritic layers", "dendritic layers", "begin with perforate(model, …).")
    require(
        "head" not in counts, f"dendritic layers {list(counts)}", "convolutions only", "use select=torch.nn.Conv2d."
    )
    require_equal(len(counts), 3, hint="every convolution of the network, whatever its name: select by type.")
    require(
        set(counts.values()) == {1},
        f"{sorted(set(counts.values()))[0]} dendrites a neuron",
        "1",
        "perforate makes room for dendrites; add_dendrites(model) grows one, once.",
    )
    after = got.eval()(images)
    require(torch.equal(before, after), "other logits", "the same logits bit for bit", "add nothing but dendrites.")
    return "three convolutions carry dendrites, the head does not, and no logit has changed."


def _record(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "data": "d0",
        "epochs": 20,
        "parameters": 900_000,
        "accuracy": 71.0,
        "finished": True,
    } | changes


@exercise("Is it a valid submission?")
def check_problems(answer: Any) -> str:
    """The learner's function (control, entry) to the list of rules that the pair breaks."""
    cases: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
        (_record(), _record(), []),
        (_record(), _record(finished=False), ["finished"]),
        (_record(), _record(data="d1"), ["same data"]),
        (_record(epochs=12), _record(), ["same epochs"]),
        (_record(), _record(parameters=LIMIT + 1), ["within the limit"]),
        (_record(), _record(parameters=LIMIT), []),
        (
            _record(finished=False, epochs=3),
            _record(parameters=2_000_000),
            ["finished", "same epochs", "within the limit"],
        ),
    ]
    for control, entry, wanted in cases:
        got = call(answer, dict(control), dict(entry), hint="the arguments are two dictionaries.")
        require_type(got, (list, tuple), hint="return the list of broken rules, an empty one when all is well.")
        hint = f"the rules are {', '.join(RULES)}; the limit of {LIMIT:,} itself is allowed."
        if set(wanted) - set(got) == {"finished"}:
            hint = "both runs have to be finished, the control too."
        elif set(wanted) - set(got) == {"same epochs"}:
            hint = "a control that trained for fewer epochs proves nothing."
        shown = {key: (control[key], entry[key]) for key in ("finished", "data", "epochs", "parameters")}
        require(sorted(got) == sorted(wanted), list(got), f"{wanted} for (control, entry) = {shown}", hint)
    return "four rules, each read from the records."


@exercise("Rank the scoreboard")
def check_rank(answer: Any) -> str:
    """The learner's function of entries (team, control accuracy, accuracy, parameters) to the teams, best first."""
    cases: list[list[tuple[str, float, float, int]]] = [
        [("owls", 70.0, 73.0, 900_000), ("newts", 80.0, 82.5, 1_200_000), ("crabs", 60.0, 65.0, 700_000)],
        [("ants", 50.0, 60.0, 800_000), ("bees", 75.0, 80.0, 500_000), ("cats", 90.0, 91.0, 100_000)],
    ]
    for entries in cases:
        got = call(answer, list(entries), hint="each entry is (team, control accuracy, accuracy, parameters).")
        require_type(got, (list, tuple), hint="return the names of the teams, best first.")
        wanted = rank(entries)
        names = list(got)
        require(sorted(map(str, names)) == sorted(wanted), names, "each team once", "return the names of the teams.")
        hint = "sort by error reduction against the team's own control, highest first; equal ones by parameters."
        by_accuracy: Callable[[tuple[str, float, float, int]], float] = lambda e: -e[2]  # noqa: E731
        if names == [e[0] for e in sorted(entries, key=by_accuracy)]:
            hint = "that is by accuracy; networks of different size have different controls."
        elif names == wanted[::-1]:
            hint = "the best first: the highest error reduction."
        elif names == [e[0] for e in sorted(entries, key=lambda e: e[1] - e[2])]:
            hint = "that is by points gained; one point means more where few errors are left."
        require(names == wanted, names, f"{wanted}", hint)
    return "each team is measured against its own control."


def rank(entries: list[tuple[str, float, float, int]]) -> list[str]:
    """Teams by error reduction against their own control, equal ones by parameters, fewest first."""
    return [e[0] for e in sorted(entries, key=lambda e: (-round(error_reduction(e[1], e[2]), 6), e[3]))]
