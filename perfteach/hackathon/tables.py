"""The tables of an event's database, and the way to it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Engine, ForeignKey, LargeBinary, String, UniqueConstraint, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from perfteach.errors import ConfigError


class Base(DeclarativeBase):
    """The tables."""


class Team(Base):
    """A team; its token is kept as a checksum only."""

    __tablename__ = "team"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)


class Entry(Base):
    """A submission with its state; `result` is what the scorer measured. A reference has no team."""

    __tablename__ = "entry"
    __table_args__ = (UniqueConstraint("team_id", "digest"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("team.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    note: Mapped[str] = mapped_column(String(1000))
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    received: Mapped[float] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(String(10), index=True, default="waiting")
    reason: Mapped[str] = mapped_column(String(1000), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str] = mapped_column(String(100), default="")
    heartbeat: Mapped[float] = mapped_column(default=0.0)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class Upload(Base):
    """The zip of a submission, apart from its line so that the board never reads it."""

    __tablename__ = "upload"
    entry_id: Mapped[int] = mapped_column(ForeignKey("entry.id"), primary_key=True)
    packed: Mapped[bytes] = mapped_column(LargeBinary)


class Note(Base):
    """A fact about the event, such as when it ended."""

    __tablename__ = "note"
    key: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(String(200))


def connect(address: str) -> Engine:
    """The database at an address, as SQLAlchemy writes it.

    Raises:
        ConfigError: the address is none, or its driver is not installed.
    """
    try:
        url = make_url(address)
        if url.get_backend_name() != "sqlite":
            return create_engine(url, pool_pre_ping=True)
    except Exception as error:  # an address that is none, or a driver that is not installed
        raise ConfigError(f"the database {address.split('://')[0]}://… cannot be used ({error})") from error
    engine = create_engine(url, connect_args={"timeout": 60}, pool_size=20, max_overflow=40)

    @event.listens_for(engine, "connect")
    def settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says so
        for line in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A transaction that writes takes its turn at the start; one that becomes a writer later could fail.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
