"""Checkpoints: whole or the one before, never half; nothing is unpickled; damage is named."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from perfteach import checkpoint
from perfteach.dendrites import add_dendrites
from perfteach.errors import CheckpointError
from perfteach.runs import Epoch, Run
from perfteach.selection import perforate

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def network(dendrites: int = 0) -> nn.Module:
    torch.manual_seed(dendrites)
    model = perforate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)))
    for _ in range(dendrites):
        add_dendrites(model)
    return model.to(memory_format=torch.channels_last)


def saved(folder, epochs: int, dendrites: int = 0, **state):
    run = Run({"name": "r"}, [Epoch(n + 1, validation_accuracy=float(n)) for n in range(epochs)])
    return checkpoint.save(folder, run, network(dendrites), state)


def test_everything_comes_back_as_it_was(tmp_path):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    shared = torch.arange(3.0)
    state = {
        "optimizer": optimizer.state_dict(), "twice": [shared, shared], "none": None, "low": float("-inf"),
        "keys": {3: {"deep": (1, 2.5, "x")}}, "whole": torch.tensor(7), "true": True,
    }  # fmt: skip
    checkpoint.save(tmp_path, Run({"name": "r"}), model, state)
    back = checkpoint.load(tmp_path)
    assert back.run.name == "r" and back.growth == {"0": 0, "3": 0}
    assert all(torch.equal(back.weights[name], value) for name, value in model.state_dict().items())
    assert back.state["keys"] == {3: {"deep": [1, 2.5, "x"]}} and back.state["low"] == float("-inf")
    assert torch.equal(back.state["twice"][1], shared) and back.state["whole"].item() == 7
    for number, slots in state["optimizer"]["state"].items():
        for name, value in slots.items():
            other = back.state["optimizer"]["state"][number][name]
            assert torch.equal(value, other) and value.stride() == other.stride(), name
    optimizer.load_state_dict(back.state["optimizer"])


def test_dendrites_are_grown_before_the_weights_are_loaded(tmp_path):
    saved(tmp_path, 1, dendrites=2)
    model = network()
    checkpoint.load(tmp_path).restore(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in network(2).state_dict().items())
    with pytest.raises(CheckpointError, match="another network"):
        checkpoint.load(tmp_path).restore(nn.Linear(2, 2))


def test_the_newest_two_are_kept_and_leftovers_of_killed_processes_go(tmp_path):
    (tmp_path / "checkpoint-000009.part77").mkdir()
    for epochs in (1, 2, 3):
        saved(tmp_path, epochs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000002", "checkpoint-000003"]
    assert len(checkpoint.load(tmp_path).run.epochs) == len(checkpoint.record(tmp_path).epochs) == 3
    assert checkpoint.load(tmp_path / "nothing") is None and checkpoint.record(tmp_path / "nothing") is None


@pytest.mark.parametrize("name", [checkpoint.JSON, checkpoint.MODEL, checkpoint.STATE])
@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, name, how):
    saved(tmp_path, 1, some=torch.ones(3))
    path = saved(tmp_path, 2, some=torch.ones(3)) / name
    damage(path, how)
    with pytest.warns(UserWarning, match="checkpoint-000002 is damaged.*checkpoint-000001 before it is used"):
        assert len(checkpoint.load(tmp_path).run.epochs) == 1
    damage(tmp_path / "checkpoint-000001" / name, how)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be used.*delete them"):
        checkpoint.load(tmp_path)


def damage(path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[:-5])
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(content)


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    folder = saved(tmp_path, 2, some=torch.randn(5))
    draw = random.Random(0)
    for _ in range(60):
        path = folder / draw.choice([checkpoint.JSON, checkpoint.MODEL, checkpoint.STATE])
        content = path.read_bytes()
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(tmp_path)
        path.write_bytes(content)
    assert len(checkpoint.load(tmp_path).run.epochs) == 2


def test_a_write_that_fails_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    saved(tmp_path, 1)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "replace", full)
        with pytest.raises(CheckpointError, match=r"cannot be saved in .*No space left"):
            saved(tmp_path, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(checkpoint.load(tmp_path).run.epochs) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]


def test_another_version_is_one_clear_sentence(tmp_path):
    path = saved(tmp_path, 1) / checkpoint.JSON
    content = json.loads(path.read_text().partition("\n")[2]) | {"version": 99}
    text = json.dumps(content)
    path.write_text(f"{checkpoint._sha256(text.encode())}\n{text}\n")
    with pytest.raises(CheckpointError, match="version 99"):
        checkpoint.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_kill_nine_at_any_moment_changes_nothing():
    """Five of the fifty kills of tools/kill.py, in every kind of moment.

    The script forks, and a fork of this process would inherit what other tests left: threads, locks, open files.
    """
    command = [sys.executable, str(TOOLS / "kill.py"), "5", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "5 of 5 equal" in done.stdout, done.stdout + done.stderr
