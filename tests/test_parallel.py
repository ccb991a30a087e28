"""Studies on several processes and on a cluster: the same numbers, dead workers, failing runs, what is missing."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest
from test_study import TINY, figures, records  # noqa: F401  (a fixture)

from perfteach import cli, extras, parallel, study
from perfteach.errors import ConfigError, MissingExtraError, PerfteachError
from perfteach.study import record_path, run_study

pytestmark = pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning", "ignore:.*leaked:ResourceWarning")
SEED = {"seeds": (0,), "progress": False}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, tiny_data):  # type: ignore[no-untyped-def]
    """The numbers of seed 0, trained one after the other in this process."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study.STUDIES, "tiny", TINY)
        patch.setattr(study, "RECORDS", (folder / "none", folder / "records"))
        return [figures(run) for run in run_study("tiny", tiny_data, folder / "work", **SEED)]


def test_two_processes_give_the_numbers_of_one(records, tiny_data, expected) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    done = run_study("tiny", tiny_data, records / "work", jobs=2, **SEED)
    assert [figures(run) for run in done] == expected
    assert not multiprocessing.active_children()


def test_the_run_of_a_process_that_was_killed_is_tried_again(records, tiny_data, expected) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list((records / "work").glob("tiny/*/run.jsonl")):
            time.sleep(0.01)
        for child in multiprocessing.active_children()[:1]:
            killed.append(child.pid or 0)
            child.kill()

    thread = threading.Thread(target=kill_one)
    thread.start()
    done = run_study("tiny", tiny_data, records / "work", jobs=2, **SEED)
    thread.join()
    assert killed
    # A run that had begun says that it was resumed; everything else is the same.
    lines = [[line for line in figures(run) if line.get("event") != "resume"] for run in done]
    assert lines == expected


def test_a_worker_that_dies_between_two_runs_is_replaced(records, tiny_data, expected, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    submitted: list[str] = []

    class Dies(parallel.InTurn):
        def submit(self, fn, /, *task):  # type: ignore[no-untyped-def]
            submitted.append(task[2])
            if len(submitted) == 2:
                raise BrokenProcessPool("a child process terminated abruptly")
            return super().submit(fn, *task)

    monkeypatch.setattr(parallel.LocalPool, "_start", lambda self: Dies())
    done = run_study("tiny", tiny_data, records / "work", jobs=2, **SEED)
    assert [figures(run) for run in done] == expected
    assert submitted[1] == submitted[2] and sorted(set(submitted)) == sorted(TINY.arms)
    assert len(submitted) == len(TINY.arms) + 1, "what the first workers had finished is not trained again"


def test_a_run_that_fails_is_named_and_the_others_go_on(records, tiny_data, expected, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    train = study._train

    def fails(name, declared, arm, *rest):  # type: ignore[no-untyped-def]
        if arm in ("wider", "thawed"):
            raise PerfteachError(f"{arm} cannot be trained")
        return train(name, declared, arm, *rest)

    with (
        monkeypatch.context() as patch,
        pytest.raises(PerfteachError, match=r"2 runs failed.*thawed seed 0: thawed"),
    ):
        patch.setattr(study, "_train", fails)
        run_study("tiny", tiny_data, records / "work", **SEED)
    assert record_path("tiny", "perforated", 0).is_file() and not record_path("tiny", "wider", 0).exists()
    done = run_study("tiny", tiny_data, records / "work", **SEED)  # only what is missing
    assert [figures(run) for run in done] == expected


def test_after_the_minutes_no_run_begins(records, tiny_data) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    assert run_study("tiny", tiny_data, records / "work", minutes=0, **SEED) == []


def test_gpus_are_dealt_out_in_turn(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    counter, seen = multiprocessing.get_context("spawn").Value("i", 0), []
    gpus = parallel._gpus()
    for _ in range(3):
        parallel.begin(counter, gpus)
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["2", "5", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert parallel._gpus() == []


def test_workers_that_cannot_be_had_are_one_clear_line(records, tiny_data, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    for wrong, named in (({"jobs": 0}, "from 1 to"), ({"jobs": 2, "scheduler": "tcp://x:1"}, "leave it out")):
        with pytest.raises(ConfigError, match=named):
            run_study("tiny", tiny_data, records / "work", progress=False, **wrong)  # type: ignore[arg-type]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "distributed" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"perfteach\[cluster\]"):
        run_study("tiny", tiny_data, records / "work", scheduler="tcp://127.0.0.1:1", progress=False)
    assert cli.main(["study", "mini", "--report", "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "leave out --scheduler" in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer_is_one_clear_line(records, tiny_data, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "SECONDS", 1)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        run_study("tiny", tiny_data, records / "work", scheduler="tcp://127.0.0.1:1", progress=False)


@pytest.mark.timeout(400)
def test_a_cluster_gives_the_same_numbers_though_a_worker_dies(records, tiny_data, expected) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        first = next(iter(client.nthreads()))

        def kill_one() -> None:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not list((records / "records").glob("tiny/*.jsonl")):
                time.sleep(0.05)
            client.run(os._exit, 1, workers=[first], on_error="ignore")

        thread = threading.Thread(target=kill_one, daemon=True)
        thread.start()
        done = run_study("tiny", tiny_data, records / "work", scheduler=cluster.scheduler_address, **SEED)
        thread.join(60)
    assert [figures(run) for run in done] == expected
    assert (records / "work" / "tiny" / "baseline-seed0").is_dir(), "the driver has the weights too"
