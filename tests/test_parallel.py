"""Studies on several processes and on a cluster: the same numbers, dead workers, failing runs, what is missing."""

from __future__ import annotations

import gc
import importlib.util
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from types import SimpleNamespace

import pytest
from test_study import TINY, figures, records  # noqa: F401  (a fixture)
from tqdm.auto import tqdm

from perfteach import checkpoint, cli, extras, files, parallel, study
from perfteach.errors import ConfigError, MissingExtraError, PerfteachError
from perfteach.study import record_path, run_study

pytestmark = pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning", "ignore:.*leaked:ResourceWarning")
SEED = {"seeds": (0,), "progress": False}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, tiny_data):
    """The numbers of seed 0, trained one after the other in this process."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study.STUDIES, "tiny", TINY)
        patch.setattr(study, "RECORDS", (folder / "none", folder / "records"))
        return [figures(run) for run in run_study("tiny", tiny_data, folder / "work", **SEED)]


def test_two_processes_give_the_numbers_of_one(records, tiny_data, expected) -> None:  # noqa: F811
    done = run_study("tiny", tiny_data, records / "work", jobs=2, **SEED)
    assert [figures(run) for run in done] == expected
    assert not multiprocessing.active_children()


def test_the_run_of_a_process_that_was_killed_is_tried_again(records, tiny_data, expected) -> None:  # noqa: F811
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


def test_a_worker_that_dies_between_two_runs_is_replaced(records, tiny_data, expected, monkeypatch) -> None:  # noqa: F811
    submitted: list[str] = []

    class Dies(parallel.InTurn):
        def submit(self, fn, /, *task):
            submitted.append(task[2])
            if len(submitted) == 2:
                raise BrokenProcessPool("a child process terminated abruptly")
            return super().submit(fn, *task)

    monkeypatch.setattr(parallel.LocalPool, "_start", lambda self: Dies())
    done = run_study("tiny", tiny_data, records / "work", jobs=2, **SEED)
    assert [figures(run) for run in done] == expected
    assert submitted[1] == submitted[2] and sorted(set(submitted)) == sorted(TINY.arms)
    assert len(submitted) == len(TINY.arms) + 1, "what the first workers had finished is not trained again"


def test_runs_whose_images_were_lost_get_new_ones(records, tiny_data, expected, monkeypatch) -> None:  # noqa: F811
    """Dask cancels what needs data that only a dead worker had."""
    lost, fresh, given = object(), object(), []

    class Cluster(parallel.Pool):
        def restart(self) -> None:
            self.images = fresh

    class Cancels(parallel.InTurn):
        def submit(self, fn, /, *task):
            given.append(task[4])
            if given[-1] is fresh:
                return super().submit(fn, *task[:4], tiny_data, *task[5:])
            future: Future[study.Trained] = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    pool = Cluster(Cancels(), lost)
    monkeypatch.setattr(Cluster, "slots", 2)
    done = [(arm, 0) for arm in TINY.arms]
    study._Runs("tiny", TINY, records / "work", pool, tqdm(disable=True), list(done), math.inf, "eager").finish()
    assert given == [lost] * 2 + [fresh] * len(done)
    assert [figures(study.Run.load(record_path("tiny", *cell))) for cell in done] == expected


def test_where_a_worker_is_gone_no_run_begins_before_others_have_ended(tmp_path) -> None:
    pool = SimpleNamespace(slots=2, images=None, shared=True, executor=SimpleNamespace(submit=lambda *task: Future()))
    cells = [("baseline", seed) for seed in range(5)]
    under_way = study._Runs("tiny", TINY, tmp_path, pool, tqdm(disable=True), cells, math.inf, "eager")
    under_way._submit()
    pool.slots = 1  # the cluster is one worker smaller, for a while at least
    under_way._submit()
    assert len(under_way.under_way) == 2 and len(under_way.waiting) == 3


def test_a_run_on_its_last_try_takes_no_other_run_with_it(tmp_path) -> None:
    pool = SimpleNamespace(slots=2, images=None, shared=True, executor=SimpleNamespace(submit=lambda *task: Future()))
    heavy, *others = cells = [("baseline", seed) for seed in range(3)]
    runs = study._Runs("tiny", TINY, tmp_path, pool, tqdm(disable=True), cells, math.inf, "eager")
    runs.tries[heavy] = study.TRIES - 1
    runs._submit()
    assert list(runs.under_way.values()) == others
    runs.under_way.clear()
    runs._submit()
    assert list(runs.under_way.values()) == [heavy]
    runs.waiting = [("baseline", 3)]
    runs._submit()
    assert list(runs.under_way.values()) == [heavy]


def test_workers_that_do_not_end_when_asked_are_ended(tiny_data, tmp_path) -> None:
    pool = parallel.LocalPool(2, tiny_data, tmp_path)
    pool.executor.submit(signal.signal, signal.SIGTERM, signal.SIG_IGN).result()
    busy, start = pool.executor.submit(time.sleep, 300), time.monotonic()
    while not busy.running() and time.monotonic() < start + 60:
        time.sleep(0.01)
    pool.close(now=True)
    assert time.monotonic() < start + 60 and not multiprocessing.active_children()


def test_a_result_that_is_written_is_let_go(records, tiny_data, monkeypatch) -> None:  # noqa: F811
    """Dask computes again whatever somebody still holds when the worker that computed it dies."""
    given: list[weakref.ref[Future[study.Trained]]] = []

    class Watches(parallel.InTurn):
        def submit(self, fn, /, *task):
            assert all(before() is None for before in given)
            future = super().submit(fn, *task)
            given.append(weakref.ref(future))
            return future

    monkeypatch.setattr(parallel, "InTurn", Watches)
    run_study("tiny", tiny_data, records / "work", arms=("baseline", "same-epochs"), **SEED)
    assert len(given) == 2


def test_a_run_that_fails_is_named_and_the_others_go_on(records, tiny_data, expected, monkeypatch) -> None:  # noqa: F811
    train = study._train

    def fails(name, declared, arm, *rest):
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


def test_after_the_minutes_no_run_begins(records, tiny_data) -> None:  # noqa: F811
    assert run_study("tiny", tiny_data, records / "work", minutes=0, **SEED) == []


def test_the_checkpoint_of_another_run_gives_way_to_what_a_worker_sends(tmp_path) -> None:
    name = "checkpoint-000002"
    checkpoint.write_files(tmp_path, {f"{name}/model.safetensors": b"old", "checkpoint-000003/x": b"older"})
    new = {f"{name}/model.safetensors": b"new"}
    checkpoint.write_files(tmp_path, new)
    assert checkpoint.files(tmp_path) == new and [path.name for path in tmp_path.iterdir()] == [name]


def test_a_worker_with_other_code_trains_nothing(records, tiny_data, monkeypatch) -> None:  # noqa: F811
    own = iter(["perfteach 1, revision a", "perfteach 2, revision b"])
    monkeypatch.setattr(study, "code", lambda: next(own))
    with pytest.raises(
        PerfteachError, match="its worker has perfteach 2, revision b, and this machine perfteach 1, rev"
    ):
        run_study("tiny", tiny_data, records / "work", arms=("baseline",), **SEED)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_workers_end_with_a_driver_that_was_killed(tmp_path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "import os, time\nfrom pathlib import Path\n"
        "from perfteach import data, parallel\n"
        "if __name__ == '__main__':\n"
        "    pool = parallel.LocalPool(1, data.load('synthetic10').subset(20, 10, 10), Path('work'))\n"
        "    print(pool.executor.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(300)\n",
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        worker = int(driver.stdout.readline())
        driver.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker was still there")


def test_gpus_are_dealt_out_in_turn(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    counter, seen = multiprocessing.get_context("spawn").Value("i", 0), []
    gpus = parallel._gpus()
    for _ in range(3):
        parallel.begin(counter, gpus)
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["2", "5", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert parallel._gpus() == []


def test_workers_that_cannot_be_had_are_one_clear_line(records, tiny_data, monkeypatch, capsys) -> None:  # noqa: F811
    for wrong, named in (({"jobs": 0}, "from 1 to"), ({"jobs": 2, "scheduler": "tcp://x:1"}, "leave it out")):
        with pytest.raises(ConfigError, match=named):
            run_study("tiny", tiny_data, records / "work", progress=False, **wrong)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "distributed" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"perfteach\[cluster\]"):
        run_study("tiny", tiny_data, records / "work", scheduler="tcp://127.0.0.1:1", progress=False)
    assert cli.main(["study", "mini", "--report", "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "leave out --scheduler" in capsys.readouterr().err


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # of a client half made
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "foo"])
def test_a_scheduler_that_does_not_answer_is_one_clear_line(records, tiny_data, address, monkeypatch) -> None:  # noqa: F811
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "SECONDS", 1)
    with pytest.raises(ConfigError, match=rf"no Dask scheduler answers at '{address}'"):
        run_study("tiny", tiny_data, records / "work", scheduler=address, progress=False)
    gc.collect()


def test_a_kept_folder_is_found_again_after_a_crash_and_gone_when_it_is_forgotten(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with suppress(RuntimeError), files.kept("mine") as folder:
        (folder / "half").touch()
        raise RuntimeError("a crash")
    with files.kept("mine") as again:
        files.forget("mine")
        assert again == folder and (again / "half").exists(), "somebody is at work there"
        with files.kept("mine") as other:  # somebody is at work there
            assert other != folder and not list(other.iterdir())
        with files.kept("yours") as other:
            assert other.parent == folder.parent
        assert again.is_dir() and other.is_dir()
    files.forget("mine")
    files.forget("yours")
    assert not folder.exists() and not other.exists()
    if hasattr(os, "getuid"):
        assert folder.parent.stat().st_mode & 0o077 == 0, "nobody else may read or write there"
        somebody = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: somebody)
        folder.parent.rename(tmp_path / f"perfteach-{somebody}")
        with files.kept("mine") as other:
            assert other.parent == tmp_path, "a folder of somebody else's is not used"
        assert not other.exists()


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("size", [1, 2])  # where the only worker dies, the images are gone too
def test_a_cluster_gives_the_same_numbers_though_a_worker_dies(
    records,  # noqa: F811
    tiny_data,
    expected,
    tmp_path,
    monkeypatch,
    size,
) -> None:
    distributed = pytest.importorskip("distributed")
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    killed: list[int] = []

    def kill_one() -> None:
        """Kill a worker that has finished an epoch."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            for path in scratch.glob(f"perfteach-*/*/{files.OWNER}"):
                with suppress(OSError, IndexError, ValueError):
                    owner = int(path.read_text().split()[1])
                    if list(path.parent.glob("tiny/thawed-seed0/checkpoint-??????")):
                        killed.append(owner)
                        os.kill(owner, signal.SIGKILL)
            time.sleep(0.01)

    with distributed.LocalCluster(n_workers=size, threads_per_worker=1, dashboard_address=None) as cluster:
        thread = threading.Thread(target=kill_one, daemon=True)
        thread.start()
        done = run_study("tiny", tiny_data, records / "work", scheduler=cluster.scheduler_address, **SEED)
        thread.join(150)
    lines = [[line for line in figures(run) if line.get("event") != "resume"] for run in done]
    assert lines == expected
    resumed = [run.name for run in done if any(line.get("event") == "resume" for line in figures(run))]
    assert killed and resumed == ["tiny/thawed-seed0"], "it goes on from the dead worker's last epoch"
    assert not list(scratch.glob("perfteach-*/*")), "nothing is left behind"
    assert (records / "work" / "tiny" / "baseline-seed0").is_dir(), "the driver has the weights too"
