"""What the notebooks share: how much a tier trains, its images, and the recorded runs with where they come from.

One switch, the environment variable PERFTEACH_TIER, chooses between "quick" (Binder: under a minute a notebook on one
CPU), "laptop" (about ten minutes) and "full" (a GPU). It changes data, epochs and seeds, never what the text says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfteach.errors import ConfigError

if TYPE_CHECKING:
    from perfteach.data import ImageData
    from perfteach.runs import Run

VARIABLE = "PERFTEACH_TIER"


@dataclass(frozen=True)
class Tier:
    """How much the live runs train.

    Attributes:
        name: "quick", "laptop" or "full".
        data: what `perfteach.data.load` loads.
        images: training images; None takes all.
        neuron: epochs of the neuron phases: the first, after one cycle, …
        dendrite: epochs of a dendrite phase.
        seeds: of repeated runs.
        width: multiplier of the live MobileNets' channels.
        batch_size: images a step.
    """

    name: str
    data: str
    images: int | None
    neuron: tuple[int, ...]
    dendrite: int
    seeds: tuple[int, ...]
    width: float
    batch_size: int

    @property
    def epochs(self) -> int:
        """Epochs of a live run through all its phases."""
        return sum(self.neuron) + self.dendrite * (len(self.neuron) - 1)

    def load(self, progress: bool = False) -> ImageData:
        """The tier's images, cut to its size.

        Raises:
            DataError: when the data set is not there (CIFAR-10 has to be downloaded once).
        """
        from perfteach import data

        whole = data.load(self.data, progress=progress)
        return whole if self.images is None else whole.subset(min(self.images, len(whole.train)))


TIERS = {
    "quick": Tier("quick", "cifar10-sample", 2000, (5, 3), 2, (0,), 0.35, 64),
    "laptop": Tier("laptop", "cifar10-sample", None, (15, 10), 4, (0, 1, 2), 0.35, 64),
    "full": Tier("full", "cifar10", None, (60, 40), 10, (0, 1, 2, 3, 4), 1.0, 128),
}


def tier(name: str | None = None) -> Tier:
    """The tier called `name`, or the one that PERFTEACH_TIER names, or "quick".

    Raises:
        ConfigError: for an unknown name.
    """
    chosen = name or os.environ.get(VARIABLE) or "quick"
    if chosen not in TIERS:
        raise ConfigError(f"there is no tier {chosen!r}; set {VARIABLE} to one of {', '.join(TIERS)}")
    return TIERS[chosen]


def about(runs: Run | Sequence[Run]) -> str:
    """Where recorded runs come from, in a sentence: how many, on which data, when, on which machine."""
    listed = runs if isinstance(runs, Sequence) else [runs]
    if not listed:
        return "No recorded runs."
    sets = sorted({f"{run.data_title}, {run.data.get('train', 0):,} training images" for run in listed})
    dates = sorted({str(run.header.get("started", "on an unknown date"))[:10] for run in listed})
    machines = sorted({_machine(run.header.get("machine") or {}) for run in listed})
    count = f"Recorded run *{listed[0].name}*" if len(listed) == 1 else f"{len(listed)} recorded runs"
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{count}: {', '.join(sets)}; {when}; {', '.join(machines)}."


def _machine(machine: dict[str, Any]) -> str:
    threads = machine.get("threads") or "?"
    return str(machine.get("gpu") or f"{machine.get('cpu', 'unknown CPU')}, {threads} thread{'s' * (threads != 1)}")
