"""`make torture`: try to lose something. Interrupts, flipped bits, full disks, two writers, power cuts, odd arguments.

    python tools/torture.py [PART ...] [--seed N] [--share 0.1]

Every part prints its seed and a line with what was tried and what failed; ends with 1 where anything did. Several parts
run side by side, each in a process of its own, one for each core.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # for the other parts, also where this file is loaded by its path

from torture_disk import full, power, studies, two  # noqa: E402
from torture_kernel import kernel  # noqa: E402
from tortured import RULES, images, network, outcome, trainer  # noqa: E402

from perfteach import checkpoint  # noqa: E402
from perfteach.data import load as load_data  # noqa: E402
from perfteach.data import pack  # noqa: E402
from perfteach.errors import PerfteachError  # noqa: E402
from perfteach.interrupts import NUMBERS  # noqa: E402
from perfteach.trainer import Callback  # noqa: E402

__all__ = ["bits", "full", "images", "interrupts", "kernel", "network", "power", "studies", "trainer", "two"]

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
        whole = outcome(one.fit(progress=False), one.model)
        one = trainer(rule, data=data, callbacks=[Counting()])
        with Lines({}) as lines:  # of a second run, because a first one imports modules
            one.fit(progress=False)
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
    lines.interrupted = False
    try:
        with contextlib.redirect_stderr(io.StringIO()), lines:
            one.fit(progress=False)
    except KeyboardInterrupt:
        lines.interrupted = True
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


def tests(*files: str, **environment: str) -> Callable[[random.Random, int], list[str]]:
    """A part that is files of tests, with more cases than there."""

    def part(draw: random.Random, cases: int) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *files]
        given = {name: value.format(cases=cases, seed=draw.randrange(2**32)) for name, value in environment.items()}
        done = subprocess.run(command, cwd=ROOT / "tests", env=os.environ | given, capture_output=True, text=True)
        found = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
        last = (done.stdout.strip().splitlines() or ["nothing was run"])[-1]
        print(f"{', '.join(files)}, {cases} cases each: {last}")
        if done.returncode:
            kept = Path(tempfile.gettempdir()) / f"torture-{Path(files[0]).stem}.txt"
            kept.write_text(done.stdout + done.stderr, encoding="utf-8")
            print(f"all that it printed is in {kept}")
        return found or ([] if done.returncode == 0 else [done.stdout[-500:] + done.stderr[-500:]])

    return part


def kills(draw: random.Random, count: int = 50) -> list[str]:
    """tools/kill.py, which forks, and so is a process of its own."""
    command = [sys.executable, str(ROOT / "tools" / "kill.py"), str(count), "--seed", str(draw.randrange(2**32))]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    print(f"{lines[0]}; {lines[-1]}" if lines else "kills: none")
    return [line for line in lines if line.endswith("DIFFERENT")] or ([done.stderr[-500:]] if done.returncode else [])


PARTS: dict[str, tuple[Callable[[random.Random, int], list[str]], int]] = {  # and how many cases; the longest first
    "interrupts": (interrupts, 200),
    "arguments": (tests("test_fuzz.py", PERFTEACH_FUZZ="{cases}", PERFTEACH_FUZZ_SEED="{seed}"), 60),
    "kernel": (kernel, 10),
    "kills": (kills, 50),
    "full": (full, 30),
    "files": (tests("test_odd_files.py"), 1),
    "two": (two, 10),
    "studies": (studies, 10),
    "command": (tests("test_cli.py", "-k", "odd_arguments or system_says or damaged or signal"), 1),
    "power": (power, 100),
    "bits": (bits, 1000),
}


def main(arguments: list[str]) -> int:
    """Run the parts; returns how many of them found something wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of cases")
    chosen = parser.parse_args(arguments)
    names, how = chosen.parts or list(PARTS), ["--seed", str(chosen.seed), "--share", str(chosen.share)]
    if len(names) == 1:
        return one(names[0], chosen.seed, chosen.share)
    start = time.monotonic()
    with ThreadPoolExecutor(cores()) as pool:
        failed = sum(pool.map(lambda name: _in_its_own_process([name, *how]), names))
    print(f"{len(names) - failed} of {len(names)} parts without a fault, {_spent(start)}")
    return failed


def one(name: str, seed: int, share: float) -> int:
    """Run a part in this process; returns 1 where something was wrong."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, and under nohup, they are ignored
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    start, (part, cases) = time.monotonic(), PARTS[name]
    print(f"{name}, seed {seed}")
    wrong = part(random.Random(seed), max(1, round(cases * share)))
    for line in wrong[:20]:
        print(f"  WRONG {line}")
    print(f"  {len(wrong)} wrong, {_spent(start)}", flush=True)
    return bool(wrong)


def _in_its_own_process(arguments: list[str]) -> bool:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    print(done.stdout + done.stderr[-2000:], end="", flush=True)
    return done.returncode != 0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _spent(start: float) -> str:
    used = sum(os.times()[:4])  # of this process and of those that it started, which have ended
    return f"{time.monotonic() - start:.0f} s, {used / 60:.1f} CPU minutes"


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
