"""Memory that a training step frees stays for the next one, where glibc hands it out."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from perfteach import Callback, FixedSwitch, PerforatedTrainer, TrainConfig, memory, perforate
from perfteach.data.points import small_network, two_spirals
from perfteach.runs import Epoch

# Maps as a training frees them: many of some megabytes, all at once, and then again. Prints the pages asked for.
STEPS = """
import resource
import torch
from perfteach import memory

def step():
    maps = [torch.ones(1 << 20) for _ in range(24)]

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

step()
usual = pages()
with memory.kept():
    step()
    kept = pages()
print(usual, kept)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory comes from another library than glibc")


def pages(**environment: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        capture_output=True,
        text=True,
        check=True,
        env={"OMP_NUM_THREADS": "1", **environment},
    )
    usual, kept = done.stdout.split()
    return int(usual), int(kept)


@glibc
def test_a_step_takes_the_memory_of_the_one_before() -> None:
    usual, kept = pages()
    assert usual > 100 and kept < usual / 10, (usual, kept)


@glibc
def test_what_the_environment_says_of_memory_stays() -> None:
    usual, kept = pages(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept > usual / 2, (usual, kept)


@glibc
def test_memory_is_given_back_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Libc:
        def malloc_trim(self, pad: int) -> None:
            asked.append(pad)

    monkeypatch.setattr(memory, "_glibc", Libc)
    with pytest.raises(KeyboardInterrupt), memory.kept():
        raise KeyboardInterrupt
    assert asked == [0]


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory._glibc.__wrapped__() is None
    with memory.kept():
        pass


def test_one_threshold_is_never_set_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Refusing:
        def mallopt(self, what: int, value: int) -> int:
            asked.append(what)
            return 0

    monkeypatch.setattr(sys, "platform", "linux")
    for name in memory.OWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Refusing())
    assert memory._glibc.__wrapped__() is None and asked == [memory.MMAP_THRESHOLD]
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # musl has none of it
    assert memory._glibc.__wrapped__() is None


def test_the_trainer_keeps_memory_while_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[bool] = []

    @contextmanager
    def watched() -> Iterator[None]:
        inside.append(True)
        yield
        inside.append(False)

    class Sees(Callback):
        def on_epoch_end(self, trainer: PerforatedTrainer, epoch: Epoch) -> None:
            assert inside == [True]

    monkeypatch.setattr(memory, "kept", watched)
    config = TrainConfig(FixedSwitch((1,), dendrite=0), cycles=0, roll_back=False, batch_size=20, device="cpu")
    PerforatedTrainer(perforate(small_network(5)), two_spirals(60), config, callbacks=[Sees()]).fit(progress=False)
    assert inside == [True, False]
