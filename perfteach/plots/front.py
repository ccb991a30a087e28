"""Test error against total parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from perfteach.errors import ConfigError
from perfteach.plots.record import listed
from perfteach.plots.style import (
    INK,
    PAPER,
    SMALL,
    SOFT,
    WIDTH,
    Picture,
    arm_look,
    frame,
    grid_lines,
    light_ticks,
    message,
    name_axes,
    panel,
    round_numbers,
    short,
    short_tick,
    text_width,
    with_data,
)

HEIGHT = 440  # pixels


def pareto(
    points: Sequence[Mapping[str, Any]], limit: int | None = None, *, data: str = "", design: int | None = None
) -> Picture:
    """Test error against total parameters; the networks that no smaller one beats are ringed and joined by a stair.

    Args:
        points: each with "name", "parameters" (total, dendrites counted), "accuracy" (test, percent) and "arm".
        limit: a number of parameters to mark.
        data: name of the data, for the title.
        design: parameters of a network without a measured error; a line marks it.

    Raises:
        ConfigError: when a point lacks one of these or its values are impossible.
    """
    title = with_data("Test error against total parameters", data)
    _check_points(points)
    if not points:
        return message(title, "No network was given.", HEIGHT)
    note = "ringed: no network with as few parameters makes fewer errors; every dendrite counted"
    figure = frame(HEIGHT, title, note, alt=describe_pareto(points, limit, data=data, design=design))
    axes = panel(figure, 62, 96, WIDTH - 62 - 24, HEIGHT - 96 - 48)
    sizes, errors = [p["parameters"] for p in points], [100 - p["accuracy"] for p in points]
    pad = 0.14 * (max(errors) - min(errors)) or 1.0
    axes.set_ylim(min(errors) - pad, max(errors) + pad)
    numbers = _log_axis(axes, [*sizes, *([limit] if limit else []), *_half_decades(design)])
    light_ticks(axes, "x", numbers, [short_tick(size) for size in numbers])
    grid_lines(axes, numbers, "x")
    numbers = round_numbers(axes.get_ylim(), 8)
    light_ticks(axes, "y", numbers)
    grid_lines(axes, numbers)
    front = pareto_front(points)
    axes.step(
        [p["parameters"] for p in front], [100 - p["accuracy"] for p in front], where="post", color=SOFT, lw=1.0,
        ls=(0, (4, 2)), gid="front", zorder=2,
    )  # fmt: skip
    arms = list(dict.fromkeys(p["arm"] for p in points))
    for arm in arms:
        color, marker = arm_look(arm, arms)
        mine = [i for i, p in enumerate(points) if p["arm"] == arm]
        axes.plot(
            [sizes[i] for i in mine], [errors[i] for i in mine], marker, color=color, ms=8, mec=PAPER, mew=0.8,
            gid=f"arm:{arm}", zorder=3, label=arm,
        )  # fmt: skip
    axes.plot(
        [p["parameters"] for p in front], [100 - p["accuracy"] for p in front], "o", mfc="none", mec=INK, ms=13,
        mew=1.1, gid="ring", zorder=3,
    )  # fmt: skip
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(arms), frameon=False, fontsize=SMALL, labelcolor=SOFT,
        handletextpad=0.1, columnspacing=1.2, borderaxespad=0.2, markerscale=0.8,
    )  # fmt: skip
    if limit is not None:
        _mark(axes, limit, f"limit {short(limit)}", lw=1.1, ls=(0, (1, 2)), gid="limit")
    _name_points(axes, points)
    name_axes(axes, "total parameters (number, logarithmic)", "test error (%)", pads=(19, 30))
    figure.keep([dict(point) for point in points], limit, data, axes.get_xlim())
    if design is not None:
        _mark(axes, design, "this design", lw=1.6, gid="design", zorder=5)
    return figure


def describe_pareto(
    points: Sequence[Mapping[str, Any]], limit: int | None = None, *, data: str = "", design: int | None = None
) -> str:
    """The numbers of `pareto` in words."""
    _check_points(points)
    if not points:
        return "No network was given."
    front = [
        f"{p['name']} ({p['parameters']:,} parameters, {100 - p['accuracy']:.2f} % error)" for p in pareto_front(points)
    ]
    many = f"{len(points)} network{'s' if len(points) > 1 else ''}"
    text = (
        f"Test error against total parameters of {many}{' on ' + data if data else ''}; "
        f"those that no smaller one beats: {listed(front, most=6)}."
    )
    if limit is not None:
        within = sum(p["parameters"] <= limit for p in points)
        text += f" {within} of {many} {'has' if 1 in (within, len(points)) else 'have'} at most {limit:,} parameters."
    if design is not None:
        text += f" A line marks this design's {design:,} parameters; it has no measured error."
    return text


def pareto_front(points: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The points that no other beats: from the smallest on, each with fewer errors than all smaller ones."""
    front: list[Mapping[str, Any]] = []
    for point in sorted(points, key=lambda p: (p["parameters"], -p["accuracy"])):
        if not front or point["accuracy"] > front[-1]["accuracy"]:
            front.append(point)
    return front


