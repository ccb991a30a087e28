"""Every public entry point with arguments of any type: it works, or raises what its docstring says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import load_tool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import perfteach
import perfteach.errors
from perfteach import metrics, runs
from perfteach.correlation import Correlator
from perfteach.data import cache_folder, load, pack, points
from perfteach.errors import PerfteachError
from perfteach.grids import Study, find
from perfteach.phases import PhaseMachine
from perfteach.study import run_study

CASES = int(os.environ.get("PERFTEACH_FUZZ", "12"))  # per entry point; tools/torture.py asks for more
torture = load_tool("torture")
IMAGES = torture.images()


class Odd:
    """An object that is nothing in particular, and cannot even be shown."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("no repr")


def anything() -> st.SearchStrategy[Any]:
    """Values of all kinds; whole numbers are small or far too large, so that none is only a slow order."""
    plain = st.one_of(
        st.none(), st.booleans(), st.integers(-3, 40), st.sampled_from([-(2**70), 2**31, 2**32, 2**63, 10**30]),
        st.floats(), st.complex_numbers(), st.text(max_size=8), st.binary(max_size=4),
    )  # fmt: skip
    odd = st.sampled_from(
        [
            Odd(), object, len, ..., np.int64(3), np.float32(0.5), np.bool_(True), np.array([1, 2]), np.array("x"),
            torch.tensor(2), torch.tensor([1.0, float("nan")]), torch.empty(0, device="meta"), torch.tensor(1j),
            nn.Identity(), nn.Sequential(), nn.LazyLinear(2), nn.Linear(2, 2).double(), nn.Linear(2, 2, device="meta"),
            Path("x"), Path(), "../x", "/dev/null", "/dev/zero", "nul\0", "cifar", "meta", "cuda:99", "neuron", "tanh",
            range(3), {1: 2}, {1, 2}, "\ud800", "$a_{$", "x" * 5000, iter([]), Exception("x"),
        ]
    )  # fmt: skip
    return st.one_of(
        plain, odd, st.lists(plain, max_size=3), st.tuples(plain, plain), st.dictionaries(st.text(), plain)
    )


def network() -> nn.Module:
    return torture.network()


def batches(**how: Any) -> list[Any]:
    return list(IMAGES.batches(**how))


