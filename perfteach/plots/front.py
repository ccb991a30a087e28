"""Test error against total parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from perfteach.errors import ConfigError
from perfteach.plots.record import listed
from perfteach.plots.style import (
    INK,
    LINE,
    PAPER,
    SMALL,
    SOFT,
    WIDTH,
    Picture,
    arm_look,
    frame,
    message,
    name_axes,
    panel,
    short,
    short_tick,
    text_width,
    with_data,
)


def pareto(points: Sequence[Mapping[str, Any]], limit: int | None = None, *, data: str = "") -> Picture:
    """Test error against total parameters; the networks that no smaller one beats are ringed and joined by a stair.

    Args:
        points: each with "name", "parameters" (total, dendrites counted), "accuracy" (test, percent) and "arm".
        limit: a number of parameters to mark.
        data: name of the data, for the title.

    Raises:
        ConfigError: when a point lacks one of these or its values are impossible.
    """
    title = with_data("Test error against total parameters", data)
    _check_points(points)
    if not points:
        return message(title, "No network was given.", 420)
    height = 440
    note = "ringed: no network with as few parameters makes fewer errors; every dendrite counted"
    figure = frame(height, title, note, alt=describe_pareto(points, limit, data=data))
    axes = panel(figure, 62, 96, WIDTH - 62 - 24, height - 96 - 48)
    sizes, errors = [p["parameters"] for p in points], [100 - p["accuracy"] for p in points]
    _log_axis(axes, [*sizes, *([limit] if limit else [])])
    pad = 0.14 * (max(errors) - min(errors)) or 1.0
    axes.set_ylim(min(errors) - pad, max(errors) + pad)
    axes.grid(color=LINE, lw=0.6)
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
    if limit is not None:
        axes.axvline(limit, color=INK, lw=1.1, ls=(0, (1, 2)), gid="limit", zorder=1)
        axes.annotate(
            f"limit {short(limit)}", (limit, 0), (4, 5), xycoords=("data", "axes fraction"), size=SMALL, color=INK,
            textcoords="offset points",
        )  # fmt: skip
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(arms), frameon=False, fontsize=SMALL, labelcolor=SOFT,
        handletextpad=0.1, columnspacing=1.2, borderaxespad=0.2, markerscale=0.8,
    )  # fmt: skip
    _name_points(axes, points)
    name_axes(axes, "total parameters (number, logarithmic)", "test error (%)")
    return figure


def describe_pareto(points: Sequence[Mapping[str, Any]], limit: int | None = None, *, data: str = "") -> str:
    """The numbers of `pareto` in words."""
    _check_points(points)
    if not points:
        return "No network was given."
    front = [
        f"{p['name']} ({p['parameters']:,} parameters, {100 - p['accuracy']:.2f} % error)" for p in pareto_front(points)
    ]
    text = (
        f"Test error against total parameters of {len(points)} networks{' on ' + data if data else ''}; "
        f"those that no smaller one beats: {listed(front, most=6)}."
    )
    if limit is None:
        return text
    within = sum(p["parameters"] <= limit for p in points)
    return f"{text} {within} of {len(points)} have at most {limit:,} parameters."


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


def _log_axis(axes: Axes, sizes: Sequence[float]) -> None:
    low, high = min(sizes), max(sizes)
    room = max((high / low) ** 0.12, 1.12)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    left, right = axes.get_xlim()
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(np.arange(1, 10, 0.5))):
        ticks = [s * 10.0**p for p in range(0, 12) for s in steps if left <= s * 10.0**p <= right]
        if len(ticks) >= 4:
            break
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(ticks))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_tick(value)))


def _name_points(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    """Write each name once beside its first point, where it covers neither a point nor another name."""
    place = axes.get_position()
    wide, high = place.width * WIDTH, place.height * 440
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
        for dx, dy, ha in ((11, 0, "left"), (-11, 0, "right"), (0, 14, "center"), (0, -14, "center"), (9, 13, "left")):
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
