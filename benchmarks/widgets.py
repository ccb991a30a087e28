"""What Python does for a step of a widget: milliseconds in the kernel, with a long run and a whole study."""

from __future__ import annotations

import itertools

from benchmarks.timing import Step, by_turns
from perfteach.runs import Epoch, Result, Run
from perfteach.widgets import BudgetDesigner, CorrelationLab, PhaseExplorer, PhaseMonitor, RunCompare


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


def redraws(rounds: int = 15) -> dict[str, dict[str, float]]:
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

    seeds = ((0, 1, 2), (1, 2, 3, 4), (0, 3, 4))
    moves = {
        "phase explorer, the whole run": lambda k: PhaseExplorer(run),
        "phase monitor, an epoch": grow,
        "correlation lab, a move": move,
        "budget designer, width": lambda k: setattr(budget.width, "value", 0.1 + 0.05 * (k % 15)),
        "run compare, seeds": lambda k: setattr(compare.seeds, "value", seeds[k % 3]),
    }
    steps = {name: itertools.count() for name in moves}
    kinds: dict[str, Step] = {name: lambda name=name: moves[name](next(steps[name])) for name in moves}
    return by_turns(kinds, rounds)
