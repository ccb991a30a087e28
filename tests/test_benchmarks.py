"""The benchmarks run, and the page says what is kept. The figures themselves belong to a quiet machine."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

from benchmarks import gpu, growth, inference, jobs, loader, peer, spirals, steps, timing
from benchmarks.__main__ import PAGE, page, parts
from perfteach import data
from perfteach.counting import count_parameters
from perfteach.data.points import small_network


def test_by_turns_divides_by_the_first_of_the_same_round() -> None:
    calls: list[str] = []
    found = timing.by_turns({"one": lambda: calls.append("one"), "two": lambda: calls.append("two")}, rounds=3)
    assert calls == ["one", "two"] * 4, "one round does not count"
    assert found["one"]["ratio"] == found["one"]["low"] == found["one"]["high"] == 1
    busy = timing.by_turns({"short": lambda: sum(range(20_000)), "long": lambda: sum(range(200_000))}, rounds=9)
    assert 5 < busy["long"]["ratio"] < 20
    assert f"| long | {busy['long']['ms']:,.2f} | " in timing.table("work", busy, {"long": "10"})


def test_every_phase_is_timed() -> None:
    found = steps.training(0.15, 32, batch=8, rounds=2)
    assert {*steps.LIMITS} <= set(found) and all(row["ms"] > 0 for row in found.values())
    assert found["gradient rule, 1 dendrite"]["ms"] > found["plain"]["ms"]


def test_cost_grows_with_dendrites_and_layers() -> None:
    found = growth.with_dendrites(0.15, rounds=3, most=2)
    assert next(iter(found)) == "0 dendrites a neuron" and found["2 dendrites a neuron"]["ratio"] > 1
    layers = growth.with_layers(0.15, rounds=1)
    assert list(layers) == ["no layer", *growth.LAYERS] and all(row["ms"] > 0 for row in layers.values())


@pytest.mark.skipif(os.name == "nt", reason="Windows does not say how much memory a process has had")
def test_memory_is_measured_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PHASES", {"dendrite phase": growth.PHASES["dendrite phase"]})
    assert growth.memory(0.15, 32, 8)["dendrite phase"] > 1, "MB, where this process has had more than that before"


def test_memory_has_the_phases_of_the_steps() -> None:
    assert set(growth.PHASES) - {"plain"} < set(steps.LIMITS)


def test_without_the_peer_its_rows_are_left_out_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "find_spec", lambda name: None)
    assert not any(peer.NAME in title for title in parts())
    assert capsys.readouterr().out.strip() == peer.MISSING
    monkeypatch.setattr(peer, "find_spec", lambda name: object())
    assert sum(peer.NAME in title for title in parts()) == 2


@pytest.mark.parametrize("arm", ["plain", "gradient", "early"])
def test_every_arm_beside_the_peer_trains(arm: str) -> None:
    images = data.load("synthetic10").subset(260, validation=20, test=500)
    found = peer.train(arm, 0, images, epochs=1)
    assert found["accuracy"] > 0 and (found["parameters"] > 52_810) == (arm != "plain")


@pytest.mark.parametrize("same", [True, False])
def test_the_ways_to_run_a_study_have_to_give_the_same_figures(monkeypatch: pytest.MonkeyPatch, same: bool) -> None:
    one, other = [[{"epoch": 1, "error": 0.5}]], [[{"epoch": 1, "error": 0.5 if same else 0.6}]]
    monkeypatch.setitem(jobs.STUDIES, jobs.NAME, jobs.EIGHT)
    monkeypatch.setattr(jobs, "timed", lambda images, jobs: (8.0 / jobs, one if jobs == 1 else other))
    monkeypatch.setattr(jobs, "on_dask", lambda images, halfway: (halfway + 3.0, other))
    images = data.load("cifar10-sample")
    if same:
        assert list(jobs.measure(images).values()) == [8.0, 4.0, 5.0]
    else:
        with pytest.raises(RuntimeError, match="two processes: other figures than in one process"):
            jobs.measure(images)


def test_inference_is_timed_with_and_without_dendrites() -> None:
    found = inference.inference(0.15, batch=2, rounds=2)
    assert list(found)[:3] == ["plain", "one dendrite a neuron", "one dendrite a neuron, folded"]
    assert found["one dendrite a neuron"]["ratio"] > 1


def test_loaders_see_the_same_number_of_images() -> None:
    images = data.load("synthetic10").subset(120, validation=20, test=20)
    assert loader.loading(images, batch=40, workers=0, rounds=1).keys() == {"perfteach", "DataLoader, 0 workers"}
    picture, label = loader.Pictures(images)[0]
    assert picture.shape == (3, 32, 32) and label == int(images.train.labels[0])


@pytest.mark.parametrize("kind", gpu.KINDS, ids="-".join)
def test_the_script_for_a_gpu_runs_without_one(kind: tuple[str, str, str, str], monkeypatch) -> None:
    monkeypatch.setattr(gpu, "BATCH", 2)
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    rate, busy = gpu.steps_a_second(*kind, seconds=0.01)
    assert rate > 0 and busy is None


def test_the_page_says_what_is_kept() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make it again: python -m benchmarks --page"


def test_the_kept_spirals_are_every_arm_and_seed_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = SimpleNamespace(error=1.234, ended=SimpleNamespace(total=5))
    monkeypatch.setattr(spirals, "side_by_side", lambda jobs: [(None, ended)] * len(jobs))
    again = spirals.measured()
    kept = json.loads(spirals.KEPT.read_text(encoding="utf-8"))["rows"]
    assert [(row["arm"], row["seed"]) for row in again] == [(row["arm"], row["seed"]) for row in kept]
    assert again[0] == {"arm": "same-epochs", "seed": 0, "error": 1.23, "parameters": 5}
    largest = {row["arm"]: row["parameters"] for row in kept}
    assert largest["same-epochs"] == count_parameters(small_network(5)).total
    assert largest["wider"] == count_parameters(small_network(30)).total
