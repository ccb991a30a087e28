"""Networks and arms side by side: parameters by part, paired gains in test error, and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.textpath import TextPath
from matplotlib.ticker import EngFormatter

from perfteach.compare import Gain, gains
from perfteach.errors import ConfigError
from perfteach.plots import style
from perfteach.plots.style import Picture, listed, short, with_data
from perfteach.runs import Run

PART_LOOKS: dict[str, dict[str, Any]] = {
    "stem": {"facecolor": style.SKY, "edgecolor": style.PAPER},
    "blocks": {"facecolor": style.BLUE, "edgecolor": style.PAPER},
    "head": {"facecolor": style.BROWN, "edgecolor": style.PAPER},
    "other": {"facecolor": style.GREY, "edgecolor": style.PAPER},
    "dendrites": {"facecolor": "#fdf0d8", "edgecolor": style.DENDRITE, "hatch": "////"},
}


def parameter_bars(counts: Mapping[str, Mapping[str, int]], limit: int | None = None) -> Picture:
    """Parameters by part as stacked bars, dendrites last and hatched.

    Args:
        counts: name of a network → parameters by part, as `count_parameters(model).as_dict()` gives them.
        limit: a line to stay under, such as 993_000.

    Raises:
        ConfigError: for an unknown part, a negative count, or a total that is not the sum of the parts.
    """
    title = "Parameters by part, every dendrite counted"
    totals = _totals(counts)
    if not totals:
        return style.message(title, "No network was given.", 200)
    height = 132 + 38 * len(totals)
    figure = style.frame(height, title, alt=parameters_in_words(counts, limit))
    names, left = row_names(totals)
    axes = style.panel(figure, left, 84, style.WIDTH - left - 116, height - 84 - 48)
    parts = [part for part in PART_LOOKS if any(row.get(part) for row in counts.values())]
    starts = np.zeros(len(totals))
    for part in parts:
        sizes = [row.get(part, 0) for row in counts.values()]
        edge = 0 if part == "dendrites" else 0.5
        axes.barh(range(len(totals)), sizes, 0.62, starts, gid=part, lw=edge, **PART_LOOKS[part])
        starts += sizes
    style.key(figure, [(part, PART_LOOKS[part]) for part in parts], 46)
    widest = max([*totals.values(), limit or 0])
    axes.set_xlim(0, max(1.02 * widest, 10))
    axes.set_ylim(len(totals) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(EngFormatter(useMathText=False))
    axes.grid(axis="x", **style.GRID)
    axes.set_yticks(range(len(totals)), names, size=style.TEXT, color=style.INK)
    style.name_axes(axes, "parameters (number)")
    pixel = axes.get_xlim()[1] / (style.WIDTH - left - 116)
    for row, total in enumerate(totals.values()):
        word = short(total) + (" (over)" if limit is not None and total > limit else "")
        place = total + 7 * pixel
        if limit is not None and place <= limit <= place + style.text_width(word, style.TEXT) * 1.15 * pixel:
            place = limit + 7 * pixel  # behind the line, not across it
        look: dict[str, Any] = {
            "size": style.TEXT,
            "weight": "bold",
            "color": style.INK,
            "va": "center",
            "gid": "total",
        }
        axes.text(place, row, word, bbox={"facecolor": style.PAPER, "lw": 0, "pad": 1}, **look)
    if limit is not None:
        axes.axvline(limit, color=style.INK, lw=1.1, ls=(0, (4, 3)), gid="limit")
        axes.annotate(
            f"limit {short(limit)}", (limit, 1), (0, 4), xycoords=("data", "axes fraction"), ha="center",
            textcoords="offset points", size=style.SMALL, color=style.INK,
        )  # fmt: skip
    return figure


def parameters_in_words(counts: Mapping[str, Mapping[str, int]], limit: int | None = None) -> str:
    """The numbers of `parameter_bars`, which the budget designer says too."""
    totals = _totals(counts)
    said = [
        f"{name} has {total:,} parameters" + (f", {counts[name]['dendrites']:,} of them in dendrites" if
        counts[name].get("dendrites") else "") for name, total in totals.items()
    ]  # fmt: skip
    text = listed(said, most=8)
    if limit is None:
        return f"{text}."
    within = [name for name, total in totals.items() if total <= limit]
    return f"{text}. Within the limit of {limit:,}: {listed(within, most=8) if within else 'none'}."


def _totals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    totals = {}
    for name, parts in counts.items():
        unknown = set(parts) - set(PART_LOOKS) - {"total"}
        if unknown:
            raise ConfigError(f"{name} has an unknown part {sorted(unknown)[0]!r}; parts are {', '.join(PART_LOOKS)}")
        if min(parts.values(), default=0) < 0:
            raise ConfigError(f"{name} has a part with fewer than 0 parameters")
        total = sum(size for part, size in parts.items() if part != "total")
        if parts.get("total", total) != total:
            raise ConfigError(f"the parts of {name} sum to {total:,}, not to the total given, {parts['total']:,}")
        totals[name] = total
    return totals


def paired_differences(results: Mapping[str, Mapping[int, float]], control: str, *, data: str = "") -> Picture:
    """What each arm gains on the control in points of test error, seed by seed, with the mean and its 95 % interval.

    Args:
        results: arm → {seed: test accuracy in percent}. Only seeds that the control has too are compared.
        control: the arm that the others are compared with.
        data: name of the data, for the title.

    Raises:
        ConfigError: when the control is not among the results, or an accuracy lies outside 0 to 100.
    """
    title = with_data(f"Gain over {control}", data)
    found = gains(results, control)
    if not any(gain.points for gain in found.values()):
        return style.message(title, f"No arm shares a seed with {control}, so there is nothing to compare.", 240)
    height = 124 + 44 * len(found)
    note = "small: one seed; large: mean with its 95 % interval; right of the line the arm makes fewer errors"
    said = "; ".join(f"{arm} {_in_words(gain)}" for arm, gain in found.items())
    start = f"Gain over {control}" + (f" on {data}" if data else "")
    alt = f"{start}, in percentage points of test error (above zero is better): {said}."
    figure = style.frame(height, title, note, alt=alt)
    (names, left), right = row_names(found), 222
    axes = style.panel(figure, left, 66, style.WIDTH - left - right, height - 66 - 48)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_yticks(range(len(found)), names, size=style.TEXT, color=style.INK)
    gap = "\u00a0" * 5  # an SVG would draw one space for many
    words = f"← more errors{gap}gain over {control} in test error (percentage points){gap}fewer errors →"
    style.name_axes(axes, words)
    for row, (arm, gain) in enumerate(found.items()):
        _draw_gain(axes, row, gain, style.arm_look(arm, list(results)))
        text = f"{gain}, {len(gain.points)} seeds" if len(gain.points) > 1 else str(gain)
        axes.annotate(
            text.replace("-", "−"), (1, row), (10, 0), xycoords=("axes fraction", "data"), va="center",
            textcoords="offset points", size=style.SMALL, color=style.INK, annotation_clip=False,
        )  # fmt: skip
    reach = [value for gain in found.values() for value in (*gain.interval[1:3], *gain.points.values())]
    style.gain_axis(axes, reach, 0.06)
    return figure


def _draw_gain(axes: Axes, row: int, gain: Gain, look: tuple[str, str]) -> None:
    """An arm's row: its seeds, and above them their mean with its interval."""
    (color, marker), values, interval = look, list(gain.points.values()), gain.interval
    axes.plot(
        values, np.full(len(values), row + 0.2), marker, color=color, ms=5, alpha=0.75, mec=style.PAPER, mew=0.4,
        gid=f"seeds:{gain.arm}",
    )  # fmt: skip
    if len(values) > 1:
        at: dict[str, Any] = {"color": style.INK, "lw": 1.8, "gid": f"interval:{gain.arm}", "zorder": 3}
        axes.hlines(row - 0.12, interval.low, interval.high, **at)
        mean: dict[str, Any] = {"color": color, "ms": 9, "mec": style.INK, "mew": 0.8, "zorder": 4}
        axes.plot([interval.estimate], [row - 0.12], marker, gid=f"mean:{gain.arm}", **mean)


