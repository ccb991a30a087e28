"""All studies in one picture: what each arm gains on its control, with its interval, one row an arm."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from matplotlib.axes import Axes

from perfteach.compare import Gain
from perfteach.plots import style
from perfteach.plots.comparison import row_names
from perfteach.plots.style import Picture

Groups = Mapping[str, Mapping[str, Gain]]
TITLE = "What every arm gains on the network that trains as long without dendrites"
BAND = "#f1f4f7"  # behind the name of a study
ROW, HEAD, RIGHT = 22, 30, 172  # pixels; at the right stand the numbers


def forest(groups: Groups, plain: Collection[str] = ()) -> Picture:
    """A forest plot: the mean gain of every arm in points of test error with its 95 % interval, study by study.

    Args:
        groups: heading of a study → what a row is called → its gain, in the order in which they are drawn. A gain of
            a single seed gets no bar.
        plain: the arms that have no dendrites, which are drawn hollow.
    """
    rows = _places(groups)
    if not rows:
        return style.message(TITLE, "No study has an arm with dendrites and its control.", 240)
    tall = HEAD * len(groups) + ROW * len(rows)
    note = (
        "filled: with dendrites; hollow: a plain, wider network; bars: 95 % intervals, blue where they leave out zero"
    )
    said = " ".join(f"{heading}: {_in_words(gains, plain)}." for heading, gains in groups.items())
    alt = f"{TITLE}, in percentage points of test error; named are those whose interval leaves out zero. {said}"
    figure = style.frame(tall + 122, TITLE, note, alt=alt)
    names, left = row_names([name for _, _, name, _ in rows])
    axes = style.panel(figure, left, 64, style.WIDTH - left - RIGHT, tall)
    axes.set_ylim(tall, 0)
    style.gain_axis(axes, [side for _, _, _, gain in rows for side in gain.interval[:3]], 0.03)
    axes.locator_params("x", nbins=8)
    axes.set_yticks([y for y, *_ in rows], names, size=style.TEXT, color=style.INK)
    gap = "\u00a0" * 4  # an SVG would draw one space for many
    style.name_axes(axes, f"← more errors{gap}gain in test error (percentage points){gap}fewer errors →")
    for y, heading, _, gain in rows:
        _draw(axes, y, gain, f"{heading}/{gain.arm}", gain.arm in plain)
    for y, heading in _headings(groups):
        _name_study(axes, y, heading, left)
    return figure


def _places(groups: Groups) -> list[tuple[float, str, str, Gain]]:
    """Middle of each row in pixels from the top, with the study's heading, the row's name, and its gain."""
    rows, y = [], 0.0
    for heading, gains in groups.items():
        y += HEAD
        for name, gain in gains.items():
            rows.append((y + ROW / 2, heading, name, gain))
            y += ROW
    return rows


def _headings(groups: Groups) -> list[tuple[float, str]]:
    """Upper edge of each study in pixels from the top, with its heading."""
    return [(HEAD * i + ROW * sum(map(len, list(groups.values())[:i])), name) for i, name in enumerate(groups)]


def _draw(axes: Axes, y: float, gain: Gain, gid: str, hollow: bool) -> None:
    """A row: the interval, the mean on it, and both as numbers at the right."""
    interval, many = gain.interval, len(gain.points) > 1
    color = style.BLUE if interval.excludes_zero else style.SOFT
    if many:
        axes.hlines(y, interval.low, interval.high, color=color, lw=2.0, gid=f"interval:{gid}", zorder=3)
    look: dict[str, Any] = {"mec": color, "mfc": style.PAPER if hollow else color, "mew": 1.6, "zorder": 4}
    axes.plot([interval.estimate], [y], "D" if hollow else "o", ms=6.5 if many else 4.5, gid=f"mean:{gid}", **look)
    axes.annotate(
        (str(gain) if many else f"{interval.estimate:+.2f} (one seed)").replace("-", "−"), (1, y), (10, 0),
        xycoords=("axes fraction", "data"), textcoords="offset points", va="center", size=style.SMALL,
        weight="bold" if interval.excludes_zero else "normal", gid="numbers", annotation_clip=False, color=style.INK,
    )  # fmt: skip


def _name_study(axes: Axes, y: float, heading: str, left: int) -> None:
    """A band across the picture with the study's heading."""
    where = axes.get_yaxis_transform()
    pixel = 1 / (style.WIDTH - left - RIGHT)
    band: dict[str, Any] = {"color": BAND, "lw": 0, "clip_on": False, "zorder": 2}
    axes.fill_between([(16 - left) * pixel, 1 + (RIGHT - 16) * pixel], y + 4, y + HEAD - 4, transform=where, **band)
    axes.annotate(
        heading, (0, y + HEAD / 2), ((24 - left) * 72 / style.DPI, 0), xycoords=("axes fraction", "data"),
        size=style.TEXT, textcoords="offset points", va="center", color=style.INK, weight="bold", gid="study", zorder=5,
    )  # fmt: skip


def _in_words(gains: Mapping[str, Gain], plain: Collection[str]) -> str:
    """A study's mean gains whose intervals leave out zero, and how many others there are."""
    clear = [
        f"{name}{' (no dendrites)' if gain.arm in plain else ''} {gain.interval.estimate:+.2f}".replace("-", "−")
        for name, gain in gains.items()
        if gain.interval.excludes_zero
    ]
    single = sum(len(gain.points) < 2 for gain in gains.values())
    zero = len(gains) - len(clear) - single
    rest = [f"{zero} whose interval holds zero"] * bool(zero) + [f"{single} of one seed"] * bool(single)
    return "; ".join([*clear, *([style.listed(rest)] if rest else [])])
