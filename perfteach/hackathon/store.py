"""Teams and submissions in a database: SQLite in the event's folder, or any that SQLAlchemy reaches by an address.

The queue is a column. A submission is `waiting`, then `running` with a heartbeat, then `done`, `refused` (its own
fault), `failed` (the scorer's) or `withdrawn` (by the organisers). What a dead worker had running waits again.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlalchemy import select as choose
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from perfteach.errors import ConfigError
from perfteach.hackathon.submission import NAME, NOTE, About, SubmissionError, plain
from perfteach.hackathon.tables import Base, Entry, Note, Team, Upload, connect

SILENT = 20.0  # seconds without a heartbeat after which a worker counts as dead
ATTEMPTS = 5
OPEN = ("waiting", "running")
STOPPED = "the scorer was stopped while measuring it"


class Closed(SubmissionError):
    """The event is over."""


class TooMany(SubmissionError):
    """The team has used up its submissions for this hour."""


class UnknownToken(SubmissionError):
    """No team has this token."""


class CannotWrite(SubmissionError):
    """The database takes nothing at the moment."""


@dataclass(frozen=True)
class State:
    """Where the event stands; `closes` is when it takes nothing more in, in seconds since 1970, where that is set."""

    finished: bool
    closes: float | None

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken in."""
        return self.finished or (self.closes is not None and self.closes <= time.time())

    @property
    def refusal(self) -> str:
        """Why nothing is taken in; empty while it is."""
        if self.finished:
            return "the event has ended; nothing more is taken in"
        return f"since {clock(self.closes or 0)} nothing more is taken in" if self.closed else ""


def clock(seconds: float) -> str:
    """A time of this machine's day, with its zone."""
    return time.strftime("%H:%M:%S %Z", time.localtime(seconds))