# What is called, and arguments with which it works; one or two of them are replaced.
ENTRIES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "TrainConfig": (
        perfteach.TrainConfig,
        {
            "switch": perfteach.FixedSwitch(), "cycles": 1, "grow": True, "thaw": False, "roll_back": True, "lr": 0.1,
            "batch_size": 8, "size": None, "augment": True, "dendrite_lr": 0.1, "weight_decay": 0.0, "seed": 0,
            "device": "cpu", "optimizer": None, "schedule": lambda *_: None, "loss": len, "cutout": 0, "average": 0.0,
            "decay_norms": True, "label_smoothing": 0.0, "thawed_lr": 1.0,
        },
    ),
    "FixedSwitch": (perfteach.FixedSwitch, {"neuron": (1, 2), "dendrite": 1}),
    "PlateauSwitch": (
        perfteach.PlateauSwitch,
        {"patience": 1, "min_gain": 0.1, "dendrite_patience": 1, "dendrite_min_gain": 0.1, "max_epochs": 3},
    ),
    "ManualSwitch": (perfteach.ManualSwitch, {"max_epochs": 3}),
    "PhaseMachine": (PhaseMachine, {"rule": perfteach.FixedSwitch(), "cycles": 1}),
    "observe": (lambda **how: PhaseMachine(perfteach.FixedSwitch()).observe(**how), {"score": 0.5}),
    "DendriteCycle": (
        lambda **how: perfteach.DendriteCycle(how.pop("model", network()), **how),
        {"switch": None, "cycles": 1, "grow": True, "thaw": False, "roll_back": True, "seed": 0, "batches": None},
    ),
    "cycle model": (perfteach.DendriteCycle, {"model": network()}),
    "step": (lambda **how: perfteach.DendriteCycle(network()).step(**how), {"score": 0.5}),
    "PerforatedTrainer": (
        lambda **how: perfteach.PerforatedTrainer(how.pop("model", None) or network(), how.pop("data"), **how),
        {
            "data": IMAGES, "config": perfteach.TrainConfig(batch_size=20, device="cpu"), "name": "r", "folder": None,
            "callbacks": (),
        },
    ),
    "trainer model": (lambda model: perfteach.PerforatedTrainer(model, IMAGES), {"model": nn.Linear(2, 2)}),
    "mobilenet_small": (
        perfteach.mobilenet_small,
        {
            "num_classes": 4, "width": 0.1, "head": "task", "hidden": None, "weights": None, "bn_momentum": 0.1,
            "output_stride": 32, "early_width": None, "seed": 0,
        },
    ),
    "perforate": (
        lambda **how: perfteach.perforate(how.pop("model", None) or nn.Sequential(nn.Linear(2, 2)), **how),
        {"select": None, "rule": "perforated", "activation": "tanh"},
    ),
    "perforate model": (lambda model: perfteach.perforate(model), {"model": nn.Sequential(nn.Linear(2, 2))}),
    "DendriticLayer": (
        perfteach.DendriticLayer, {"neuron": nn.Linear(2, 2), "rule": "perforated", "activation": "tanh"},
    ),
    "add_dendrites": (perfteach.add_dendrites, {"model": network(), "only": None, "weight": 0.0}),
    "set_phase": (perfteach.set_phase, {"model": network(), "phase": "neuron", "thaw": False}),
    "correlate": (perfteach.correlate, {"model": network()}),
    "fold": (perfteach.fold, {"model": network()}),
    "count_parameters": (perfteach.count_parameters, {"model": network()}),
    "count_macs": (perfteach.count_macs, {"model": network(), "input_size": (3, 16, 16)}),
    "Correlator": (Correlator, {"objective": "correlation", "decay": 0.9, "shuffled": False}),
    "accuracy": (
        lambda **how: metrics.accuracy(network(), **how),
        {"data": IMAGES, "split": "test", "batch_size": 8, "size": None, "device": None},
    ),
    "error_reduction": (metrics.error_reduction, {"control_accuracy": 80.0, "accuracy": 82.0}),
    "paired_interval": (
        metrics.paired_interval, {"control": [1.0, 2.0, 3.0], "treated": [2.0, 2.0, 4.0], "level": 0.9},
    ),
    "paired_bootstrap": (
        metrics.paired_bootstrap,
        {"control": [1.0, 2.0, 3.0], "treated": [2.0, 2.0, 4.0], "level": 0.9, "resamples": 100, "seed": 0},
    ),
    "load": (
        load,
        {
            "name": "nothing-there", "seed": 0, "validation": 0.1, "cache": None, "download": False, "label": None,
            "image_size": None, "progress": False,
        },
    ),
    "pack": (lambda **how: pack(IMAGES, **how), {"path": "a.npz"}),
    "cache_folder": (cache_folder, {"cache": "kept"}),
    "batches": (
        batches,
        {
            "split": "train", "batch_size": 50, "shuffle": False, "augment": False, "cutout": 0, "seed": 0,
            "size": None, "device": "cpu", "drop_last": False, "channels_last": True,
        },
    ),
    "subset": (IMAGES.subset, {"train": 20, "validation": None, "test": None, "seed": 0}),
    "hold_out": (IMAGES.hold_out, {"count": 20, "seed": 0}),
    "split": (IMAGES.split, {"name": "train"}),
    "two_spirals": (points.two_spirals, {"points": 20, "turns": 1.0, "noise": 0.1, "seed": 0}),
    "xor": (points.xor, {"points": 20, "noise": 0.1, "seed": 0}),
    "small_network": (points.small_network, {"hidden": 2, "seed": 0}),
    "point batches": (points.xor(20).batches, {"split": "train", "batch_size": 5, "seed": 0}),
    "Run.load": (runs.Run.load, {"path": "run.jsonl"}),
    "Run.at": (runs.Run({"name": "r"}).at, {"epoch": 1}),
    "Run.until": (runs.Run({"name": "r"}).until, {"epoch": 1}),
    "recorded": (runs.recorded, {"name": "nothing"}),
    "Study": (
        Study,
        {
            "about": "x", "arms": ("baseline",), "seeds": (0,), "width": 0.1, "baseline": 1, "dendrite": 1, "neuron": 1,
            "cycles": 1, "lr": 0.1, "dendrite_lr": 0.1, "batch_size": 8, "size": None, "activation": "tanh",
            "train": None, "fresh": 0, "claim": None,
        },
    ),
    "find": (find, {"name": "nothing"}),
    "run_study": (
        lambda **how: run_study("mini", how.pop("data"), how.pop("work"), progress=False, **how),
        {"data": None, "work": "work", "seeds": (99,), "arms": ("none",), "minutes": 0.0},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a name points to lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFTEACH_CACHE", str(tmp_path / "cache"))
    yield


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.filterwarnings("ignore")
@given(st.data())
@settings(
    max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=CASES == 12, database=None
)
def test_only_documented_errors_come_out(entry: str, data: st.DataObject) -> None:
    call, good = ENTRIES[entry]
    names = data.draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=2, unique=True))
    bad = {name: data.draw(anything(), label=name) for name in names}
    try:
        call(**(good | bad))
    except PerfteachError as error:
        assert "\n" not in str(error).split("it has no layers")[0] and len(str(error)) < 7000
    except KeyError:
        assert entry == "column"


def lines() -> st.SearchStrategy[str]:
    field = st.sampled_from(["kind", "epoch", "event", "name", "config", "schema", "scores", "test_accuracy", "data"])
    value = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists)
    kinds = st.sampled_from(["run", "epoch", "event", "result"])
    return st.dictionaries(field, value, max_size=5).flatmap(lambda d: kinds.map(lambda k: json.dumps(d | {"kind": k})))


ODD = ["1", "null", '"a"', "[]", "[" * 100_000, '{"a":' * 50_000, "{}", "NaN", '{"kind": ["run"]}', "\x00", "﻿{}"]


@pytest.mark.parametrize("text", [*[text.encode() for text in ODD], b"\xff\xfe", b'"\xe9"', b""])
def test_what_is_no_record_is_one_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "run.jsonl").write_bytes(text)
    with pytest.raises(perfteach.errors.DataError) as refused:
        runs.Run.load(tmp_path / "run.jsonl")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


@given(st.lists(lines() | st.text(max_size=20), max_size=4))
@settings(max_examples=8 * CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_records_of_anything_are_read_or_refused(tmp_path: Path, text: list[str]) -> None:
    from perfteach.report import report

    (tmp_path / "run.jsonl").write_text("\n".join(text), encoding="utf-8", errors="surrogatepass")
    try:
        run = runs.Run.load(tmp_path / "run.jsonl")
    except PerfteachError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(run.name, str) and isinstance(run.seed, int) and isinstance(repr(run), str)
        report(run)
