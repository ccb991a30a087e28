"""Images a second on a GPU, alone and with several trainings at once, and how busy the card is. Runs on a CPU, too.

python -m benchmarks.gpu            one line a figure, as JSON
python -m benchmarks.gpu --jobs 8   with eight trainings at once
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from typing import Any

import torch
from torch.nn import functional

from perfteach.declared import find
from perfteach.dendrites import add_dendrites, dendritic, dendritic_layers, follow_errors, set_phase, trainable
from perfteach.engine import engine
from perfteach.phases import Phase

BATCH = 128
KINDS = (  # what is trained: the arm of the study extra-small, the phase, and how its steps are run
    ("original", "neuron", "eager"),
    ("original", "neuron", "graph"),
    ("same-epochs", "neuron", "graph"),
    ("early-start", "neuron", "eager"),
    ("early-start", "neuron", "graph"),
    ("early-start", "dendrite", "eager"),
)


def steps_a_second(arm: str, phase: str, kind: str, seconds: float, start: float = 0.0) -> float:
    """Training steps a second of one network, from the time `start` on, if that has not passed."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    study = find("extra-small")
    model = study.model(arm, 0).to(device)
    if phase == "dendrite":
        add_dendrites(model)
    set_phase(model, phase, thaw=True) if any(dendritic_layers(model)) else model.train()
    optimizer = study.config(arm, 0).build_optimizer(trainable(model), Phase(phase), dendritic(model))
    x, y = torch.randn(BATCH, 3, 32, 32, device=device), torch.randint(0, 10, (BATCH,), device=device)
    run = engine(kind, model, functional.cross_entropy, device)

    def step() -> None:
        run(x, y)
        if phase == "dendrite":
            follow_errors(model)
        optimizer.step()

    step()
    time.sleep(max(0.0, start - time.time()))
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        step()
        done += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return done / (time.perf_counter() - began)


def measured(jobs: int, seconds: float, ready: float = 30.0) -> list[dict[str, Any]]:
    """Every kind, with so many trainings at once; `ready` are the seconds that processes have to get ready."""
    found = []
    for arm, phase, kind in KINDS:
        if jobs == 1:
            rates = [steps_a_second(arm, phase, kind, seconds)]
        else:
            start = time.time() + ready
            with multiprocessing.get_context("spawn").Pool(jobs) as pool:
                rates = pool.starmap(steps_a_second, [(arm, phase, kind, seconds, start)] * jobs)
        busy = torch.cuda.utilization() if torch.cuda.is_available() and jobs == 1 else None
        row = {"arm": arm, "phase": phase, "engine": kind, "jobs": jobs, "busy": busy}
        found.append(row | {"images_a_second": round(BATCH * sum(rates))})
        print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring, for each kind (%(default)s)")
    arguments = parser.parse_args()
    measured(arguments.jobs, arguments.seconds)


if __name__ == "__main__":
    main()
