"""`make torture`: try to lose something. Interrupts, flipped bits, full disks, two writers, power cuts, odd arguments.

    python tools/torture.py [PART ...] [--seed N] [--share 0.1]

Every part prints its seed and a line with what was tried and what failed; ends with 1 where anything did.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # for the other parts, also where this file is loaded by its path

from torture_disk import full, power, two  # noqa: E402
from torture_kernel import kernel  # noqa: E402
from tortured import RULES, images, network, outcome, trainer  # noqa: E402

from perfteach import checkpoint  # noqa: E402
from perfteach.data import load as load_data  # noqa: E402
from perfteach.data import pack  # noqa: E402
from perfteach.errors import PerfteachError  # noqa: E402
from perfteach.interrupts import NUMBERS  # noqa: E402
from perfteach.trainer import Callback  # noqa: E402

__all__ = ["bits", "full", "images", "interrupts", "kernel", "network", "power", "trainer", "two"]

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
                number = draw.choice([signal.SIGINT, *NUMBERS])
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


# ---------------------------------------------------------------------------------------------------- flipped bits


def flipped(path: Path, draw: random.Random) -> Callable[[], object]:
    """Flip one bit of a file; returns what flips it back."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    path.write_bytes(changed)
    return lambda: path.write_bytes(content)


def bits(draw: random.Random, flips: int = 1000) -> list[str]:
    """One flipped bit in the newest checkpoint, a packed file or a cached array is noticed, every time."""
    wrong = []
    with tempfile.TemporaryDirectory() as place:
        folder, packed = Path(place, "run"), Path(place, "images.npz")
        trainer("fixed", folder).fit(progress=False)
        newest = max(checkpoint._numbered(folder).values())
        whole = checkpoint.load(folder)
        assert whole is not None
        pack(images(), packed)
        paths = [newest / name for name in (checkpoint.JSON, checkpoint.MODEL, checkpoint.STATE)] + [packed]
        for flip in range(flips):
            path = paths[flip % len(paths)]
            mend = flipped(path, draw)
            try:
                if path == packed:
                    noticed = False
                    load_data(packed, progress=False)
                else:
                    found = checkpoint.load(folder)
                    noticed = found is not None and not found.run.finished  # the one before
            except PerfteachError:
                noticed = True
            except Exception as error:
                noticed = False
                wrong.append(f"{path.name}: raw {type(error).__name__}")
            mend()
            wrong += [] if noticed else [f"flip {flip} in {path.name} was not noticed"]
        again = checkpoint.load(folder)
        assert again is not None and again.run.finished
    print(f"flipped bits: {flips - len(wrong)} of {flips} noticed")
    return wrong


def tests(file: str, **environment: str) -> Callable[[random.Random, int], list[str]]:
    """A part that is a file of tests, with more cases than there."""

    def part(draw: random.Random, cases: int) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", f"tests/{file}"]
        given = {name: value.format(cases=cases) for name, value in environment.items()}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | given, capture_output=True, text=True)
        print(f"{file}: {cases} cases each")
        found = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return found or ([] if done.returncode == 0 else [done.stdout[-500:]])

    return part


PARTS: dict[str, Callable[[random.Random, int], list[str]]] = {
    "interrupts": interrupts,
    "bits": bits,
    "power": power,
    "full": full,
    "two": two,
    "kernel": kernel,
    "arguments": tests("test_fuzz.py", PERFTEACH_FUZZ="{cases}"),
    "files": tests("test_odd_files.py"),
}
FULL = {"interrupts": 200, "bits": 1000, "power": 100, "full": 30, "two": 10, "kernel": 10, "arguments": 60, "files": 1}


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
