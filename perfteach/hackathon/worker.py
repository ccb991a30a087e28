"""Works the queue off: claim a submission, measure it, write down how it went, again."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time

from perfteach.hackathon.event import Event
from perfteach.hackathon.scorer import Killed, score
from perfteach.hackathon.store import SILENT, CannotWrite, Store
from perfteach.hackathon.submission import SubmissionError

PAUSE = 0.5  # seconds between two looks at an empty queue
MEND = 10.0  # seconds before the next submission, after the scorer itself has failed


def work(store: Store, event: Event, *, until_empty: bool = False, parent: int | None = None) -> int:
    """Measure what waits, for ever, or until nothing does or the process `parent` is gone; returns how many it was."""
    me = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
    done = 0
    while parent is None or os.getppid() == parent:
        try:
            if claimed := store.claim(me):
                _measure(store, event, me, *claimed)
                done += 1
            elif until_empty:
                break
            else:
                time.sleep(PAUSE)
        except CannotWrite as error:  # what was being measured waits again once nothing is heard of it
            print(f"perfteach: {error}", file=sys.stderr)
            time.sleep(MEND)
    return done


def _measure(store: Store, event: Event, me: str, number: int, packed: bytes) -> None:
    said = time.monotonic()

    def alive() -> None:
        nonlocal said
        if time.monotonic() - said > SILENT / 4:
            said = time.monotonic()
            store.beat(number, me)

    try:
        result = score(packed, event, alive)
    except CannotWrite:
        raise
    except SubmissionError as error:
        store.finish(number, me, "refused", str(error))
    except Killed:
        store.give_back(number, me)
    except Exception as error:  # a full disk, say, which somebody may mend
        print(f"submission {number} could not be measured: {error!r}", file=sys.stderr)
        store.give_back(number, me, f"the scorer failed ({type(error).__name__}); the organisers can see why")
        time.sleep(MEND)
    else:
        store.finish(number, me, "done", result=result)
