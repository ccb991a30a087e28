"""A study of eight short runs: one after the other, on two processes, and on two Dask workers of which one is killed.

python -m benchmarks.jobs            one line a way, as JSON; it wants two cores for itself
python -m benchmarks.jobs --write    also benchmarks/results/jobs.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from perfteach import data, study
from perfteach.declared import STUDIES
from perfteach.grids import Study
from perfteach.provenance import provenance
from perfteach.runs import Run

KEPT = Path(__file__).parent / "results" / "jobs.json"
NAME = "eight"
EIGHT = Study(
    "Eight short runs", ("baseline", "same-epochs", "perforated", "thawed"), (0, 1), 0.25, 3, 1, 2, batch_size=50
)
HALFWAY = 0.5  # of the time that two processes took


def figures(runs: list[Run]) -> list[list[dict[str, Any]]]:
    """What the records say, without the times of day and that a run was taken up again."""
    return [
        [
            {key: value for key, value in line.items() if key not in ("seconds", "started")}
            for line in run.lines()[1:]
            if line.get("event") != "resume"
        ]
        for run in runs
    ]


def timed(images: data.ImageData, **how: Any) -> tuple[float, list[list[dict[str, Any]]]]:
    """Seconds that the study takes in an empty folder, and its figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(study, "RECORDS", (Path(folder, "none"), Path(folder, "records"))),
    ):
        start = time.perf_counter()
        done = study.run_study(NAME, images, Path(folder, "work"), progress=False, **how)
        return time.perf_counter() - start, figures(done)


def on_dask(images: data.ImageData, halfway: float) -> tuple[float, list[list[dict[str, Any]]]]:
    """The same on two worker processes of one thread; one dies after `halfway` seconds, and the cluster replaces it."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        first = next(iter(client.nthreads()))

        def kill_one() -> None:
            client.run(os._exit, 1, workers=[first], on_error="ignore")

        killer = threading.Timer(halfway, kill_one)
        killer.start()
        try:
            return timed(images, scheduler=cluster.scheduler_address)
        finally:
            killer.join()


def measure(images: data.ImageData) -> dict[str, float]:
    """Seconds by way; raises where two ways disagree about a figure."""
    STUDIES[NAME] = EIGHT
    found: dict[str, float] = {}
    expected: list[list[dict[str, Any]]] = []
    ways: dict[str, Callable[[], tuple[float, list[list[dict[str, Any]]]]]] = {
        "one process": lambda: timed(images, jobs=1),
        "two processes": lambda: timed(images, jobs=2),
        "two workers of Dask, one killed": lambda: on_dask(images, HALFWAY * found["two processes"]),
    }
    if find_spec("distributed") is None:
        print("Dask is not installed, so its line is left out (pip install perfteach[cluster])", file=sys.stderr)
        del ways["two workers of Dask, one killed"]
    for way, run in ways.items():
        seconds, got = run()
        expected = expected or got
        if got != expected:
            raise RuntimeError(f"{way}: other figures than in one process")
        found[way] = round(seconds, 1)
        print(json.dumps({way: found[way]}), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the figures for docs/performance.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(data.load("cifar10-sample"))
    if arguments.write:
        about = {"runs": len(list(EIGHT.grid())), "versions": provenance()["versions"], "seconds": found}
        KEPT.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
