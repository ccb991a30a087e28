"""A run over its epochs: error curves with their phases, learning rate and time."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfteach.plots.record import NOTHING, Band, Epoch, data_title, epochs_until, listed, mean_score, phase_bands
from perfteach.plots.style import (
    DENDRITE,
    DPI,
    GREEN,
    INK,
    NEURON,
    PAPER,
    SMALL,
    SOFT,
    TEXT,
    TITLE,
    WIDTH,
    Picture,
    add_note,
    boxes,
    fitting,
    frame,
    grid_lines,
    key,
    light_ticks,
    message,
    name_axes,
    panel,
    round_numbers,
    text_width,
    with_data,
)
from perfteach.runs import Run

HATCH = "////"  # of the dendrite phase, in every figure


def training_curves(run: Run, until: int | None = None) -> Picture:
    """Training and validation error in percent by epoch, with the phases behind them and a mark at every switch.

    Args:
        run: finished or not. Its axes are those of the whole record whatever `until` is, so nothing jumps.
        until: the last epoch to draw; None for all.

    Raises:
        ConfigError: when `until` is negative.
    """
    title, shown = with_data("Error by epoch", data_title(run)), epochs_until(run, until)
    if not shown:
        return message(title, NOTHING)
    height, left, top, right = 380, 62, 96, 140
    figure = frame(height, title, alt=describe_training_curves(run, until))
    axes = panel(figure, left, top, WIDTH - left - right, height - top - 46)
    _epoch_axis(axes, run, named=True)
    every = [100 - epoch[name] for epoch in run.epochs for name in ("train_accuracy", "validation_accuracy")]
    pad = max(0.08 * (max(every) - min(every)), 0.5)
    axes.set_ylim(max(min(every) - pad, -1), min(max(every) + pad, 101))
    numbers = _value_axis(axes, "error (%)", 6)
    figure.keep(title, axes.get_xlim(), axes.get_ylim())
    add_note(figure, _run_note(run, shown))
    grid_lines(axes, numbers)
    bands = phase_bands(run, until)
    _draw_phases(axes, run, until)
    if (
        not _draw_ribbon(axes, bands, [_band_words(run, band) for band in bands]) and text_width(title, TITLE) < 500
    ):  # beside the title, where that leaves room
        key(figure, [(f"{phase} phase", _look(phase)) for phase in ("neuron", "dendrite")], 18)
    _draw_rollbacks(axes, run, until)
    ends = []
    for name, color, width in (("train", SOFT, 1.2), ("validation", GREEN, 2.0)):
        errors = [100 - epoch[f"{name}_accuracy"] for epoch in shown]
        axes.plot(
            [epoch["epoch"] for epoch in shown],
            errors,
            color=color,
            lw=width,
            gid=name,
            marker="o",
            ms=3 if len(shown) < 30 else 0,
        )
        ends.append((errors[-1], f"{'training' if name == 'train' else name} {errors[-1]:.1f} %", color))
    _label_ends(axes, shown[-1]["epoch"], ends)
    best = min(shown, key=lambda epoch: 100 - epoch["validation_accuracy"])
    axes.plot(
        [best["epoch"]],
        [100 - best["validation_accuracy"]],
        "o",
        ms=8,
        mfc="none",
        mec=GREEN,
        mew=1.4,
        gid="best",
        clip_on=False,
    )
    return figure


def describe_training_curves(run: Run, until: int | None = None) -> str:
    """The numbers of `training_curves` in words."""
    shown = epochs_until(run, until)
    if not shown:
        return f"{with_data('Error by epoch', data_title(run))}. {NOTHING}"
    first, last = shown[0], shown[-1]
    best = min(shown, key=lambda epoch: 100 - epoch["validation_accuracy"])
    bands = phase_bands(run, until)
    dendritic = [f"{band.first} to {band.last}" for band in bands if band.dendritic]
    where = f"; dendrite phases in epochs {listed(dendritic)}" if dendritic else "; no dendrite phase"
    tested = f" Test error {_test_error(run):.2f} %." if _whole(run, shown) and run.finished else ""
    return (
        f"Error by epoch on {data_title(run)}, epochs 1 to {last['epoch']}: validation error starts at "
        f"{100 - first['validation_accuracy']:.2f} %, is lowest in epoch {best['epoch']} with "
        f"{100 - best['validation_accuracy']:.2f} % and ends at {100 - last['validation_accuracy']:.2f} %; training "
        f"error ends at {100 - last['train_accuracy']:.2f} %{where}.{tested}"
    )


# ---------------------------------------------------------------------------------------------- rate and time


def rate_and_time(run: Run, until: int | None = None) -> Picture:
    """Learning rate at the start of every epoch, and the seconds it took.

    Raises:
        ConfigError: when `until` is negative.
    """
    title, shown = with_data("Learning rate and time by epoch", data_title(run)), epochs_until(run, until)
    if not shown:
        return message(title, NOTHING)
    height, left, right, high = 380, 76, 34, 108
    figure = frame(height, title, _machine_note(run), alt=describe_rate_and_time(run, until))
    upper = panel(figure, left, 96, WIDTH - left - right, high)
    lower = panel(figure, left, 96 + high + 22, WIDTH - left - right, high)
    numbers = [epoch["epoch"] for epoch in shown]
    for axes, name, label in ((upper, "lr", "learning rate"), (lower, "seconds", "time (s per epoch)")):
        _epoch_axis(axes, run, named=axes is lower)
        axes.set_ylim(0, 1.12 * max(epoch[name] for epoch in run.epochs) or 1)
        grid_lines(axes, _value_axis(axes, label, 4))
        _draw_phases(axes, run, until)
        style: dict[str, Any] = {"lw": 1.4, "drawstyle": "steps-mid"}
        if name == "seconds":
            style = {"lw": 0, "marker": "o", "ms": 2.6}
        axes.plot(numbers, [epoch[name] for epoch in shown], color=INK, gid=name, **style)
    bands = phase_bands(run, until)
    _draw_ribbon(upper, bands, [_band_words(run, band)[-2:] for band in bands])
    key(figure, [(f"{phase} phase: median {value:.3g} s", _look(phase)) for phase, value in _medians(shown)], 50)
    return figure


def describe_rate_and_time(run: Run, until: int | None = None) -> str:
    """The numbers of `rate_and_time` in words."""
    shown = epochs_until(run, until)
    if not shown:
        return f"{with_data('Learning rate and time by epoch', data_title(run))}. {NOTHING}"
    rates = [epoch["lr"] for epoch in shown]
    times = " and ".join(f"{value:.3g} s in a {phase} phase" for phase, value in _medians(shown))
    return (
        f"Learning rate and time of {len(shown)} epochs on {data_title(run)}: the learning rate lies between "
        f"{min(rates):.3g} and {max(rates):.3g}; an epoch takes {times} (median), "
        f"{sum(epoch['seconds'] for epoch in shown):.4g} s in all."
    )


def _medians(shown: Sequence[Epoch]) -> list[tuple[str, float]]:
    phases = {phase: [e["seconds"] for e in shown if e["phase"] == phase] for phase in ("neuron", "dendrite")}
    return [(phase, median(seconds)) for phase, seconds in phases.items() if seconds]


def _machine_note(run: Run) -> str:
    machine = run.header.get("machine") or {}
    return f"on {machine.get('gpu') or machine['cpu']}"[:52] if machine.get("cpu") else f"run {run.name}"


# ---------------------------------------------------------------------------------------------- shared


def _epoch_axis(axes: Axes, run: Run, named: bool) -> None:
    axes.set_xlim(0.5, max(run.epochs[-1]["epoch"], 5) + 0.5)
    numbers = round_numbers(axes.get_xlim(), 7, integer=True)
    light_ticks(axes, "x", numbers if named else [])
    name_axes(axes, "epoch" if named else "", pads=(19, 0))


def _value_axis(axes: Axes, label: str, most: int) -> list[float]:
    """Round numbers at the left, which are returned, once the limits are set."""
    numbers = round_numbers(axes.get_ylim(), most)
    light_ticks(axes, "y", numbers)
    axes.set_ylabel(label, size=TEXT, color=SOFT)
    place = axes.get_position()
    axes.yaxis.set_label_coords((20 / WIDTH - place.x0) / place.width, 0.5)  # 20 pixels from the left edge
    return numbers


def _draw_phases(axes: Axes, run: Run, until: int | None) -> None:
    """Tint the dendrite phases and mark the switches."""
    across = axes.get_xaxis_transform()
    spans = [(b.first - 0.5, 0.0, b.last - b.first + 1.0, 1.0) for b in phase_bands(run, until) if b.dendritic]
    boxes(axes, spans, transform=across, facecolor="#fdf5e6", zorder=0, gid="dendrite-phases")
    switches = [epoch + 0.5 for epoch in _epochs_of(run, "switch", until)]
    axes.vlines(switches, 0, 1, transform=across, color=SOFT, lw=0.9, linestyles=(0, (2, 2)), zorder=1, gid="switches")


def _draw_ribbon(axes: Axes, bands: Sequence[Band], words: Sequence[Sequence[str]]) -> bool:
    """The phases' names above the axes, hatched for dendrites; says whether all had room for more than a letter."""
    across, tall = axes.get_xaxis_transform(), _pixels_high(axes)
    low, high = 1 + 4 / tall, 16 / tall
    for phase in ("neuron", "dendrite"):
        places = [(b.first - 0.5, low, b.last - b.first + 1.0, high) for b in bands if b.phase == phase]
        boxes(axes, places, transform=across, clip_on=False, gid=f"{phase}-ribbon", zorder=3, **_look(phase))
    left, right = axes.get_xlim()
    pixel = axes.get_position().width * WIDTH / (right - left)
    chosen = [
        fitting(choices, (band.last - band.first + 1) * pixel - 2, SMALL)
        for band, choices in zip(bands, words, strict=True)
    ]
    for band, word in zip(bands, chosen, strict=True):
        ground = {"facecolor": "#fdf0d8", "pad": 0.6, "lw": 0} if band.dendritic else None
        if word:
            axes.text(
                (band.first + band.last) / 2, low + high / 2, word, transform=across, ha="center", size=SMALL,
                va="center_baseline", color=INK, bbox=ground, zorder=4, gid="phase",
            )  # fmt: skip
    return all(len(word) > 1 for word in chosen)


