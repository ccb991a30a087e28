"""The checks of exercises whose answer is a function: made from exercises.toml.

A mistake is an expression too, so its hint comes when the answer's value is the one that this mistake gives.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from perfteach.course.checks import helpers
from perfteach.course.checks.core import RAISED, NotAttempted, Result, Wrong, call, compare, exercise
from perfteach.course.checks.values import Misfit, describe, differs, fit, plain

IN_PLACE = " (It changes its input in place: copy that first where others still need it.)"
Entry = dict[str, Any]


def load() -> dict[str, Callable[[Any], Result]]:
    """The check of every exercise in the table, by its name."""
    text = (files("perfteach.course.checks") / "exercises.toml").read_text(encoding="utf-8")
    return {f"check_{name}": _check(name, entry) for name, entry in tomllib.loads(text).items()}


def _check(name: str, entry: Entry) -> Callable[[Any], Result]:
    @exercise(entry["number"], entry["title"])
    def check(answer: Any) -> str:
        in_place, tried = False, calls(entry)
        for index, given in enumerate(tried):
            got, changed = _called(entry, answer, given)
            in_place |= changed
            wanted = evaluate(entry, entry["right"], given)
            hint = partial(_hint, entry, answer, got, wanted, tried, index)
            compare(got, wanted, hint, _place(entry, given))
        return str(entry["said"]) + IN_PLACE * in_place

    check.__name__ = check.__qualname__ = f"check_{name}"
    check.__doc__ = f'Exercise {entry["number"]}, "{entry["title"]}": takes a function of ({entry["arguments"]}).'
    return check


def _called(entry: Entry, answer: Any, given: tuple[Any, ...]) -> tuple[Any, bool]:
    """What the learner's function returns for copies of the arguments, and whether it changed a tensor among them."""
    copies = copy.deepcopy(given)
    got = call(answer, *copies, hint=entry.get("raised", RAISED))
    pairs = zip(given, copies, strict=True)
    return got, any(isinstance(old, Tensor) and not torch.equal(old, new) for old, new in pairs)


def calls(entry: Entry) -> list[tuple[Any, ...]]:
    """The arguments of each call."""
    written = entry["calls"]
    return [tuple(given) for given in (eval(written, vars(helpers).copy()) if isinstance(written, str) else written)]


def evaluate(entry: Entry, expression: str, given: tuple[Any, ...], **more: Any) -> Any:
    """The value of an expression of the table for these arguments."""
    names = dict(zip(entry["arguments"].split(", "), given, strict=True))
    return eval(expression, vars(helpers) | names | {"given": given} | more)


def _place(entry: Entry, given: tuple[Any, ...]) -> str:
    """ " for c_in=16, k=3": the arguments that can be written in a few words, by their names."""
    names = zip(entry["arguments"].split(", "), given, strict=True)
    said = [f"{name}={describe(value)}" for name, value in names if plain(value)]
    return f" for {', '.join(said)}" if said else ""


def _hint(entry: Entry, answer: Any, got: Any, wanted: Any, tried: list[tuple[Any, ...]], index: int, part: int) -> str:
    """The hint for a wrong answer to call `index`, of which `part` is the first part that is wrong.

    A mistake is one where it gives the answer's value in every call.
    """
    given = tried[index]
    for expression, text in entry.get("mistakes", []):
        here = _agrees(got, evaluate(entry, expression, given))
        if here and all(_agrees_on(entry, answer, expression, other) for other in tried):
            return str(text)
    if type(got).__name__ in entry.get("kinds", {}):
        return str(entry["kinds"][type(got).__name__])
    found = fit(got, wanted)  # of another kind: compare says so
    if "whys" in entry:
        return str(entry["whys"][index])
    if "advice" in entry:
        return str(evaluate(entry, entry["advice"], given, got=found))
    hint = entry["hint"]
    return str(hint if isinstance(hint, str) else hint[part])


def _agrees(got: Any, value: Any) -> bool:
    try:
        return differs(fit(got, value), value) is None
    except Misfit:
        return False


def _agrees_on(entry: Entry, answer: Any, expression: str, given: tuple[Any, ...]) -> bool:
    try:
        return _agrees(_called(entry, answer, given)[0], evaluate(entry, expression, given))
    except (Wrong, NotAttempted):
        return False
