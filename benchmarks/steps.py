"""A training step in each phase, as a multiple of a plain step of the same network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks.timing import Step, by_turns
from perfteach import mobilenet_small, perforate
from perfteach.dendrites import add_dendrites, follow_errors, set_phase, trainable

# By arithmetic: forward, backward by inputs and backward by weights count 1 each, so a plain step has 3 units.
LIMITS = {
    "plain": "1",
    "neuron phase, 1 frozen dendrite": "1.33",
    "neuron phase, 2 frozen dendrites": "1.67",
    "neuron phase, 1 thawed dendrite": "1.67",
    "gradient rule, 1 dendrite": "2.00",
    "dendrite phase": "1.33",
}
EARLY = "features.[0-4].*"


def training(width: float, size: int, batch: int = 128, rounds: int = 9) -> dict[str, dict[str, float]]:
    """Every phase of a MobileNet-Small of this width on images of `size` pixels, by turns."""
    kinds: dict[str, Step] = {
        "plain": training_step(width, size, batch, 0, "neuron"),
        "neuron phase, 1 frozen dendrite": training_step(width, size, batch, 1, "neuron"),
        "neuron phase, 2 frozen dendrites": training_step(width, size, batch, 2, "neuron"),
        "neuron phase, 1 thawed dendrite": training_step(width, size, batch, 1, "neuron", thaw=True),
        "gradient rule, 1 dendrite": training_step(width, size, batch, 1, "neuron", rule="gradient"),
        "dendrite phase": training_step(width, size, batch, 1, "dendrite"),
        "early dendrites, thawed": training_step(
            width, size, batch, 1, "neuron", thaw=True, select=EARLY, activation="relu"
        ),
    }
    return by_turns(kinds, rounds)


def training_step(
    width: float, size: int, batch: int, dendrites: int, phase: str, *, thaw: bool = False, rule: str = "perforated",
    select: str | None = None, activation: str = "tanh",
) -> Callable[[], None]:  # fmt: skip
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout: Any = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    torch.manual_seed(0)
    model = perforate(mobilenet_small(10, width, seed=0), select, rule, activation=activation)
    for k in range(dendrites):
        add_dendrites(model, weight=0.1 if phase == "neuron" or k < dendrites - 1 else 0.0)
    model = model.to(device, memory_format=layout)
    set_phase(model, phase, thaw=thaw)
    optimizer = torch.optim.SGD(trainable(model), lr=1e-4, momentum=0.9, nesterov=True, fused=True)
    x = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=layout)
    y = torch.randint(0, 10, (batch,), device=device)
    model(x)  # norms of frozen dendrites have statistics, as after a dendrite phase, so that they rest
    set_phase(model, phase, thaw=thaw)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        if phase == "dendrite":
            follow_errors(model)
        optimizer.step()

    return step