def _draw_rollbacks(axes: Axes, run: Run, until: int | None) -> None:
    for epoch in _epochs_of(run, "rollback", until):
        axes.annotate(
            "cycle undone ↶", (epoch + 0.5, 1), (-4, -12), xycoords=("data", "axes fraction"), gid="rollback",
            textcoords="offset points", ha="right", size=SMALL, color=SOFT,
            bbox={"facecolor": PAPER, "lw": 0, "pad": 1},
        )  # fmt: skip


def _epochs_of(run: Run, event: str, until: int | None) -> list[int]:
    """After which epochs an event came."""
    return [e["epoch"] for e in run.events if e["event"] == event and (until is None or e["epoch"] <= until)]


def _pixels_high(axes: Axes) -> float:
    figure = axes.figure
    assert isinstance(figure, Figure)
    return float(axes.get_position().height * figure.get_size_inches()[1] * DPI)


def _look(phase: str) -> dict[str, Any]:
    """How a phase is filled: the dendrite phase is hatched, so it is told apart without colour."""
    if phase == "dendrite":
        return {"facecolor": "#fdf0d8", "edgecolor": DENDRITE, "hatch": HATCH}
    return {"facecolor": "#d6e8f3", "edgecolor": NEURON}


def _band_words(run: Run, band: Band) -> tuple[str, ...]:
    """What a phase is called, longest first."""
    inside = [epoch for epoch in run.epochs if band.first <= epoch["epoch"] <= band.last]
    if band.dendritic:
        score = mean_score(inside[-1])
        reached = () if score is None else (f"dendrites {band.cycle}: |r| {score:.3f}",)
        return (*reached, f"dendrites {band.cycle}", "dendrites", "D")
    best = min(100 - epoch["validation_accuracy"] for epoch in inside)
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
            word, (epoch, value), (10, (place - value * unit) * 0.72), textcoords="offset points", size=TEXT,
            color=color if color != GREEN else "#01704f", va="center", annotation_clip=False, gid="end",
            bbox={"facecolor": PAPER, "lw": 0, "pad": 0.5},
        )  # fmt: skip


def _run_note(run: Run, shown: Sequence[Epoch]) -> str:
    parts = [run.name]
    if not _whole(run, shown):
        parts.append(f"epoch {shown[-1]['epoch']} of {run.epochs[-1]['epoch']}")
    elif run.finished:
        parts.append(f"test error {_test_error(run):.2f} % with the weights of epoch {_best_epoch(run)}")
    else:
        parts.append(f"{len(shown)} epoch{'s' if len(shown) > 1 else ''} so far")
    return "; ".join([*parts, "ring: lowest validation"])


def _best_epoch(run: Run) -> Any:
    return (run.result or {}).get("best_epoch", "?")


def _test_error(run: Run) -> float:
    return 100 - float((run.result or {})["test_accuracy"])


def _whole(run: Run, shown: Sequence[Epoch]) -> bool:
    return len(shown) == len(run.epochs)
