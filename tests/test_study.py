"""Studies: arms train equally long, a shared baseline changes nothing, finished runs are not repeated."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from perfteach import runs, study
from perfteach.errors import ConfigError, DataError
from perfteach.runs import Run
from perfteach.study import ARMS, STUDIES, Study, find, record_path, run_study
from perfteach.trainer import PerforatedTrainer

# Runs of one epoch a phase often gain nothing, and then say loudly that no dendrite is installed.
pytestmark = pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning")

TINY = Study(
    "for tests", ("baseline", "same-epochs", "thawed", "perforated", "wider"), (0, 1), 0.25, 2, 1, 1, batch_size=50
)


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "tiny", TINY)
    monkeypatch.setattr(study, "RECORDS", (tmp_path / "none", tmp_path / "records"))
    monkeypatch.setattr(runs, "RECORDS", (tmp_path / "none", tmp_path / "records"))
    return tmp_path


def figures(run: Run) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "started")} for line in run.lines()[1:]]


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_trains_the_same_number_of_epochs(name):
    declared = STUDIES[name]
    lengths = {}
    for arm in declared.arms:
        config = declared.config(arm, 0)
        cycles = range(1, config.max_dendrites + 1)
        lengths[arm] = config.switch.neuron[0] + sum(config.switch.neuron[k] + config.switch.dendrite for k in cycles)
    assert lengths.pop("baseline") == declared.baseline
    assert set(lengths.values()) == {declared.baseline + declared.cycles * (declared.dendrite + declared.neuron)}
    assert set(declared.arms) <= set(ARMS) and len(declared.seeds) >= 3


def test_wider_matches_the_parameters_of_the_dendritic_network():
    declared = find("mini")
    grown = study.add_dendrites(declared.model("perforated", 0))
    wider = declared.model("wider", 0)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (grown, wider)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.08), "channels come in steps of 8"


def test_the_baseline_comes_first_of_each_seed():
    assert [seed for _, seed in TINY.grid()] == [0] * 5 + [1] * 5
    assert [arm for arm, _ in TINY.grid()][::5] == ["baseline"] * 2


def test_study_runs_resumes_and_equals_runs_trained_from_the_start(records, tiny_data, monkeypatch):
    done = run_study("tiny", tiny_data, records / "work", seeds=(0,), progress=False)
    assert [run.header["arm"] for run in done] == ["baseline", "same-epochs", "thawed", "perforated", "wider"]
    assert {len(run.epochs) for run in done} == {2, 4}
    assert done[1].epochs[:2] == done[3].epochs[:2] == done[0].epochs, "one baseline for all"
    header = done[3].header
    assert header["data"]["checksum"] == tiny_data.checksum and header["versions"]["torch"] and header["machine"]["cpu"]

    def never(*args, **how):
        raise AssertionError("a finished run was repeated")

    with monkeypatch.context() as patch:
        patch.setattr(study, "_run", never)
        again = run_study("tiny", tiny_data, records / "work", seeds=(0,), progress=False)
    assert [figures(run) for run in again] == [figures(run) for run in done]

    record_path("tiny", "perforated", 0).unlink()
    again = run_study("tiny", tiny_data, records / "elsewhere", seeds=(0,), arms=("perforated",), progress=False)
    assert figures(again[0]) == figures(done[3]), "a deleted record comes back, without the baseline's checkpoint too"


def test_other_data_is_refused(records, tiny_data):
    run_study("tiny", tiny_data, records / "work", seeds=(0,), arms=("baseline",), progress=False)
    other = dataclasses.replace(tiny_data, checksum="0" * 64)
    with pytest.raises(DataError, match="made on other data"):
        run_study("tiny", other, records / "work", seeds=(0,), arms=("baseline",), progress=False)


def test_unknown_study_and_foreign_baseline(records, tiny_data):
    with pytest.raises(ConfigError, match="mini"):
        find("huge")
    run_study("tiny", tiny_data, records / "work", seeds=(0,), arms=("baseline",), progress=False)
    trainer = PerforatedTrainer(TINY.model("thawed", 1), tiny_data, TINY.config("thawed", 1))
    with pytest.raises(ConfigError, match="another seed"):
        study.continue_from(trainer, records / "work" / "tiny" / "baseline-seed0" / "checkpoint.pt")
    assert torch.isfinite(next(trainer.model.parameters())).all()


def test_unknown_arms_and_seeds_are_refused(records, tiny_data, tmp_path):
    for wrong, named in (({"arms": ("perforatd",)}, "perforatd"), ({"seeds": (9,)}, "9")):
        with pytest.raises(ConfigError, match=named):
            run_study("tiny", tiny_data, tmp_path / "work", progress=False, **wrong)


@pytest.mark.parametrize("change", [{"baseline": 3}, {"lr": 1e-3}])
def test_records_and_baselines_of_an_older_declaration_are_refused(records, tiny_data, tmp_path, monkeypatch, change):
    work = tmp_path / "work"
    run_study("tiny", tiny_data, work, arms=("baseline",), seeds=(0,), progress=False)
    monkeypatch.setitem(STUDIES, "tiny", dataclasses.replace(TINY, **change))
    with pytest.raises(DataError, match="other settings"):
        run_study("tiny", tiny_data, work, arms=("baseline",), seeds=(0,), progress=False)
    with pytest.raises(ConfigError, match="other settings"):
        run_study("tiny", tiny_data, work, arms=("same-epochs",), seeds=(0,), progress=False)
