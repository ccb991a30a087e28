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
ERRORS = "PuOr_r"  # diverging, and readable without red and green
HEIGHT = 404  # pixels of the lab's picture
ARROW = 1.6  # length of the longest gradient arrow, in units of a weight


def dendrite_view(model: OneNeuron, objective: str) -> Picture:
    """Left: the error at every point and the dendrite's zero line. Right: the objective over the two weights."""
    from perfteach.plots import style

    a1, a2, c = model.dendrite
    figure = style.frame(
        HEIGHT,
        style.with_data(
            "What the dendrite sees, and the hill it climbs",
            f"{model.data.name} (synthetic)" if model.data.synthetic else model.data.name,
        ),
        "left: grey where the dendrite is above zero; right: the dot is the dendrite, the arrow its gradient",
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

    x, y = model.data.train.inputs.numpy(), model.data.train.labels.numpy()
    e = model.error()[:, 0].numpy()
    edge = float(abs(x).max()) * 1.1
    grid = torch.linspace(-edge, edge, 80)
    gx, gy = torch.meshgrid(grid, grid, indexing="xy")
    a1, a2, c = model.dendrite
    v = torch.tanh(a1 * gx + a2 * gy + c).numpy()
    line = grid.numpy()
    extent = (-edge, edge, -edge, edge)
    axes.imshow(v, extent=extent, origin="lower", cmap="Greys", vmin=-1, vmax=4, gid="dendrite")
    if v.min() < 0 < v.max():
        axes.contour(line, line, v, levels=[0.0], colors=style.INK, linewidths=2)
    for label, marker in enumerate("o^"):
        of, name = y == label, model.data.classes[label]
        look: dict[str, Any] = {"marker": marker, "edgecolors": style.INK, "linewidths": 0.5, "s": 24}
        axes.scatter(x[of, 0], x[of, 1], c=e[of], cmap=ERRORS, vmin=-1, vmax=1, label=name, **look)
    few = [-1, 0, 1] if edge < 2 else [-round(edge), 0, round(edge)]  # every tick costs milliseconds
    axes.set(xlim=(-edge, edge), ylim=(-edge, edge), xticks=few, yticks=few)
    style.name_axes(axes, "first input (no unit)", "second input (no unit)")
    legend: dict[str, Any] = {"frameon": False, "fontsize": style.SMALL, "handletextpad": 0.1, "borderaxespad": 0.2}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=2, **legend)
    _scale(figure, ERRORS, (-1.0, 1.0), 328, "error E = p − y (no unit)")


def _hill(axes: Axes, figure: Picture, model: OneNeuron, objective: str) -> None:
    from perfteach.plots import style

    _, height = model.landscape(objective)
    top, extent = float(height.max()) or 1.0, (-LIMIT, LIMIT, -LIMIT, LIMIT)
    axes.imshow(
        height.numpy(), extent=extent, origin="lower", cmap=style.SCALE, vmin=0, vmax=top, interpolation="bilinear"
    )
    a1, a2, _ = model.dendrite
    g1, g2, _ = model.gradient(objective)
    size = (g1**2 + g2**2) ** 0.5
    if size > 1e-6:  # the arrow grows with the slope, up to a limit
        scale = ARROW * min(1.0, 0.3 + 5 * size) / size
        shape = "simple,tail_width=0.35,head_width=1.0,head_length=0.9"
        look = {"arrowstyle": shape, "facecolor": style.INK, "edgecolor": "white", "mutation_scale": 12, "shrinkA": 0}
        axes.annotate("", (a1 + scale * g1, a2 + scale * g2), (a1, a2), arrowprops=look, annotation_clip=False)
    axes.plot([a1], [a2], "o", color="white", mec=style.INK, ms=9, zorder=5, clip_on=False)
    few = [-LIMIT, 0, LIMIT]
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=few, yticks=few)
    style.name_axes(axes, "dendrite weight 1 (no unit)", "dendrite weight 2 (no unit)")
    _scale(figure, style.SCALE, (0.0, top), 720, f"|{objective}| (no unit)")


def _scale(figure: Picture, colors: str, ends: tuple[float, float], left: int, label: str) -> None:
    """A colour scale `left` pixels from the picture's edge."""
    from perfteach.plots import style

    axes = figure.add_axes((left / style.WIDTH, 1 - 350 / HEIGHT, 10 / style.WIDTH, 266 / HEIGHT))
    ramp = torch.linspace(0, 1, 128)[:, None].numpy()
    axes.imshow(ramp, cmap=colors, aspect="auto", origin="lower", extent=(0, 1, *ends))
    axes.set_xticks([])
    axes.set_yticks([ends[0], ends[1]], [f"{end:.3g}" for end in ends])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(label, size=style.SMALL, color=style.SOFT)
    axes.tick_params(colors=style.SOFT, labelsize=style.TINY, length=0)
    axes.spines[:].set_visible(False)


def arm_curves(arms: Mapping[str, Sequence[Run]], data: str) -> Picture:
    """Validation error of each arm by epoch: the mean over its seeds, and the range they span."""
    from perfteach.plots import style

    title = style.with_data("Validation error by arm", data)
    figure = style.frame(400, title, "lines: mean over the seeds; bands: from the lowest to the highest seed")
    axes = style.panel(figure, 62, 96, style.WIDTH - 62 - 20, 400 - 96 - 46)
    ends = []
    for number, (name, runs) in enumerate(arms.items()):
        epochs, low, mean, high = spread(runs)
        color, _ = style.arm_look(name, list(arms))
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
