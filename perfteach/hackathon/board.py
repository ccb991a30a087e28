"""Ranks, the front, and the figure, computed from what the scorer measured.

A team is represented by submissions that are chosen on the public part alone, so that trying often gains nothing on the
final part: by the one with the highest public accuracy in the ranks, and by its own public front in the figure.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlalchemy import select as choose

from perfteach.hackathon.store import Store, turns
from perfteach.hackathon.tables import Entry, Team

NEWEST = 100  # submissions in the list of the queue
WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 930, 20, 420  # where the figure's axes stand


@dataclass
class Row:
    """A measured submission. `accuracy` is that of the part that is shown; `team` is empty for a reference.

    `board` gives a `rank` to the one that represents its team, and says which are `on_front`.
    """

    number: int
    team: str
    name: str
    note: str
    received: float
    result: dict[str, Any]
    final: bool
    rank: int = 0
    on_front: bool = False

    @property
    def accuracy(self) -> float:
        """In percent, on the final part when the event has ended and on the public part before."""
        return float(self.result["final" if self.final else "public"])

    @property
    def when(self) -> str:
        """When it arrived, with the date and the offset from UTC."""
        return datetime.fromtimestamp(self.received).astimezone().isoformat(" ", "seconds")

    @property
    def public(self) -> float:
        """In percent, on the public part."""
        return float(self.result["public"])

    @property
    def error(self) -> float:
        """Errors in percent on the part that is shown."""
        return 100 - self.accuracy

    @property
    def parameters(self) -> int:
        """As counted in the graph."""
        return int(self.result["parameters"])


@dataclass(frozen=True)
class Board:
    """What the pages show: a row for each team by rank, every row of the figure, and the references."""

    finished: bool
    ranks: list[Row]
    points: list[Row]
    references: list[Row]
    every: list[Row]

    @property
    def part(self) -> str:
        """Which images the accuracies are of."""
        return "final part" if self.finished else "public part"


def board(store: Store, least: float = 0.0) -> Board:
    """The board as it stands.

    Args:
        least: accuracy in percent on the public part that a network needs to be in the figure and on the front. What
            guesses has no parameters, and would always stand there.
    """
    finished = store.state().finished
    query = choose(Entry, Team.name).outerjoin(Team).where(Entry.state == "done").order_by(Entry.id)
    with store.read() as session:
        found = [_row(entry, team, finished) for entry, team in session.execute(query)]
    rows = [row for row in found if row is not None]
    teams: dict[str, list[Row]] = {}
    for row in rows:
        teams.setdefault(row.team, []).append(row)
    references = teams.pop("", [])
    fronts = [front(own, lambda row: 100 - row.public) for own in teams.values()]
    points = [row for own in fronts for row in own if row.public >= least]
    for row in front(points, lambda row: row.error):
        row.on_front = True
    ranks = sorted((own[-1] for own in fronts), key=lambda row: (row.error, row.parameters, row.number))
    for place, row in enumerate(ranks, start=1):
        row.rank = place
    return Board(finished, ranks, points, references, rows)


def _row(entry: Entry, team: str | None, final: bool) -> Row | None:
    if entry.state != "done" or entry.result is None:
        return None
    return Row(entry.id, team or "", entry.name, entry.note, entry.received, entry.result, final)


def front(rows: Iterable[Row], error: Any) -> list[Row]:
    """Those that no other one beats in errors and parameters at once, from few parameters to many."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.parameters, error(row), row.number)):
        if not kept or error(row) < error(kept[-1]):
            kept.append(row)
    return kept


class Waiting(NamedTuple):
    """A line of the list of submissions; `ahead` is how many are measured before it, `row` what was measured of it."""

    number: int
    team: str
    name: str
    state: str
    reason: str
    received: float
    ahead: int
    row: Row | None


