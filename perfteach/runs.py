"""The record of a run: what was set, every epoch, every event, the result. One JSON object per line on disk.

`Run`, `Epoch`, `Event` and `Result` are read from records of every version by `Run.load`; a schema number in the first
line says how old a record is. Everything that figures, widgets and tables read from a run is here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfteach import settings
from perfteach.errors import ConfigError, DataError
from perfteach.files import replacing
from perfteach.record import HEADER, Band, Epoch, Event, Result, checked

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RECORDS", "Band", "Epoch", "Event", "Result", "Run", "marked", "recorded", "report", "studies"]

ROOT = Path(__file__).resolve().parent
RECORDS = (ROOT / "recorded", ROOT.parent / "data" / "runs")  # inside an installed package, or in a checkout
SCHEMA = 1
# What a line that is no record leads to; RecursionError: brackets nested thousands deep.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass
class Run:
    """A run as it was recorded, or as it is being recorded.

    `run["validation_error"]` gives one value per epoch, and so for every field and property of `Epoch`.

    Attributes:
        header: name, config, seed, data identity, dendritic layers, versions, machine kind, source revision, sizes.
        epochs, events: in order.
        result: None until the run has ended.
    """

    header: dict[str, Any] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    result: Result | None = None

    def __getitem__(self, column: str) -> list[Any]:
        return [epoch[column] for epoch in self.epochs]

    @property
    def name(self) -> str:
        """The run's name, such as "mini/perforated-seed0"."""
        return str(self.header.get("name", "run"))

    @property
    def arm(self) -> str:
        """The arm of a study it belongs to; for other runs its name without folder and seed."""
        return str(self.header.get("arm") or self.name.rsplit("/", 1)[-1].rsplit("-seed", 1)[0])

    @property
    def seed(self) -> int:
        """The run's seed; 0 where none is recorded."""
        return int(self.header.get("seed", 0))

    @property
    def config(self) -> dict[str, Any]:
        """The settings, by the names of `TrainConfig`."""
        return self.header.get("config") or {}

    @property
    def data(self) -> dict[str, Any]:
        """Name, checksum and sizes of the data."""
        return self.header.get("data") or {}

    @property
    def data_title(self) -> str:
        """The name of the run's data for titles; says "synthetic" where it is."""
        return marked(str(self.data.get("name", "unnamed data")), bool(self.data.get("synthetic")))

    @property
    def finished(self) -> bool:
        """Whether the run has ended and its test accuracy is known."""
        return self.result is not None

    @property
    def ended(self) -> Result:
        """The result of a run that has ended.

        Raises:
            DataError: when it has not.
        """
        if self.result is None:
            raise DataError(f"run {self.name!r} is not finished, so it has no result yet")
        return self.result

    @property
    def error(self) -> float:
        """Test error in percent; raises DataError as `ended` does."""
        return self.ended.error

    @property
    def scores(self) -> pd.DataFrame:
        """Mean |r| per layer: index epoch (dendrite-phase epochs only), one column per layer."""
        import pandas as pd

        rows = {epoch.epoch: epoch.scores for epoch in self.epochs if epoch.scores}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("epoch")

    @property
    def score_layers(self) -> list[str]:
        """Names of the layers with scores, in the order of the record."""
        return list(dict.fromkeys(layer for epoch in self.epochs for layer in epoch.scores))

    @property
    def layers(self) -> list[str]:
        """The layers that can carry dendrites, in the network's order; none for a plain network.

        Records made before the header named them do so in their scores and their result.
        """
        named = [str(layer["name"]) for layer in self.header.get("layers") or []]
        return named or self.score_layers or list(self.result.dendrites if self.result else ())

    @property
    def learns_together(self) -> bool:
        """Whether dendrites learn beside their neurons in the neuron phase: thawed, or by the gradient rule."""
        return bool(self.config.get("thaw")) or self.header.get("rule") == "gradient"

    def is_further_than(self, other: Run) -> bool:
        """Whether it has more epochs than another state of the same run, or has ended where that has not."""
        return (len(self.epochs), self.finished) > (len(other.epochs), other.finished)

    def at(self, epoch: int) -> Epoch:
        """The epoch of that number (counted from 1).

        Raises:
            ConfigError: when the run has no such epoch.
        """
        epoch = settings.whole("epoch", epoch, -settings.MOST)
        for record in self.epochs:
            if record.epoch == epoch:
                return record
        raise ConfigError(f"run {self.name!r} has no epoch {epoch}; it has {len(self.epochs)}")

    def after(self, event: str) -> list[int]:
        """The epochs after which an event came."""
        return [e.epoch for e in self.events if e.event == event]

    def bands(self) -> list[Band]:
        """The phases in the order they came."""
        grouped = groupby(self.epochs, lambda record: (record.phase, record.cycle))
        return [Band(*of, own[0].epoch, own[-1].epoch) for of, records in grouped for own in [list(records)]]

    def dendrites_at(self, record: Epoch) -> int:
        """Dendrites per neuron in the perforated layers during an epoch, the one being trained included."""
        grown = int(self.header.get("grown", 0))  # before the first epoch
        return grown + record.cycle if self.layers and self.config.get("grow", True) else grown

    def __repr__(self) -> str:
        end = f"test {self.result.test_accuracy:.2f} %" if self.result else "not finished"
        return f"Run({self.name!r}, {len(self.epochs)} epochs, {end})"

    def lines(self) -> list[dict[str, Any]]:
        """Every record in the order it is written: header, epochs and events in order of epoch, result."""
        body = [{"kind": "epoch", **asdict(e)} for e in self.epochs]
        body += [{"kind": "event", **asdict(e)} for e in self.events]
        body.sort(key=lambda line: (line["epoch"], line["kind"] == "event"))
        end = [] if self.result is None else [{"kind": "result", **asdict(self.result)}]
        if end and end[0]["fresh_accuracy"] is None:
            del end[0]["fresh_accuracy"]
        return [{"kind": "run", "schema": SCHEMA, **self.header}, *body, *end]

    def save(self, path: str | Path) -> Path:
        """Write the record as JSON lines. The file is replaced as a whole, so an interruption leaves the old one.

        Raises:
            DataError: when it cannot be written, or the header holds what JSON cannot.
        """
        path = settings.path("path", path, error=DataError)
        try:
            text = "".join(json.dumps(line) + "\n" for line in self.lines())
            with replacing(path) as part:
                part.write_text(text, encoding="utf-8")
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"the record cannot be written to {str(path)!r}: {error}") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read a record written by `save`.

        Raises:
            DataError: when there is no such file, or a line of it is not a run record.
        """
        path = settings.path("path", path, error=DataError)
        if not path.is_file():
            raise DataError(f"there is no run record at {str(path)!r}; `perfteach runs list` shows what is there")
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise DataError(f"{str(path)!r} cannot be read: {error}") from error
        run = cls()
        for number, text in enumerate(lines, start=1):
            try:
                if text.strip():
                    run.take(json.loads(text))
            except _MALFORMED as error:
                what = settings.said(str(error) or type(error).__name__)
                raise DataError(f"line {number} of {str(path)!r} is not a run record ({what})") from error
        if not run.header:
            raise DataError(f"{str(path)!r} is not a run record: it has no line that says what was run")
        if [epoch.epoch for epoch in run.epochs] != list(range(1, len(run.epochs) + 1)):
            raise DataError(
                f"{str(path)!r} is damaged: its epochs do not follow one another; put it away, and run it again"
            )
        return run

    @classmethod
    def of(cls, lines: Iterable[dict[str, Any]]) -> Run:
        """The run that gave these `lines()`."""
        run = cls()
        for line in lines:
            run.take(line)
        return run

    def take(self, line: dict[str, Any]) -> None:
        """Add one line of a record, as `lines` gives them.

        Raises:
            ValueError: when the line is none, or a field of it has another type; so may TypeError and KeyError.
        """
        if not isinstance(line, dict):
            raise ValueError(f"it is {settings.said(line)}, and must be an object")
        fields = {key: value for key, value in line.items() if key != "kind"}
        match line["kind"]:
            case "run":
                self.header = _upgraded(fields)
            case "epoch":
                self.epochs.append(checked(Epoch(**fields)))
            case "event":
                self.events.append(checked(Event(**fields)))
            case "result":
                self.result = checked(Result(**fields))
            case other:
                raise ValueError(f"unknown kind {other!r}")


def _upgraded(header: dict[str, Any]) -> dict[str, Any]:
    """A header of any version by the names of today. Records without a number are of schema 0."""
    for name, kinds in HEADER.items():
        if not isinstance(header.get(name), kinds):
            raise ValueError(f"{name} is {settings.said(header[name])}")
    layers, sizes = header.get("layers") or [], header.get("data") or {}
    if not all(isinstance(layer, dict) and "name" in layer for layer in layers):
        raise ValueError(f"layers is {settings.said(layers)}")
    if not all(isinstance(sizes.get(split, 0), int) for split in ("train", "validation", "test")):
        raise ValueError(f"data is {settings.said(sizes)}")
    schema = header.pop("schema", 0)
    if schema > SCHEMA:
        raise ValueError(f"schema {schema} is newer than this version of perfteach reads, which is {SCHEMA}")
    if schema < 1 and "max_dendrites" in (header.get("config") or {}):
        renamed = {"max_dendrites": "cycles"}
        header["config"] = {renamed.get(key, key): value for key, value in header["config"].items()}
    return header


def marked(name: str, synthetic: bool) -> str:
    """A data set's name that says "synthetic" where it is."""
    if not synthetic or "synthetic " in name:
        return name
    return f"{name[:-1]}, synthetic)" if name.endswith(")") else f"{name} (synthetic)"


