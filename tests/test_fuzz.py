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
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import perfteach
import perfteach.errors
from perfteach import data as images
from perfteach import metrics, parallel, predict, runs, shipped, study
from perfteach.correlation import Correlator
from perfteach.data import cache_folder, cifar10, load, pack, points
from perfteach.declared import find
from perfteach.errors import PerfteachError
from perfteach.grids import Study
from perfteach.hackathon import client
from perfteach.hackathon.event import Event, create
from perfteach.hackathon.submission import Limits
from perfteach.parallel import workers
from perfteach.phases import PhaseMachine
from perfteach.study import run_study

CASES = int(os.environ.get("PERFTEACH_FUZZ", "12"))  # per entry point; tools/torture.py asks for more
SEED = int(os.environ.get("PERFTEACH_FUZZ_SEED", "0"))
torture = load_tool("torture")
IMAGES = torture.images()


class Odd:
    """An object that is nothing in particular, and cannot even be shown."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("no repr")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis prints where it reports a failure."""
        printer.text("Odd()")


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


def quick() -> perfteach.PerforatedTrainer:
    """A trainer with one short epoch to train."""
    config = perfteach.TrainConfig(perfteach.FixedSwitch(1), cycles=0, batch_size=40, device="cpu")
    return perfteach.PerforatedTrainer(network(), IMAGES, config)


def batches(**how: Any) -> list[Any]:
    return list(IMAGES.batches(**how))


def study_of(**how: Any) -> None:
    """A study, and what it declares; a network is only built where it is small."""
    declared = Study(**how)
    for arm, number in declared.grid():
        declared.config(arm, number)
        declared.network(arm)


def with_workers(**how: Any) -> None:
    with workers(how.pop("data"), **how):
        pass


def run_file(name: str = "run.jsonl") -> runs.Run:
    return runs.Run({"name": name, "seed": 0}, [runs.Epoch(1)], [], runs.Result(50.0))