def _in_words(gain: Gain) -> str:
    if len(gain.points) < 2:
        return str(gain).replace("-", "−") if gain.points else "no shared seed"
    middle, low, high, _ = gain.interval
    text = f"{middle:+.2f} (95 % interval {low:+.2f} to {high:+.2f}, {len(gain.points)} seeds)"
    return text.replace("-", "−")


def row_names(names: Iterable[str], most: float = 300) -> tuple[list[str], int]:
    """The names at the left of the rows, cut with "…" where they are wider than `most` pixels, and their margin."""
    shown, widest = [], 0.0
    for name in names:
        word, end = name, len(name)
        while (width := _pixels(word)) > most:
            end -= 1
            word = name[:end].rstrip() + "…"
        shown.append(word)
        widest = max(widest, width)
    return shown, int(widest) + 24


def _pixels(word: str) -> float:
    """Width of a text in pixels, with a tenth more for what renderers make of it: names may not leave the figure."""
    return 1.1 * float(TextPath((0, 0), word or " ", size=style.TEXT).get_extents().width) * style.DPI / 72


def arm_curves(
    arms: Mapping[str, Sequence[Run]], *, data: str = "", among: Sequence[str] = (), first: int = 1
) -> Picture:
    """Validation error of each arm by epoch: the mean over its seeds, and the range they span.

    Args:
        arms: arm → its runs, one a seed.
        data: name of the data, for the title.
        among: all arms there are, so that an arm looks the same whichever others are drawn; None takes those given.
        first: the first epoch that is drawn; the axes fit what is drawn.
    """
    title = with_data("Validation error by arm", data)
    drawn = {arm: errors for arm, runs in arms.items() if (errors := _errors_by_epoch(runs)).shape[1] >= first}
    if not drawn:
        return style.message(title, "No epoch has been recorded yet.")
    many = {arm: len(errors) for arm, errors in drawn.items()}
    words = {arm: f"{arm} ({seeds} seed{'s' if seeds > 1 else ''})" for arm, seeds in many.items()}
    figure = style.frame(400, title, "lines: mean over seeds; bands: from the lowest to the highest seed")
    top = 62 + style.legend_rows(list(words.values()))
    axes = style.panel(figure, 62, top, style.WIDTH - 62 - 20, 400 - top - 46)
    ends = []
    for arm, errors in drawn.items():
        shown = errors[:, first - 1 :]
        epochs, mean = np.arange(first, errors.shape[1] + 1), np.nanmean(shown, 0)
        color, dash = style.arm_look(arm, among or list(arms))[0], style.arm_dash(arm, among or list(arms))
        axes.fill_between(epochs, np.nanmin(shown, 0), np.nanmax(shown, 0), color=color, alpha=0.13, lw=0)
        axes.plot(epochs, mean, color=color, ls=dash, lw=1.8, label=words[arm], gid=f"mean:{arm}")
        ends.append(f"{arm} {mean[-1]:.2f} %")
    last = max(errors.shape[1] for errors in drawn.values())
    axes.set_xlim(first - 0.5, max(last, first + 4) + 0.5)
    style.arm_legend(axes, list(words.values()))
    axes.locator_params("x", nbins=8, integer=True)
    axes.grid(axis="y", **style.GRID)
    style.name_axes(axes, "epoch", "validation error (%)")
    figure.alt = f"{title}, means over seeds; in the last epoch: {', '.join(ends)}."
    return figure


def _errors_by_epoch(runs: Sequence[Run]) -> np.ndarray:
    """Validation errors in percent, [seed, epoch]; not a number where a run was shorter than the longest."""
    longest = max((len(run.epochs) for run in runs), default=0)
    errors = np.full((len(runs), longest), np.nan)
    for row, run in zip(errors, runs, strict=True):
        row[: len(run.epochs)] = run["validation_error"]
    return errors
