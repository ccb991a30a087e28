"""A run over its epochs: error curves with their phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfteach.plots import style
from perfteach.plots.style import Picture
from perfteach.runs import Band, Epoch, Run

HATCH = "////"  # of the dendrite phase, in every figure
NOTHING = "No epoch has been recorded yet."


def training_curves(run: Run) -> Picture:
    """Training and validation error in percent by epoch, with the phases behind them and a mark at every switch.

    The run may be finished or not.
    """
    title = style.with_data("Error by epoch", run.data_title)
    if not run.epochs:
        return style.message(title, NOTHING)
    figure = style.frame(380, title, alt=describe_training_curves(run))
    axes = style.panel(figure, 62, 96, style.WIDTH - 62 - 140, 380 - 96 - 46)
    axes.set_xlim(0.5, max(run.epochs[-1].epoch, 5) + 0.5)
    axes.locator_params("x", integer=True)
    style.name_axes(axes, "epoch", "error (%)")
    every = [*run["train_error"], *run["validation_error"]]
    pad = max(0.08 * (max(every) - min(every)), 0.5)
    axes.set_ylim(max(min(every) - pad, -1), min(max(every) + pad, 101))
    axes.grid(axis="y", **style.GRID)
    style.add_note(figure, _run_note(run))
    _draw_phases(axes, run)
    bands = run.bands()
    named = _draw_ribbon(axes, bands, [_band_words(run, band) for band in bands])
    if not named and style.text_width(title, style.TITLE) < 500:  # beside the title, where that leaves room
        style.key(figure, [(f"{phase} phase", _look(phase)) for phase in ("neuron", "dendrite")], 18)
    _draw_rollbacks(axes, run)
    _draw_errors(axes, run.epochs)
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


def describe_training_curves(run: Run) -> str:
    """The numbers of `training_curves` in words."""
    if not run.epochs:
        return f"{style.with_data('Error by epoch', run.data_title)}. {NOTHING}"
    first, last = run.epochs[0], run.epochs[-1]
    best = min(run.epochs, key=lambda epoch: epoch.validation_error)
    bands = [band for band in run.bands() if band.dendritic]
    dendritic = [f"epochs {b.first} to {b.last}" if len(b) > 1 else f"epoch {b.first}" for b in bands]
    where = f"; dendrites learn in {style.listed(dendritic)}" if dendritic else "; no dendrite phase"
    tested = f" Test error {run.error:.2f} %." if run.finished else ""
    return (
        f"Error by epoch on {run.data_title}, epochs 1 to {last.epoch}: validation error starts at "
        f"{first.validation_error:.2f} %, is lowest in epoch {best.epoch} with {best.validation_error:.2f} % and ends "
        f"at {last.validation_error:.2f} %; training error ends at {last.train_error:.2f} %{where}.{tested}"
    )


def _draw_phases(axes: Axes, run: Run) -> None:
    """Tint the dendrite phases and mark the switches."""
    across = axes.get_xaxis_transform()
    for band in run.bands():
        if band.dendritic:
            axes.axvspan(band.first - 0.5, band.last + 0.5, fc="#fdf5e6", lw=0, zorder=0, gid="dendrite-phase")
    switches = [epoch + 0.5 for epoch in run.after("switch")]
    look: dict[str, Any] = {"color": style.SOFT, "lw": 0.9, "linestyles": (0, (2, 2)), "zorder": 1}
    axes.vlines(switches, 0, 1, transform=across, gid="switches", **look)


def _draw_ribbon(axes: Axes, bands: Sequence[Band], words: Sequence[Sequence[str]]) -> bool:
    """The phases' names above the axes, hatched for dendrites; says whether all had room for more than a letter."""
    across, tall = axes.get_xaxis_transform(), _pixels_high(axes)
    low, high = 1 + 4 / tall, 16 / tall
    for phase in ("neuron", "dendrite"):
        own = [band for band in bands if band.phase == phase]
        axes.barh(
            low, [len(band) for band in own], high, [band.first - 0.5 for band in own], align="edge", lw=0, zorder=3,
            transform=across, clip_on=False, gid=f"{phase}-ribbon", **_look(phase),
        )  # fmt: skip
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


def _draw_rollbacks(axes: Axes, run: Run) -> None:
    for epoch in run.after("rollback"):
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


def _run_note(run: Run) -> str:
    what = f"{len(run.epochs)} epoch{'s' if len(run.epochs) > 1 else ''} so far"
    if run.result:
        what = f"test error {run.error:.2f} % with the weights of epoch {run.result.best_epoch}"
    return f"{run.name}; {what}; ring: lowest validation"
