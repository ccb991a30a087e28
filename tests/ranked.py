"""What several processes of one training do, started by torchrun in tests/test_ranks.py. Each writes its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from perfteach import Callback, DendriteCycle, FixedSwitch, PerforatedTrainer, TrainConfig, perforate, ranks
from perfteach.data.points import small_network, two_spirals

SWITCH = FixedSwitch((3, 3), 3)
EPOCHS = 9


class Dies(Callback):
    """Ends a process with the last rank in the middle of an epoch, once."""

    def __init__(self, epoch: int, mark: Path) -> None:
        self.epoch, self.mark = epoch, mark

    def on_batch_end(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None:
        here = len(trainer.run.epochs) + 1 == self.epoch and batch == 2 and ranks.rank() == ranks.count() - 1
        if here and not self.mark.exists():
            self.mark.touch()
            os._exit(9)


def train(folder: Path, rule: str, dies: int) -> dict[str, torch.Tensor]:
    """With the trainer: neuron, dendrite and neuron phase."""
    data = two_spirals(200, seed=0)
    model = perforate(small_network(5, seed=0), rule="perforated" if rule == "apart" else rule)
    optimizer = sgd if rule == "covariance" else None
    config = TrainConfig(SWITCH, batch_size=64, roll_back=False, optimizer=optimizer)
    callbacks = [Dies(dies, folder / "died")] if dies else []
    place = folder / (
        "elsewhere" if rule == "apart" and ranks.rank() else "run"
    )  # as on machines with disks of their own
    run = PerforatedTrainer(model, data, config, folder=place, callbacks=callbacks).fit(progress=False)
    losses = torch.tensor(run["train_loss"] + run["validation_loss"] + run["train_accuracy"])
    scores = torch.tensor([value for epoch in run.epochs for value in epoch.scores.values()])
    return {"losses": losses, "scores": scores, **model.state_dict()}


def sgd(parameters: list[nn.Parameter], phase: object) -> torch.optim.Optimizer:
    """Unlike Adam it notices when a gradient has the wrong size."""
    return torch.optim.SGD(parameters, lr=0.01 if str(phase) == "neuron" else 1e-4)


def own_loop() -> dict[str, torch.Tensor]:
    """With a loop of one's own: DistributedDataParallel for the neurons, one call of the cycle an epoch."""
    data, model = two_spirals(200, seed=0), perforate(small_network(5, seed=0))
    cycle = DendriteCycle(model, SWITCH, roll_back=False)
    while not cycle.finished:
        step = ranks.parallel(model) if cycle.phase == "neuron" else model
        optimizer = torch.optim.Adam(cycle.parameters(), lr=0.01)
        changed = False
        while not changed:
            cycle.train()
            for batch in data.batches("train", 50, shuffle=True, seed=cycle.epochs):
                x, y = ranks.part(*batch)
                optimizer.zero_grad()
                cross_entropy(step(x), y).backward()
                cycle.follow()
                optimizer.step()
            with torch.no_grad():
                right = model(data.validation.inputs).argmax(1) == data.validation.labels
            changed = bool(cycle.step(float(right.float().mean())))
    return dict(model.state_dict())


def main() -> None:
    folder, what, dies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    with ranks.joined():
        end = own_loop() if what == "own" else train(folder, what, dies)
        torch.save(end, folder / f"end-{ranks.count()}-{ranks.rank()}.pt")


if __name__ == "__main__":
    main()
