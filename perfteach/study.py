"""Running a study: a grid of arms by seeds, whose records are the numbers the course stands on.

A study is resumable: a finished run is never repeated and a killed one continues after its last epoch.
Every arm of a seed with the baseline's layers starts from the same trained baseline, which is trained once.
Because each epoch draws its randomness from its own seed, that gives the same numbers as training every arm from the
start.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm.auto import tqdm

from perfteach import checkpoint, files
from perfteach import settings as check
from perfteach.arms import EVERY_ARM
from perfteach.candidates import BestOfRandom
from perfteach.data import ImageData
from perfteach.declared import STUDIES, find
from perfteach.engine import ENGINES
from perfteach.errors import ConfigError, DataError, PerfteachError
from perfteach.grids import Study
from perfteach.parallel import DIED, Pool, images_of, one_thread, workers
from perfteach.provenance import code
from perfteach.resumable import continue_from, is_finished
from perfteach.runs import RECORDS, Run
from perfteach.trainer import PerforatedTrainer

TRIES = 3  # of a run whose worker died

__all__ = ["EVERY_ARM", "STUDIES", "Study", "continue_from", "find", "record_folder", "record_path", "run_study"]


def record_folder(name: str) -> Path:
    """Where a checkout keeps the records of a study: data/runs/NAME.

    Raises:
        DataError: when the package runs outside a checkout, where records would be lost in the installation.
    """
    if not RECORDS[1].parent.is_dir():
        raise DataError("a study is kept in data/runs of a checkout: clone the repository and run it there")
    return RECORDS[1] / name


def record_path(name: str, arm: str, seed: int) -> Path:
    """Where the record of one run is kept: data/runs/NAME/ARM-seedS.jsonl."""
    return record_folder(name) / f"{arm}-seed{seed}.jsonl"


def recorded(name: str, arm: str, seed: int) -> Run | None:
    """The record of one run, if it is there and whole to its end."""
    path = record_path(name, arm, seed)
    run = Run.load(path) if path.is_file() else None
    return run if run and run.finished else None


def run_study(
    name: str,
    data: ImageData,
    work: Path,
    *,
    seeds: Sequence[int] | None = None,
    arms: Sequence[str] | None = None,
    minutes: float | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    engine: str = "graph",
    progress: bool = True,
) -> list[Run]:
    """Run what is missing of a study, one line per run; returns the finished runs.

    The same numbers come out however many workers there are. A run whose worker died is tried again. One that fails is
    reported, and the others go on. After an interrupt the same call does what is missing.

    Args:
        data: the images, CIFAR-10 in whatever form is at hand; its name and checksum enter every record.
        work: folder for checkpoints of runs under way.
        seeds, arms: only these of the grid.
        minutes: start no new run after this many minutes; a run under way is finished.
        jobs: runs at once on this machine, in processes of one thread each; GPUs are dealt out in turn.
        scheduler: address of a Dask scheduler whose workers train in place of this machine, as "tcp://host:8786".
        engine: how training steps are run, see `TrainConfig`; "graph" is several times faster on a GPU.

    Raises:
        ConfigError: for an unknown study, an arm or seed that it does not have, or workers that cannot be had.
        DataError: when any record of the study was made on other data or with other settings, or outside a checkout.
        CheckpointError: when the same study is being run in this folder, or the folder cannot be written.
        PerfteachError: when runs failed, after the others have ended. One failure is raised as it is.
    """
    study = find(name)
    engine = check.text("engine", engine, ENGINES)
    check.a(ImageData, "data", data, "what perfteach.data.load returns", error=DataError)
    work = check.path("work", work)
    seeds = seeds if seeds is None else check.wholes("seeds", seeds)
    if arms is not None:
        check.a((list, tuple), "arms", arms, "a list of arms")
    for arm in arms or ():
        check.text("an arm", arm)
    progress = check.flag("progress", progress)
    deadline = math.inf if minutes is None else time.monotonic() + 60 * check.number("minutes", minutes, 0)
    unknown = [*(set(arms or ()) - set(study.arms)), *(set(seeds or ()) - set(study.seeds))]
    if unknown:
        there = f"arms {', '.join(study.arms)}; seeds {', '.join(map(str, study.seeds))}"
        raise ConfigError(f"the study {name} has no {unknown[0]!r}; it has {there}")
    _refuse_foreign_records(name, study, study.images(data).checksum, len(data.classes))
    grid = [(a, s) for a, s in study.grid() if s in (seeds or study.seeds) and a in (arms or study.arms)]
    with (
        files.alone(work / name),
        workers(data, jobs, scheduler, work) as pool,
        tqdm(total=len(grid), unit="run", disable=not progress) as bar,
    ):
        _Runs(name, study, work, pool, bar, list(grid), deadline, engine).finish()
    return [run for arm, seed in grid if (run := recorded(name, arm, seed))]


Cell = tuple[str, int]  # arm and seed
ONE_RUN = threading.Lock()  # at a time in a process: a worker of Dask may have more threads


@dataclass
class _Runs:
    """The runs of a grid on their way through the workers."""

    name: str
    study: Study
    work: Path
    pool: Pool
    bar: tqdm
    waiting: list[Cell]
    deadline: float
    engine: str
    under_way: dict[Future[Trained], Cell] = field(default_factory=dict)
    tries: dict[Cell, int] = field(default_factory=dict)
    failed: dict[Cell, Exception] = field(default_factory=dict)

    def finish(self) -> None:
        for cell in [cell for cell in self.waiting if recorded(self.name, *cell)]:
            self.waiting.remove(cell)
            self._report(cell)
        while self.waiting or self.under_way:
            self._submit()
            if not self.under_way:  # the time is over, or a baseline failed
                break
            done = wait(self.under_way, timeout=1, return_when=FIRST_COMPLETED).done
            while done:  # whatever is still held here, Dask computes again when the worker that computed it dies
                self._collect(done.pop())
            self._show()
        if len(self.failed) == 1:
            raise next(iter(self.failed.values()))
        if self.failed:
            lines = [f"{arm} seed {seed}: {error}" for (arm, seed), error in self.failed.items()]
            raise PerfteachError(f"{len(lines)} runs failed, the others are recorded. " + "; ".join(lines))

    def _submit(self) -> None:
        """Start runs until every worker has one."""
        for cell in self._ready():
            if time.monotonic() > self.deadline:
                return
            self.waiting.remove(cell)
            self.bar.set_description(f"{self.name} {cell[0]} seed {cell[1]}")
            self.tries[cell] = self.tries.get(cell, 0) + 1
            try:
                future = self._start(cell)
            except DIED:  # a worker died since the last look
                self._restart()
                future = self._start(cell)
            self.under_way[future] = cell

    def _start(self, cell: Cell) -> Future[Trained]:
        baseline = checkpoint.files(self._folder(("baseline", cell[1]))) if self._shares(cell) else {}
        work, files = (self.work, {}) if self.pool.shared else (None, baseline)
        task = (self.name, self.study, *cell, self.pool.images, work, files, self.engine, code())
        return self.pool.executor.submit(_run, *task)

    def _ready(self) -> list[Cell]:
        """The runs to start now. A run waits for its baseline, and one on its last try has the workers for itself.

        When a worker dies, all runs under way are tried again, because nothing says which of them was too large.
        """
        last = [cell for cell in self.waiting if self.tries.get(cell) == TRIES - 1]
        ready = [cell for cell in self.waiting if not self._waits(cell) and cell not in last]
        free = self.pool.slots - len(self.under_way)  # below zero when a worker of a cluster died
        if any(self.tries[cell] == TRIES for cell in self.under_way.values()):
            return []
        return ready[: max(0, free)] or (last[:1] if not self.under_way else [])

    def _waits(self, cell: Cell) -> bool:
        baseline = ("baseline", cell[1])
        return self._shares(cell) and (baseline in self.waiting or baseline in self.under_way.values())

    def _shares(self, cell: Cell) -> bool:
        return cell[0] != "baseline" and self.study.shares_baseline(cell[0])

    def _folder(self, cell: Cell) -> Path:
        return self.work / self.name / f"{cell[0]}-seed{cell[1]}"

    def _collect(self, future: Future[Trained]) -> None:
        if future not in self.under_way:  # a restart emptied it
            return
        cell = self.under_way.pop(future)
        try:
            trained = future.result()
        except DIED:
            self._restart(cell)
        except Exception as error:
            self.failed[cell] = error
            self.bar.write(f"{self.name}/{cell[0]}-seed{cell[1]} failed: {error}")
        else:
            self._save(cell, trained)

    def _save(self, cell: Cell, trained: Trained) -> None:
        """Keep what a worker gave back. Another command may be at work on the same study, with other images even."""
        try:
            _refuse_foreign_records(self.name, self.study, trained.run.data["checksum"], trained.run.data["classes"])
        except DataError as error:
            self.failed[cell] = error
            return
        checkpoint.write_files(self._folder(cell), trained.files)
        if not recorded(self.name, *cell):
            trained.run.save(record_path(self.name, *cell))
        self.pool.forget(trained.folder)
        self._report(cell)

    def _restart(self, *lost: Cell) -> None:
        """New workers in place of a broken pool's; what they had not finished is tried again."""
        broken = {
            future: cell
            for future, cell in self.under_way.items()
            if not future.done() or future.cancelled() or isinstance(future.exception(), DIED)
        }
        for future in broken:
            del self.under_way[future]
        self.pool.restart()
        for cell in (*lost, *broken.values()):
            self._again(cell)

    def _again(self, cell: Cell) -> None:
        if self.tries[cell] < TRIES:
            self.bar.write(f"the worker of {cell[0]} seed {cell[1]} died; its run goes on from its last epoch")
            self.waiting.insert(0, cell)
        else:
            self.failed[cell] = PerfteachError(f"its worker died {TRIES} times; is the memory full?")

    def _report(self, cell: Cell) -> None:
        run = Run.load(record_path(self.name, *cell))
        self.bar.write(f"{run.name}: test accuracy {run.ended.test_accuracy:.2f} %, {run.ended.seconds:.0f} s")
        self.bar.update()

    def _show(self) -> None:
        """How far the runs are that this machine's workers have: their records lie in the folder of checkpoints."""
        paths = {cell: self._folder(cell) / "run.jsonl" for cell in self.under_way.values()}
        epochs = []
        for cell, path in paths.items():
            with suppress(DataError):  # Windows: it is being replaced at this moment
                epochs += [f"{cell[0]} {cell[1]}: {len(Run.load(path).epochs)}"] if path.is_file() else []
        self.bar.set_postfix_str("epochs " + ", ".join(epochs) if epochs else "")


