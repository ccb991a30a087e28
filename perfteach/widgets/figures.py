"""Figures that only the widgets need: the correlation lab's two maps, and the arms' curves side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from perfteach.runs import Run
from perfteach.widgets.neuron import LIMIT, OneNeuron

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from perfteach.plots import Picture

LINES = ("-", "--", "-.", ":")
ARROW = 1.6  # length of the longest gradient arrow, in units of a weight


def dendrite_view(model: OneNeuron, objective: str) -> Picture:
    """Left: the error at every point and the dendrite's zero line. Right: the objective over the two weights."""
    from perfteach.plots import style

    a1, a2, c = model.dendrite
    figure = style.frame(
        440,
        style.with_data("What the dendrite sees, and the hill it climbs", model.data.name),
        "left: hatched where the dendrite is above zero; right: the dot is the dendrite, the arrow its gradient",
    )
    figure.alt = (
        "Left: the neuron's error at every training point, and the line on which the dendrite's output is zero. "
        f"Right: |{objective}| over the dendrite's two weights at bias {c:.2f}; the dendrite stands at "
        f"({a1:.2f}, {a2:.2f}) at height {model.objective(objective):.4f}, and the arrow is the gradient."
    )
    _error_map(style.panel(figure, 52, 84, 266, 266), figure, model)
    _hill(style.panel(figure, 444, 84, 266, 266), figure, model, objective)
    return figure


def _error_map(axes: Axes, figure: Picture, model: OneNeuron) -> None:
    from perfteach.plots import style

    x, y, e = model.data.train.inputs, model.data.train.labels, model.error()[:, 0]
    edge = float(x.abs().max()) * 1.1
    grid = torch.linspace(-edge, edge, 60)
    gx, gy = torch.meshgrid(grid, grid, indexing="xy")
    a1, a2, c = model.dendrite
    v = torch.tanh(a1 * gx + a2 * gy + c).numpy()
    axes.contourf(grid, grid, v, levels=[-1.01, 0, 1.01], colors=[style.PAPER, "#f3f4f6"], hatches=["", "//"])
    if v.min() < 0 < v.max():
        axes.contour(grid, grid, v, levels=[0.0], colors=style.INK, linewidths=2)
    for label, marker in enumerate("o^"):
        of = y == label
        look: dict[str, Any] = {"marker": marker, "edgecolors": style.INK, "linewidths": 0.5, "s": 24}
        dots = axes.scatter(
            x[of, 0], x[of, 1], c=e[of], cmap="PuOr_r", vmin=-1, vmax=1, label=model.data.classes[label], **look
        )
    axes.set(xlim=(-edge, edge), ylim=(-edge, edge))
    style.name_axes(axes, "first input (no unit)", "second input (no unit)")
    legend = {"frameon": False, "fontsize": style.SMALL, "handletextpad": 0.1, "borderaxespad": 0.2}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=2, **legend)
    _scale(figure, dots, 328, "error E = p − y (no unit)")


def _hill(axes: Axes, figure: Picture, model: OneNeuron, objective: str) -> None:
    from perfteach.plots import style

    grid, height = model.landscape(objective)
    shades = axes.contourf(grid, grid, height, levels=12, cmap=style.SCALE)
    a1, a2, _ = model.dendrite
    g1, g2, _ = model.gradient(objective)
    size = (g1**2 + g2**2) ** 0.5
    if size > 1e-6:  # the arrow grows with the slope, up to a limit
        scale = ARROW * min(1.0, 0.3 + 5 * size) / size
        for color, width in (("white", 4.0), (style.INK, 1.6)):
            look = {"arrowstyle": "-|>", "color": color, "lw": width, "mutation_scale": 14, "shrinkA": 0}
            axes.annotate("", (a1 + scale * g1, a2 + scale * g2), (a1, a2), arrowprops=look, annotation_clip=False)
    axes.plot([a1], [a2], "o", color="white", mec=style.INK, ms=9, zorder=5, clip_on=False)
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
    style.name_axes(axes, "dendrite weight 1 (no unit)", "dendrite weight 2 (no unit)")
    _scale(figure, shades, 720, f"|{objective}| (no unit)")


def _scale(figure: Picture, shades: Any, left: int, label: str) -> None:
    from perfteach.plots import style

    axes = figure.add_axes((left / style.WIDTH, 1 - 350 / 440, 10 / style.WIDTH, 266 / 440))
    bar = figure.colorbar(shades, cax=axes)
    bar.set_label(label, size=style.SMALL, color=style.SOFT)
    bar.outline.set_visible(False)  # type: ignore[operator]
    axes.tick_params(colors=style.SOFT, labelsize=style.TINY, length=0)


def arm_curves(arms: Mapping[str, Sequence[Run]], data: str) -> Picture:
    """Validation error of each arm by epoch: the mean over its seeds, and the range they span."""
    from perfteach.plots import style
    from perfteach.plots.comparison import arm_look

    title = style.with_data("Validation error by arm", data)
    figure = style.frame(400, title, "lines: mean over the seeds; bands: from the lowest to the highest seed")
    axes = style.panel(figure, 62, 96, style.WIDTH - 62 - 20, 400 - 96 - 46)
    ends = []
    for number, (name, runs) in enumerate(arms.items()):
        epochs, low, mean, high = spread(runs)
        color, _ = arm_look(name, list(arms))
        seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
        look: dict[str, Any] = {"color": color, "linestyle": LINES[number % len(LINES)], "gid": f"arm:{name}"}
        axes.plot(epochs, mean, label=f"{name} ({seeds})", linewidth=1.8, **look)
        axes.fill_between(epochs, low, high, alpha=0.15, color=color, linewidth=0)
        if mean:
            ends.append(f"{name} {mean[-1]:.2f} %")
    style.name_axes(axes, "epoch", "validation error (%)")
    axes.grid(axis="y", color=style.LINE, lw=0.6)
    legend = {"frameon": False, "fontsize": style.SMALL, "labelcolor": style.INK, "handlelength": 2.6}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, borderaxespad=0.2, columnspacing=1.2, **legend)
    figure.alt = f"{title}, means over seeds; in the last epoch: {', '.join(ends)}."
    return figure


def spread(runs: Sequence[Run]) -> tuple[list[int], list[float], list[float], list[float]]:
    """Epochs, and lowest, mean and highest validation error (%) over the runs that reached each epoch."""
    by_epoch: dict[int, list[float]] = {}
    for run in runs:
        for record in run.epochs:
            by_epoch.setdefault(record["epoch"], []).append(100 - record["validation_accuracy"])
    epochs = sorted(by_epoch)
    columns = [by_epoch[epoch] for epoch in epochs]
    return epochs, [min(c) for c in columns], [sum(c) / len(c) for c in columns], [max(c) for c in columns]
