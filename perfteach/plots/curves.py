"""A run over its epochs: error curves with their phases, learning rate and time."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes

from perfteach.plots.record import NOTHING, Band, Epoch, data_title, epochs_until, listed, mean_score, phase_bands
from perfteach.plots.style import (
    DENDRITE,
    GREEN,
    INK,
    NEURON,
    SMALL,
    SOFT,
    TEXT,
    WIDTH,
    Picture,
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
    height, left, top, right = 380, 62, 96, 122
    figure = frame(height, title, _run_note(run, shown), alt=describe_training_curves(run, until))
    axes = panel(figure, left, top, WIDTH - left - right, height - top - 46)
    _epoch_axis(axes, run, named=True)
    every = [100 - epoch[name] for epoch in run.epochs for name in ("train_accuracy", "validation_accuracy")]
    pad = max(0.08 * (max(every) - min(every)), 0.5)
    axes.set_ylim(max(min(every) - pad, -1), min(max(every) + pad, 101))
    _value_axis(axes, "error (%)", 6)
    _draw_phases(axes, run, until, [_band_words(run, band) for band in phase_bands(run, until)])
    ends = []
    for name, color, width in (("train", SOFT, 1.2), ("validation", GREEN, 2.0)):
        errors = [100 - epoch[f"{name}_accuracy"] for epoch in shown]
        numbers = [epoch["epoch"] for epoch in shown]
        axes.plot(numbers, errors, color=color, lw=width, gid=name, marker="o", ms=3 if len(shown) < 30 else 0)
        ends.append((errors[-1], f"{'training' if name == 'train' else name} {errors[-1]:.1f} %", color))
    _label_ends(axes, shown[-1]["epoch"], ends)
    best = min(shown, key=lambda epoch: 100 - epoch["validation_accuracy"])
    axes.plot(
        [best["epoch"]], [100 - best["validation_accuracy"]], "o", ms=8, mfc="none", mec=GREEN, mew=1.4, gid="best"
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
        _value_axis(axes, label, 4)
        words = [_band_words(run, band)[-3:] for band in phase_bands(run, until)] if axes is upper else []
        _draw_phases(axes, run, until, words)
        style: dict[str, Any] = {"lw": 1.4, "drawstyle": "steps-mid"}
        if name == "seconds":
            style = {"lw": 0, "marker": "o", "ms": 2.6}
        axes.plot(numbers, [epoch[name] for epoch in shown], color=INK, gid=name, **style)
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


def _value_axis(axes: Axes, label: str, most: int) -> None:
    """Round numbers and thin lines at the left, once the limits are set."""
    numbers = round_numbers(axes.get_ylim(), most)
    light_ticks(axes, "y", numbers)
    grid_lines(axes, numbers)
    axes.set_ylabel(label, size=TEXT, color=SOFT)
    axes.yaxis.set_label_coords(-46 / (axes.get_position().width * WIDTH), 0.5)


def _draw_phases(axes: Axes, run: Run, until: int | None, words: Sequence[Sequence[str]]) -> None:
    """Tint and hatch the dendrite phases, mark the switches, and put a labelled ribbon on top where there are words."""
    bands, across = phase_bands(run, until), axes.get_xaxis_transform()
    spans = [(band.first - 0.5, 0.0, band.last - band.first + 1.0, 1.0) for band in bands if band.dendritic]
    boxes(axes, spans, transform=across, facecolor="#fdf5e6", zorder=0, gid="dendrite-phases")
    switches = [event["epoch"] + 0.5 for event in run.events if event["event"] == "switch" and _seen(event, until)]
    axes.vlines(switches, 0, 1, transform=across, color=SOFT, lw=0.9, linestyles=(0, (2, 2)), zorder=1, gid="switches")
    undone = [event["epoch"] for event in run.events if event["event"] == "rollback" and _seen(event, until)]
    for epoch in undone:
        axes.annotate(
            "cycle undone ↶", (epoch + 0.5, 0), (-4, 5), xycoords=("data", "axes fraction"), gid="rollback",
            textcoords="offset points", ha="right", size=SMALL, color=SOFT,
        )  # fmt: skip
    if not words:
        return
    tall = axes.get_position().height * axes.figure.get_size_inches()[1] * 100  # type: ignore[union-attr]
    low, high = 1 + 4 / tall, 16 / tall
    for phase in ("neuron", "dendrite"):
        places = [(b.first - 0.5, low, b.last - b.first + 1.0, high) for b in bands if b.phase == phase]
        boxes(axes, places, transform=across, clip_on=False, gid=f"{phase}-ribbon", zorder=3, **_look(phase))
    left, right = axes.get_xlim()
    pixel = axes.get_position().width * WIDTH / (right - left)
    for band, choices in zip(bands, words, strict=True):
        word = fitting(choices, (band.last - band.first + 1) * pixel - 4, SMALL)
        ground = {"facecolor": "#fdf0d8", "pad": 0.6, "lw": 0} if band.dendritic and word else None
        axes.text(
            (band.first + band.last) / 2, low + high / 2, word, transform=across, ha="center", va="center_baseline",
            size=SMALL, color=INK, bbox=ground, zorder=4, gid="phase",
        )  # fmt: skip


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
    return (f"neurons: best validation {best:.1f} %", f"neurons: {best:.1f} %", "neurons", "N", "")


def _label_ends(axes: Axes, epoch: int, ends: list[tuple[float, str, str]]) -> None:
    """Name each line behind its last point, moved apart where the two would touch."""
    tall = axes.get_position().height * axes.figure.get_size_inches()[1] * 100  # type: ignore[union-attr]
    low, high = axes.get_ylim()
    unit = tall / (high - low)  # pixels for one percent
    ends = sorted(ends)
    places = [value * unit for value, _, _ in ends]
    if places[1] - places[0] < 14:
        middle = sum(places) / 2
        places = [middle - 7, middle + 7]
    for place, (value, word, color) in zip(places, ends, strict=True):
        axes.annotate(
            word, (epoch, value), (8, (place - value * unit) * 0.72), textcoords="offset points", size=TEXT,
            color=color if color != GREEN else "#01704f", va="center", annotation_clip=False, weight="bold", gid="end",
        )  # fmt: skip


def _run_note(run: Run, shown: Sequence[Epoch]) -> str:
    parts = [run.name]
    if not _whole(run, shown):
        parts.append(f"epoch {shown[-1]['epoch']} of {run.epochs[-1]['epoch']}")
    elif run.finished:
        parts.append(f"test error {_test_error(run):.2f} % with the weights of epoch {_best_epoch(run)}")
    else:
        parts.append(f"{len(shown)} epochs so far")
    return "; ".join(parts)


def _best_epoch(run: Run) -> Any:
    return (run.result or {}).get("best_epoch", "?")


def _test_error(run: Run) -> float:
    return 100 - float((run.result or {})["test_accuracy"])


def _whole(run: Run, shown: Sequence[Epoch]) -> bool:
    return len(shown) == len(run.epochs)


def _seen(event: dict[str, Any], until: int | None) -> bool:
    return until is None or event["epoch"] <= until