def _refuse_foreign_records(name: str, study: Study, checksum: str, classes: int) -> None:
    """The records of a study are compared with each other, so all of them have to share images and settings."""
    for arm, seed in study.grid():
        path = record_path(name, arm, seed)
        if not path.is_file():
            continue
        run = Run.load(path)
        if run.data["checksum"] != checksum:
            raise DataError(f"{path} was made on other data ({run.data['name']}); keep studies apart")
        declared = {"config": study.config(arm, seed).describe(), **study.network(arm, classes)}
        # The first records name neither the selection nor the activation.
        if any(run.header.get(key, value) != value for key, value in declared.items()):
            raise DataError(f"{path} was made with other settings than {name} has now; move it away to run it again")


@dataclass(frozen=True)
class Trained:
    """What a worker gives back: the record, and where it has no folder in common, its checkpoint's files and folder."""

    run: Run
    files: dict[str, bytes]
    folder: str


def _run(
    name: str,
    study: Study,
    arm: str,
    seed: int,
    images: ImageData | Path,
    work: Path | None,
    baseline: dict[str, bytes],
    engine: str,
    wanted: str,
) -> Trained:
    """In a worker: train one run, or go on with it. Without `work` it has a folder of its own, and returns it.

    On a worker's machine that folder has the same name next time, so that a worker in place of a dead one goes on, and
    so does the next command where this one was stopped.

    Raises:
        PerfteachError: when the worker has other code than the one that the record is to name.
    """
    if (own_code := code()) != wanted:
        raise PerfteachError(f"its worker has {own_code}, and this machine {wanted}; install the same on both")
    found = images_of(images)
    what = f"{study} {engine} {found.checksum}"
    named = f"{name}-{arm}-seed{seed}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    with ONE_RUN, one_thread(), nullcontext(work) if work else files.kept(named) as own:
        root = own / name
        checkpoint.write_files(root / f"baseline-seed{seed}", baseline)
        folder = root / f"{arm}-seed{seed}"
        run = _train(name, study, arm, seed, study.images(found), folder, engine)
        return Trained(run, {} if work else checkpoint.files(folder), named)


def _train(name: str, study: Study, arm: str, seed: int, data: ImageData, folder: Path, engine: str) -> Run:
    trainer = PerforatedTrainer(
        study.model(arm, seed, len(data.classes)),
        data,
        replace(study.config(arm, seed), engine=engine),
        name=f"{name}/{arm}-seed{seed}",
        folder=folder,
        callbacks=[BestOfRandom(kind.candidates)] if (kind := EVERY_ARM[arm]).candidates > 1 else (),
    )
    trainer.run.header |= {"study": name, "arm": arm, **study.network(arm, len(data.classes))}
    baseline = folder.with_name(f"baseline-seed{seed}")
    if study.shares_baseline(arm) and not checkpoint.record(folder) and is_finished(baseline):
        continue_from(trainer, baseline)  # without it the arm trains from the start, to the same numbers
    return trainer.fit(progress=False)
