"""Several processes that train one model together, as `torchrun` starts them. In a single process nothing happens here.

Every rank draws the same batches and takes its part of each. Gradients of the neurons are averaged by PyTorch's
`DistributedDataParallel`; the moments of the correlation and the dendrites' gradients are added up here. Growth is
seeded, and scores come from rank 0, so all ranks decide alike. Rank 0 alone writes.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def count() -> int:
    """How many processes train this model."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if count() > 1 else 0


@contextmanager
def joined() -> Iterator[None]:
    """Within the block this process belongs to those that `torchrun` started beside it, if it did; one GPU each."""
    if "WORLD_SIZE" not in os.environ or count() > 1:
        yield
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    # Else DistributedDataParallel imports it later. Then its functions keep the group, as their usual argument, and the
    # group's threads live on while Python ends, which aborts the process now and then.
    importlib.import_module("torch.distributed.nn.functional")

    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield
    finally:
        gc.collect()  # a trainer in an exception's trace may have kept the group, too
        distributed.destroy_process_group()


def part(*tensors: Tensor) -> tuple[Tensor, ...]:
    """This rank's rows of tensors that every rank has."""
    return tensors if count() == 1 else tuple(tensor[rank() :: count()] for tensor in tensors)


def add_up(*tensors: Tensor) -> None:
    """Give each tensor the sum over the ranks, in place."""
    if count() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)


def add_up_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give each parameter the sum of its gradients over the ranks; one that has none on any rank is left without."""
    if count() == 1 or not parameters:
        return
    having = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    add_up(having)
    for p, ranks_with in zip(parameters, having.tolist(), strict=True):
        if ranks_with:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            add_up(p.grad)


def agreed(value: float) -> float:
    """Rank 0's value, on every rank."""
    if count() == 1:
        return value
    told: list[Any] = [value]
    distributed.broadcast_object_list(told)
    return float(told[0])


def align(model: nn.Module) -> None:
    """Give every rank the buffers of rank 0, such as the statistics of norms, which each rank counts for itself."""
    if count() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def parallel(model: nn.Module) -> nn.Module:
    """The model to run a training step of a neuron phase with: its gradients are the mean over the ranks."""
    if count() == 1:
        return model
    gpu = next(model.parameters()).device
    return DistributedDataParallel(model, device_ids=[gpu] if gpu.type == "cuda" else None)
