"""Test error against total parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator, EngFormatter, LogLocator
from matplotlib.transforms import Bbox

from perfteach.errors import ConfigError
from perfteach.metrics import paired_interval
from perfteach.plots import style
from perfteach.plots.style import Picture

Point = Mapping[str, Any]
HEIGHT = 400  # pixels
NAMED = 12  # points up to which each gets its name; of more only those on the front do


def pareto(points: Sequence[Point], limit: int | None = None, *, data: str = "", design: int | None = None) -> Picture:
    """Test error against total parameters; the networks that no smaller one beats are ringed and joined by a stair.

    Points of the same name and arm are seeds of one network: their mean stands for them, with its 95 % interval.

    Args:
        points: each with "name", "parameters" (total, dendrites counted), "accuracy" (test, percent) and "arm".
        limit: a number of parameters to mark.
        data: name of the data, for the title.
        design: parameters of a network without a measured error; a line marks it.

    Raises:
        ConfigError: when a point lacks one of these or its values are impossible.
    """
    title = style.with_data("Test error against total parameters", data)
    points = _checked(points)
    if not points:
        return style.message(title, "No network was given.", HEIGHT)
    means, arms = _seed_means(points), list(dict.fromkeys(point["arm"] for point in points))
    note = "ringed: no network with as few parameters makes fewer errors; every dendrite counted"
    if len(means) < len(points):
        note = "means of seeds with their 95 % intervals; ringed: no mean as small is lower; every dendrite counted"
    figure = style.frame(HEIGHT, title, note, alt=_in_words(points, means, limit, data, design))
    top = 62 + style.legend_rows(arms)
    axes = style.panel(figure, 66, top, style.WIDTH - 66 - 24, HEIGHT - top - 48)
    _axes(axes, means, limit, design)
    _draw_points(axes, means, arms)
    style.name_axes(axes, "total parameters (number, logarithmic)", "test error (%)")
    if limit is not None:
        _mark(axes, limit, f"limit {style.short(limit)}", lw=1.1, ls=(0, (1, 2)), gid="limit")
    _name_points(axes, means if len(means) <= NAMED else pareto_front(means), means)
    if design is not None:
        _mark(axes, design, "this design", lw=1.6, gid="design", zorder=5)
    return figure


def _in_words(points: Sequence[Point], means: Sequence[Point], limit: int | None, data: str, design: int | None) -> str:
    front = [
        f"{p['name']} ({p['parameters']:,} parameters, {p['error']:.2f} % error"
        + (f", mean of {p['seeds']} seeds)" if p["seeds"] > 1 else ")")
        for p in pareto_front(means)
    ]
    many = f"{len(points)} network{'s' if len(points) > 1 else ''}"
    which = "those" if len(means) == len(points) else "the means over seeds"
    text = (
        f"Test error against total parameters of {many}{' on ' + data if data else ''}; "
        f"{which} that no smaller one beats: {style.listed(front, most=6)}."
    )
    if limit is not None:
        within = sum(p["parameters"] <= limit for p in points)
        text += f" {within} of {many} {'has' if 1 in (within, len(points)) else 'have'} at most {limit:,} parameters."
    if design is not None:
        text += f" A line marks this design's {design:,} parameters; it has no measured error."
    return text


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats: from the smallest on, each with fewer errors than all smaller ones."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p["parameters"], -p["accuracy"])):
        if not front or point["accuracy"] > front[-1]["accuracy"]:
            front.append(point)
    return front


def _seed_means(points: Iterable[Point]) -> list[Point]:
    """One point a name and arm: mean size, accuracy and error of its seeds, the interval, how many they are."""
    seeds: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        seeds.setdefault((point["name"], point["arm"]), []).append(point)
    means: list[Point] = []
    for (name, arm), own in seeds.items():
        mean = {key: fmean(point[key] for point in own) for key in ("parameters", "accuracy", "error")}
        errors = [point["error"] for point in own]
        interval = paired_interval([0.0] * len(own), errors) if len(own) > 1 else None
        mean |= {"low": max(interval.low, 0.0), "high": min(interval.high, 100.0)} if interval else {}
        mean = {"low": mean["error"], "high": mean["error"]} | mean
        means.append({**mean, "parameters": round(mean["parameters"]), "name": name, "arm": arm, "seeds": len(own)})
    return means


def _checked(points: Iterable[Point]) -> list[Point]:
    """The points, each with its "error" in percent."""
    checked: list[Point] = []
    for point in points:
        missing = {"name", "parameters", "accuracy", "arm"} - set(point)
        if missing:
            raise ConfigError(f"a point lacks {sorted(missing)[0]!r}; each needs name, parameters, accuracy and arm")
        if point["parameters"] < 1 or not 0 <= point["accuracy"] <= 100:
            raise ConfigError(f"{point['name']}: parameters must be at least 1 and accuracy lie between 0 and 100")
        checked.append({**point, "error": 100 - point["accuracy"]})
    return checked


def _draw_points(axes: Axes, means: Sequence[Point], arms: Sequence[str]) -> None:
    """Means with their intervals, the stair and the rings of their front, and a legend of the arms."""
    for arm in arms:
        own = [point for point in means if point["arm"] == arm]
        at = [point["parameters"] for point in own]
        color, marker = style.arm_look(arm, arms)
        axes.vlines(
            at, [p["low"] for p in own], [p["high"] for p in own], color=color, lw=1.6, gid="interval", zorder=2.6
        )
        look: dict[str, Any] = {"color": color, "marker": marker, "ms": 8, "mec": style.PAPER, "mew": 0.8, "lw": 0}
        axes.plot(at, [point["error"] for point in own], label=arm, gid=f"means:{arm}", zorder=3, **look)
    style.arm_legend(axes, arms, handle=0.8)
    front = pareto_front(means)
    stair = [point["parameters"] for point in front], [point["error"] for point in front]
    axes.step(*stair, where="post", color=style.SOFT, lw=1.0, ls=(0, (4, 2)), gid="front", zorder=2)
    axes.plot(*stair, "o", mfc="none", mec=style.INK, ms=13, mew=1.1, gid="ring", zorder=3)


def _axes(axes: Axes, points: Sequence[Point], limit: int | None, design: int | None) -> None:
    """Limits, round numbers and names of both axes."""
    errors = [point[side] for point in points for side in ("low", "high", "error")]
    pad = 0.14 * (max(errors) - min(errors)) or 1.0
    axes.set_ylim(min(errors) - pad, max(errors) + pad)
    sizes = [*(p["parameters"] for p in points), *([limit] if limit else []), *_half_decades(design)]
    low, high = min(sizes), max(sizes)
    room = max((high / low) ** 0.12, 1.12)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    steps = (1, 2, 5) if high < 1e4 * low else (1,)  # beyond that their words would touch
    axes.xaxis.set_major_locator(LogLocator(subs=steps) if high > 5 * low else AutoLocator())
    axes.xaxis.set_major_formatter(EngFormatter(useMathText=False))
    axes.minorticks_off()
    axes.grid(**style.GRID)


def _half_decades(design: int | None) -> list[float]:
    """The ends of the half power of ten around a size: an axis with these stays when a slider moves the size."""
    return [] if design is None else [10 ** (whole(2 * np.log10(design)) / 2) for whole in (np.floor, np.ceil)]


def _mark(axes: Axes, size: int, word: str, **look: Any) -> None:
    """A line across the axes at a number of parameters, with a word on the side where there is more room.

    The design's stands at the foot and the limit's at the top, and both interrupt the other's line.
    """
    axes.axvline(size, color=style.INK, **{"zorder": 1, **look})
    low, high = axes.get_xlim()
    foot = 0 if look["gid"] == "design" else 1
    side = -1 if size > (low * high) ** 0.5 else 1
    axes.annotate(
        word, (size, foot), (4 * side, 5 if foot == 0 else -12), xycoords=("data", "axes fraction"),
        textcoords="offset points", size=style.SMALL, color=style.INK, ha="left" if side > 0 else "right",
        zorder=6, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        weight="bold" if look["gid"] == "design" else "normal",
    )  # fmt: skip


def _name_points(axes: Axes, named: Sequence[Point], points: Sequence[Point]) -> None:
    """Write names beside their points, where they cover neither a point, an interval nor another name."""
    place = axes.get_position()
    wide, high = place.width * style.WIDTH, place.height * HEIGHT
    (left, right), (low, top) = np.log(axes.get_xlim()), axes.get_ylim()
    x = (np.log([point["parameters"] for point in points]) - left) / (right - left) * wide
    y = (np.array([point["error"] for point in points]) - low) / (top - low) * high
    taken = [Bbox([(px - 8, py - 8), (px + 8, py + 8)]) for px, py in zip(x, y, strict=True)]
    for point, px in zip(points, x, strict=True):
        ends = [(point[side] - low) / (top - low) * high for side in ("low", "high")]
        taken.append(Bbox([(px - 2, ends[0]), (px + 2, ends[1])]))
    for point, px, py in zip(points, x, y, strict=True):
        if point not in named:
            continue
        length = style.text_width(point["name"], style.SMALL)
        for dx, dy, ha in ((14, 0, "left"), (-14, 0, "right"), (0, 17, "center"), (0, -17, "center"), (9, 15, "left")):
            start = px + dx - {"left": 0.0, "right": length, "center": length / 2}[ha]
            box = Bbox([(start, py + dy - 6), (start + length, py + dy + 6)])
            inside = box.x0 >= 0 and box.x1 <= wide and box.y0 >= 0 and box.y1 <= high
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                axes.annotate(
                    point["name"], (point["parameters"], point["error"]), (dx * 0.72, dy * 0.72), ha=ha,
                    textcoords="offset points", va="center", size=style.SMALL, color=style.INK, gid="name", zorder=2.5,
                    bbox={"facecolor": style.PAPER, "lw": 0, "pad": 0.4},
                )  # fmt: skip
                break
