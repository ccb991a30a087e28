"""Nothing is lost: interrupts anywhere in `fit()`, two writers, full disks, power cuts; little of tools/torture.py."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import torch
from conftest import load_tool
from test_trainer import SPIRALS, At, comparable, config, trainer

from perfteach import checkpoint, files
from perfteach.data.points import small_network
from perfteach.errors import CheckpointError, DataError
from perfteach.interrupts import NUMBERS, Interrupted, Interrupts, as_exceptions
from perfteach.phases import FixedSwitch
from perfteach.runs import Run
from perfteach.trainer import Callback, PerforatedTrainer

pytestmark = pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning", "ignore:.*is damaged:UserWarning")
torture = load_tool("torture")


# --- signals


def test_a_signal_waits_for_the_next_check_and_a_second_one_does_not(capsys):
    with pytest.raises(Interrupted) as stopped, Interrupts() as held:
        signal.raise_signal(signal.SIGTERM)
        reached = "after the first"
        held.check()
    assert reached and stopped.value.signal == signal.SIGTERM
    assert "stopping after this step" in capsys.readouterr().err
    with pytest.raises(Interrupted), Interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one stops at once")
    with pytest.raises(Interrupted), Interrupts():
        signal.raise_signal(signal.SIGINT)  # and the end of the block is a check too
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_elses_gets_what_was_held_back():
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with Interrupts() as held:
            signal.raise_signal(signal.SIGTERM)
            assert not seen
            held.check()
            assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("when", ["set", "put back"])
def test_a_signal_while_handlers_change_leaves_none_that_swallows_a_later_one(monkeypatch, when):
    before = {number: signal.getsignal(number) for number in NUMBERS}
    set_one, held, left = signal.signal, Interrupts(), [1 if when == "set" else 1 + len(NUMBERS)]

    def broken(number, handler):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return set_one(number, handler)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(signal, "signal", broken)
            with pytest.raises(KeyboardInterrupt), held:
                pass
        assert any(signal.getsignal(number) == held._note for number in NUMBERS), "a handler was left behind"
        for number in NUMBERS:
            for block in (Interrupts(), held):
                with pytest.raises(Interrupted), block:
                    signal.raise_signal(number)
                    block.check()
                    pytest.fail(f"{number} was swallowed")
        assert {number: signal.getsignal(number) for number in NUMBERS} == before, "and the next block puts them back"
    finally:
        for number, handler in before.items():
            set_one(number, handler)


def test_in_another_thread_nothing_is_held_and_training_works():
    t, before = trainer(), signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=t.fit, kwargs={"progress": False})
    thread.start()
    thread.join(60)
    assert t.run.finished and signal.getsignal(signal.SIGINT) is before


def test_sigterm_is_an_exception_in_a_command():
    with pytest.raises(Interrupted), as_exceptions():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# --- an epoch is done or undone


@pytest.mark.skipif(sys.gettrace() is not None, reason="counts lines itself")
def test_an_interrupt_at_any_line_of_fit_changes_nothing_in_the_end():
    assert torture.interrupts(random.Random(3), points=12) == []


class Failing(Callback):
    def __init__(self, method: str, at: int) -> None:
        self.at = at
        setattr(self, method, self.fail)

    def fail(self, trainer, what, *rest) -> None:
        self.at -= 1
        if self.at == 0:
            raise ZeroDivisionError("in a callback")


@pytest.mark.parametrize("method", ["on_epoch_end", "on_event", "on_batch_end"])
@pytest.mark.parametrize("at", [1, 3])
def test_an_error_in_a_callback_undoes_the_epoch(method, at):
    t = trainer(callbacks=[Failing(method, at)])
    with pytest.raises(ZeroDivisionError):
        t.fit(progress=False)
    assert len(t.run.epochs) == t.cycle.epochs
    assert comparable(t.fit(progress=False)) == comparable(trainer().fit(progress=False))


def test_the_end_is_a_whole_too(tmp_path, monkeypatch):
    t = trainer(folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("perfteach.trainer.count_parameters", lambda model: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            t.fit(progress=False)
    assert t.cycle.finished and not t.run.finished
    assert comparable(t.fit(progress=False)) == comparable(trainer().fit(progress=False))


def test_a_pause_ends_with_the_interrupt(tmp_path):
    def pause_and_stop(trainer) -> None:
        trainer.paused = True
        signal.raise_signal(signal.SIGINT)

    t = trainer(callbacks=[At(2, pause_and_stop)])
    with pytest.raises(KeyboardInterrupt, match="1 epoch is kept, and training goes on"):
        t.fit(progress=False)
    assert not t.paused and t.fit(progress=False).finished


def test_memory_or_folder_whichever_is_further(tmp_path):
    def stop(trainer) -> None:
        raise KeyboardInterrupt

    first = trainer(folder=tmp_path, callbacks=[At(3, stop)])
    with pytest.raises(KeyboardInterrupt):
        first.fit(progress=False)
    second = trainer(folder=tmp_path, callbacks=[At(6, stop)])
    with pytest.raises(KeyboardInterrupt):
        second.fit(progress=False)
    assert (len(first.run.epochs), len(second.run.epochs)) == (2, 5)
    third = trainer(folder=tmp_path)
    third._resume = lambda: stop(third)  # before the folder is read
    with pytest.raises(KeyboardInterrupt, match="5 epochs are kept"):
        third.fit(progress=False)
    seen: list[int] = []
    first.callbacks = [At(6, lambda trainer: seen.append(len(trainer.run.epochs)))]
    run = first.fit(progress=False)
    assert seen == [5], "the folder was further"
    run.events = [event for event in run.events if event.event != "resume"]
    assert comparable(run) == comparable(trainer().fit(progress=False))
    third = trainer(folder=tmp_path / "other", callbacks=[At(4, stop)])
    with pytest.raises(KeyboardInterrupt):
        third.fit(progress=False)
    for path in sorted((tmp_path / "other").glob("checkpoint-*"), reverse=True):
        shutil.rmtree(path)
    run = third.fit(progress=False)
    assert "resume" not in [event.event for event in run.events], "memory was further"
    assert comparable(run) == comparable(trainer().fit(progress=False))


def test_a_run_that_was_stopped_by_hand_in_a_dendrite_phase_can_be_fetched_before_its_end(tmp_path, monkeypatch):
    def stop(trainer) -> None:
        trainer.request_stop()

    t = trainer(config(switch=FixedSwitch((2, 2), dendrite=3)), folder=tmp_path, callbacks=[At(3, stop)])
    monkeypatch.setattr(PerforatedTrainer, "_finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        t.fit(progress=False)
    monkeypatch.undo()
    again = trainer(config(switch=FixedSwitch((2, 2), dendrite=3)), folder=tmp_path)
    assert again.fit(progress=False).finished and len(again.run.epochs) == 3


# --- one writer, full disks, power cuts


def test_a_second_trainer_in_the_same_folder_is_refused_in_one_line(tmp_path):
    said: list[str] = []

    def another(t) -> None:
        with pytest.raises(CheckpointError, match=r"being written by process \d+ on .*use another folder") as refused:
            trainer(folder=tmp_path).fit(progress=False)
        said.append(str(refused.value))

    first = trainer(folder=tmp_path, callbacks=[At(2, another)])
    assert first.fit(progress=False).finished and len(said) == 1 and "\n" not in said[0]
    assert trainer(folder=tmp_path).fit(progress=False).finished, "and the claim has ended"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_a_lock_does_not_outlive_its_process(tmp_path):
    inside = "print('in', flush=True); input()"
    code = f"import sys, pathlib, perfteach.files as f\nwith f.alone(pathlib.Path(sys.argv[1])): {inside}"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"in"
        with pytest.raises(CheckpointError, match=f"process {other.pid} on"), files.alone(tmp_path):
            pass
        other.kill()
    with files.alone(tmp_path):
        pass


@pytest.mark.parametrize("where", ["file", "file/below", "nul\0name"])
def test_a_folder_that_cannot_be_is_refused_before_the_first_epoch(tmp_path, where):
    (tmp_path / "file").write_text("here")
    heard: list[int] = []
    spy = At(1, lambda trainer: heard.append(1))
    with pytest.raises((CheckpointError, ValueError)) as refused:
        trainer(folder=tmp_path / where, callbacks=[spy]).fit(progress=False)
    assert not heard and "\n" not in str(refused.value)


@pytest.mark.parametrize("call", ["flush", "make_folder", "save_file"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(tmp_path, monkeypatch, call):
    def stop(trainer) -> None:
        def full(*args, **how):
            raise OSError(28, "No space left on device")

        patch.setattr(checkpoint, call, full)

    t = trainer(folder=tmp_path, callbacks=[At(3, stop)])
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match=r"No space left.*make room") as refused:
        t.fit(progress=False)
    assert "\n" not in str(refused.value) and len(t.run.epochs) == 2
    assert len(checkpoint.load(tmp_path).run.epochs) == 2
    assert comparable(t.fit(progress=False)) == comparable(trainer().fit(progress=False))


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot ask whether a process is alive without ending it")
def test_partial_files_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead, alive = subprocess.Popen([sys.executable, "-c", ""]), files.mine()
    dead.wait()
    host = alive.partition("-")[2]
    names = [f"a.npz.{dead.pid}-{host}.x.partial", f"a.npz.{alive}.x.partial", f"a.npz.{dead.pid}-elsewhere.x.partial"]
    for name in names:
        (tmp_path / name).write_text("half")
    (tmp_path / f"unpacked.{dead.pid}-{host}.y.partial").mkdir()
    with files.alone(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], files.LOCK, files.OWNER])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux which file a handle belongs to")
def test_a_power_cut_leaves_a_usable_folder():
    assert torture.power(random.Random(1), cuts=8) == []


def test_flipped_bits_are_found():
    assert torture.bits(random.Random(1), flips=40) == []


@pytest.mark.slow
def test_a_real_kernel_is_stopped_and_the_cell_run_again():
    assert torture.kernel(random.Random(1), times=1, places=("neuron 0", "dendrite 1", "switch", "stop")) == []


def test_a_record_that_cannot_be_written_is_a_data_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Run({"name": "r"}).save(tmp_path / "file" / "run.jsonl")
    with pytest.raises(DataError, match="cannot be written"):
        Run({"name": object()}).save(tmp_path / "run.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- NaN


@pytest.mark.parametrize(("split", "said"), [("train", "not finite"), ("test", "loss on the test split")])
def test_nan_in_the_data_ends_the_run_with_a_clear_line(split, said):
    import dataclasses

    points = getattr(SPIRALS, split)
    spoilt = dataclasses.replace(points, inputs=points.inputs.index_fill(0, torch.tensor([7]), float("nan")))
    t = PerforatedTrainer(small_network(5), dataclasses.replace(SPIRALS, **{split: spoilt}), config(cycles=0))
    with pytest.raises(Exception, match=f"{said}.*not a number in the data"):
        t.fit(progress=False)
    assert t.run.result is None
