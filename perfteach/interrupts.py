"""Interrupts that wait: while a block changes state a signal is noted, and raised where nothing is half done."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
SAID = "stopping after this step; once more stops at once"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, a kernel's stop button, or a signal that asks the process to end.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = int(number)


class Interrupts:
    """Holds SIGINT, SIGTERM and SIGHUP back within a `with` block until `check` is called, or the block ends.

    The first one is said and noted, a second one is raised at once, except within `shield`. Signals reach the main
    thread only, so nothing is held back in another one. A handler of somebody else's gets what was held back for it.

    A signal can also come while handlers are set or put back, and leave some of them behind. They do no harm: outside
    the block, and after a second signal, they only pass on.
    """

    def __init__(self) -> None:
        self.noted = 0
        self._holding = self._shielded = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self.noted, self._shielded = 0, False
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                before = signal.getsignal(number)
                if before in (None, signal.SIG_IGN):  # as under nohup
                    continue
                with contextlib.suppress(ValueError):  # the main thread of another interpreter than the main one
                    if before != self._note:
                        self._before[number] = before
                    signal.signal(number, self._note)
        self._holding = True
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._holding = False
        for number, handler in self._before.items():
            with contextlib.suppress(ValueError):
                if signal.getsignal(number) == self._note:
                    signal.signal(number, handler)
        if not isinstance(error, KeyboardInterrupt):
            self.check()

    def check(self) -> None:
        """Raise what was held back: called where nothing is half done.

        Raises:
            Interrupted: when a signal has come since the block began.
        """
        if self.noted:
            number, self.noted = self.noted, 0
            self._pass_on(number)

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """The items, with a `check` before each."""
        for item in items:
            self.check()
            yield item

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """A block of a moment that not even a second signal ends."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._shielded and (self.noted or not self._holding):
            self._holding = False
            self._pass_on(number)
        elif not self.noted:
            from tqdm.auto import tqdm  # the trainer has it already; a command that only answers need not wait for it

            self.noted = number
            with contextlib.suppress(RuntimeError, OSError):  # it came within another print, or the terminal is gone
                tqdm.write(SAID, file=sys.stderr)

    def _pass_on(self, number: int) -> None:
        handler = self._before.get(number)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)
        else:
            raise Interrupted(number)


@contextlib.contextmanager
def as_exceptions() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise `Interrupted`, as Ctrl-C raises `KeyboardInterrupt`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS[1:]:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
