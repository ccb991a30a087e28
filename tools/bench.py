"""`make bench`: seconds of a training step in each phase, and milliseconds of a redraw, on this machine.

Numbers only mean something on a machine that does nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn import functional

from perfteach import mobilenet_small, perforate, plots
from perfteach.dendrites import add_dendrites, correlate, set_phase, trainable
from perfteach.runs import Run


def milliseconds(work: Callable[[], object], times: int = 15) -> float:
    """Median over `times` calls, after one to warm up."""
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken)


def steps(width: float, batch: int = 128) -> None:
    """A training step of MobileNet-Small at 32×32 in every phase, and its ratio to a plain step."""
    x = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,))
    plain = 0.0
    for name, dendrites, phase, thaw in (
        ("plain", 0, "neuron", False),
        ("neuron phase, 1 dendrite, frozen", 1, "neuron", False),
        ("neuron phase, 1 dendrite, thawed", 1, "neuron", True),
        ("dendrite phase", 1, "dendrite", False),
    ):
        model = perforate(mobilenet_small(10, width, seed=0)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for _ in range(dendrites):
            add_dendrites(model)
        set_phase(model, phase, thaw=thaw)
        optimizer = torch.optim.AdamW(trainable(model), lr=1e-4, fused=True)

        def step(model=model, optimizer=optimizer, phase=phase) -> None:  # type: ignore[no-untyped-def]
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            if phase == "dendrite":
                correlate(model)
            optimizer.step()

        taken = milliseconds(step)
        plain = plain or taken
        print(f"  {name:<34} {taken:7.1f} ms  {taken / plain:5.2f} × plain")


def long_run(epochs: int = 200, layers: int = 50) -> Run:
    """A made-up record of the size that a redraw has to cope with."""
    names = [f"features.{k}" for k in range(layers)]
    records = []
    for epoch in range(1, epochs + 1):
        dendrite = epoch > 100 and epoch % 50 < 25
        scores = {name: 0.01 + 0.0001 * (epoch + k) for k, name in enumerate(names)} if dendrite else {}
        error = 80 / epoch**0.3
        records.append(
            {
                "epoch": epoch,
                "phase": "dendrite" if dendrite else "neuron",
                "cycle": int(epoch > 100) + int(epoch > 150),
                "train_accuracy": 99 - error,
                "validation_accuracy": 98 - error,
                "train_loss": error / 40,
                "validation_loss": error / 35,
                "lr": 1e-3,
                "seconds": 10.0,
                "scores": scores,
                "parameters": 100_000,
            }
        )
    return Run({"name": "bench", "data": {"name": "made up", "synthetic": True}}, records)


def main() -> None:
    """Print every figure."""
    threads = torch.get_num_threads()
    for width in (0.25, 1.0):
        print(f"training step, MobileNet-Small width {width:g}, 32×32, batch 128, {threads} threads")
        steps(width)
    run = long_run()
    print("redraw, 200 epochs and 50 layers")
    for name, draw in (("training curves", plots.training_curves), ("score heat map", plots.score_heatmap)):
        print(f"  {name:<34} {milliseconds(lambda draw=draw: plots.png(draw(run))):7.1f} ms")  # type: ignore[misc]


if __name__ == "__main__":
    main()
