"""What the figures read from a run's record: its phases, its layers, the state of the network at an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perfteach.errors import ConfigError
from perfteach.runs import Run

Epoch = dict[str, Any]
NOTHING = "No epoch has been recorded yet."


@dataclass(frozen=True)
class Band:
    """Consecutive epochs of one phase: `first` and `last` are included. `cycle` counts the dendrites per neuron."""

    phase: str
    cycle: int
    first: int
    last: int

    @property
    def dendritic(self) -> bool:
        return self.phase == "dendrite"


def data_title(run: Run) -> str:
    """The name of the run's data for titles; says "synthetic" where it is."""
    data = run.header.get("data") or {}
    name = str(data.get("name", "unnamed data"))
    return marked(name, bool(data.get("synthetic")))


def marked(name: str, synthetic: bool) -> str:
    """A data set's name that says "synthetic" where it is."""
    if not synthetic or "synthetic " in name:
        return name
    return f"{name[:-1]}, synthetic)" if name.endswith(")") else f"{name} (synthetic)"


def epochs_until(run: Run, until: int | None = None) -> list[Epoch]:
    """The records of the first `until` epochs; all of them for None.

    Raises:
        ConfigError: when `until` is negative.
    """
    if until is not None and until < 0:
        raise ConfigError(f"until is {until}; use the number of the last epoch to draw, or None for all")
    return [epoch for epoch in run.epochs if until is None or epoch["epoch"] <= until]


def phase_bands(run: Run, until: int | None = None) -> list[Band]:
    """The phases in the order they came, as the record has them."""
    bands: list[Band] = []
    for epoch in epochs_until(run, until):
        phase, cycle, number = epoch["phase"], epoch.get("cycle", 0), epoch["epoch"]
        if bands and (bands[-1].phase, bands[-1].cycle) == (phase, cycle):
            bands[-1] = Band(phase, cycle, bands[-1].first, number)
        else:
            bands.append(Band(phase, cycle, number, number))
    return bands


def mean_score(epoch: Epoch) -> float | None:
    """Mean |r| over the layers of a dendrite-phase epoch; None where none was measured."""
    scores = list((epoch.get("scores") or {}).values())
    return sum(scores) / len(scores) if scores else None


def score_layers(run: Run) -> list[str]:
    """Names of the layers with scores, in the order of the record."""
    return list(dict.fromkeys(layer for epoch in run.epochs for layer in epoch.get("scores") or {}))


def layer_names(run: Run) -> list[str]:
    """The layers that can carry dendrites, in the network's order; none for a plain network.

    Records made before the header named them do so in their scores and their result.
    """
    named = [str(layer["name"]) for layer in run.header.get("layers") or []]
    return named or score_layers(run) or list((run.result or {}).get("dendrites") or {})


def layer_groups(layers: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of neighbouring layers with the same first two name parts: (name, first index, last index)."""
    groups: list[tuple[str, int, int]] = []
    for index, layer in enumerate(layers):
        name = ".".join(layer.split(".")[:2])
        if groups and groups[-1][0] == name:
            groups[-1] = (name, groups[-1][1], index)
        else:
            groups.append((name, index, index))
    return groups


def listed(items: Sequence[str], most: int = 5) -> str:
    """The items as a phrase; those beyond `most` are counted."""
    if len(items) > most:
        return ", ".join(items[:most]) + f" and {len(items) - most} more"
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
