"""How the figures put lists, numbers of parameters and titles into words."""

from __future__ import annotations

from collections.abc import Sequence


def listed(items: Sequence[str], most: int = 5) -> str:
    """The items as a phrase; those beyond `most` are counted."""
    if len(items) > most:
        return ", ".join(items[:most]) + f" and {len(items) - most} more"
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def short(count: float) -> str:
    """A number of parameters as people say it: 1,662,488 is "1.66 M"."""
    if count >= 999_500:
        return f"{count / 1e6:.2f} M"
    return f"{count / 1e3:.0f} k" if count >= 10_000 else f"{count:,.0f}"


def short_tick(value: float) -> str:
    """The same for round numbers at an axis."""
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"


def with_data(title: str, data: str) -> str:
    """A title with the data's name behind it."""
    return f"{title}: {data}" if data else title
