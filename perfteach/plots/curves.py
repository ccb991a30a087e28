"""A run over its epochs: error curves with their phases, learning rate and time."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfteach.plots import style
from perfteach.plots.style import Picture
from perfteach.runs import Band, Epoch, Run

HATCH = "////"  # of the dendrite phase, in every figure
NOTHING = "No epoch has been recorded yet."


def training_curves(run: Run, until: int | None = None) -> Picture:
    """Training and validation error in percent by epoch, with the phases behind them and a mark at every switch.

    Args:
        run: finished or not. Its axes are those of the whole record whatever `until` is, so nothing jumps.
        until: the last epoch to draw; None for all.

    Raises:
        ConfigError: when `until` is negative.
    """
    title, shown = style.with_data("Error by epoch", run.data_title), run.until(until)
    if not shown:
        return style.message(title, NOTHING)
    figure = style.frame(380, title, alt=describe_training_curves(run, until))
    axes = style.panel(figure, 62, 96, style.WIDTH - 62 - 140, 380 - 96 - 46)
    _epoch_axis(axes, run, named=True)
    every = [*run["train_error"], *run["validation_error"]]
    pad = max(0.08 * (max(every) - min(every)), 0.5)
    axes.set_ylim(max(min(every) - pad, -1), min(max(every) + pad, 101))
    numbers = _value_axis(axes, "error (%)", 6)
    figure.keep(title, axes.get_xlim(), axes.get_ylim())
    style.add_note(figure, _run_note(run, shown))
    style.grid_lines(axes, numbers)
    _draw_phases(axes, run, until)
    bands = run.bands(until)
    named = _draw_ribbon(axes, bands, [_band_words(run, band) for band in bands])
    if not named and style.text_width(title, style.TITLE) < 500:  # beside the title, where that leaves room
        style.key(figure, [(f"{phase} phase", _look(phase)) for phase in ("neuron", "dendrite")], 18)
    _draw_rollbacks(axes, run, until)
    _draw_errors(axes, shown)
    return figure


def _draw_errors(axes: Axes, shown: Sequence[Epoch]) -> None:
    """Both curves with their last values, and a ring at the lowest validation error."""
    numbers, ends = [epoch.epoch for epoch in shown], []
    looks = (("train", "training", style.SOFT, 1.2), ("validation", "validation", style.GREEN, 2.0))
    for gid, word, color, width in looks:
        errors = [epoch[f"{gid}_error"] for epoch in shown]
        dots: dict[str, Any] = {"marker": "o", "ms": 3 if len(shown) < 30 else 0}
        axes.plot(numbers, errors, color=color, lw=width, gid=gid, **dots)
        ends.append((errors[-1], f"{word} {errors[-1]:.1f} %", color))
    _label_ends(axes, numbers[-1], ends)
    best = min(shown, key=lambda epoch: epoch.validation_error)
    ring: dict[str, Any] = {"ms": 8, "mfc": "none", "mec": style.GREEN, "mew": 1.4, "clip_on": False}
    axes.plot([best.epoch], [best.validation_error], "o", gid="best", **ring)


def describe_training_curves(run: Run, until: int | None = None) -> str:
    """The numbers of `training_curves` in words."""
    shown = run.until(until)
    if not shown:
        return f"{style.with_data('Error by epoch', run.data_title)}. {NOTHING}"
    first, last = shown[0], shown[-1]
    best = min(shown, key=lambda epoch: epoch.validation_error)
    dendritic = [f"{band.first} to {band.last}" for band in run.bands(until) if band.dendritic]
    where = f"; dendrite phases in epochs {style.listed(dendritic)}" if dendritic else "; no dendrite phase"
    tested = f" Test error {run.error:.2f} %." if _whole(run, shown) and run.finished else ""
    return (
        f"Error by epoch on {run.data_title}, epochs 1 to {last.epoch}: validation error starts at "
        f"{first.validation_error:.2f} %, is lowest in epoch {best.epoch} with {best.validation_error:.2f} % and ends "
        f"at {last.validation_error:.2f} %; training error ends at {last.train_error:.2f} %{where}.{tested}"
    )


# ---------------------------------------------------------------------------------------------- rate and time


def rate_and_time(run: Run, until: int | None = None) -> Picture:
    """Learning rate at the start of every epoch, and the seconds it took.

    Raises:
        ConfigError: when `until` is negative.
    """
    title, shown = style.with_data("Learning rate and time by epoch", run.data_title), run.until(until)
    if not shown:
        return style.message(title, NOTHING)
    height, left, right, high = 380, 76, 34, 108
    figure = style.frame(height, title, _machine_note(run), alt=describe_rate_and_time(run, until))
    upper = style.panel(figure, left, 96, style.WIDTH - left - right, high)
    lower = style.panel(figure, left, 96 + high + 22, style.WIDTH - left - right, high)
    for axes, name, label in ((upper, "lr", "learning rate"), (lower, "seconds", "time (s per epoch)")):
        _epoch_axis(axes, run, named=axes is lower)
        axes.set_ylim(0, 1.12 * max(run[name]) or 1)
        style.grid_lines(axes, _value_axis(axes, label, 4))
        _draw_phases(axes, run, until)
        look: dict[str, Any] = {"lw": 1.4, "drawstyle": "steps-mid"}
        if name == "seconds":
            look = {"lw": 0, "marker": "o", "ms": 2.6}
        axes.plot([epoch.epoch for epoch in shown], [epoch[name] for epoch in shown], color=style.INK, gid=name, **look)
    bands = run.bands(until)
    _draw_ribbon(upper, bands, [_band_words(run, band)[-2:] for band in bands])
    style.key(figure, [(f"{phase} phase: median {value:.3g} s", _look(phase)) for phase, value in _medians(shown)], 50)
    return figure


def describe_rate_and_time(run: Run, until: int | None = None) -> str:
    """The numbers of `rate_and_time` in words."""
    shown = run.until(until)
    if not shown:
        return f"{style.with_data('Learning rate and time by epoch', run.data_title)}. {NOTHING}"
    rates = [epoch.lr for epoch in shown]
    times = " and ".join(f"{value:.3g} s in a {phase} phase" for phase, value in _medians(shown))
    return (
        f"Learning rate and time of {len(shown)} epochs on {run.data_title}: the learning rate lies between "
        f"{min(rates):.3g} and {max(rates):.3g}; an epoch takes {times} (median), "
        f"{sum(epoch.seconds for epoch in shown):.4g} s in all."
    )


def _medians(shown: Sequence[Epoch]) -> list[tuple[str, float]]:
    phases = {phase: [e.seconds for e in shown if e.phase == phase] for phase in ("neuron", "dendrite")}
    return [(phase, median(seconds)) for phase, seconds in phases.items() if seconds]


def _machine_note(run: Run) -> str:
    machine = run.header.get("machine") or {}
    return f"on {machine.get('gpu') or machine['cpu']}"[:52] if machine.get("cpu") else f"run {run.name}"


# ---------------------------------------------------------------------------------------------- shared


def _epoch_axis(axes: Axes, run: Run, named: bool) -> None:
    axes.set_xlim(0.5, max(run.epochs[-1].epoch, 5) + 0.5)
    numbers = style.round_numbers(axes.get_xlim(), 7, integer=True)
    style.light_ticks(axes, "x", numbers if named else [])
    style.name_axes(axes, "epoch" if named else "", pads=(19, 0))


def _value_axis(axes: Axes, label: str, most: int) -> list[float]:
    """Round numbers at the left, which are returned, once the limits are set."""
    numbers = style.round_numbers(axes.get_ylim(), most)
    style.light_ticks(axes, "y", numbers)
    axes.set_ylabel(label, size=style.TEXT, color=style.SOFT)
    place = axes.get_position()
    axes.yaxis.set_label_coords((20 / style.WIDTH - place.x0) / place.width, 0.5)  # 20 pixels from the left edge
    return numbers


def _draw_phases(axes: Axes, run: Run, until: int | None) -> None:
    """Tint the dendrite phases and mark the switches."""
    across = axes.get_xaxis_transform()
    spans = [(b.first - 0.5, 0.0, len(b), 1.0) for b in run.bands(until) if b.dendritic]
    style.boxes(axes, spans, transform=across, facecolor="#fdf5e6", zorder=0, gid="dendrite-phases")
    switches = [epoch + 0.5 for epoch in run.after("switch", until)]
    look: dict[str, Any] = {"color": style.SOFT, "lw": 0.9, "linestyles": (0, (2, 2)), "zorder": 1}
    axes.vlines(switches, 0, 1, transform=across, gid="switches", **look)


def _draw_ribbon(axes: Axes, bands: Sequence[Band], words: Sequence[Sequence[str]]) -> bool:
    """The phases' names above the axes, hatched for dendrites; says whether all had room for more than a letter."""
    across, tall = axes.get_xaxis_transform(), _pixels_high(axes)
    low, high = 1 + 4 / tall, 16 / tall
    for phase in ("neuron", "dendrite"):
        places = [(b.first - 0.5, low, len(b), high) for b in bands if b.phase == phase]
        style.boxes(axes, places, transform=across, clip_on=False, gid=f"{phase}-ribbon", zorder=3, **_look(phase))
    left, right = axes.get_xlim()
    pixel = axes.get_position().width * style.WIDTH / (right - left)
    rooms = [len(band) * pixel - 2 for band in bands]
    chosen = [style.fitting(choices, room, style.SMALL) for choices, room in zip(words, rooms, strict=True)]
    for band, word in zip(bands, chosen, strict=True):
        ground = {"facecolor": "#fdf0d8", "pad": 0.6, "lw": 0} if band.dendritic else None
        if word:
            axes.text(
                (band.first + band.last) / 2, low + high / 2, word, transform=across, ha="center", size=style.SMALL,
                va="center_baseline", color=style.INK, bbox=ground, zorder=4, gid="phase",
            )  # fmt: skip
    return all(len(word) > 1 for word in chosen)


