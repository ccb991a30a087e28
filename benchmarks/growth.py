"""How the cost grows: with dendrites a neuron, with the layers that have them, with the batch, and in memory."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.steps import EARLY, training_step
from benchmarks.timing import Step, by_turns
from perfteach.memory import kept

LAYERS = {"the stem and the first blocks": EARLY, "blocks 5 to 9": "features.[5-9].*", "every layer": None}
PHASES: dict[str, dict[str, Any]] = {
    "plain": {"dendrites": 0, "phase": "neuron"},
    "neuron phase, 1 frozen dendrite": {"dendrites": 1, "phase": "neuron"},
    "neuron phase, 2 frozen dendrites": {"dendrites": 2, "phase": "neuron"},
    "gradient rule, 1 dendrite": {"dendrites": 1, "phase": "neuron", "rule": "gradient"},
    "dendrite phase": {"dendrites": 1, "phase": "dendrite"},
}


def with_dendrites(width: float = 0.35, size: int = 32, rounds: int = 7, most: int = 4) -> dict[str, dict[str, float]]:
    """A step of the neuron phase with 0 to `most` frozen dendrites for every neuron."""
    kinds: dict[str, Step] = {
        f"{count} dendrites a neuron": training_step(width, size, 128, count, "neuron") for count in range(most + 1)
    }
    return by_turns(kinds, rounds)


def with_layers(width: float = 0.35, size: int = 32, rounds: int = 7) -> dict[str, dict[str, float]]:
    """A step with one thawed dendrite for every neuron of some layers."""
    kinds: dict[str, Step] = {"no layer": training_step(width, size, 128, 0, "neuron")}
    for name, select in LAYERS.items():
        kinds[name] = training_step(width, size, 128, 1, "neuron", thaw=True, select=select)
    return by_turns(kinds, rounds)


def with_batch(width: float = 0.35, size: int = 32, rounds: int = 7) -> dict[str, dict[str, float]]:
    """A step with one frozen dendrite a neuron, beside a plain one, for batches of 32 to 256: four tables in one."""
    found: dict[str, dict[str, float]] = {}
    for batch in (32, 64, 128, 256):
        kinds: dict[str, Step] = {
            f"batch {batch}, plain": training_step(width, size, batch, 0, "neuron"),
            f"batch {batch}, 1 frozen dendrite": training_step(width, size, batch, 1, "neuron"),
        }
        found |= by_turns(kinds, rounds)
    return found


def memory(width: float = 0.35, size: int = 64, batch: int = 128) -> dict[str, float]:
    """MB that a process of its own takes at its highest in three steps of each phase, above what PyTorch takes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        return {name: pool.submit(_peak, width, size, batch, how).result() for name, how in PHASES.items()}


def _peak(width: float, size: int, batch: int, how: dict[str, Any]) -> float:
    torch.set_num_threads(1)
    before = _highest()
    step = training_step(width, size, batch, **how)
    with kept():
        for _ in range(3):
            step()
    return round(_highest() - before, 1)


def _highest() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had when it started this one
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kilobytes) / 2**10
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
