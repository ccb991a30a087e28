"""How the forward and backward pass of a training step is run: as it stands, as a CUDA graph, or compiled.

A small network on a GPU waits for Python: a step of a MobileNet is several hundred operations of a few microseconds
each. A CUDA graph records them once and starts them all with one call; `torch.compile` also melts many of them into
one. Both compute what the plain step computes, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perfteach import ranks
from perfteach.errors import ConfigError

ENGINES = ("eager", "graph", "compile")
WARM_UP = 3  # steps before a recording, in which libraries choose their methods and reserve memory

Loss = Callable[[Tensor, Tensor], Tensor]
Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def engine(kind: str, model: nn.Module, loss: Loss, device: torch.device, *, averaged: bool = True) -> Pass:
    """A function of (inputs, labels) that leaves fresh gradients in the parameters; returns outputs and loss.

    Args:
        kind: as `engine` in `TrainConfig`. A graph is recorded for each shape of a batch, also of what "compile" made;
            without a GPU there is none, and "graph" is eager.
        loss: of (outputs, labels), one number.
        averaged: where several processes train the model, whether its gradients are to be the mean over them.

    Raises:
        ConfigError: from the step itself, when a network cannot be recorded.
    """
    run = torch.compile(model, dynamic=False) if kind == "compile" else model
    plain = _Eager(model, run, loss)
    if ranks.count() > 1 and averaged:  # what passes between processes is not recorded
        return _Ranked(model, loss)
    return _Graphs(plain) if kind != "eager" and device.type == "cuda" else plain


class _Eager:
    def __init__(self, model: nn.Module, run: Any, loss: Loss) -> None:
        self.model, self.loss = model, loss
        self.run = run  # the model, or what was compiled from it
        self.parameters = list(model.parameters())  # a phase's own; looking them up takes 2 % of a small network's step

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        for parameter in self.parameters:
            parameter.grad = None
        output = self.run(x)
        value = self.loss(output, y)
        value.backward()
        return output.detach(), value.detach()


class _Ranked:
    """The step of one of several processes; the others are first met when it is run."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        self.model, self.loss = model, loss
        self.plain: _Eager | None = None

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.plain = self.plain or _Eager(self.model, ranks.parallel(self.model), self.loss)
        return self.plain(x, y)


@dataclass(frozen=True)
class _Recording:
    """A graph, the places that it reads from and writes to, and the gradients that it leaves."""

    graph: Any
    x: Tensor
    y: Tensor
    output: Tensor
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]

    def replay(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.output, self.loss


class _Graphs:
    """Records a step for each shape of a batch, and replays it."""

    def __init__(self, plain: _Eager) -> None:
        self.plain = plain
        self.recorded: dict[torch.Size, _Recording] = {}

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape not in self.recorded:
            try:
                self.recorded[x.shape] = _record(self.plain, x, y)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # torch's random numbers stay out of order after it, so nothing goes on
                reason = str(error).strip().partition("\n")[0]
                raise ConfigError(f"this network's step cannot be recorded ({reason}); use engine='eager'") from error
        return self.recorded[x.shape].replay(x, y)


def _record(step: _Eager, x: Tensor, y: Tensor) -> _Recording:
    """Record one step. What the warm-up changes, statistics of norms and random numbers, is put back."""
    buffers = [(buffer, buffer.clone()) for buffer in step.model.buffers()]
    x, y, graph, side = x.clone(), y.clone(), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.random.fork_rng([x.device]):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step(x, y)
        torch.cuda.current_stream().wait_stream(side)
        step.model.zero_grad(set_to_none=True)
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                output, loss = step(x, y)
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
    gradients = [(parameter, parameter.grad) for parameter in step.model.parameters() if parameter.grad is not None]
    return _Recording(graph, x, y, output, loss, gradients)
