"""One way to check a setting: its type, its range, and a sentence that says what it may be.

Every function returns the value in plain Python, so that a record can hold it: numpy's whole number becomes an int.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from perfteach.errors import ConfigError, PerfteachError

MOST = 2**31 - 1  # epochs, images, pixels: what no training reaches
LONGEST_NAME = 255  # bytes, on every usual file system
LARGEST_SEED = 2**32 - 1

Kind = type[PerfteachError]


def whole(name: str, value: Any, low: int = 0, high: int = MOST, *, error: Kind = ConfigError) -> int:
    """A whole number from `low` to `high`; True and False are none.

    Raises:
        ConfigError: or the `error` that is asked for, as in all functions here.
    """
    span = f"{low} or more" if high == MOST else f"from {low} to {high}"
    try:
        number = operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor without numbers
        number = None
    if number is None or isinstance(value, bool) or not low <= number <= high:
        raise error(f"{name} is {said(value)}; use a whole number, {span}")
    return number


def number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, above: bool = False,
    below: bool = False, error: Kind = ConfigError,
) -> float:  # fmt: skip
    """A finite number from `low` to `high`, which are included unless it has to be `above` or `below` them."""
    parts = [f"{'above' if above else 'at least'} {low:g}"] if low > -math.inf else []
    parts += [f"{'below' if below else 'at most'} {high:g}"] if high < math.inf else []
    nan = math.nan
    if getattr(value, "ndim", None) == 0 and getattr(getattr(value, "device", None), "type", "") != "meta":
        value = value.item()  # numpy's and torch's single numbers
    try:
        found = float(value) if isinstance(value, numbers.Real) and value is not True and value is not False else nan
    except OverflowError:
        found = math.inf
    inside = low <= found <= high and not (above and found == low) and not (below and found == high)
    if not inside or math.isinf(found):
        raise error(f"{name} is {said(value)}; use a finite number{', ' * bool(parts)}{' and '.join(parts)}")
    return found


def flag(name: str, value: Any, *, error: Kind = ConfigError) -> bool:
    """True or False."""
    if type(value).__name__ not in ("bool", "bool_"):  # numpy's own is no subclass
        raise error(f"{name} is {said(value)}; use True or False")
    return bool(value)


def text(name: str, value: Any, among: Collection[str] = (), *, error: Kind = ConfigError) -> str:
    """A text, one of those in `among` where any are given."""
    if not isinstance(value, str) or (among and value not in among):
        use = f"one of {', '.join(map(repr, among))}" if among else "a text"
        raise error(f"{name} is {said(value)}; use {use}")
    return str(value)


def path(name: str, value: Any, *, error: Kind = ConfigError) -> Path:
    """A path that a file can have: not empty, without the sign that ends a text, of names that file systems take."""
    if not isinstance(value, (str, os.PathLike)) or not str(value) or "\0" in str(value):
        raise error(f"{name} is {said(value)}; use the path of a file or folder")
    try:
        found = Path(value).expanduser()
        longest = max((len(os.fsencode(part)) for part in found.parts), default=0)
    except (RuntimeError, TypeError, ValueError) as problem:  # no such user, a path of bytes, or signs that are no text
        raise error(f"{name} is {said(value)}; use the path of a file or folder ({problem})") from problem
    if longest > LONGEST_NAME:
        raise error(f"{name} is {said(value)}; a name in it has {longest:,} bytes, and {LONGEST_NAME} is the most")
    return found


def called(place: Path) -> str:
    """The name of a file in a message: on one line, whatever it is called."""
    return repr(place.name)[1:-1]


def wholes(name: str, value: Any, low: int = 0, high: int = MOST, *, error: Kind = ConfigError) -> tuple[int, ...]:
    """One or more whole numbers, as `whole`."""
    use = "one or more whole numbers, such as (8, 4)"
    found = items(name, value, use, error=error)
    if not found or isinstance(value, (str, bytes, dict)):
        raise error(f"{name} is {said(value)}; use {use}")
    return tuple(whole(f"{name}[{place}]", item, low, high, error=error) for place, item in enumerate(found))


def items(name: str, value: Any, use: str = "a list", *, error: Kind = ConfigError) -> list[Any]:
    """What a list, or anything else that can be gone through, holds."""
    try:
        return list(value)
    except (TypeError, RuntimeError):  # it cannot, as a tensor without dimensions
        raise error(f"{name} is {said(value)}; use {use}") from None


def a(kind: type | tuple[type, ...], name: str, value: Any, use: str, *, error: Kind = ConfigError) -> None:
    """Refuse what is not of a kind, and say what to use."""
    if not isinstance(value, kind):
        raise error(f"{name} is {said(value)}; use {use}")


def seed(name: str, value: Any, *, error: Kind = ConfigError) -> int:
    """A seed."""
    return whole(name, value, 0, LARGEST_SEED, error=error)


def said(value: Any) -> str:
    """A value as a message shows it: one short line, whatever it is."""
    try:
        shown = repr(value)
    except Exception:
        shown = ""
    shown = " ".join(shown.split())
    return shown if 0 < len(shown) <= 80 else f"{shown[:60]}… (a {type(value).__name__})" if shown else "something"