def _draw_rollbacks(axes: Axes, run: Run, until: int | None) -> None:
    for epoch in run.after("rollback", until):
        axes.annotate(
            "cycle undone ↶", (epoch + 0.5, 1), (-4, -12), xycoords=("data", "axes fraction"), gid="rollback",
            textcoords="offset points", ha="right", size=style.SMALL, color=style.SOFT,
            bbox={"facecolor": style.PAPER, "lw": 0, "pad": 1},
        )  # fmt: skip


def _pixels_high(axes: Axes) -> float:
    figure = axes.figure
    assert isinstance(figure, Figure)
    return float(axes.get_position().height * figure.get_size_inches()[1] * style.DPI)


def _look(phase: str) -> dict[str, Any]:
    """How a phase is filled: the dendrite phase is hatched, so it is told apart without colour."""
    if phase == "dendrite":
        return {"facecolor": "#fdf0d8", "edgecolor": style.DENDRITE, "hatch": HATCH}
    return {"facecolor": "#d6e8f3", "edgecolor": style.NEURON}


def _band_words(run: Run, band: Band) -> tuple[str, ...]:
    """What a phase is called, longest first."""
    inside = [epoch for epoch in run.epochs if band.first <= epoch.epoch <= band.last]
    if band.dendritic:
        score = inside[-1].score
        reached = () if score is None else (f"dendrites {band.cycle}: |r| {score:.3f}",)
        return (*reached, f"dendrites {band.cycle}", "dendrites", "D")
    best = min(epoch.validation_error for epoch in inside)
    return (f"neurons: best validation {best:.1f} %", f"neurons: best {best:.1f} %", "neurons", "N")


