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
KINDS = (  # what is trained: the arm of the study extra-small, the phase, how its steps are run, and the precision
    ("original", "neuron", "eager", "single"),
    ("original", "neuron", "graph", "single"),
    ("same-epochs", "neuron", "graph", "single"),
    ("early-start", "neuron", "eager", "single"),
    ("early-start", "neuron", "graph", "single"),
    ("early-start", "dendrite", "eager", "single"),
    ("original", "neuron", "graph", "half"),
    ("early-start", "neuron", "graph", "half"),
)


def steps_a_second(
    arm: str, phase: str, kind: str, precision: str, seconds: float, ready: float = 0.0
) -> tuple[float, int | None]:
    """Training steps a second of one network, and how busy the card was meanwhile, in per cent; None without a GPU.

    Args:
        precision: "single", or "half", which is PyTorch's autocast to bfloat16.
        ready: seconds after which all that run at once begin.
    """
    start = time.time() + ready
    torch.set_num_threads(1)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    study = find("extra-small")
    model = study.model(arm, 0).to(device)
    if phase == "dendrite":
        add_dendrites(model)
    set_phase(model, phase, thaw=True) if any(dendritic_layers(model)) else model.train()
    optimizer = study.config(arm, 0).build_optimizer(trainable(model), Phase(phase), dendritic(model))
    x, y = torch.randn(BATCH, 3, 32, 32, device=device), torch.randint(0, 10, (BATCH,), device=device)
    run = engine(kind, model, functional.cross_entropy, device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "half", cache_enabled=False)

    def step() -> None:
        with half:
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
        if gpu:
            torch.cuda.synchronize()
    rate = done / (time.perf_counter() - began)
    return rate, torch.cuda.utilization() if gpu else None


def measured(jobs: int, seconds: float, ready: float = 8.0) -> list[dict[str, Any]]:
    """Every kind, with so many trainings at once; `ready` are the seconds that processes have to get ready."""
    found = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        pool.starmap(steps_a_second, [(*KINDS[0], 0.1, 2 * ready)] * jobs, chunksize=1)  # each takes up the card once
        for kind in KINDS:
            told = pool.starmap(steps_a_second, [(*kind, seconds, ready if jobs > 1 else 0.0)] * jobs, chunksize=1)
            row = dict(zip(("arm", "phase", "engine", "precision"), kind, strict=True)) | {"jobs": jobs}
            found.append(row | {"images_a_second": round(BATCH * sum(rate for rate, _ in told)), "busy": told[0][1]})
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
