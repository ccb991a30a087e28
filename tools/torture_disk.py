"""Parts of `make torture` about what is on disk: power cuts, full and read-only disks, two writers."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tortured import images, outcome, trainer

from perfteach import checkpoint, study
from perfteach.declared import STUDIES
from perfteach.grids import Study
from perfteach.runs import Run
from perfteach.trainer import Callback, PerforatedTrainer

# ---------------------------------------------------------------------------------------------------- a power cut


class Recorder:
    """Logs what perfteach does to a folder, and what it has asked the system to have on disk."""

    def __init__(self, base: Path) -> None:
        self.base, self.log, self.seen = base.resolve(), [], {}

    def __enter__(self) -> Recorder:
        self.before = {name: getattr(os, name) for name in ("replace", "fsync", "mkdir", "unlink")}
        self.rmtree, self.save = shutil.rmtree, PerforatedTrainer.save
        os.replace = self._around("replace")
        os.mkdir = self._around("mkdir")
        os.unlink = self._around("unlink")
        os.fsync = self._fsync
        shutil.rmtree = self._rmtree

        def saved(trainer: Any) -> None:
            self.save(trainer)
            self._note(("saved", len(trainer.run.epochs)))

        PerforatedTrainer.save = saved
        return self

    def __exit__(self, *error: object) -> None:
        for name, function in self.before.items():
            setattr(os, name, function)
        shutil.rmtree, PerforatedTrainer.save = self.rmtree, self.save

    def _note(self, event: tuple[Any, ...]) -> None:
        for path in sorted(self.base.rglob("*")):  # what has been written since, and may still be in memory only
            if path.is_file():
                status = path.stat()
                key = (status.st_size, status.st_mtime_ns)
                if self.seen.get(status.st_ino) != key:
                    self.seen[status.st_ino] = key
                    self.log.append(("wrote", self._name(path), path.read_bytes()))
        self.log.append(event)

    def _name(self, path: Any) -> str:
        return Path(os.path.abspath(path)).relative_to(self.base).as_posix()

    def _ours(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and Path(os.path.abspath(path)).is_relative_to(self.base)

    def _around(self, name: str) -> Any:
        def call(*paths: Any, **how: Any) -> Any:
            ours = self._ours(paths[0]) and not how.get("dir_fd")
            if ours:
                names = [self._name(path) for path in paths if isinstance(path, (str, os.PathLike))]
                self._note((name, *names))
            return self.before[name](*paths, **how)

        return call

    def _fsync(self, handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        self.before["fsync"](handle)
        if self._ours(path):
            self._note(("sync", self._name(path)))

    def _rmtree(self, path: Any, *rest: Any, **how: Any) -> None:
        if self._ours(path):
            self._note(("rmtree", self._name(path)))
        os.unlink = self.before["unlink"]
        try:
            self.rmtree(path, *rest, **how)
        finally:
            os.unlink = self._around("unlink")


def after_the_cut(log: list[tuple[Any, ...]], cut: int, draw: random.Random) -> dict[str, bytes | None]:
    """What may be on disk when the power goes before entry `cut`: names with content, None for folders.

    What was synced is there. Of everything else a coin decides: there, cut short, or not there.
    """
    disk: dict[str, bytes | None] = {".": None}

    def settled(place: int, name: str) -> bool:
        return any(event[:2] == ("sync", name) for event in log[place + 1 : cut])

    for place, (kind, name, *rest) in enumerate(log[:cut]):
        if kind in ("sync", "saved"):
            continue
        parent = os.path.dirname(str(rest[0] if kind == "replace" else name)) or "."
        known = settled(place, parent)  # the entry in its folder
        if kind == "wrote":
            if parent in disk and (known or name in disk or draw.random() < 0.5):
                short = rest[0][: draw.randrange(len(rest[0]) + 1)]
                disk[name] = rest[0] if settled(place, name) else draw.choice([rest[0], short, b""])
        elif known or draw.random() < 0.5:
            _apply(disk, kind, name, rest, parent, draw)
    return disk


def _apply(disk: dict[str, bytes | None], kind: str, name: str, rest: list[Any], parent: str, draw: Any) -> None:
    inside = [path for path in disk if path == name or path.startswith(f"{name}/")]
    if kind == "mkdir" and parent in disk:
        disk[name] = None
    elif kind == "replace" and name in disk:
        moved = {str(rest[0]) + path[len(name) :]: disk.pop(path) for path in inside}
        disk.update(moved)
    elif kind == "unlink":
        disk.pop(name, None)
    elif kind == "rmtree":
        for path in sorted(inside, reverse=True)[: draw.randrange(len(inside) + 1)]:
            del disk[path]


def power(draw: random.Random, cuts: int = 100) -> list[str]:
    """Cut the power at a random moment of a run: the folder can be used, and no saved epoch is lost."""
    wrong = []
    with tempfile.TemporaryDirectory() as place:
        base = Path(place, "base")
        base.mkdir()
        with Recorder(base) as recorder:
            one = trainer("fixed", base / "runs" / "one")
            one.fit(progress=False)
        whole, log = outcome(one.run, one.model), recorder.log
        for number in range(cuts):
            cut = draw.randrange(len(log) + 1)
            disk = after_the_cut(log, cut, draw)
            there = Path(place, str(number))
            for name, content in sorted(disk.items()):
                if content is None:
                    (there / name).mkdir(parents=True, exist_ok=True)
                else:
                    (there / name).write_bytes(content)
            promised = max([event[1] for event in log[:cut] if event[0] == "saved"], default=0)
            problem = _usable(there / "runs" / "one", promised, whole if number % 10 == 0 else None)
            wrong += [f"cut {number} before entry {cut} of {len(log)}: {problem}"] if problem else []
    print(f"power cuts: {cuts - len(wrong)} of {cuts} folders usable")
    return wrong


def _usable(folder: Path, promised: int, whole: Any) -> str:
    try:
        found = checkpoint.load(folder)
        reached = len(found.run.epochs) if found else 0
        if (folder / "run.jsonl").exists():
            Run.load(folder / "run.jsonl")
        if whole:
            one = trainer("fixed", folder)
            if outcome(one.fit(progress=False), one.model) != whole:
                return "trained on to another result"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if reached >= promised else f"{reached} epochs, and {promised} were saved"


# ---------------------------------------------------------------------------------------------------- disks and two


def in_a_child(work: Callable[[], object]) -> str:
    """What a forked process that does some work ends with: "ok", or its exception in one line."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "ok"
        try:
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()):
                work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


