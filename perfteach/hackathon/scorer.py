"""Score a submission: start the process that runs it, watch the clock, and compare its answers with the labels."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perfteach.errors import PerfteachError
from perfteach.hackathon.event import Event
from perfteach.hackathon.measure import ANSWER
from perfteach.hackathon.submission import Limits, SubmissionError

PATIENCE = 5  # by the clock, times the processor seconds: on a busy machine a good submission waits without computing
POINTS, SHARE = 2.0, 0.05  # what a claim may be off: accuracy in points (or 3 standard errors), parameters


class ScorerError(PerfteachError, RuntimeError):
    """The scorer itself failed, through no fault of the submission."""


class Killed(ScorerError):
    """The process was killed from outside: by an operator, or by a system that has no memory left."""


def score(packed: bytes, event: Event, alive: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Measure one submission.

    Args:
        packed: the zip.
        event: the hidden images, labels and limits.
        alive: called every second or so while it runs.

    Returns:
        `public` and `final` accuracy in percent, `parameters`, `macs`, `bytes`, `latency_ms`, what was `claimed`, and
        `flags`: a sentence for each claim that is not what was measured.

    Raises:
        SubmissionError: it is refused; the message is for the team.
        ScorerError: the scorer could not do its work; `Killed` where it may be tried again.
    """
    with tempfile.TemporaryDirectory(prefix="perfteach-score-") as folder:
        path = Path(folder, "submission.zip")
        path.write_bytes(packed)
        found = _in_a_process(path, event, alive)
    predicted, labels = found.pop("predicted"), event.labels()
    if len(predicted) != len(labels):
        raise ScorerError(f"{len(predicted)} answers for {len(labels)} images")
    right = [answer == label for answer, label in zip(predicted, labels, strict=True)]
    public = event.public()
    for part, wanted in (("public", True), ("final", False)):
        chosen = [ok for ok, is_public in zip(right, public, strict=True) if is_public is wanted]
        found[part] = round(100 * sum(chosen) / len(chosen), 3)
    found["flags"] = _flags(found, sum(public), event)
    return found


def _in_a_process(path: Path, event: Event, alive: Callable[[], object]) -> dict[str, Any]:
    limits = event.limits
    command = [sys.executable, "-m", "perfteach.hackathon.measure", json.dumps(asdict(limits)), str(path)]
    command += [str(event.images_path), str(len(event.classes))]
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")  # and no secret that stands in the environment
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with (path.parent / "answer").open("w+b") as answer:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.DEVNULL, env=environment, cwd=path.parent
        )
        try:
            _wait(child, PATIENCE * limits.seconds, alive)
        finally:
            child.kill()
            child.communicate()
        answer.seek(0)
        return _understood(answer.read(ANSWER), child.returncode, limits)


def _wait(child: subprocess.Popen[bytes], seconds: float, alive: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while True:
        alive()
        try:
            child.wait(min(1.0, max(0.01, end - time.monotonic())))
            return
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                raise SubmissionError(f"it took longer than {seconds:g} seconds, so it was stopped") from None


def _understood(said: bytes, code: int, limits: Limits) -> dict[str, Any]:
    if code == 0:
        try:
            found: dict[str, Any] = json.loads(said)
        except ValueError as error:
            raise ScorerError("the measuring process gave no answer") from error
        if "refused" in found:
            raise SubmissionError(str(found["refused"]))
        return found
    name = signal.Signals(-code).name if code < 0 else ""
    if name == "SIGKILL":
        raise Killed("the measuring process was killed")
    if name == "SIGXCPU":
        raise SubmissionError(f"it took more than {limits.seconds} seconds of processor time, so it was stopped")
    if name:
        raise SubmissionError(f"it brought its process down ({name}); export it again")
    raise ScorerError(f"the measuring process ended with {code}")


def _flags(found: dict[str, Any], images: int, event: Event) -> list[str]:
    claimed, measured = found["claimed"], found["public"]
    tests = 1 / images + (1 / event.own_tests if event.own_tests else 0)  # a difference of two tests
    off = max(POINTS, 300 * math.sqrt(measured / 100 * (1 - measured / 100) * tests))
    flags = []
    if claimed["accuracy"] > measured + off:
        flags.append(f"the record claims {claimed['accuracy']:.2f} %")
    # Fewer than claimed is what an exporter makes that folds norms away; more is what has to be seen.
    if found["parameters"] > (1 + SHARE) * claimed["parameters"]:
        flags.append(f"the record claims {claimed['parameters']:,} parameters")
    if claimed["data"] != event.checksum:
        flags.append("the record is of other images")
    return flags
