"""The open package `perforatedai` on the same network, beside this one's gradient rule: time, and accuracy.

Its dendrites learn beside their neurons, by plain gradients, like those of our rule "gradient". It is no dependency of
the course; `pip install perforatedai` brings it, and without it these parts are left out.

    python -m benchmarks.peer --data PATH     trains every arm and seed on CIFAR-10 and keeps the figures

What is kept already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import steps
from benchmarks.steps import EARLY
from benchmarks.timing import by_turns
from perfteach import mobilenet_small, perforate
from perfteach.data import ImageData, load
from perfteach.dendrites import add_dendrites, set_phase
from perfteach.metrics import evaluate
from perfteach.provenance import provenance
from perfteach.trimmed import TrimmedConv2d

NAME = "perforatedai"
KEPT = Path(__file__).parent / "results" / "peer.json"
MISSING = f"the peer {NAME} is not installed, so its rows are left out (pip install {NAME})"


def installed() -> bool:
    """Whether the peer can be imported."""
    return find_spec(NAME) is not None


@contextmanager
def quietly() -> Iterator[None]:
    """The peer prints what it does, and writes its own files into the folder it is in: both go elsewhere."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


class Peer:
    """A network in the peer's hands. Its state is global, so there is one at a time.

    Args:
        model: the network; every convolution and linear layer of it can get a dendrite.
        build: makes the optimiser of a network.
    """

    def __init__(self, model: nn.Module, build: Callable[[nn.Module], torch.optim.Optimizer]) -> None:
        from perforatedai import globals_perforatedai as shared
        from perforatedai import utils_perforatedai as tools

        settings, self.tracker, self.build = shared.pc, lambda: shared.pai_tracker, build
        settings.set_perforated_backpropagation(False)
        settings.set_use_cuda(False)
        settings.set_device(torch.device("cpu"))
        settings.set_testing_dendrite_capacity(False)
        for agreed in ("unwrapped_modules_confirmed", "weight_decay_accepted", "configuration_confirmed"):
            getattr(settings, f"set_{agreed}")(True)
        settings.set_verbose(False)
        settings.set_test_saves(False)
        settings.set_modules_to_perforate([nn.Conv2d, nn.Linear, TrimmedConv2d])
        settings.set_pai_forward_function(torch.tanh)
        settings.set_max_dendrites(1)
        settings.set_switch_mode(settings.DOING_FIXED_SWITCH)
        settings.set_first_fixed_switch_num(1)
        settings.set_fixed_switch_num(1)
        self.model = tools.perforate_model(model, save_name="peer")
        self._optimise()

    def _optimise(self) -> None:
        self.optimizer = self.build(self.model)
        self.tracker().set_optimizer_instance(self.optimizer)

    def grow(self, x: Tensor, y: Tensor) -> None:
        """Give every neuron its dendrite: the peer does so once it has seen a step and a score or two."""
        before = sum(p.numel() for p in self.model.parameters())
        for score in range(1, 9):
            self.step(x, y)
            self.model, changed, _ = self.tracker().add_validation_score(float(score), self.model)
            if changed:
                self._optimise()
            if changed and sum(p.numel() for p in self.model.parameters()) > before:
                return
        raise RuntimeError(f"{NAME} added no dendrites")

    def step(self, x: Tensor, y: Tensor) -> None:
        """One step of training."""
        self.model.train()
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(x), y).backward()
        self.optimizer.step()


def beside(width: float, size: int, batch: int = 128, rounds: int = 9) -> dict[str, dict[str, float]]:
    """A plain step, our gradient rule's with one dendrite a neuron, and the peer's, by turns."""
    torch.manual_seed(0)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,))
    with quietly():
        peer = Peer(
            mobilenet_small(10, width, seed=0),
            lambda model: torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True, fused=True),
        )
        peer.grow(x, y)
        peer.model.to(memory_format=torch.channels_last)
        kinds = {
            "plain": steps.training_step(width, size, batch, 0, "neuron"),
            "perfteach, gradient rule, 1 dendrite": steps.training_step(
                width, size, batch, 1, "neuron", rule="gradient"
            ),
            f"{NAME}, 1 dendrite": lambda: peer.step(x, y),
        }
        return by_turns(kinds, rounds)


# --- accuracy ---------------------------------------------------------------------------------------------------------

WIDTH = 0.15
ARMS = {
    "plain": "no dendrites",
    "gradient": "perfteach, gradient rule, a tanh dendrite for every neuron",
    "early": "perfteach, thawed ReLU dendrites in the stem and the first blocks",
    "peer": f"{NAME}, a tanh dendrite for every neuron",
}


def train(arm: str, seed: int, images: ImageData, epochs: int, width: float = WIDTH) -> dict[str, Any]:
    """Train with dendrites from the first epoch; the same loop, batches and schedule for every arm.

    Returns:
        Accuracy on the test images in percent, after the last epoch; parameters; processor seconds of the training.
    """
    torch.manual_seed(seed)
    model = mobilenet_small(len(images.classes), width, seed=seed)
    first = next(iter(images.batches("train", 128)))
    if arm == "peer":
        peer = Peer(model, _sgd)
        peer.grow(*first)
        model = peer.model
    elif arm != "plain":
        rule, select, activation = ("gradient", None, "tanh") if arm == "gradient" else ("perforated", EARLY, "relu")
        model = add_dendrites(perforate(model, select, rule, activation=activation))
        set_phase(model, "neuron", thaw=arm == "early")
    model.to(memory_format=torch.channels_last)
    optimizer = _sgd(model)
    steps_in_all = epochs * (len(images.train) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, steps_in_all, pct_start=0.1)
    start = time.process_time()
    for epoch in range(epochs):
        for x, y in images.batches("train", 128, shuffle=True, augment=True, seed=1000 * seed + epoch, drop_last=True):
            model.train()
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
    seconds = time.process_time() - start
    accuracy = evaluate(model, images.batches("test", 500), functional.cross_entropy)[1]
    # The peer keeps a copy of every layer to make dendrites from, which no input passes through.
    parameters = sum(p.numel() for name, p in model.named_parameters() if ".parent_module." not in name)
    return {"arm": arm, "seed": seed, "accuracy": accuracy, "parameters": parameters, "seconds": round(seconds, 1)}


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    learning = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(learning, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="what perfteach.data.load takes (%(default)s)")
    parser.add_argument("--arm", choices=ARMS, nargs="+", default=list(ARMS), help="(all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(0 1 2)")
    parser.add_argument("--epochs", type=int, default=5, help="(%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = load(arguments.data, label="CIFAR-10 (JPEG q75)" if arguments.data != "cifar10" else None)
    about = {"data": images.title(), "width": WIDTH, "epochs": arguments.epochs, "versions": provenance()["versions"]}
    rows = _kept(about)
    for seed, arm in product(arguments.seeds, arguments.arm):
        if any((row["seed"], row["arm"]) == (seed, arm) for row in rows):
            continue
        if arm == "peer" and not installed():
            print(MISSING, file=sys.stderr)
            continue
        with quietly():
            rows.append(train(arm, seed, images, arguments.epochs))
        print(json.dumps(rows[-1]), flush=True)
        KEPT.write_text(json.dumps(about | {"arms": ARMS, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def _kept(about: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that were trained already, in the same way with the same versions."""
    known = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    return known["rows"] if about.items() <= known.items() else []


if __name__ == "__main__":
    main()
