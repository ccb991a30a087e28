"""`perfteach hackathon …` and `perfteach submit`. What needs the extra is imported when a command runs."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from perfteach.console import folder
from perfteach.errors import ConfigError
from perfteach.extras import need
from perfteach.hackathon.submission import NAME, About, Limits, pack_run, plain

if TYPE_CHECKING:
    from perfteach.hackathon.event import Event
    from perfteach.hackathon.store import Store

DATABASE = "PERFTEACH_DATABASE"  # the environment variable with the database's address
NEEDED = ("starlette", "uvicorn", "sqlalchemy", "jinja2", "python_multipart", "onnx", "onnxruntime")
Add = Callable[..., argparse.ArgumentParser]


def add_commands(commands: Any, command: Add) -> None:
    """Add both to the parser; `command` makes one, from where it goes, its name, what runs, help and an example."""
    group = commands.add_parser("hackathon", help="run a hackathon with a board", description="A hackathon's board.")
    parts = group.add_subparsers(required=True, metavar="what")

    def on_folder(*described: Any) -> argparse.ArgumentParser:
        part = command(parts, *described)
        part.add_argument("folder", type=folder, help="the event's folder")
        part.add_argument("--database", help=f"address of a database, for a big event (default: {DATABASE}, or a file)")
        return part

    _add_init(command(parts, "init", _init, "make an event's folder and the participants' pack", INIT_EXAMPLE))
    text = "make a team, or give it a new token; the token is shown once"
    team = on_folder("team", _team, text, "perfteach hackathon team event owls newts")
    team.add_argument("names", nargs="+", metavar="NAME", help="the teams' names")
    team.add_argument("--again", action="store_true", help="give teams that are there a new token; the old one ends")
    on_folder("teams", _teams, "list the teams that are there", "perfteach hackathon teams event")
    text = "add a submission of your own as a line on the board"
    reference = on_folder("reference", _reference, text, "perfteach hackathon reference event runs/baseline")
    reference.add_argument("of", nargs="?", type=folder, metavar="RUN", help="a folder with run.jsonl and model.onnx")
    reference.add_argument("--extra-small", action="store_true", help="the trained Extra-Small (CIFAR-10's classes)")
    reference.add_argument("--name", help="what the line is called (default: the folder's name)")
    serve = on_folder("serve", _serve, "serve the board and measure what is handed in", SERVE_EXAMPLE)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for the room (%(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen at (%(default)s)")
    serve.add_argument("--workers", type=int, default=1, help="scorers beside it, each on one core (%(default)s)")
    work = on_folder("work", _work, "measure what is handed in, without a board", "perfteach hackathon work event")
    work.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    text = "take nothing more in; what was handed in is still measured, and the board shows the public part"
    close = on_folder("close", _close, text, "perfteach hackathon close event --at 16:00")
    when = close.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="HH:MM", help="from this time of today on (this machine's clock), as pages say")
    when.add_argument("--open", action="store_true", help="take submissions in again")
    text = "end the event: nothing more is taken in, and the board shows the final part"
    finish = on_folder("finish", _finish, text, "perfteach hackathon finish event")
    finish.add_argument("--now", action="store_true", help="even while submissions are still measured")
    text = "take a submission off the board, with a reason that its page shows"
    withdraw = on_folder(
        "withdraw", _withdraw, text, 'perfteach hackathon withdraw event 12 "weights hidden in a table"'
    )
    withdraw.add_argument("number", type=int, help="the submission's number, which the board shows")
    withdraw.add_argument("reason", nargs="?", help="why, in a sentence")
    withdraw.add_argument("--undo", action="store_true", help="put it back on the board")
    fetch = on_folder("fetch", _fetch, "write out what was handed in", "perfteach hackathon fetch event 12 12.zip")
    fetch.add_argument("number", type=int, help="the submission's number")
    fetch.add_argument("out", type=folder, help="the zip to write")
    _add_submit(command(commands, "submit", _submit, "pack a run and hand it in at a hackathon", SUBMIT_EXAMPLE))


INIT_EXAMPLE = 'perfteach hackathon init event --title "Dendrite day"'
SERVE_EXAMPLE = (
    "perfteach hackathon serve event --host 0.0.0.0\n"
    "  (ends with Ctrl-C; the same command again goes on where it stood)"
)
SUBMIT_EXAMPLE = 'perfteach submit runs/first --name "first try" --to http://board:8000 --token TOKEN'


def _add_init(init: argparse.ArgumentParser) -> None:
    add, usual = init.add_argument, Limits()
    add("folder", type=folder, help="folder to make; keep it to yourself, it holds the hidden images")
    text = (
        "synthetic10 (hidden images drawn from a secret seed), an image folder or archive, cifar10 (their test images)"
    )
    add("--data", default="synthetic10", help=f"{text} (%(default)s)")
    add("--label", help="what to call images read from a path")
    add("--title", default="Hackathon", help="the event's name (%(default)s)")
    add("--hidden", type=int, default=4000, help="hidden images at most (%(default)s)")
    add("--parameters", type=int, default=usual.parameters, help="parameters allowed (%(default)s)")
    add("--per-hour", type=int, default=usual.per_hour, help="submissions of a team in an hour (%(default)s)")
    add("--seconds", type=int, default=usual.seconds, help="processor seconds to measure a submission in (%(default)s)")


def _init(arguments: argparse.Namespace) -> None:
    need("hackathon", *NEEDED)
    from perfteach.hackathon import event

    limits = Limits(parameters=arguments.parameters, per_hour=arguments.per_hour, seconds=arguments.seconds)
    made = event.create(
        arguments.folder, arguments.data, title=arguments.title, label=arguments.label, hidden=arguments.hidden,
        limits=limits,
    )  # fmt: skip
    place = shlex.quote(str(arguments.folder))
    print(f"{arguments.folder} is ready: {len(made.labels()):,} hidden images, {made.hidden}.")
    if arguments.data in ("cifar10", "cifar10-sample"):
        print("Warning: the test images of CIFAR-10 are public, so a network could have been trained on them.")
    print(f"For the participants: {made.pack_path}\nNext: perfteach hackathon team {place} NAME …")
    print(f"Then: perfteach hackathon serve {place} --host 0.0.0.0")


def _team(arguments: argparse.Namespace) -> None:
    store, _ = _opened(arguments)
    there = {name.casefold(): name for name in store.teams()}
    names = [plain(name, "team's name", NAME, least=1) for name in arguments.names]  # all, before one is made
    known = [there[name.casefold()] for name in names if name.casefold() in there]
    if known and not arguments.again:
        raise ConfigError(f"there already: {', '.join(known)}; leave them out, or give --again to replace their tokens")
    if len({name.casefold() for name in names}) < len(names):
        raise ConfigError("a name is there twice; give each team one of its own")
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {store.add_team(there.get(name.casefold(), name))}")
    print("Give each team its token; it is kept as a checksum only, and `team --again` makes a new one.")


def _teams(arguments: argparse.Namespace) -> None:
    store, _ = _opened(arguments)
    print("\n".join(store.teams()) or "There is no team yet.")


def _reference(arguments: argparse.Namespace) -> None:
    if (arguments.of is None) is not arguments.extra_small:
        raise ConfigError("name a run's folder, or give --extra-small")
    store, event = _opened(arguments)
    if arguments.extra_small:
        from perfteach.hackathon.client import extra_small

        packed, about = extra_small(event, arguments.name or "Extra-Small")
    else:
        about = About(arguments.name or arguments.of.stem)
        packed = pack_run(arguments.of, about)
    print(f"Reference {about.name!r} is submission {store.add_reference(packed, about)}; the scorer measures it next.")


def _serve(arguments: argparse.Namespace) -> None:
    store, event = _opened(arguments)
    from perfteach.hackathon.server import serve

    serve(store, event, arguments.host, arguments.port, arguments.workers)


def _work(arguments: argparse.Namespace) -> None:
    store, event = _opened(arguments)
    from perfteach.hackathon.worker import work

    work(store, event, parent=arguments.parent)


def _finish(arguments: argparse.Namespace) -> None:
    store, _ = _opened(arguments)
    if (waiting := store.close()) and not arguments.now:
        said = f"{waiting} submissions are still measured; nothing more is taken in"
        raise ConfigError(f"{said}. Run `finish` again when the board says 0, or now with --now")
    waiting = store.end_event()
    print("The event has ended; the board shows the final part.")
    if waiting:
        print(f"{waiting} submissions are still being measured; leave `serve` running until the board says 0.")


def _close(arguments: argparse.Namespace) -> None:
    store, _ = _opened(arguments)
    at = None if arguments.at is None else _today(arguments.at)
    waiting = store.close(not arguments.open, at)
    done = "Submissions are taken in again" if arguments.open else "Nothing more is taken in"
    if at is not None:
        from perfteach.hackathon.store import clock

        done += f" from {clock(at)} on"
    print(f"{done}; {waiting} are not measured yet.")


def _today(text: str) -> float:
    """A time of this day that is still to come, in seconds since 1970."""
    try:
        time = datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise ConfigError(f"--at {text} is no time of the day; write it as in 16:00") from None
    now = datetime.now()
    at = datetime.combine(now, time)
    if at <= now:
        raise ConfigError(f"{text} has passed: it is {now:%H:%M} on this machine; leave out --at to close now")
    return at.timestamp()


def _withdraw(arguments: argparse.Namespace) -> None:
    if (arguments.reason is None) is not arguments.undo:
        raise ConfigError("give a reason, which the submission's page shows, or --undo to put it back")
    store, _ = _opened(arguments)
    if arguments.undo:
        print(f"Submission {arguments.number}, {store.put_back(arguments.number)}, is back.")
    else:
        print(f"Submission {arguments.number}, {store.withdraw(arguments.number, arguments.reason)}, is off the board.")
        print("It was the wrong one? `withdraw --undo` with its number puts it back.")


def _fetch(arguments: argparse.Namespace) -> None:
    from perfteach.hackathon.client import write

    store, _ = _opened(arguments)
    write(arguments.out, store.packed(arguments.number))
    print(f"{arguments.out}: model.onnx and run.jsonl of submission {arguments.number}.")


def _add_submit(submit: argparse.ArgumentParser) -> None:
    add = submit.add_argument
    add("of", type=folder, metavar="RUN", help="the run's folder with run.jsonl and model.onnx, or a record")
    add("--name", required=True, help="what the board calls it")
    add("--team", default="", help="your team's name; not needed with --token")
    add("--note", default="", help="what you did, in a sentence")
    add("--model", type=folder, help="the ONNX file, where it lies elsewhere")
    add("--to", metavar="ADDRESS", help="the board's address; without it the zip is only written")
    add("--token", help="your team's token (default: the variable PERFTEACH_TOKEN)")
    add("--out", type=folder, help="where to write the zip (default: submission.zip beside the record)")


def _submit(arguments: argparse.Namespace) -> None:
    from perfteach.hackathon.client import submit

    given = {name: getattr(arguments, name) for name in ("team", "note", "model", "to", "token", "out")}
    submit(arguments.of, arguments.name, **given)


def _opened(arguments: argparse.Namespace) -> tuple[Store, Event]:
    need("hackathon", *NEEDED)
    from perfteach.hackathon.event import Event
    from perfteach.hackathon.store import Store

    event = Event.load(arguments.folder)
    return Store(arguments.database or os.environ.get(DATABASE) or event.database), event