# What is called, and arguments with which it works; one or two of them are replaced. A key begins with a public name.
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
    "fit": (lambda **how: quick().fit(**how), {"progress": False}),
    "trainer model": (lambda model: perfteach.PerforatedTrainer(model, IMAGES), {"model": nn.Linear(2, 2)}),
    "mobilenet_small": (
        perfteach.mobilenet_small,
        {
            "num_classes": 4, "width": 0.1, "head": "task", "hidden": None, "weights": None,
            "output_stride": 32, "early_width": None, "seed": 0,
        },
    ),
    "mobilenet_extra_small": (
        perfteach.mobilenet_extra_small,
        {
            "num_classes": 4, "width": 0.1, "hidden": 0, "output_stride": 16, "weights": None,
            "early_width": None, "seed": 0,
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
        {"data": IMAGES, "split": "test", "batch_size": 8, "size": None},
    ),
    "accuracy data": (metrics.accuracy, {"model": network(), "data": IMAGES, "split": "test"}),
    "predictions": (
        metrics.predictions,
        {"model": network(), "data": IMAGES, "split": "test", "batch_size": 8, "size": None},
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
    "load cifar10": (load, {"name": "cifar10", "cache": "kept", "download": True, "progress": False}),
    "load a.npz": (load, {"name": "a.npz", "cache": None, "download": False, "label": None, "progress": False}),
    "pack": (lambda **how: pack(IMAGES, **how), {"path": "a.npz"}),
    "cache_folder": (cache_folder, {"cache": "kept"}),
    "download_cifar10": (cifar10.download_cifar10, {"root": "kept", "mirror": None, "progress": False}),
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
    "Run": (runs.Run, {"header": {"name": "r"}, "epochs": [], "events": [], "result": None}),
    "Run.save": (run_file().save, {"path": "run.jsonl"}),
    "Run.at": (runs.Run({"name": "r"}).at, {"epoch": 1}),
    "recorded": (runs.recorded, {"name": "nothing"}),
    "studies": (runs.studies, {}),
    "networks": (shipped.networks, {}),
    "card": (shipped.card, {"name": "mobilenet-small"}),
    "weights": (shipped.weights, {"known": None}),
    "classify": (predict.classify, {"picture": "a.png", "network": "mobilenet-extra-small", "top": 3}),
    "read_picture": (
        lambda **how: predict.read_picture(card=shipped.card("mobilenet-small"), **how), {"picture": "a.png"},
    ),
    "Study": (
        study_of,
        {
            "about": "x", "arms": ("baseline",), "seeds": (0,), "width": 0.1, "baseline": 1, "dendrite": 1, "neuron": 1,
            "cycles": 1, "lr": 0.1, "dendrite_lr": 0.1, "batch_size": 8, "size": None, "activation": "tanh",
            "train": None, "fresh": 0, "claim": None, "select": None, "net": {"hidden": 8}, "settings": {"lr": 0.1},
        },
    ),
    "find": (find, {"name": "nothing"}),
    "run_study": (
        lambda **how: run_study("mini", how.pop("data"), how.pop("work"), **how),
        {
            "data": IMAGES, "work": "work", "seeds": (0,), "arms": ("baseline",), "minutes": 0.0, "jobs": 1,
            "scheduler": None, "engine": "graph", "progress": False,
        },
    ),
    "run_study data": (lambda **how: run_study("mini", work=Path("work"), progress=False, **how), {"data": IMAGES}),
    "workers": (with_workers, {"data": IMAGES, "jobs": 1, "scheduler": None, "folder": Path("work")}),
    "Limits": (Limits, dict.fromkeys(vars(Limits()), 5)),
    "create": (
        lambda **how: create(how.pop("folder"), how.pop("source"), progress=False, **how),
        {"folder": Path("event"), "source": "a.npz", "title": "Light", "label": None, "hidden": 20, "limits": None},
    ),
    "Event.load": (Event.load, {"folder": Path("event")}),
    "export": (client.export, {"model": network(), "images": IMAGES, "folder": "run", "size": 0}),
    "submit": (
        lambda **how: client.submit(how.pop("run"), how.pop("name"), **how),
        {
            "run": "run.jsonl", "name": "first", "note": "", "team": "", "model": "a.onnx", "to": None, "token": None,
            "out": None,
        },
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a name points to lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFTEACH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(study, "RECORDS", (tmp_path / "none", tmp_path / "records"))
    monkeypatch.setattr(parallel, "SECONDS", 0.1)  # for a scheduler that is not there

    def no_network(*args: Any, **how: Any) -> None:
        raise OSError("there is no network here")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", no_network)
    pack(IMAGES, tmp_path / "a.npz")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    run_file().save(tmp_path / "run.jsonl")
    (tmp_path / "a.onnx").write_bytes(b"a network")
    yield


# Public names that take no data and no setting, and modules, whose own names are below.
NOTHING_TO_TAKE = {"Callback", "Phase", "data", "metrics", "runs"}
MODULES = {
    images: {"load", "pack", "cache_folder", "download_cifar10"},
    metrics: {"accuracy", "predictions", "error_reduction", "paired_interval", "paired_bootstrap"},
    runs: {"Run", "recorded", "studies"},
    shipped: {"networks", "card", "weights"},
    predict: {"classify", "read_picture"},
    study: {"run_study", "find", "Study"},
    parallel: {"workers"},
    client: {"submit", "export"},
}


def test_every_public_name_that_takes_data_or_settings_is_driven() -> None:
    driven = {entry.split(" ")[0].split(".")[0] for entry in ENTRIES}
    for module, names in MODULES.items():
        assert names <= set(dir(module)) and names <= driven, module
    assert set(perfteach.__all__) - NOTHING_TO_TAKE <= driven
    assert {"TrainConfig", "FixedSwitch", "PlateauSwitch", "ManualSwitch", "create", "Event"} <= driven


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.filterwarnings("ignore")
@seed(SEED)
@given(st.data())
@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_only_documented_errors_come_out(entry: str, data: st.DataObject) -> None:
    call, good = ENTRIES[entry]
    names = data.draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=2, unique=True)) if good else []
    bad = {name: data.draw(anything(), label=name) for name in names}
    assume(bad.get("select") is not len)  # what a function of the caller's raises is the caller's
    try:
        call(**(good | bad))
    except PerfteachError as error:
        assert "\n" not in str(error).split("it has no layers")[0] and len(str(error)) < 7000


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
    (tmp_path / "run.jsonl").write_text("\n".join(text), encoding="utf-8", errors="surrogatepass")
    try:
        run = runs.Run.load(tmp_path / "run.jsonl")
    except PerfteachError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(run.name, str) and isinstance(run.seed, int) and isinstance(repr(run), str)
        runs.report(run)


def test_no_device_was_replaced() -> None:
    """The administrator may do that, and the odd values above name two: without them much of the machine stops."""
    for device in ("/dev/null", "/dev/zero"):
        assert not Path(device).exists() or Path(device).is_char_device(), device
