"""Kill a training run with SIGKILL, run it again, and compare with an uninterrupted one.

    python tools/kill.py [KILLS] [--seed N]

Half of the kills come at a random time, the others in the middle of writing a checkpoint. Record and weights have to be
equal, bit for bit; prints one line a kill, and ends with 1 where one differs.

Trainings run in forks of this process, which start in a moment. It trains nothing itself and has one thread, so a fork
inherits no lock that another thread held; a process with more threads, such as pytest, runs the whole script instead.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import torch

from perfteach import checkpoint
from perfteach.config import TrainConfig
from perfteach.data.points import small_network, two_spirals
from perfteach.phases import FixedSwitch
from perfteach.selection import perforate
from perfteach.trainer import PerforatedTrainer

CHANGING = ("seconds", "started", "revision")  # somebody may edit the checkout meanwhile
WRITES = ("save_file", "flush", "_sha256")  # what a checkpoint is made of, in perfteach.checkpoint


def train(folder: Path) -> None:
    """A run with two cycles, which goes through every kind of phase, restore and growth."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    config = TrainConfig(
        FixedSwitch((3, 2, 2), dendrite=2), cycles=2, roll_back=False, batch_size=50, lr=0.05, dendrite_lr=0.05,
        average=0.9, device="cpu",
    )  # fmt: skip
    model = perforate(small_network(5, seed=0))
    PerforatedTrainer(model, two_spirals(200, turns=1.0), config, folder=folder).fit(progress=False)


def outcome(folder: Path) -> tuple[list[dict[str, object]], dict[str, torch.Tensor]]:
    """Record and weights that a run left, without wall times and without the note that it was resumed."""
    found = checkpoint.load(folder)
    assert found is not None and found.run.finished
    lines = [line for line in found.run.lines() if line.get("event") != "resume"]
    return [{k: v for k, v in line.items() if k not in CHANGING} for line in lines], found.weights


def in_a_process(folder: Path, *, seconds: float | None = None, write: int | None = None) -> None:
    """Train in a forked process, which is killed after some seconds, or kills itself at a step of a write.

    Raises:
        RuntimeError: when it ended in another way, as by the system, for want of memory; its traceback is printed.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if write is not None:
                _kill_at(write)
            train(folder)
            status = 0
        except BaseException:  # it must not run on into what its parent does
            traceback.print_exc()
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ours = seconds is not None or write is not None
    if status != 0 and not (ours and status == -signal.SIGKILL):
        raise RuntimeError(f"the training in {folder} ended with {status}, and no kill of this script was the cause")


def _kill_at(write: int) -> None:
    steps = 0

    def counting(function):
        def step(*args, **how):
            nonlocal steps
            steps += 1
            if steps == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **how)

        return step

    for name in WRITES:
        setattr(checkpoint, name, counting(getattr(checkpoint, name)))


def run(kills: int, seed: int = 0) -> list[str]:
    """Do so many kills; returns a line for each run whose outcome differs from the uninterrupted one."""
    draw, wrong = random.Random(seed), []
    torch.set_num_threads(1)
    print(f"{kills} kills, seed {seed}")
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        start = time.monotonic()
        in_a_process(whole)
        lasts, (lines, weights) = time.monotonic() - start, outcome(whole)
        for kill in range(kills):
            folder = Path(place, str(kill))
            if kill % 2:
                write = draw.randrange(1, 90)
                in_a_process(folder, write=write)
                how = f"step {write} of the writes"
            else:
                seconds = draw.uniform(0, lasts)
                in_a_process(folder, seconds=seconds)
                how = f"{seconds:.2f} s of {lasts:.2f}"
            reached = checkpoint.record(folder)
            in_a_process(folder)
            again, loaded = outcome(folder)
            equal = again == lines and all(torch.equal(loaded[name], value) for name, value in weights.items())
            said = f"kill {kill + 1} at {how}, after epoch {len(reached.epochs) if reached else 0}"
            print(f"{said}: {'equal' if equal else 'DIFFERENT'}", flush=True)
            wrong += [] if equal else [said]
    print(f"kills: {kills - len(wrong)} of {kills} equal to the uninterrupted run")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    return bool(run(chosen.kills, chosen.seed))


if __name__ == "__main__":
    sys.exit(main())
