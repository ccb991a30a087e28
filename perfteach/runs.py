"""The record of a run: what was set, every epoch, every event, the result. One JSON object per line on disk."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfteach.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parent
RECORDS = (ROOT / "recorded", ROOT.parent / "data" / "runs")  # inside an installed package, or in a checkout


@dataclass
class Run:
    """A run as it was recorded, or as it is being recorded.

    Attributes:
        header: name, config, seed, data identity, dendritic layers, versions, machine kind, source revision, sizes.
        epochs: one record per epoch; accuracies are in percent, `seconds` is wall time, `scores` mean |r| by layer.
        events: switches, restores, rollbacks and the like, each with its epoch and the reason in words.
        result: test accuracy at the best validation epoch, parameters by part; None until the run has ended.
    """

    header: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The run's name, such as "mini/perforated-seed0"."""
        return str(self.header.get("name", "run"))

    @property
    def finished(self) -> bool:
        """Whether the run has ended and its test accuracy is known."""
        return self.result is not None

    def lines(self) -> list[dict[str, Any]]:
        """Every record in the order it is written: header, epochs and events in order of epoch, result."""
        body = [{"kind": "epoch", **e} for e in self.epochs] + [{"kind": "event", **e} for e in self.events]
        body.sort(key=lambda line: (line["epoch"], line["kind"] == "event"))
        end = [] if self.result is None else [{"kind": "result", **self.result}]
        return [{"kind": "run", **self.header}, *body, *end]

    def save(self, path: str | Path) -> Path:
        """Write the record as JSON lines. The file is replaced as a whole, so an interruption leaves the old one."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in self.lines()), encoding="utf-8")
        os.replace(part, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read a record written by `save`.

        Raises:
            DataError: when there is no such file, or a line of it is not a run record.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"there is no run record at {path}; `perfteach runs list` shows what is there")
        run = cls()
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                run.take(json.loads(text))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"line {number} of {path} is not a run record ({error})") from error
        return run

    @classmethod
    def of(cls, lines: Iterable[dict[str, Any]]) -> Run:
        """The run that gave these `lines()`."""
        run = cls()
        for line in lines:
            run.take(line)
        return run

    def take(self, line: dict[str, Any]) -> None:
        """Add one line of a record, as `lines` gives them."""
        match line.pop("kind"):
            case "run":
                self.header = line
            case "epoch":
                self.epochs.append(line)
            case "event":
                self.events.append(line)
            case "result":
                self.result = line
            case other:
                raise ValueError(f"unknown kind {other!r}")

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch, indexed by epoch; the per-layer scores are left out (see `scores_frame`)."""
        import pandas as pd

        rows = [{key: value for key, value in epoch.items() if key != "scores"} for epoch in self.epochs]
        return pd.DataFrame(rows).set_index("epoch") if rows else pd.DataFrame()

    def scores_frame(self) -> pd.DataFrame:
        """Mean |r| per layer: index epoch (dendrite-phase epochs only), one column per layer."""
        import pandas as pd

        rows = {epoch["epoch"]: epoch["scores"] for epoch in self.epochs if epoch.get("scores")}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("epoch")

    def __repr__(self) -> str:
        end = f"test {self.result['test_accuracy']:.2f} %" if self.result else "not finished"
        return f"Run({self.name!r}, {len(self.epochs)} epochs, {end})"


def recorded(name: str, **wanted: Any) -> list[Run]:
    """The recorded runs of a study that come with the course, such as `recorded("mini")`. Needs no network.

    Args:
        wanted: only the runs whose header says so, as in `recorded("mini", arm="thawed", seed=0)`.

    Raises:
        DataError: when there is no study of that name, or no such run in it; the message lists what there is.
    """
    for folder in RECORDS:
        paths = sorted((folder / name).glob("*.jsonl"))
        if paths:
            runs = [Run.load(path) for path in paths]
            chosen = [run for run in runs if all(run.header.get(key) == value for key, value in wanted.items())]
            if not chosen:
                there = ", ".join(run.name for run in runs)
                raise DataError(f"study {name!r} has no run with {wanted}; its runs are: {there}")
            return chosen
    raise DataError(f"there are no recorded runs called {name!r}; there are: {', '.join(studies()) or 'none yet'}")


def studies() -> list[str]:
    """Names of the studies whose runs are recorded."""
    return sorted({path.parent.name for folder in RECORDS for path in folder.glob("*/*.jsonl")})


def identity(data: Any) -> dict[str, Any]:
    """What a record says about the images or points it was made on."""
    sizes = {split: len(getattr(data, split)) for split in ("train", "validation", "test")}
    if getattr(data, "fresh", None) is not None:
        sizes["fresh"] = len(data.fresh)
    about = {"name": data.name, "checksum": data.checksum, "synthetic": data.synthetic}
    return about | {"classes": len(data.classes)} | sizes


def provenance() -> dict[str, Any]:
    """Package versions, machine kind, source revision and the time: what a recorded run must carry."""
    import torch

    packages = ("perfteach", "torch", "torchvision", "numpy")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": gpu,
        },
        "revision": _revision(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _revision() -> str | None:
    """The checkout's commit, with "+changes" when library files differ from it; None outside a checkout."""
    git = ["git", "-C", str(ROOT)]
    try:
        # An environment that lies inside some other repository is not a checkout of this one.
        tracked = ["ls-files", "--error-unmatch", "runs.py"]
        subprocess.run([*git, *tracked], capture_output=True, check=True, timeout=10)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+changes" if dirty.returncode else "")
