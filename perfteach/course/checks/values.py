"""Answers and what is wanted: the same number may come as int, float, tensor or array, a list as a tuple."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Misfit(Exception):
    """The answer is of another kind; the text says of which it should be."""


class Difference(NamedTuple):
    """What was got and what was wanted, in words, and in which part of a tuple."""

    got: str
    wanted: str
    part: int = 0


def fit(got: Any, like: Any) -> Any:
    """The answer in the form of `like`.

    Raises:
        Misfit: when it is of another kind or has another number of parts.
    """
    if like is None:
        return got
    if isinstance(like, Tensor):
        return _tensor(got, like)
    if isinstance(like, (bool, Real, str)):
        return _single(got, like)
    if isinstance(like, tuple):
        array = isinstance(got, (np.ndarray, Tensor)) and got.ndim > 0
        parts = list(got) if array or isinstance(got, (tuple, list)) else []
        if len(parts) != len(like):
            raise Misfit(kind(like))
        return tuple(fit(part, wanted) for part, wanted in zip(parts, like, strict=True))
    if isinstance(like, (list, set)):
        orderless = isinstance(got, (set, frozenset)) and isinstance(like, list)
        if isinstance(got, str) or orderless or not isinstance(got, Iterable):
            raise Misfit(kind(like))
        return type(like)(map(str, got))
    if isinstance(like, Mapping):
        if not isinstance(got, Mapping) or set(got) != set(like):
            raise Misfit(kind(like))
        return {key: fit(got[key], wanted) for key, wanted in like.items()}
    if not isinstance(got, type(like)):
        raise Misfit(kind(like))
    return got


def _single(got: Any, like: bool | Real | str) -> Any:
    if isinstance(got, Tensor):
        got = got.detach().cpu().numpy()
    if isinstance(got, (np.ndarray, np.generic)) and got.size == 1:
        got = got.item()
    truth, text = isinstance(like, bool), isinstance(like, str)
    same = isinstance(got, bool) is truth and isinstance(got, str) is text and isinstance(got, (bool, Real, str))
    if not same:
        raise Misfit(kind(like))
    return got


def _tensor(got: Any, like: Tensor) -> Tensor:
    try:
        found = got.detach() if isinstance(got, Tensor) else torch.as_tensor(np.asarray(got))
    except (TypeError, ValueError) as error:
        raise Misfit(kind(like)) from error
    if like.dtype == torch.int8 and found.dtype != torch.int8:
        raise Misfit("a tensor of torch.int8, converted at the end with q.to(torch.int8)")
    return found


def differs(found: Any, wanted: Any, tolerance: float = 1e-3) -> Difference | None:
    """How an answer that `fit` has brought into form differs from what is wanted, or None.

    Numbers may differ by `tolerance` of the largest one wanted; whole numbers not at all.
    """
    if wanted is None:
        return None
    if isinstance(wanted, Tensor):
        return _apart(found, wanted, tolerance)
    if isinstance(wanted, tuple):
        numbers = all(isinstance(part, Real) for part in wanted)
        for part, pair in enumerate(zip(found, wanted, strict=True)):
            apart = differs(*pair, tolerance)
            if apart is not None:
                words = (describe(found), describe(wanted)) if numbers else apart[:2]
                return Difference(*words, part)
        return None
    if isinstance(wanted, float):
        same = math.isclose(found, wanted, rel_tol=tolerance, abs_tol=1e-9)
    elif isinstance(wanted, Mapping):
        same = all(differs(found[key], value, tolerance) is None for key, value in wanted.items())
    else:
        same = found == wanted
    return None if same else Difference(describe(found), describe(wanted))


def _apart(found: Tensor, wanted: Tensor, tolerance: float) -> Difference | None:
    if found.shape != wanted.shape:
        return Difference(f"shape {list(found.shape)}", f"shape {list(wanted.shape)}")
    found, wanted = found.double(), wanted.detach().double()
    scale = max(float(wanted.abs().max()) if wanted.numel() else 0.0, 1e-12)
    gap = (found - wanted).abs().nan_to_num(math.inf)
    if not gap.numel() or float(gap.max()) <= tolerance * scale:
        return None
    place = int(gap.argmax())
    where = [int(index) for index in torch.unravel_index(torch.tensor(place), found.shape)]
    got, other = (describe(float(values.flatten()[place])) for values in (found, wanted))
    return Difference(f"{got} at position {where}", other)


def describe(thing: Any) -> str:
    """A value in a few words, for a message."""
    if isinstance(thing, (Tensor, np.ndarray, np.generic)):
        return describe(thing.item()) if thing.ndim == 0 else f"a tensor of shape {list(thing.shape)}"
    if isinstance(thing, bool) or thing is None:
        return str(thing)
    if isinstance(thing, Real):
        number = float(thing)
        return f"{int(number):,}" if number.is_integer() and abs(number) < 1e15 else f"{number:.5g}"
    if isinstance(thing, str):
        return repr(thing if len(thing) <= 60 else thing[:57] + "…")
    if isinstance(thing, (tuple, list)) and len(thing) <= 12:
        inside = ", ".join(map(describe, thing))
        return f"({inside})" if isinstance(thing, tuple) else f"[{inside}]"
    if isinstance(thing, set):
        return describe(sorted(thing))
    if isinstance(thing, Mapping) and len(thing) <= 8:
        return "{" + ", ".join(f"{key}: {describe(part)}" for key, part in thing.items()) + "}"
    word = "function" if callable(thing) and hasattr(thing, "__name__") else type(thing).__name__
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def kind(like: Any) -> str:
    """What an answer like this one is called."""
    if isinstance(like, tuple):
        return (
            f"{len(like)} values: " + ", ".join(map(kind, like))
            if len(set(map(kind, like))) > 1
            else (f"{len(like)} {kind(like[0]).partition(' ')[2]}s")
        )
    if isinstance(like, Mapping):
        return f"a dictionary with the keys {', '.join(map(str, like))}"
    kinds = {bool: "True or False", int: "a whole number", Real: "a number", str: "a text", Tensor: "a tensor"}
    kinds |= {list: "a list of names in their order", set: "a list of names", nn.Module: "a model"}
    return next((name for of, name in kinds.items() if isinstance(like, of)), describe(like))


def plain(value: Any) -> bool:
    """Can it be written in a few words?"""
    return isinstance(value, (bool, Real, str)) or (isinstance(value, (tuple, list, Mapping)) and len(value) <= 12)
