"""The whole story in two minutes, without a browser: `perfteach demo`.

First two spirals that five neurons cannot solve, then a MobileNet of reduced width on the embedded images.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm

from perfteach import compare, data
from perfteach.arms import EVERY_ARM
from perfteach.config import TrainConfig
from perfteach.data.points import small_network, two_spirals
from perfteach.models import mobilenet_small
from perfteach.phases import FixedSwitch
from perfteach.runs import Run
from perfteach.selection import perforate
from perfteach.trainer import PerforatedTrainer

if TYPE_CHECKING:
    from torch import nn

ARMS = ("same-epochs", "wider", "random", "perforated")
PLAIN = [arm for arm in ARMS if not EVERY_ARM[arm].grow]


def arm_config(arm: str, neuron: tuple[int, ...], dendrite: int, **settings: object) -> TrainConfig:
    """The settings of one arm. Arms without a dendrite phase get its epochs as neuron epochs, so all train as long."""
    if EVERY_ARM[arm].joint:
        neuron, dendrite = (neuron[0], *(epochs + dendrite for epochs in neuron[1:])), 0
    cycles = {"cycles": len(neuron) - 1, "grow": arm not in PLAIN, "roll_back": False}
    return TrainConfig(switch=FixedSwitch(neuron, dendrite), **cycles, **settings)  # type: ignore[arg-type]


def spiral_run(arm: str, seed: int) -> tuple[nn.Module, Run]:
    """Network and record of one run on two spirals of 1.4 turns: five tanh neurons (wider: 30), three cycles."""
    model = small_network(30 if arm == "wider" else 5, seed=seed)  # 152 parameters; five with their dendrites: 150
    if arm not in PLAIN:
        perforate(model)
    settings = arm_config(
        arm, (150, 200, 200, 200), 60, lr=0.03, dendrite_lr=0.05, weight_decay=0.0, batch_size=200, seed=seed
    )
    trainer = PerforatedTrainer(model, two_spirals(1000, turns=1.4), settings, name=f"demo/spirals-{arm}-seed{seed}")
    return model, trainer.fit(progress=False)


def mobilenet_run(arm: str, seed: int) -> tuple[nn.Module, Run]:
    """Network and record of one run of MobileNetV3-Small at width 0.35 on the embedded images, one full cycle."""
    pictures = data.load("synthetic10", progress=False).subset(3000, validation=1000, test=2000)
    model = mobilenet_small(10, width=0.35, seed=seed)
    if arm not in PLAIN:
        perforate(model)
    settings = arm_config(arm, (7, 5), 3, lr=3e-3, dendrite_lr=3e-3, batch_size=64, seed=seed)
    trainer = PerforatedTrainer(model, pictures, settings, name=f"demo/mobilenet-{arm}-seed{seed}")
    return model, trainer.fit(progress=False)


Job = tuple[Callable[[str, int], tuple["nn.Module", Run]], str, int]


def side_by_side(jobs: list[Job], *, progress: bool = True) -> list[tuple[nn.Module, Run]]:
    """Do the runs in processes of one thread each, so that the numbers do not depend on how many cores there are."""
    cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)
    others = set(active_children())
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = [pool.submit(run, arm, seed) for run, arm, seed in jobs]
        try:
            for _ in tqdm(as_completed(waiting), total=len(waiting), unit="run", disable=not progress):
                pass
            return [future.result() for future in waiting]
        except BaseException:  # whoever presses Ctrl-C does not wait for runs of a minute
            for process in set(active_children()) - others:
                process.kill()
            pool.shutdown(cancel_futures=True)
            raise


def main(out: Path, *, progress: bool = True) -> None:
    """Run both parts, print a table for each, and save the figures and the records into `out`."""
    from perfteach import plots

    arms = [(arm, seed) for arm in ARMS for seed in range(3)]
    pairs = ("same-epochs", "perforated")
    long_first: list[Job] = [*((mobilenet_run, arm, 0) for arm in pairs), *((spiral_run, *pair) for pair in arms)]
    done = side_by_side(long_first, progress=progress)

    mobilenets = {arm: {0: run} for arm, (_, run) in zip(pairs, done, strict=False)}
    spirals: compare.Results = {arm: {} for arm in ARMS}
    models: dict[str, nn.Module] = {}
    for (arm, seed), (model, run) in zip(arms, done[2:], strict=True):
        spirals[arm][seed] = run
        models.setdefault(arm, model)
    print("\nTwo spirals, five tanh neurons, three cycles, three seeds (points drawn by the package)")
    print(compare.table(spirals))
    print("\nMobileNetV3-Small, width 0.35, one cycle, one seed, on the embedded synthetic images (not CIFAR-10)")
    print(compare.table(mobilenets))
    print("One seed of a short run shows how the phases work; it is no evidence for or against dendrites.")

    points = two_spirals(1000, turns=1.4)
    figures = {
        "spirals-without": plots.decision_boundary(models["same-epochs"], points),
        "spirals-with": plots.decision_boundary(models["perforated"], points),
        "mobilenet-curves": plots.training_curves(mobilenets["perforated"][0]),
        "mobilenet-scores": plots.score_heatmap(mobilenets["perforated"][0]),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=120, bbox_inches="tight")
    for _, run in done:
        run.save(out / f"{run.name.split('/')[-1]}.jsonl")
    print(f"\nFigures and records are in {out}")
