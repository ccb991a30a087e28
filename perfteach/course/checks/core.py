"""The result of a check, and what the checks are made of.

A check is a function with the decorator `exercise`, which asks with `call`, `require` and `compare`. It returns a
`Result` and never raises, so a notebook runs to its end whatever the answer is. Most checks are made by `tables`.
"""

from __future__ import annotations

import dis
import functools
import html
import linecache
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from perfteach.course import progress
from perfteach.course.checks.values import Misfit, describe, differs, fit

_COLOURS = {True: "#029e73", False: "#d55e00", None: "#949494"}
_NOTHING = {"RESUME", "NOP", "POP_TOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}  # what `...` alone compiles to
RAISED = "your own lines are below; the last one raised it."
TITLES: dict[str, str] = {}  # number of every exercise, such as "01.2", and its title


@dataclass(frozen=True, repr=False)
class Result:
    """What a check found. `passed` is None when the exercise was not attempted.

    Shows itself as "✓ …", "Not attempted yet: …", or "Got …; expected …; hint: …"; `trace` holds the
    learner's own lines on the way to an error.
    """

    title: str
    passed: bool | None
    text: str
    trace: str = ""

    def __bool__(self) -> bool:
        return self.passed is True

    def __repr__(self) -> str:
        if self.passed:
            return f"✓ {self.title}: {self.text}"
        if self.passed is None:
            return f"Not attempted yet: {self.title}"
        return f"{self.text}\n{self.trace}" if self.trace else self.text

    def _repr_html_(self) -> str:
        # Told apart by the words; the colour of the bar only repeats them.
        style = f"border-left:4px solid {_COLOURS[self.passed]};padding:2px 10px"
        words, _, lines = repr(self).partition("\n")
        below = f"<pre>{html.escape(lines)}</pre>" if lines else ""
        return f'<div role="status" style="{style}">{html.escape(words)}{below}</div>'


class NotAttempted(Exception):
    """The answer still holds `...` or None."""


class Wrong(Exception):
    """The answer is not right."""

    def __init__(self, got: Any, expected: str, hint: str, trace: str = "") -> None:
        said = got if isinstance(got, str) else describe(got)
        super().__init__(f"Got {said}; expected {expected}; hint: {hint}")
        self.trace = trace


def exercise(number: str, title: str) -> Callable[[Callable[..., str]], Callable[..., Result]]:
    """Make a check of a function that returns what to say when all is right.

    The learner's progress is kept under the number, notebook and place in it, such as "01.2".
    """
    TITLES[number] = title

    def decorate(check: Callable[..., str]) -> Callable[..., Result]:
        @functools.wraps(check)
        def checked(*answers: Any, **settings: Any) -> Result:
            try:
                for answer in answers:
                    _require_attempt(answer)
                found = Result(title, True, check(*answers, **settings))
            except NotAttempted:
                return Result(title, None, "")
            except Wrong as wrong:
                return Result(title, False, str(wrong), wrong.trace)
            except Exception as error:  # an answer of a form that no check foresaw must not stop the notebook
                said = f"an answer that could not be used ({type(error).__name__}: {_message(error)})"
                return Result(title, False, str(Wrong(said, "what the exercise asks for", "read it once more.")))
            progress.record("exercises", number)
            return found

        return checked

    return decorate


def compare(got: Any, wanted: Any, hint: str | Callable[[int], str], place: str = "") -> None:
    """Raises `Wrong` when the answer is of another kind, shape or value than what is wanted."""

    def advice(part: int) -> str:
        return hint(part) if callable(hint) else hint

    try:
        found = fit(got, wanted)
    except Misfit as misfit:
        try:  # a mistake may have another form than what is right, such as a mean in place of all values
            text = advice(0)
        except Misfit:
            text = f"return {misfit}."
        raise Wrong(got, f"{misfit}{place}", text) from misfit
    difference = differs(found, wanted)
    if difference is not None:
        raise Wrong(difference.got, difference.wanted + place, advice(difference.part))


def require(condition: Any, got: Any, expected: str, hint: str) -> None:
    """Raises `Wrong` when the condition does not hold."""
    if not bool(condition):
        raise Wrong(got, expected, hint)


# Hints for errors that any exercise can meet, after its own.
COMMON = {
    "^NameError": "that name is not known here: write torch.… or F.… before it, or import it first.",
    "converted to Python scalars": "math's functions take one number; torch's, such as torch.sqrt, a whole tensor.",
}


def call(function: Any, *arguments: Any, hint: str | Mapping[str, str] = RAISED) -> Any:
    """What the learner's function returns for these arguments, which it may change.

    `hint` is for a function that raises: one for every error, or one each for the errors whose name and message a
    regular expression is found in.

    Raises:
        NotAttempted: when it returns `...`, or nothing because it is still the stub.
        Wrong: when it is no function, returns nothing, or raises.
    """
    if not callable(function):
        raise Wrong(describe(function), "a function", "hand over the function itself, without calling it.")
    try:
        returned = function(*arguments)
    except Exception as error:
        if Ellipsis in _constants(function):
            raise NotAttempted from error
        said = f"{type(error).__name__}: {_message(error)}"
        hints = {"": hint} if isinstance(hint, str) else dict(hint)
        last = hints.pop("", RAISED)
        fitting = next((text for pattern, text in (hints | COMMON).items() if re.search(pattern, said)), last)
        raise Wrong(said, "a function that returns a value", fitting, _own_lines(error, function)) from error
    _require_attempt(returned, none=_is_blank(function))
    if returned is None:
        hint = "it came to its end without a value on these: a `return` is missing, or a condition was never true."
        raise Wrong("None", "a value", hint)
    return returned


def _require_attempt(answer: Any, *, none: bool = True) -> None:
    parts = answer.values() if isinstance(answer, Mapping) else answer if isinstance(answer, (tuple, list)) else ()
    if answer is ... or (answer is None and none) or any(part is ... for part in parts):
        raise NotAttempted


def _inner(function: Any) -> Any:
    """The plain function inside a partial, a method or a module."""
    while isinstance(function, functools.partial):
        function = function.func
    return function.forward if isinstance(function, nn.Module) else function


def _constants(function: Any) -> tuple[Any, ...]:
    code = getattr(_inner(function), "__code__", None)
    return code.co_consts if code else ()


def _is_blank(function: Any) -> bool:
    """Is it a stub, which does nothing, or in which `...` still stands for a value?"""
    code = getattr(_inner(function), "__code__", None)
    nothing = code is not None and {step.opname for step in dis.get_instructions(code)} <= _NOTHING
    return nothing or Ellipsis in _constants(function)


def _own_lines(error: Exception, function: Any) -> str:
    """The frames of a traceback that lie in the learner's own code, one line each, outermost first."""
    own = getattr(_inner(function), "__globals__", None)
    lines = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals is own:
            code = linecache.getline(frame.f_code.co_filename, number).strip()
            lines.append(f"line {number}, in {frame.f_code.co_name}: {code}".rstrip(": "))
    return "\n".join(lines)


def _message(error: Exception) -> str:
    """On one line, and whole where it is not very long: PyTorch names missing weights on the lines after the first."""
    said = " ".join(str(error).split()) or "no message"
    return said if len(said) <= 300 else f"{said[:299]}…"