class Store:
    """Everything that is asked of the database. Each method is one transaction, on disk when it returns."""

    def __init__(self, address: str) -> None:
        self.engine = connect(address)
        self._writing = self.engine.execution_options(writes=True)
        try:
            with self._writing.begin() as connection:
                Base.metadata.create_all(connection)
        except DBAPIError as error:
            said = f"the database cannot be opened or written ({error.orig})"
            raise ConfigError(f"{said}; use a folder that you may write to, or give --database") from error

    @contextmanager
    def _write(self) -> Iterator[Session]:
        try:
            with Session(self._writing, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            said = f"the board cannot write at the moment ({error.orig}), so nothing was changed"
            raise CannotWrite(f"{said}; tell the organisers, who may have to make room on its disk") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to read with."""
        with Session(self.engine) as session:
            yield session

    def add_team(self, name: str) -> str:
        """A new team's token, which is shown once; for a team that is there, a new token in place of the old.

        Raises:
            SubmissionError: the name is empty or too long.
        """
        name, token = plain(name, "team's name", NAME, least=1), secrets.token_hex(16)
        with self._write() as session:
            team = session.scalar(choose(Team).where(Team.name == name))
            if team is None:
                session.add(Team(name=name, token=_hash(token)))
            else:
                team.token = _hash(token)
        return token

    def require_team(self, token: str) -> None:
        """Raise UnknownToken unless a team has this token."""
        with self.read() as session:
            _team(session, choose(Team).where(Team.token == _hash(token)))

    def submit(self, token: str, packed: bytes, about: About, per_hour: int) -> tuple[int, bool]:
        """Take in a team's submission; the same zip again is the same submission, so an upload can be repeated.

        Returns:
            Its number, and whether it is new.

        Raises:
            UnknownToken, Closed, TooMany, SubmissionError: it is not taken in.
        """
        with self._write() as session:
            team = _team(session, choose(Team).where(Team.token == _hash(token)).with_for_update())
            if about.team and about.team != team.name:
                raise SubmissionError(f"the token is that of {team.name!r}, and the zip says {about.team!r}")
            known = session.scalar(_by_digest(team.id, packed))
            if known is not None:
                entry = session.get_one(Entry, known)
                if entry.state == "failed":  # the scorer's fault: handed in again, it is tried again
                    entry.state, entry.attempts, entry.reason = "waiting", 0, ""
                return known, False
            if said := _state(session).refusal:
                raise Closed(said)
            recent = Entry.team_id == team.id, Entry.received > time.time() - 3600, Entry.state != "failed"
            sent = session.scalars(choose(Entry.received).where(*recent).order_by(Entry.received.desc())).all()
            if len(sent) >= per_hour:
                said = f"{team.name} has sent {len(sent)} submissions within the hour, and {per_hour} are allowed"
                raise TooMany(f"{said}, refused ones too; the next is taken in at {clock(sent[per_hour - 1] + 3600)}")
            return _insert(session, packed, about, team.id), True

    def add_reference(self, packed: bytes, about: About) -> int:
        """A submission of the organiser's own, which is a line on the board and takes no rank."""
        with self._write() as session:
            known = session.scalar(_by_digest(None, packed))
            return known if known is not None else _insert(session, packed, about, None)

    def claim(self, worker: str) -> tuple[int, bytes] | None:
        """The submission whose turn it is, now that worker's, with its zip; None where nothing waits."""
        now = time.time()
        with self._write() as session:
            silent = choose(Entry).where(Entry.state == "running", Entry.heartbeat < now - SILENT)
            for entry in session.scalars(silent.with_for_update(skip_locked=True)):
                _again(entry)
            session.flush()
            for number in turns(session):
                free = choose(Entry).where(Entry.id == number, Entry.state == "waiting")
                if next_one := session.scalar(free.with_for_update(skip_locked=True)):
                    break
            else:
                return None
            next_one.state, next_one.worker, next_one.heartbeat = "running", worker, now
            next_one.attempts += 1
            return next_one.id, session.get_one(Upload, next_one.id).packed

    def beat(self, number: int, worker: str) -> None:
        """Say that the worker is alive and still measuring."""
        with self._write() as session:
            entry = session.get_one(Entry, number)
            if (entry.state, entry.worker) == ("running", worker):
                entry.heartbeat = time.time()

    def finish(
        self, number: int, worker: str, state: str, reason: str = "", result: dict[str, Any] | None = None
    ) -> bool:
        """Write down how it went; False where the submission is no longer that worker's."""
        with self._write() as session:
            entry = session.get_one(Entry, number)
            if (entry.state, entry.worker) != ("running", worker):
                return False
            # What a submission makes an error say may hold what no database takes: half a character, or a zero.
            said = reason[:1000].encode("utf-8", "replace").decode().replace("\0", "?")
            entry.state, entry.reason, entry.result = state, said, result
            return True

    def give_back(self, number: int, worker: str, reason: str = STOPPED) -> None:
        """It could not be measured through no fault of its own: let the submission wait again."""
        with self._write() as session:
            entry = session.get_one(Entry, number)
            if (entry.state, entry.worker) == ("running", worker):
                _again(entry, reason)

    def withdraw(self, number: int, reason: str) -> str:
        """Take a submission off the board; its page says why.

        Returns:
            Its name and whose it is.

        Raises:
            SubmissionError: there is none with this number.
        """
        with self._write() as session:
            entry = _entry(session, number)
            entry.state, entry.reason, entry.worker = "withdrawn", plain(reason, "reason", NOTE), ""
            return _called(session, entry)

    def put_back(self, number: int) -> str:
        """Undo `withdraw`, and measure the submission where that has not been done; returns as `withdraw`.

        Raises:
            SubmissionError: there is none with this number, or it was not withdrawn.
        """
        with self._write() as session:
            entry = _entry(session, number)
            if entry.state != "withdrawn":
                raise SubmissionError(f"submission {number} was not withdrawn: it is {entry.state}")
            entry.state, entry.reason, entry.attempts = "waiting" if entry.result is None else "done", "", 0
            return _called(session, entry)

    def packed(self, number: int) -> bytes:
        """The zip of a submission, to look at.

        Raises:
            SubmissionError: there is none with this number.
        """
        with self.read() as session:
            return session.get_one(Upload, _entry(session, number).id).packed

    def teams(self) -> list[str]:
        """The teams' names."""
        with self.read() as session:
            return list(session.scalars(choose(Team.name).order_by(Team.id)))

    def close(self, closed: bool = True, at: float | None = None) -> int:
        """Take nothing more in, at once or from a time on, or go on; returns how many are not measured yet.

        Args:
            at: seconds since 1970; None is now.

        Raises:
            ConfigError: when the event is to go on, or to close later, and has ended.
        """
        with self._write() as session:
            if (not closed or at is not None) and session.get(Note, "finished") is not None:
                raise ConfigError("the event has ended and its hidden results are shown, so it takes nothing in again")
            note = session.get(Note, "closed")
            if note is not None and (not closed or at is not None or float(note.value) > time.time()):
                session.delete(note)
                session.flush()
                note = None
            if closed and note is None:
                session.add(Note(key="closed", value=str(time.time() if at is None else at)))
            return session.scalar(choose(func.count()).select_from(Entry).where(Entry.state.in_(OPEN))) or 0

    def end_event(self) -> int:
        """Close the event and show the final part; returns how many submissions are not measured yet."""
        with self._write() as session:
            if session.get(Note, "finished") is None:
                session.add(Note(key="finished", value=str(time.time())))
            return session.scalar(choose(func.count()).select_from(Entry).where(Entry.state.in_(OPEN))) or 0

    def state(self) -> State:
        """Whether submissions are taken in, and until when."""
        with self.read() as session:
            return _state(session)


def _state(session: Session) -> State:
    closed = session.get(Note, "closed")
    return State(session.get(Note, "finished") is not None, None if closed is None else float(closed.value))


def _called(session: Session, entry: Entry) -> str:
    team = None if entry.team_id is None else session.get_one(Team, entry.team_id).name
    return f"{entry.name!r} of {team}" if team else f"{entry.name!r}, a reference"


def _team(session: Session, query: Any) -> Team:
    team: Team | None = session.scalar(query)
    if team is None:
        raise UnknownToken("no team has this token; ask the organisers")
    return team


def _entry(session: Session, number: int) -> Entry:
    entry = session.get(Entry, number) if 0 < number < 2**31 else None
    if entry is None:
        raise SubmissionError(f"there is no submission {number}")
    return entry


def turns(session: Session) -> list[int]:
    """The submissions that wait, in the order in which they will be measured.

    First comes the team that has had the fewest measured of what it sent within the hour, so that nobody waits for
    one team's many; a team's own go by number.
    """
    sent = choose(Entry.team_id, func.count()).where(Entry.state != "waiting", Entry.received > time.time() - 3600)
    had: dict[int | None, int] = {row[0]: row[1] for row in session.execute(sent.group_by(Entry.team_id))}
    order = []
    waiting = choose(Entry.team_id, Entry.id).where(Entry.state == "waiting").order_by(Entry.id)
    for team, number in session.execute(waiting):
        order.append((had.get(team, 0), number))
        had[team] = had.get(team, 0) + 1
    return [number for _, number in sorted(order)]


def _again(entry: Entry, reason: str = STOPPED) -> None:
    entry.state = "failed" if entry.attempts >= ATTEMPTS else "waiting"
    entry.reason = f"{reason} ({entry.attempts} of {ATTEMPTS} times)"


def _by_digest(team: int | None, packed: bytes) -> Any:
    mine = Entry.team_id.is_(None) if team is None else Entry.team_id == team
    return choose(Entry.id).where(mine, Entry.digest == hashlib.sha256(packed).hexdigest())


def _insert(session: Session, packed: bytes, about: About, team: int | None) -> int:
    digest = hashlib.sha256(packed).hexdigest()
    entry = Entry(team_id=team, name=about.name, note=about.note, digest=digest, size=len(packed), received=time.time())
    session.add(entry)
    session.flush()
    session.add(Upload(entry_id=entry.id, packed=packed))
    return entry.id


def _hash(token: str) -> str:
    """A plain checksum is enough for a token, which is 16 random bytes and no password that could be guessed."""
    return hashlib.sha256(token.strip().encode()).hexdigest()
