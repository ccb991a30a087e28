"""`make torture`: try to lose something. Interrupts, flipped bits, full disks, two writers, power cuts, odd arguments.

    python tools/torture.py [PART ...] [--seed N] [--share 0.1]

Every part prints its seed and a line with what was tried and what failed; ends with 1 where anything did.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from perfteach import checkpoint, files
from perfteach.config import TrainConfig
from perfteach.data import pack
from perfteach.data import load as load_data
from perfteach.data.cache import write_arrays
from perfteach.data.images import ImageData, Split, assemble
from perfteach.errors import PerfteachError
from perfteach.phases import FixedSwitch, PlateauSwitch
from perfteach.runs import Run
from perfteach.selection import perforate
from perfteach.trainer import Callback, PerforatedTrainer

ROOT = Path(__file__).resolve().parents[1]
CHANGING = ("seconds", "started", "revision")
RULES = {
    "fixed": FixedSwitch((2, 2, 1), dendrite=1),
    "plateau": PlateauSwitch(patience=1, max_epochs=2, dendrite_patience=1),
}


# ---------------------------------------------------------------------------------------------------- what is trained


def images(side: int = 16, count: int = 100, classes: int = 4) -> ImageData:
    """A hundred images to train on, each class with a brightness of its own."""
    draw = np.random.default_rng(0)

    def split(size: int) -> Split:
        labels = np.arange(size) % classes
        pixels = draw.integers(0, 120, (size, 3, side, side)) + 30 * labels[:, None, None, None]
        return Split(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels))

    names = tuple(f"class{k}" for k in range(classes))
    return assemble("noise", names, split(count), split(20), split(20), synthetic=True)


def network(classes: int = 4) -> nn.Module:
    """Two convolutions with a norm and dropout: all that has a state of its own."""
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1)]
    second = [nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return perforate(nn.Sequential(*first, *second, nn.Linear(6, classes)))


def trainer(rule: str = "fixed", folder: Path | None = None, data: ImageData | None = None, **how: Any) -> Any:
    """A training of a second: several cycles, an average, a schedule."""
    config = TrainConfig(
        RULES[rule], cycles=2, roll_back=False, batch_size=32, lr=0.02, dendrite_lr=0.05, average=0.9, device="cpu",
    )  # fmt: skip
    return PerforatedTrainer(network(), data or images(), config, folder=folder, **how)


def outcome(run: Run, model: nn.Module) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Record and weights of a finished run, without wall times and without the note that it was resumed."""
    lines = [line for line in run.lines() if line.get("event") != "resume"]
    said = [{key: value for key, value in line.items() if key not in CHANGING} for line in lines]
    return said, {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


# ---------------------------------------------------------------------------------------------------- interrupts


class Lines:
    """Counts the lines of perfteach that are run, and sends this process a signal at some of them."""

    def __init__(self, at: dict[int, int]) -> None:
        self.count, self.at, self.where = 0, at, ""

    def __enter__(self) -> Lines:
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _call(self, frame: Any, event: str, value: Any) -> Any:
        return self._line if _ours(frame.f_code.co_filename) else None

    def _line(self, frame: Any, event: str, value: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count in self.at:
                self.where += f" {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                signal.raise_signal(self.at[self.count])
        return self._line


@functools.cache
def _ours(path: str) -> bool:
    return path.startswith(str(ROOT / "perfteach"))


class Counting(Callback):
    """A callback with something to do in each method, so that interrupts meet it too."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_epoch_end(self, trainer: Any, record: Any) -> None:
        self.epochs.append(record.epoch)

    def on_event(self, trainer: Any, event: Any) -> None:
        self.epochs.append(-event.epoch)


def interrupts(draw: random.Random, points: int = 200) -> list[str]:
    """Interrupt `fit()` at random lines, some twice, and call it again: equal to the uninterrupted run."""
    wrong, data, done = [], images(), 0
    for rule in RULES:
        one = trainer(rule, data=data, callbacks=[Counting()])
        with Lines({}) as lines:
            whole = outcome(one.fit(progress=False), one.model)
        for point in range(points // 2):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place, "run") if point % 2 else None
                one = trainer(rule, folder, data, callbacks=[Counting()])
                number = draw.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
                first = draw.randrange(1, lines.count)
                at = {first: number}
                if point % 4 >= 2:  # impatient
                    at[first + draw.randrange(1, 40)] = signal.SIGINT
                stopped = _fit_under(one, at)
                if folder and draw.random() < 0.5:  # another process, or a kernel that was started again
                    one = trainer(rule, folder, data, callbacks=[Counting()])
                equal = outcome(one.fit(progress=False), one.model) == whole
                done += 1
            if not equal or not stopped.interrupted:
                wrong.append(f"{rule}, {signal.Signals(number).name} at line {first}:{stopped.where}")
    print(f"interrupts: {done - len(wrong)} of {done} equal to the uninterrupted run")
    return wrong


def _fit_under(one: Any, at: dict[int, int]) -> Any:
    lines = Lines(at)
    lines.interrupted = False  # type: ignore[attr-defined]
    try:
        with contextlib.redirect_stderr(io.StringIO()), lines:
            one.fit(progress=False)
    except KeyboardInterrupt:
        lines.interrupted = True  # type: ignore[attr-defined]
    return lines


PARTS: dict[str, Callable[[random.Random, int], list[str]]] = {"interrupts": interrupts}
FULL = {"interrupts": 200}


def main(arguments: list[str]) -> int:
    """Run the parts; returns how many things went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of cases")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wrong: list[str] = []
    for name in chosen.parts or PARTS:
        start = time.monotonic()
        print(f"{name}, seed {chosen.seed}")
        found = PARTS[name](random.Random(chosen.seed), max(1, round(FULL[name] * chosen.share)))
        for line in found[:20]:
            print(f"  WRONG {line}")
        print(f"  {len(found)} wrong, {time.monotonic() - start:.0f} s", flush=True)
        wrong += found
    return len(wrong)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
