"""Running a study: a grid of arms by seeds, whose records are the numbers the course stands on.

A study is resumable: a finished run is never repeated and a killed one continues after its last epoch.
Every arm of a seed with the baseline's layers starts from the same trained baseline, which is trained once.
Because each epoch draws its randomness from its own seed, that gives the same numbers as training every arm from the
start.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from perfteach import checkpoint
from perfteach import settings as check
from perfteach.arms import EVERY_ARM, RECIPE
from perfteach.cycle import Kept
from perfteach.data import ImageData
from perfteach.errors import ConfigError, DataError
from perfteach.grids import STUDIES, Study, find
from perfteach.phases import Phase
from perfteach.runs import RECORDS, Run
from perfteach.trainer import PerforatedTrainer

__all__ = [
    "EVERY_ARM",
    "RECIPE",
    "STUDIES",
    "Study",
    "continue_from",
    "find",
    "record_folder",
    "record_path",
    "run_study",
]


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


def run_study(
    name: str,
    data: ImageData,
    work: Path,
    *,
    seeds: Sequence[int] | None = None,
    arms: Sequence[str] | None = None,
    minutes: float | None = None,
    progress: bool = True,
) -> list[Run]:
    """Run what is missing of a study, one line per run; returns the finished runs.

    Args:
        data: the images, CIFAR-10 in whatever form is at hand; its name and checksum enter every record.
        work: folder for checkpoints of runs under way.
        seeds, arms: only these of the grid.
        minutes: start no new run after this many minutes; a run under way is finished.

    Raises:
        ConfigError: for an unknown study, or an arm or seed that it does not have.
        DataError: when any record of the study was made on other data or with other settings, or outside a checkout.
    """
    study, start = find(name), time.monotonic()
    check.a(ImageData, "data", data, "what perfteach.data.load returns", error=DataError)
    work = check.path("work", work)
    seeds = seeds if seeds is None else check.wholes("seeds", seeds)
    if arms is not None:
        check.a((list, tuple), "arms", arms, "a list of arms")
    for arm in arms or ():
        check.text("an arm", arm)
    if minutes is not None:
        minutes = check.number("minutes", minutes, 0)
    unknown = [*(set(arms or ()) - set(study.arms)), *(set(seeds or ()) - set(study.seeds))]
    if unknown:
        there = f"arms {', '.join(study.arms)}; seeds {', '.join(map(str, study.seeds))}"
        raise ConfigError(f"the study {name} has no {unknown[0]!r}; it has {there}")
    if study.train and study.train < len(data.train):
        data = data.subset(study.train, validation=len(data.validation), test=len(data.test))
    if study.fresh:
        data = data.hold_out(study.fresh)
    _refuse_foreign_records(name, study, data)
    grid = [(a, s) for a, s in study.grid() if s in (seeds or study.seeds) and a in (arms or study.arms)]
    done: list[Run] = []
    with tqdm(grid, unit="run", disable=not progress) as bar:
        for arm, seed in bar:
            bar.set_description(f"{name} {arm} seed {seed}")
            path = record_path(name, arm, seed)
            if not path.is_file() and minutes is not None and time.monotonic() - start > 60 * minutes:
                continue
            run = Run.load(path) if path.is_file() else _run(name, study, arm, seed, data, work, progress)
            bar.write(f"{run.name}: test accuracy {run.ended.test_accuracy:.2f} %, {run.ended.seconds:.0f} s")
            done.append(run)
    return done


def _refuse_foreign_records(name: str, study: Study, data: ImageData) -> None:
    """The records of a study are compared with each other, so all of them have to share images and settings."""
    for arm, seed in study.grid():
        path = record_path(name, arm, seed)
        if not path.is_file():
            continue
        run = Run.load(path)
        if run.data["checksum"] != data.checksum:
            raise DataError(f"{path} was made on other data ({run.data['name']}); keep studies apart")
        declared = {"config": study.config(arm, seed).describe(), **study.network(arm, len(data.classes))}
        # The first records name neither the selection nor the activation.
        if any(run.header.get(key, value) != value for key, value in declared.items()):
            raise DataError(f"{path} was made with other settings than {name} has now; move it away to run it again")


def _run(name: str, study: Study, arm: str, seed: int, data: ImageData, work: Path, progress: bool) -> Run:
    folder = work / name / f"{arm}-seed{seed}"
    trainer = PerforatedTrainer(
        study.model(arm, seed, len(data.classes)),
        data,
        study.config(arm, seed),
        name=f"{name}/{arm}-seed{seed}",
        folder=folder,
    )
    trainer.run.header |= {"study": name, "arm": arm, **study.network(arm, len(data.classes))}
    baseline = work / name / f"baseline-seed{seed}"
    kind = EVERY_ARM[arm]
    # That is, the same layers and settings.
    shared = kind.cycles and study.cycles and not (kind.wider or kind.select or kind.activation or kind.net)
    if shared and checkpoint.record(baseline) and not checkpoint.record(folder):
        continue_from(trainer, baseline)  # without it the arm trains from the start, to the same numbers
    run = trainer.fit(progress=False)
    run.save(record_path(name, arm, seed))
    return run


def continue_from(trainer: PerforatedTrainer, baseline: Path) -> None:
    """Let a trainer take over its first neuron phase from the folder of a finished baseline run.

    Raises:
        ConfigError: when the baseline is not finished, or was trained on other data, as another network, or with
            another seed or other settings.
        CheckpointError: when its checkpoint cannot be used.
    """
    saved = checkpoint.load(baseline, trainer.device)
    if saved is None or not saved.run.finished:
        raise ConfigError(f"the baseline in {baseline} is not finished; run the arm baseline first")
    run = saved.run
    if any(run.header[key] != trainer.run.header[key] for key in ("data", "seed", "model", "layers")):
        raise ConfigError(f"the baseline in {baseline} was trained on other data, another network or another seed")
    own = ("switch", "cycles", "grow", "thaw")  # what distinguishes arms
    old, new = ({key: value for key, value in one.config.items() if key not in own} for one in (run, trainer.run))
    if old != new or len(run.epochs) != trainer.config.switch.length(Phase.NEURON, 0):
        raise ConfigError(f"the baseline in {baseline} was trained with other settings; delete it to train it again")
    trainer.take_over(run, Kept(run.ended.best_epoch, run.ended.validation_accuracy, saved.weights))
