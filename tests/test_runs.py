"""Records: nothing is lost on the way to disk and back, and damage is named."""

from __future__ import annotations

import json

import pytest

from perfteach import runs
from perfteach.errors import ConfigError, DataError
from perfteach.provenance import provenance
from perfteach.runs import RECORDS, Epoch, Event, Result, Run, recorded


@pytest.fixture
def run() -> Run:
    epochs = [
        Epoch(
            1, "neuron", 0, validation_accuracy=50.0, lr=0.1, train_loss=1.0, train_accuracy=1.0, validation_loss=1.0
        ),
        Epoch(2, "dendrite", 1, 1.0, 1.0, 1.0, 50.0, 0.1, scores={"a": 0.1, "b": 0.2}),
        Epoch(3, "neuron", 1, 1.0, 1.0, 1.0, 55.0, 0.1),
    ]
    events = [Event(1, "switch", "no validation gain", "neuron")]
    return Run({"name": "study/arm-seed0", "seed": 0}, epochs, events, Result(54.0, 3, 55.0, 1.0, {"total": 7}))


def test_saved_and_loaded_is_the_same(run, tmp_path):
    loaded = Run.load(run.save(tmp_path / "deep" / "run.jsonl"))
    assert loaded == run and loaded.finished and "54.00" in repr(loaded)
    kinds = [line["kind"] for line in run.lines()]
    assert kinds == ["run", "epoch", "event", "epoch", "epoch", "result"], "events follow their epoch"


def test_an_unfinished_run_has_no_result(run, tmp_path):
    run.result = None
    assert not Run.load(run.save(tmp_path / "run.jsonl")).finished


def test_columns_and_scores(run):
    assert run["validation_error"] == [50.0, 50.0, 45.0] and run["phase"] == ["neuron", "dendrite", "neuron"]
    assert run["score"] == [None, pytest.approx(0.15), None]
    assert run.epochs[1]["cycle"] == run.epochs[1].cycle == 1
    with pytest.raises(KeyError):
        run["colour"]
    assert run.error == 46.0 and run.result["test_accuracy"] == 54.0 and run.result.total == 7
    assert list(run.scores.index) == [2] and run.scores.loc[2, "b"] == 0.2
    assert Run().scores.empty
    with pytest.raises(DataError, match="not finished"):
        Run().error  # noqa: B018


def test_phases_layers_and_names(run):
    assert [(b.phase, b.cycle, b.first, b.last, len(b)) for b in run.bands()] == [
        ("neuron", 0, 1, 1, 1), ("dendrite", 1, 2, 2, 1), ("neuron", 1, 3, 3, 1),
    ]  # fmt: skip
    assert run.after("switch") == [1] and run.after("rollback") == []
    assert run.layers == ["a", "b"] and run.dendrites_at(run.at(3)) == 1
    assert (run.arm, run.seed) == ("arm", 0)
    with pytest.raises(ConfigError, match="no epoch 4"):
        run.at(4)


def test_a_record_without_a_schema_number_is_read_by_its_old_names(tmp_path, run):
    lines = run.lines()
    del lines[0]["schema"]
    lines[0]["config"] = {"max_dendrites": 2, "lr": 0.1}
    path = tmp_path / "old.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Run.load(path).config == {"cycles": 2, "lr": 0.1}
    lines[0]["schema"] = 99
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match="schema 99 is newer"):
        Run.load(path)


@pytest.mark.parametrize(
    "path", sorted(RECORDS[1].glob("*/*.jsonl")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_committed_record_is_read_without_loss(path):
    first, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    header, *lines = Run.load(path).lines()
    assert lines == rest, "epochs, events and result"
    old, new = first["config"], header["config"]
    assert {"cycles" if key == "max_dendrites" else key: value for key, value in old.items()} == new
    assert {key: value for key, value in header.items() if key not in ("config", "schema")} == {
        key: value for key, value in first.items() if key not in ("config", "schema")
    }


@pytest.mark.parametrize("text", ["{", '{"kind": "other"}', '{"epoch": 1}', "[]"])
def test_a_damaged_record_names_the_line(tmp_path, run, text):
    path = run.save(tmp_path / "run.jsonl")
    path.write_text(path.read_text() + text + "\n")
    with pytest.raises(DataError, match="line 7"):
        Run.load(path)


def test_missing_records_say_what_there_is(tmp_path, monkeypatch, run):
    with pytest.raises(DataError, match="no run record"):
        Run.load(tmp_path / "none.jsonl")
    monkeypatch.setattr(runs, "RECORDS", (tmp_path,))
    run.save(tmp_path / "mini" / "a.jsonl")
    run.save(tmp_path / "mini" / "b.jsonl")
    assert recorded("mini") == [run, run]
    with pytest.raises(DataError, match="there are: mini"):
        recorded("other")


def test_recorded_runs_are_picked_by_what_their_header_says(tmp_path, monkeypatch, run):
    monkeypatch.setattr(runs, "RECORDS", (tmp_path,))
    for seed in (0, 1):
        run.header["seed"] = seed
        run.save(tmp_path / "mini" / f"{seed}.jsonl")
    assert [one.header["seed"] for one in recorded("mini", seed=1)] == [1]
    with pytest.raises(DataError, match="no run with"):
        recorded("mini", seed=2)


def test_provenance_says_what_ran_where():
    told = provenance()
    assert told["versions"]["torch"] and told["versions"]["python"] and told["machine"]["cores"] >= 1
    assert told["started"].endswith("+00:00")
