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
from perfteach.dendrites import add_dendrites, correlate, set_phase, trainable

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
    assert run.header["machine"].get("processes", 1) == ranks.count()
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


class Experts(nn.Module):
    """Sends an example to the head that its first number names, so that each of two ranks uses one head only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.heads = nn.Linear(3, 8), nn.ModuleList([nn.Linear(8, 2), nn.Linear(8, 2), nn.Linear(8, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, out = torch.tanh(self.body(x)), x.new_zeros(len(x), 2)
        for number, head in enumerate(self.heads):
            rows = x[:, 0] == number
            if rows.any():
                out = out.index_put((rows.nonzero()[:, 0],), head(h[rows]))
        return out


def experts() -> dict[str, torch.Tensor]:
    """A dendrite phase in which no rank uses every layer, and one layer is used by none."""
    torch.manual_seed(0)
    model = add_dendrites(perforate(Experts()))
    set_phase(model, "dendrite")
    optimizer = torch.optim.SGD(trainable(model), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        x, y = torch.randn(16, 3), torch.randint(0, 2, (16,))
        x[:, 0] = torch.arange(16) % 2
        x, y = ranks.part(x, y)
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        correlate(model)
        optimizer.step()
    return dict(model.state_dict())


def main() -> None:
    folder, what, dies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    with ranks.joined():
        end = {"own": own_loop, "experts": experts}.get(what, lambda: train(folder, what, dies))()
        torch.save(end, folder / f"end-{ranks.count()}-{ranks.rank()}.pt")
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in name for name in names), "threads that live on can abort the process at its end"


if __name__ == "__main__":
    main()
