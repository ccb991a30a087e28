"""Many teams at once, and `kill -9` in between: `python tools/hackathon_load.py [--kills 20]`.

A board of its own is served; teams hand in small networks and repeat an upload until it is acknowledged; meanwhile
the server, its scorers or their measuring processes are killed at random moments. In the end every acknowledged
submission has to be there exactly once, measured as numpy computes it. Prints what it saw; ends with 1 where something
is missing. The board's database is the one that PERFTEACH_DATABASE names, or a file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from hackathon_parts import answers, make_event, submission, weights  # noqa: E402

from perfteach.hackathon import board as boards  # noqa: E402
from perfteach.hackathon.commands import DATABASE  # noqa: E402
from perfteach.hackathon.event import Event  # noqa: E402
from perfteach.hackathon.server import Background  # noqa: E402
from perfteach.hackathon.store import OPEN, Store  # noqa: E402

STUCK = 300.0  # seconds without progress
SCALE = 0.15  # noise on the weights, so that every submission has an accuracy of its own


class Server(Background):
    """A board in a process of its own, parts of which can be killed."""

    def below(self, word: str) -> list[psutil.Process]:
        """The processes under the server whose command has that word."""
        try:
            under = psutil.Process(self.process.pid).children(recursive=True)
            return [process for process in under if word in process.cmdline()]
        except psutil.Error:
            return []

    def kill(self, what: str) -> str | None:
        """SIGKILL the server, a worker, or a measuring process; returns which, None where there is none right now."""
        if what == "server":
            self.process.kill()
            self.process.wait()
            self.start(wait=False)
            return what
        for process in self.below("work" if what == "worker" else "perfteach.hackathon.measure")[:1]:
            with suppress(psutil.Error):  # it has just ended
                process.kill()
                return what
        return None


@dataclass
class Report:
    """What was seen."""

    acknowledged: dict[str, int] = field(default_factory=dict)  # submission's name to its number
    page_ms: list[float] = field(default_factory=list)
    kills: Counter = field(default_factory=Counter)
    uploaded_after: float = 0.0
    measured_after: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        page = quantiles(self.page_ms, n=20)
        killed = ", ".join(f"{count} {what}" for what, count in sorted(self.kills.items())) or "nothing"
        lines = [
            f"{len(self.acknowledged)} submissions acknowledged after {self.uploaded_after:.0f} s, "
            f"measured after {self.measured_after:.0f} s",
            f"board's page: median {median(self.page_ms):.0f} ms, 95 % {page[-1]:.0f} ms, {len(self.page_ms)} times",
            f"killed: {killed}",
            *(self.problems or ["every acknowledged submission is there once, with the accuracy that numpy gives"]),
        ]
        return "\n".join(lines)


def _hand_in(address: str, token: str, packed: bytes) -> int:
    """Repeat an upload until it is acknowledged, as `perfteach submit` run again would."""
    request = urllib.request.Request(
        f"{address}/api/submissions", data=packed, headers={"Authorization": f"Bearer {token}"}
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["number"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error
        except (OSError, http.client.HTTPException):  # not there, or killed in the middle of its answer
            time.sleep(0.2)


def _team(job: tuple[str, str, dict[str, bytes]]) -> dict[str, int]:
    address, token, submissions = job
    return {name: _hand_in(address, token, packed) for name, packed in submissions.items()}


def _look(address: str, ended: threading.Event, report: Report) -> None:
    while not ended.wait(0.1):
        start = time.perf_counter()
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                answer.read()
        except (OSError, http.client.HTTPException):
            continue  # the server is being started again
        report.page_ms.append(1000 * (time.perf_counter() - start))


def _kill(server: Server, kills: int, gap: float, ended: threading.Event, report: Report) -> None:
    """As many of each kind, in random order, at random moments; what is not there right now is waited for."""
    draw = random.Random(0)
    kinds = [("server", "worker", "measure")[number % 3] for number in range(kills)]
    draw.shuffle(kinds)
    for kind in kinds:
        if ended.wait(draw.uniform(0, 2 * gap)):
            return
        while not server.kill(kind):
            if ended.wait(0.02):
                return
        report.kills[kind] += 1


def trial(folder: Path, submissions: int, teams: int, kills: int, *, workers: int = 1, gap: float = 2.0) -> Report:
    """Serve, hand in, kill, and compare; `gap` is the mean time in seconds between two kills."""
    event = make_event(folder)
    server, report = Server(event, workers, os.environ.get(DATABASE)), Report()
    store = server.store
    jobs = []
    for team in range(teams):
        own = range(team, submissions, teams)
        zips = {f"{team}-{seed}": submission(event, f"{team}-{seed}", seed, SCALE) for seed in own}
        jobs.append((store.add_team(f"team {team}"), zips))
    ended, start = threading.Event(), time.monotonic()
    server.start()
    threads = [
        threading.Thread(target=_look, args=(server.address, ended, report)),
        threading.Thread(target=_kill, args=(server, kills, gap, ended, report)),
    ]
    with ThreadPoolExecutor(teams) as pool:  # they only wait for the board
        [thread.start() for thread in threads]
        for acknowledged in pool.map(_team, [(server.address, *job) for job in jobs]):
            report.acknowledged |= acknowledged
    report.uploaded_after = time.monotonic() - start
    moved, open_ones = time.monotonic(), submissions
    while left := sum(boards.counts(store).get(state, 0) for state in OPEN):
        if left != open_ones:
            moved, open_ones = time.monotonic(), left
        if time.monotonic() - moved > STUCK:
            report.problems.append(f"nothing was measured for {STUCK:g} seconds, and {left} were waiting")
            break
        time.sleep(0.5)
    report.measured_after = time.monotonic() - start
    ended.set()
    [thread.join() for thread in threads]
    report.problems += _differences(store, event, report.acknowledged)
    server.stop()
    return report


def _differences(store: Store, event: Event, acknowledged: dict[str, int]) -> list[str]:
    shown = boards.board(store)
    images, labels, public = np.load(event.images_path), np.array(event.labels()), np.array(event.public())
    found = {row.name: row for row in shown.every}
    problems = [f"{name} was acknowledged and is not measured" for name in acknowledged if name not in found]
    if len(shown.every) != len(acknowledged) or sum(boards.counts(store).values()) != len(acknowledged):
        problems.append(f"{len(acknowledged)} were acknowledged, {boards.counts(store)} are there")
    for name, number in acknowledged.items():
        right = answers(images, *weights(int(name.split("-")[1]), SCALE)) == labels
        row = found.get(name)
        if row is not None and (row.number != number or abs(row.public - 100 * right[public].mean()) > 0.01):
            problems.append(f"{name} is number {row.number} with {row.public}, not {number}")
    best = {team: max(row.public for row in shown.every if row.team == team) for team in {r.team for r in shown.every}}
    if [row.public for row in shown.ranks] != sorted(best.values(), reverse=True):
        problems.append("the ranks are not those of the measured accuracies")
    return problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, usual in (("--submissions", 200), ("--teams", 50), ("--kills", 20), ("--workers", 1)):
        parser.add_argument(option, type=int, default=usual, help="(%(default)s)")
    parser.add_argument("--gap", type=float, default=10.0, help="mean seconds between two kills (%(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        seen = trial(
            Path(place), chosen.submissions, chosen.teams, chosen.kills, workers=chosen.workers, gap=chosen.gap
        )
    print(seen)
    sys.exit(bool(seen.problems))