def full(draw: random.Random, tries: int = 40) -> list[str]:
    """No room for a file, a real full disk, a read-only one, a path below a file: one line, the saved run whole."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        trainer("fixed", whole).fit(progress=False)
        size = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        Path(place, "file").write_text("")
        for number in range(tries):
            folder, limit = Path(place, str(number)), draw.randrange(size)

            def limited(folder: Path = folder, limit: int = limit) -> None:
                one = trainer("fixed", folder, callbacks=[_Limit(limit, draw.randrange(1, 5))])
                one.fit(progress=False)

            said = in_a_child(limited)
            if said != "ok" and (not said.startswith("CheckpointError") and not said.startswith("DataError")):
                wrong.append(f"file size limit {limit}: {said}")
            wrong += _goes_on(folder, f"file size limit {limit}")
        below = in_a_child(lambda: trainer("fixed", Path(place, "file", "below")).fit(progress=False))
        wrong += [] if below.startswith("CheckpointError") and "\n" not in below else [f"below a file: {below}"]
        cases = tries + 1 + _on_mounts(Path(place), wrong)
    print(f"disks: {cases - len(wrong)} of {cases} in one line, with what was saved before")
    return wrong


class _Limit(Callback):
    def __init__(self, limit: int, epoch: int) -> None:
        self.limit, self.epoch = limit, epoch

    def on_batch_end(self, trainer: Any, batch: int, batches: int) -> None:
        import resource  # which Windows has not

        if len(trainer.run.epochs) == self.epoch:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.RLIM_INFINITY))


def _goes_on(folder: Path, what: str) -> list[str]:
    try:
        checkpoint.load(folder)
        trainer("fixed", folder).fit(progress=False)
    except Exception as error:
        return [f"{what}, afterwards: {type(error).__name__}: {error}"]
    return []


def _on_mounts(place: Path, wrong: list[str]) -> int:
    """A disk of 60 kB and a read-only one, where this process may mount them; returns the number of cases."""
    disk = place / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", disk], capture_output=True).returncode:
        print("  (no right to mount: the full and the read-only disk are left out)")
        return 0
    try:
        said = in_a_child(lambda: trainer("fixed", disk / "run").fit(progress=False))
        if not said.startswith(("CheckpointError", "DataError")) or "No space" not in said or "\n" in said:
            wrong.append(f"full disk: {said}")
        subprocess.run(["mount", "-o", "remount,size=20m,ro", disk], check=True)
        said = in_a_child(lambda: trainer("fixed", disk / "new").fit(progress=False))
        if not said.startswith("CheckpointError") or "\n" in said:
            wrong.append(f"read-only disk: {said}")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        wrong += _goes_on(disk / "run", "a disk that was full")
    finally:
        subprocess.run(["umount", disk], check=True)
    return 3


def two(draw: random.Random, tries: int = 10) -> list[str]:
    """Two trainings in one folder at once: one ends, the other is refused in one line, or finds it done."""
    wrong, met = [], 0
    for number in range(tries):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "run")
            said = _at_once(draw, lambda folder=folder: trainer("fixed", folder).fit(progress=False))
            wrong += _kept_apart(said, f"pair {number}") + _goes_on(folder, f"pair {number}")
            met += said.count("ok") == 1
    print(f"two trainings: {tries - len(wrong)} of {tries} pairs kept apart, in {met} of them one was refused")
    return wrong


TINY = Study("for torture", ("baseline", "same-epochs", "perforated"), (0,), 0.1, 2, 1, 1, batch_size=50)


def studies(draw: random.Random, tries: int = 10) -> list[str]:
    """Two studies in one work folder at once: one does all, the other is refused in one line, or finds it done."""
    wrong, met = [], 0
    data = images(side=32)
    STUDIES["tiny"] = TINY
    for number in range(tries):
        with tempfile.TemporaryDirectory() as place:
            there = Path(place)
            study.RECORDS = (there / "none", there / "records")
            work = partial(study.run_study, "tiny", data, there / "work", progress=False)
            said = _at_once(draw, work)
            wrong += _kept_apart(said, f"pair {number}")
            met += said.count("ok") == 1
            ended = [run for path in (there / "records").rglob("*.jsonl") if (run := Run.load(path)).finished]
            wrong += [] if len(ended) == len(TINY.arms) else [f"pair {number}: {len(ended)} runs are recorded"]
    print(f"two studies: {tries - len(wrong)} of {tries} pairs kept apart, in {met} of them one was refused")
    return wrong


def _at_once(draw: random.Random, work: Callable[[], object]) -> list[str]:
    """What two processes that do the same say, of which one begins a little later."""

    def late(wait: float) -> None:
        time.sleep(wait)
        work()

    waits = [0, draw.uniform(0, 0.3)]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda wait: in_a_child(partial(late, wait)), waits))


def _kept_apart(said: list[str], what: str) -> list[str]:
    refused = [line for line in said if line.startswith("CheckpointError") and "is being written by" in line]
    good = "ok" in said and len(refused) + said.count("ok") == 2 and not any("\n" in line for line in said)
    return [] if good else [f"{what}: {said}"]
