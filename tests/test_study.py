"""Studies: arms train equally long, a shared baseline changes nothing, finished runs are not repeated."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from perfteach import counting, models, runs, study
from perfteach.cycle import snapshot
from perfteach.dendrites import add_dendrites, dendritic_layers
from perfteach.errors import CheckpointError, ConfigError, DataError
from perfteach.runs import Run
from perfteach.study import EVERY_ARM, STUDIES, Study, find, record_path, run_study
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


ONE_SEED = (
    "extra-small-long",
    "recipe",
    "extra-small-eleven",
    "extra-small-short",
)  # no claim rests on them: they chose what others measure, or made a file to ship


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_trains_the_same_number_of_epochs(name):
    declared = STUDIES[name]
    lengths = {}
    for arm in declared.arms:
        config = declared.config(arm, 0)
        cycles = range(1, config.cycles + 1)
        lengths[arm] = config.switch.neuron[0] + sum(config.switch.neuron[k] + config.switch.dendrite for k in cycles)
    assert lengths.pop("baseline", declared.baseline) == declared.baseline
    once = declared.baseline + declared.cycles * (declared.dendrite + declared.neuron)
    assert lengths == {arm: once * EVERY_ARM[arm].times for arm in lengths}
    assert set(declared.arms) <= set(EVERY_ARM) and (len(declared.seeds) >= 3 or name in ONE_SEED)


@pytest.mark.parametrize("what", ["parameters", "MACs"])
@pytest.mark.parametrize("name", STUDIES)
def test_no_width_is_nearer_to_the_cost_of_the_dendritic_network(name, what):
    declared = find(name)
    edge = declared.size or 32

    def cost(model):
        if what == "MACs":
            return counting.count_macs(model, (3, edge, edge)).total
        return sum(p.numel() for p in model.parameters())

    grown = declared.model(declared.claim or "perforated", 0)
    for _ in range(declared.cycles):
        add_dendrites(grown)
    target, width = cost(grown), declared.wider_width(what=what)
    plain = lambda width: models.mobilenet_small(10, width, **declared.net)  # noqa: E731
    off = {step: abs(cost(plain(width + step / 100)) - target) for step in range(-3, 4)}
    assert off[0] == min(off.values())
    assert off[0] < 0.08 * target, "channels come in steps of 8"


def test_a_network_as_costly_in_macs_is_another_than_one_as_large():
    declared = find("search-early")
    assert declared.network("wider-macs")["width"] > declared.network("wider")["width"] > declared.width
    assert not declared.config("wider-macs", 0).grow


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


def test_a_second_study_in_the_same_work_folder_is_refused_in_one_line(records, tiny_data, monkeypatch):
    how = {"seeds": (0,), "arms": ("baseline",), "progress": False}
    said, train = [], study._run

    def meanwhile(*task):
        with pytest.raises(CheckpointError, match=r"being written by process \d+ on .*use another folder") as refused:
            run_study("tiny", tiny_data, records / "work", **how)
        said.append(str(refused.value))
        return train(*task)

    monkeypatch.setattr(study, "_run", meanwhile)
    assert len(run_study("tiny", tiny_data, records / "work", **how)) == 1
    assert len(said) == 1 and "\n" not in said[0]
    assert len(run_study("tiny", tiny_data, records / "work", **how)) == 1, "the claim has ended, and the run is done"


@pytest.mark.parametrize("seed", [0, 1])
def test_other_data_is_refused_for_every_seed(records, tiny_data, seed):
    run_study("tiny", tiny_data, records / "work", seeds=(0,), arms=("baseline",), progress=False)
    other = dataclasses.replace(tiny_data, checksum="0" * 64)
    with pytest.raises(DataError, match="made on other data"):
        run_study("tiny", other, records / "work", seeds=(seed,), arms=("baseline",), progress=False)


def test_unknown_study_and_foreign_baseline(records, tiny_data):
    with pytest.raises(ConfigError, match="mini"):
        find("huge")
    run_study("tiny", tiny_data, records / "work", seeds=(0,), arms=("baseline",), progress=False)
    trainer = PerforatedTrainer(TINY.model("thawed", 1), tiny_data, TINY.config("thawed", 1))
    before = snapshot(trainer.model)
    with pytest.raises(ConfigError, match="another seed"):
        study.continue_from(trainer, records / "work" / "tiny" / "baseline-seed0")
    assert not trainer.run.epochs
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning")
def test_an_unfinished_or_damaged_baseline_is_not_taken(records, tiny_data):
    how = {"arms": ("thawed",), "seeds": (0,), "progress": False}
    folder = records / "work" / "tiny" / "baseline-seed0"
    started = PerforatedTrainer(TINY.model("baseline", 0), tiny_data, TINY.config("baseline", 0), folder=folder)
    started.save()
    with pytest.raises(ConfigError, match="not finished; run the arm baseline first"):
        study.continue_from(PerforatedTrainer(TINY.model("thawed", 0), tiny_data, TINY.config("thawed", 0)), folder)
    (without,) = run_study("tiny", tiny_data, records / "work", **how)
    record_path("tiny", "thawed", 0).unlink()
    run_study("tiny", tiny_data, records / "other", arms=("baseline",), seeds=(0,), progress=False)
    for path in (records / "other").glob("tiny/baseline-seed0/checkpoint-*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="until then the other arms train from the start"):
        (after,) = run_study("tiny", tiny_data, records / "other", **how)
    assert figures(after) == figures(without)


def test_a_record_that_is_cut_is_missing_and_one_with_gaps_is_refused(records, tiny_data):
    how = {"arms": ("baseline",), "seeds": (0,), "progress": False}
    (whole,) = run_study("tiny", tiny_data, records / "work", **how)
    path = record_path("tiny", "baseline", 0)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    assert study.recorded("tiny", "baseline", 0) is None
    assert [figures(run) for run in run_study("tiny", tiny_data, records / "work", **how)] == [figures(whole)]
    for damaged in (lines[:1] + lines[2:], lines + lines):
        path.write_text("".join(damaged), encoding="utf-8")
        with pytest.raises(DataError, match="its epochs do not follow one another"):
            Run.load(path)


def test_what_another_command_recorded_in_the_meantime_is_kept_apart(records, tiny_data, monkeypatch):
    """Two commands with folders of their own for checkpoints."""
    other = dataclasses.replace(tiny_data, checksum="0" * 64)
    train = study._run

    def meanwhile(*task):
        with monkeypatch.context() as patch:
            patch.setattr(study, "_run", train)
            run_study("tiny", other, records / "b", arms=("same-epochs",), seeds=(0,), progress=False)
        return train(*task)

    monkeypatch.setattr(study, "_run", meanwhile)
    with pytest.raises(DataError, match=r"same-epochs-seed0\.jsonl was made on other data"):
        run_study("tiny", tiny_data, records / "a", arms=("baseline",), seeds=(0,), progress=False)
    assert not record_path("tiny", "baseline", 0).exists()


def test_a_study_has_one_thread_wherever_it_runs(records, tiny_data):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (run,) = run_study("tiny", tiny_data, records / "work", arms=("baseline",), seeds=(0,), progress=False)
        assert run.header["machine"]["threads"] == 1 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_outside_a_checkout_nothing_is_trained(records, tiny_data, monkeypatch):
    monkeypatch.setattr(study, "RECORDS", (records, records / "nowhere" / "runs"))
    with pytest.raises(DataError, match="clone the repository"):
        run_study("tiny", tiny_data, records / "work", progress=False)


def test_unknown_arms_and_seeds_are_refused(records, tiny_data, tmp_path):
    for wrong, named in (({"arms": ("perforatd",)}, "perforatd"), ({"seeds": (9,)}, "9")):
        with pytest.raises(ConfigError, match=named):
            run_study("tiny", tiny_data, tmp_path / "work", progress=False, **wrong)


@pytest.mark.parametrize(
    "change", [{"baseline": 3}, {"lr": 1e-3}, {"width": 0.3}, {"select": "features.*"}, {"activation": "relu"}]
)
def test_records_and_baselines_of_an_older_declaration_are_refused(records, tiny_data, tmp_path, monkeypatch, change):
    work = tmp_path / "work"
    run_study("tiny", tiny_data, work, arms=("baseline",), seeds=(0,), progress=False)
    monkeypatch.setitem(STUDIES, "tiny", dataclasses.replace(TINY, **change))
    with pytest.raises(DataError, match="other settings"):
        run_study("tiny", tiny_data, work, arms=("baseline",), seeds=(0,), progress=False)
    record_path("tiny", "baseline", 0).unlink()
    with pytest.raises(ConfigError, match=r"other settings|another network"):
        run_study("tiny", tiny_data, work, arms=("same-epochs",), seeds=(0,), progress=False)


@pytest.mark.parametrize("arm", ["relu", "early", "early-relu"])
def test_an_idea_names_its_layers_and_grows_dendrites_there_only(arm):
    declared = find("search")
    model = declared.model(arm, 0)
    said = declared.network(arm)
    wrapped = {name for name, _ in dendritic_layers(model)}
    whole = {name for name, _ in dendritic_layers(declared.model("thawed", 0))}
    early = {name for name in whole if name.split(".")[:2] in [["features", str(n)] for n in range(5)]}
    places = {"relu": whole, "early": early, "early-relu": early}
    assert wrapped == places[arm] and wrapped
    assert said["activation"] == ("relu" if "relu" in arm else "tanh")


@pytest.mark.parametrize("name", [name for name in STUDIES if name in runs.studies()])
def test_the_committed_records_say_all_that_is_needed_to_make_them_again(name):
    declared = find(name)
    for run in runs.recorded(name):
        header, arm, seed = run.header, run.header["arm"], run.header["seed"]
        told = {"config": declared.config(arm, seed).describe(), **declared.network(arm)}
        assert {key: header.get(key, value) for key, value in told.items()} == told
        assert header["study"] == name and header["data"]["name"] and len(header["data"]["checksum"]) == 64
        assert header["versions"]["torch"] and header["machine"]["cpu"] and header["started"]
        assert len(header["revision"]) == 40, "a revision without changes"
        switch, cycles = declared.config(arm, seed).switch, declared.config(arm, seed).cycles
        epochs = switch.neuron[0] + cycles * (switch.dendrite + switch.neuron[-1])
        assert [epoch["epoch"] for epoch in run.epochs] == list(range(1, epochs + 1))
        assert all(epoch["seconds"] > 0 for epoch in run.epochs) and run.result["seconds"] > 0


@pytest.mark.parametrize("arm", ["relu", "early", "early-relu"])
def test_an_idea_with_other_layers_trains_from_the_start(records, tiny_data, monkeypatch, arm):
    monkeypatch.setitem(STUDIES, "tiny", dataclasses.replace(TINY, arms=("baseline", arm)))
    baseline, run = run_study("tiny", tiny_data, records / "work", seeds=(0,), progress=False)
    assert run.header["arm"] == arm and len(run.epochs) == len(baseline.epochs) + 2
    assert run.header["layers"] != baseline.header["layers"]


def test_no_record_ships_that_belongs_to_no_declared_study():
    assert set(runs.studies()) <= set(STUDIES)