def recorded(name: str, **wanted: Any) -> list[Run]:
    """The recorded runs of a study that come with the course, such as `recorded("mini")`. Needs no network.

    Args:
        wanted: only the runs whose header says so, as in `recorded("mini", arm="thawed", seed=0)`.

    Raises:
        DataError: when there is no study of that name, or no such run in it; the message lists what there is.
    """
    settings.text("name", name, error=DataError)
    for folder in RECORDS if re.fullmatch(r"[\w .-]+", name) else ():
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


def report(run: Run) -> str:
    """A run as text: where it ran, a line per epoch, the events, and the result with every dendrite counted."""
    sizes = [f"{run.data.get(split, 0):,}" for split in ("train", "validation", "test")]
    lines = [
        f"{run.name}: {run.data.get('name')}, {sizes[0]} training, {sizes[1]} validation and {sizes[2]} test images",
        f"{'epoch':>5}  {'phase':<8} {'cycle':>5}  {'train error':>11}  {'valid. error':>12}  {'mean |r|':>8} {'s':>5}",
    ]
    events = list(run.events)
    for epoch in run.epochs:
        score = "" if epoch.score is None else f"{epoch.score:.4f}"
        lines.append(
            f"{epoch.epoch:>5}  {epoch.phase:<8} {epoch.cycle:>5}  {epoch.train_error:>9.2f} %  "
            f"{epoch.validation_error:>10.2f} %  {score:>8} {epoch.seconds:>5.1f}"
        )
        while events and events[0].epoch <= epoch.epoch:
            event = events.pop(0)
            lines.append(f"       {event.event}: {event.reason}")
    lines += [f"       {event.event}: {event.reason}" for event in events]  # such as a first epoch that was not finite
    if run.result is None:
        return "\n".join([*lines, "not finished"])
    parts = run.result.parameters
    shares = ", ".join(f"{part} {count:,}" for part, count in parts.items() if part != "total" and count)
    lines.append(
        f"test accuracy {run.result.test_accuracy:.2f} % (error {run.error:.2f} %) "
        f"with the weights of epoch {run.result.best_epoch}, in {run.result.seconds:.0f} s"
    )
    lines.append(f"parameters, every dendrite counted: {run.result.total:,} ({shares})")
    return "\n".join(lines)