def _check_points(points: Sequence[Mapping[str, Any]]) -> None:
    for point in points:
        missing = {"name", "parameters", "accuracy", "arm"} - set(point)
        if missing:
            raise ConfigError(f"a point lacks {sorted(missing)[0]!r}; each needs name, parameters, accuracy and arm")
        if point["parameters"] < 1 or not 0 <= point["accuracy"] <= 100:
            raise ConfigError(f"{point['name']}: parameters must be at least 1 and accuracy lie between 0 and 100")


def _log_axis(axes: Axes, sizes: Sequence[float]) -> list[float]:
    """Makes the axis of parameters logarithmic; returns round numbers for it."""
    low, high = min(sizes), max(sizes)
    room = max((high / low) ** 0.12, 1.12)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    left, right = axes.get_xlim()
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(np.arange(1, 10, 0.5))):
        ticks = [s * 10.0**p for p in range(0, 12) for s in steps if left <= s * 10.0**p <= right]
        if len(ticks) >= 4:
            break
    return sorted(set(ticks))


def _half_decades(design: int | None) -> list[float]:
    """The ends of the half power of ten around a size: an axis with these stays when a slider moves the size."""
    return [] if design is None else [10 ** (whole(2 * np.log10(design)) / 2) for whole in (np.floor, np.ceil)]


def _mark(axes: Axes, size: int, word: str, **look: Any) -> None:
    """A line across the axes at a number of parameters, with a word at its foot where there is more room."""
    axes.axvline(size, color=INK, **{"zorder": 1, **look})
    low, high = axes.get_xlim()
    side = -1 if size > (low * high) ** 0.5 else 1
    axes.annotate(
        word, (size, 0), (4 * side, 5), xycoords=("data", "axes fraction"), textcoords="offset points", size=SMALL,
        color=INK, ha="left" if side > 0 else "right", zorder=look.get("zorder", 2),
        weight="bold" if look["gid"] == "design" else "normal",
    )  # fmt: skip


def _name_points(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    """Write each name once beside its first point, where it covers neither a point nor another name."""
    place = axes.get_position()
    wide, high = place.width * WIDTH, place.height * HEIGHT
    (left, right), (low, top) = np.log(axes.get_xlim()), axes.get_ylim()

    def pixels(point: Mapping[str, Any]) -> tuple[float, float]:
        x = (np.log(point["parameters"]) - left) / (right - left) * wide
        return float(x), (100 - point["accuracy"] - low) / (top - low) * high

    spots = [pixels(point) for point in points]
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in spots]
    named: set[str] = set()
    for point, (x, y) in zip(points, spots, strict=True):
        if point["name"] in named:
            continue
        named.add(point["name"])
        length = text_width(point["name"], SMALL)
        for dx, dy, ha in ((14, 0, "left"), (-14, 0, "right"), (0, 17, "center"), (0, -17, "center"), (9, 15, "left")):
            x0 = x + dx - {"left": 0.0, "right": length, "center": length / 2}[ha]
            box = (x0, y + dy - 6, x0 + length, y + dy + 6)
            inside = box[0] >= 0 and box[2] <= wide and box[1] >= 0 and box[3] <= high
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    point["name"], (point["parameters"], 100 - point["accuracy"]), (dx * 0.72, dy * 0.72), ha=ha,
                    textcoords="offset points", va="center", size=SMALL, color=INK, gid="name", zorder=2.5,
                    bbox={"facecolor": PAPER, "lw": 0, "pad": 0.4},
                )  # fmt: skip
                break


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