def _label_ends(axes: Axes, epoch: int, ends: list[tuple[float, str, str]]) -> None:
    """Name each line behind its last point, moved apart where the two would touch."""
    tall = _pixels_high(axes)
    low, high = axes.get_ylim()
    unit = tall / (high - low)  # pixels for one percent
    ends = sorted(ends)
    places = [value * unit for value, _, _ in ends]
    if places[1] - places[0] < 14:
        middle = sum(places) / 2
        places = [middle - 7, middle + 7]
    for place, (value, word, color) in zip(places, ends, strict=True):
        axes.annotate(
            word, (epoch, value), (10, (place - value * unit) * 0.72), textcoords="offset points", size=style.TEXT,
            color=color if color != style.GREEN else "#01704f", va="center", annotation_clip=False, gid="end",
            bbox={"facecolor": style.PAPER, "lw": 0, "pad": 0.5},
        )  # fmt: skip


def _run_note(run: Run, shown: Sequence[Epoch]) -> str:
    what = f"{len(shown)} epoch{'s' if len(shown) > 1 else ''} so far"
    if not _whole(run, shown):
        what = f"epoch {shown[-1].epoch} of {run.epochs[-1].epoch}"
    elif run.result:
        what = f"test error {run.error:.2f} % with the weights of epoch {run.result.best_epoch}"
    return f"{run.name}; {what}; ring: lowest validation"


def _whole(run: Run, shown: Sequence[Epoch]) -> bool:
    return len(shown) == len(run.epochs)
