"""The result of a check, and the tools that checks are made of.

A check is a function decorated with `exercise`. It asks for the answer's type, shape and values, in that order, with
`call` and the `require…` functions; each of these says what was got, what was expected, and one hint.

    @exercise("Count a convolution's weights")
    def check_weights(answer: Any) -> str:
        number = value(answer)
        require_type(number, int, hint="…")
        require_equal(number, 432, hint="…")
        return "432 weights."

The decorated function returns a `Result` and never raises, so a notebook runs to its end whatever the answer is.
"""

from __future__ import annotations

import functools
import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_COLOURS = {True: "#029e73", False: "#d55e00", None: "#949494"}


@dataclass(frozen=True, repr=False)
class Result:
    """What a check found. `passed` is None when the exercise was not attempted.

    Shows itself as "✓ …", "Not attempted yet: …", or "Got …; expected …; hint: …".
    """

    title: str
    passed: bool | None
    text: str

    def __bool__(self) -> bool:
        return self.passed is True

    def __repr__(self) -> str:
        if self.passed:
            return f"✓ {self.title}: {self.text}"
        return self.text if self.passed is False else f"Not attempted yet: {self.title}"

    def _repr_html_(self) -> str:
        # Told apart by the words; the colour of the bar only repeats them.
        style = f"border-left:4px solid {_COLOURS[self.passed]};padding:2px 10px"
        return f'<div role="status" style="{style}">{html.escape(repr(self))}</div>'


class NotAttempted(Exception):
    """The answer still holds `...` or None."""


class Wrong(Exception):
    """The answer is not right."""

    def __init__(self, got: str, expected: str, hint: str) -> None:
        super().__init__(f"Got {got}; expected {expected}; hint: {hint}")


def exercise(title: str) -> Callable[[Callable[..., str]], Callable[..., Result]]:
    """Make a check of a function that returns what to say when all is right.

    Args:
        title: of the exercise, as the notebook has it.
    """

    def decorate(check: Callable[..., str]) -> Callable[..., Result]:
        @functools.wraps(check)
        def checked(*answers: Any, **settings: Any) -> Result:
            try:
                for answer in answers:
                    _require_attempt(answer)
                return Result(title, True, check(*answers, **settings))
            except NotAttempted:
                return Result(title, None, "")
            except Wrong as found:
                return Result(title, False, str(found))
            except Exception as error:  # an answer of a form that no check foresaw must not stop the notebook
                said = f"an answer that could not be used ({type(error).__name__}: {_first_line(error)})"
                return Result(title, False, str(Wrong(said, "what the exercise asks for", "read it once more.")))

        return checked

    return decorate


def _require_attempt(answer: Any) -> None:
    if answer is None or answer is ...:
        raise NotAttempted
    parts = answer.values() if isinstance(answer, Mapping) else answer if isinstance(answer, (tuple, list)) else ()
    for part in parts:
        if part is ... or part is None:
            raise NotAttempted


def value(answer: Any) -> Any:
    """The answer itself; a tensor or numpy array of one element becomes its number.

    Raises:
        NotAttempted: for `...` or None, also inside a tuple, list or dictionary.
    """
    _require_attempt(answer)
    if isinstance(answer, Tensor) and answer.numel() == 1:
        return answer.detach().item()
    return _plain_number(answer)


def _plain_number(answer: Any) -> Any:
    """numpy's numbers as Python's, which the checks of type know."""
    return answer.item() if isinstance(answer, (np.generic, np.ndarray)) and answer.size == 1 else answer


def call(function: Any, *arguments: Any, hint: str = "it has to run on these arguments.") -> Any:
    """What the learner's function returns.

    Raises:
        NotAttempted: when it returns `...` or None, as the stub does.
        Wrong: when it is no function, or raises.
    """
    if not callable(function):
        raise Wrong(describe(function), "a function", "hand over the function itself, without calling it.")
    try:
        returned = function(*arguments)
    except Exception as error:
        said = f"{type(error).__name__}: {_first_line(error)}"
        raise Wrong(said, "a function that returns a value", hint) from error
    _require_attempt(returned)
    return _plain_number(returned)


def require(condition: Any, got: Any, expected: str, hint: str) -> None:
    """Raises `Wrong` when the condition does not hold."""
    if not bool(condition):
        raise Wrong(got if isinstance(got, str) else describe(got), expected, hint)


def require_type(got: Any, kinds: type | tuple[type, ...], hint: str) -> None:
    """Raises `Wrong` when the answer is of another type; bool does not count as int, but int counts as float."""
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    accepted = (*wanted, int) if float in wanted else wanted
    fits = isinstance(got, accepted) and not (isinstance(got, bool) and bool not in wanted)
    require(fits, got, " or ".join(_article(_TYPE_NAMES.get(kind, kind.__name__)) for kind in wanted), hint)


def require_shape(got: Tensor, shape: Sequence[int], hint: str) -> None:
    """Raises `Wrong` when the tensor's shape is another."""
    require(list(got.shape) == list(shape), f"shape {list(got.shape)}", f"shape {list(shape)}", hint)


def require_equal(got: Any, expected: Any, hint: str) -> None:
    """Raises `Wrong` when the two differ."""
    require(got == expected, got, describe(expected), hint)


def require_close(got: Any, expected: Any, hint: str, *, tolerance: float = 1e-4) -> None:
    """Raises `Wrong` when the two differ by more than `tolerance`, relative to the largest expected value."""
    found, wanted = torch.as_tensor(got).detach().double(), torch.as_tensor(expected).detach().double()
    if found.shape != wanted.shape:
        raise Wrong(f"shape {list(found.shape)}", f"shape {list(wanted.shape)}", hint)
    scale = max(float(wanted.abs().max()) if wanted.numel() else 0.0, 1e-12)
    gap = (found - wanted).abs()
    if bool(torch.isfinite(found).all()) and (not gap.numel() or float(gap.max()) <= tolerance * scale):
        return
    if found.dim() == 0:
        raise Wrong(_number(float(found)), _number(float(wanted)), hint)
    place = int(gap.nan_to_num(math.inf).argmax())
    where = [int(index) for index in torch.unravel_index(torch.tensor(place), found.shape)]
    raise Wrong(
        f"{_number(float(found.flatten()[place]))} at position {where}", _number(float(wanted.flatten()[place])), hint
    )


def describe(thing: Any) -> str:
    """A value in a few words, for a message."""
    if isinstance(thing, Tensor):
        return _number(float(thing)) if thing.dim() == 0 else f"a tensor of shape {list(thing.shape)}"
    if isinstance(thing, bool) or thing is None:
        return str(thing)
    if isinstance(thing, (int, float)):
        return _number(thing)
    if isinstance(thing, str):
        return repr(thing if len(thing) <= 60 else thing[:57] + "…")
    if isinstance(thing, (tuple, list)) and len(thing) <= 8:
        inside = ", ".join(describe(part) for part in thing)
        return f"({inside})" if isinstance(thing, tuple) else f"[{inside}]"
    if isinstance(thing, Mapping) and len(thing) <= 8:
        return "{" + ", ".join(f"{key}: {describe(part)}" for key, part in thing.items()) + "}"
    return _article("function" if hasattr(thing, "__name__") else type(thing).__name__)


_TYPE_NAMES: dict[type, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    Tensor: "tensor",
    dict: "dictionary",
    bool: "True or False",
}


def _article(word: str) -> str:
    if word == "True or False":
        return word
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def _number(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) or float(number).is_integer() else f"{number:.5g}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:160]
