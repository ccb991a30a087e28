"""Records: nothing is lost on the way to disk and back, and damage is named."""

from __future__ import annotations

import pytest

from perfteach import runs
from perfteach.errors import DataError
from perfteach.runs import Run, provenance, recorded


@pytest.fixture
def run() -> Run:
    epochs = [
        {"epoch": 1, "phase": "neuron", "cycle": 0, "validation_accuracy": 50.0, "scores": {}},
        {"epoch": 2, "phase": "dendrite", "cycle": 1, "validation_accuracy": 50.0, "scores": {"a": 0.1, "b": 0.2}},
        {"epoch": 3, "phase": "neuron", "cycle": 1, "validation_accuracy": 55.0, "scores": {}},
    ]
    events = [{"epoch": 1, "event": "switch", "reason": "no validation gain", "phase": "neuron"}]
    return Run({"name": "study/arm-seed0", "seed": 0}, epochs, events, {"test_accuracy": 54.0})


def test_saved_and_loaded_is_the_same(run, tmp_path):
    loaded = Run.load(run.save(tmp_path / "deep" / "run.jsonl"))
    assert loaded == run and loaded.finished and "54.00" in repr(loaded)
    kinds = [line["kind"] for line in run.lines()]
    assert kinds == ["run", "epoch", "event", "epoch", "epoch", "result"], "events follow their epoch"


def test_an_unfinished_run_has_no_result(run, tmp_path):
    run.result = None
    assert not Run.load(run.save(tmp_path / "run.jsonl")).finished


def test_frames(run):
    frame = run.to_frame()
    assert list(frame.index) == [1, 2, 3] and "scores" not in frame
    assert frame.loc[3, "validation_accuracy"] == 55.0
    scores = run.scores_frame()
    assert list(scores.index) == [2] and scores.loc[2, "b"] == 0.2
    assert Run().to_frame().empty and Run().scores_frame().empty


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
