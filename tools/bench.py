"""`make bench`: seconds of a training step in each phase, and milliseconds of a widget's step in the kernel.

Numbers only mean something on a machine that does nothing else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn import functional

from perfteach import mobilenet_small, perforate
from perfteach.dendrites import add_dendrites, correlate, set_phase, trainable
from perfteach.runs import Epoch, Result, Run
from perfteach.widgets import BudgetDesigner, CorrelationLab, PhaseExplorer, PhaseMonitor, RunCompare


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


def long_run(arm: str = "perforated", seed: int = 0, epochs: int = 200, layers: int = 50) -> Run:
    """A made-up record of the size that a redraw has to cope with; dendrite phases in epochs 101 to 124, 150 to 174."""
    names = [f"features.{k // 4}.block.{k % 4}" for k in range(layers)]
    records = []
    for epoch in range(1, epochs + 1):
        dendrite = epoch > 100 and epoch % 50 < 25
        scores = {name: 0.01 + 0.0001 * (epoch + k) for k, name in enumerate(names)} if dendrite else {}
        error = 80 / epoch**0.3 + seed / 2
        records.append(
            Epoch(
                epoch,
                "dendrite" if dendrite else "neuron",
                cycle=int(epoch > 100) + int(epoch >= 150),
                train_loss=error / 40,
                train_accuracy=99 - error,
                validation_loss=error / 35,
                validation_accuracy=98 - error,
                lr=1e-3,
                seconds=10.0,
                scores=scores,
                parameters=100_000,
            )
        )
    total = 100_000 * (1 + len(arm))
    result = Result(
        80.0 + 0.3 * len(arm) - seed,
        best_epoch=epochs,
        parameters={"blocks": total, "total": total},
        dendrites=dict.fromkeys(names, 2),
        seconds=2000.0,
    )
    header = {"name": f"bench/{arm}-seed{seed}", "seed": seed, "data": {"name": "made up", "synthetic": True}}
    header["layers"] = [{"name": name, "neurons": 16} for name in names]
    return Run(header, records, [], result)


def redraws() -> None:
    """What follows one step of a control of each widget: all that Python does for it."""
    run = long_run()
    arms = ("baseline", "same-epochs", "wider", "random", "shuffled", "thawed", "gradient", "perforated")
    study = [long_run(arm, seed) for arm in arms for seed in range(5)]
    lab, budget, compare = CorrelationLab(), BudgetDesigner(study), RunCompare(study)
    monitor, part = PhaseMonitor(), Run(run.header, run.epochs[:100])
    monitor.run = part

    def grow(k: int) -> None:
        part.epochs = run.epochs[: 101 + k]
        monitor._send()

    def move(k: int) -> None:
        lab.on_message(None, {"do": "move", "dendrite": [0.1 * k, 1.0, 0.0]})

    for name, step in (
        ("phase explorer, the whole run", lambda k: PhaseExplorer(run)),
        ("phase monitor, an epoch", grow),
        ("correlation lab, a move", move),
        ("budget designer, width", lambda k: setattr(budget.width, "value", 0.1 + 0.05 * k)),
        ("run compare, seeds", lambda k: setattr(compare.seeds, "value", ((0, 1, 2), (1, 2, 3, 4), (0, 3, 4))[k % 3])),
    ):
        steps = itertools.count()
        taken = milliseconds(lambda step=step, steps=steps: step(next(steps)))  # type: ignore[misc]
        print(f"  {name:<34} {taken:7.1f} ms")


def main() -> None:
    """Print every figure."""
    threads = torch.get_num_threads()
    for width in (0.25, 1.0):
        print(f"training step, MobileNet-Small width {width:g}, 32×32, batch 128, {threads} threads")
        steps(width)
    print("in the kernel: a run of 200 epochs and 50 layers, a study of 8 arms with 5 seeds")
    redraws()


if __name__ == "__main__":
    main()