def queue(store: Store, numbers: Sequence[int] = ()) -> list[Waiting]:
    """The newest submissions with their states, or those with these numbers."""
    query = choose(Entry, Team.name).outerjoin(Team).order_by(Entry.id.desc()).limit(NEWEST)
    if numbers:
        query = query.where(Entry.id.in_(numbers))
    with store.read() as session:
        found = session.execute(query).all()
        running = session.scalar(choose(func.count()).select_from(Entry).where(Entry.state == "running")) or 0
        ahead = {number: running + place for place, number in enumerate(turns(session))}
    ended = store.state().finished
    return [
        Waiting(
            e.id, of or "(reference)", e.name, e.state, e.reason, e.received, ahead.get(e.id, 0), _row(e, of, ended)
        )
        for e, of in found
    ]


def counts(store: Store) -> dict[str, int]:
    """How many submissions there are in each state."""
    with store.read() as session:
        found = session.execute(choose(Entry.state, func.count()).group_by(Entry.state))
        return {row[0]: row[1] for row in found}


COLUMNS = (
    "rank", "team", "submission", "number", "received", "public_accuracy", "final_accuracy", "parameters", "macs",
    "bytes", "latency_ms", "on_front", "claimed_accuracy", "claimed_parameters", "differences", "note",
)  # fmt: skip


def as_csv(shown: Board) -> str:
    """Every measured submission; the rank stands beside the one that represents its team."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in shown.every:
        got, claimed = row.result, row.result["claimed"]
        writer.writerow([
            row.rank or "", _cell(row.team), _cell(row.name), row.number, row.when, got["public"],
            got["final"] if shown.finished else "", got["parameters"], got["macs"], got["bytes"], got["latency_ms"],
            row.on_front, claimed["accuracy"], claimed["parameters"], _cell("; ".join(got["flags"])),
            _cell(row.note),
        ])  # fmt: skip
    return text.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet would take what begins like this for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


class Dot(NamedTuple):
    """A submission in the figure, in its coordinates."""

    x: float
    y: float
    row: Row


@dataclass(frozen=True)
class Figure:
    """Errors against parameters (logarithmic): dots, the front as a line in steps, references as level lines."""

    dots: list[Dot]
    steps: str
    references: list[Dot]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def figure(shown: Board) -> Figure | None:
    """The figure of a board; None while nothing is measured."""
    rows = [*shown.points, *shown.references]
    if not rows:
        return None
    sizes = [max(row.parameters, 1) for row in rows]
    low, high = math.log10(min(sizes)) - 0.1, math.log10(max(sizes)) + 0.1
    errors = [row.error for row in rows]
    margin = max(1.0, 0.1 * (max(errors) - min(errors)))
    bottom, top = max(0.0, min(errors) - margin), min(100.0, max(errors) + margin)

    def x(parameters: int) -> float:
        return round(LEFT + (RIGHT - LEFT) * (math.log10(max(parameters, 1)) - low) / (high - low), 1)

    def y(error: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (error - bottom) / (top - bottom), 1)

    def dots(of: Iterable[Row]) -> list[Dot]:
        return [Dot(x(row.parameters), y(row.error), row) for row in of]

    best = dots(sorted((row for row in shown.points if row.on_front), key=lambda row: row.parameters))
    steps = [f"M {best[0].x} {best[0].y}" if best else ""]
    steps += [f"H {dot.x} V {dot.y}" for dot in best[1:]] + ([f"H {RIGHT}"] if best else [])
    round_ones = _ones_twos_fives(10**low, 10**high)
    x_ticks = [(x(n), f"{n:,}") for n in (round_ones if len(round_ones) > 1 else sorted({min(sizes), max(sizes)}))]
    y_ticks = [(y(value), f"{value:g}") for value in _even(bottom, top)]
    return Figure(dots(shown.points), " ".join(steps).strip(), dots(shown.references), x_ticks, y_ticks)


def _ones_twos_fives(low: float, high: float) -> list[int]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [n for p in powers for n in (round(m * 10**p) for m in (1, 2, 5)) if low <= n <= high]


def _even(low: float, high: float) -> list[float]:
    step = next(step for step in (0.5, 1, 2, 5, 10, 20) if (high - low) / step <= 8)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]
