"""Figures that only the widgets need: the correlation lab's two maps, and the arms' curves side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from perfteach.runs import Run, marked
from perfteach.widgets.neuron import LIMIT, OneNeuron

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from perfteach.plots import Picture

ERRORS = "PuOr_r"  # diverging, and readable without red and green
HEIGHT = 404  # pixels of the lab's picture
SCALE = (84, 10, 266)  # top, width and height of a colour scale in pixels
MARKS = "o^"  # of the two classes
ARROW = 1.6  # length of the longest gradient arrow, in units of a weight


def dendrite_view(model: OneNeuron, objective: str) -> Picture:
    """Left: the error at every point and the dendrite's zero line. Right: the objective over the two weights."""
    from perfteach.plots import style

    a1, a2, c = model.dendrite
    figure = style.frame(
        HEIGHT,
        style.with_data(
            "What the dendrite sees, and the hill it climbs", marked(model.data.name, model.data.synthetic)
        ),
        "left: grey where the dendrite is above zero; right: the dot is the dendrite, the arrow its gradient",
    )
    figure.alt = (
        "Left: the neuron's error at every training point, and the line on which the dendrite's output is zero. "
        f"Right: |{objective}| over the dendrite's two weights at bias {c:.2f}; the dendrite stands at "
        f"({a1:.2f}, {a2:.2f}) at height {model.objective(objective):.4f}, and the arrow is the gradient."
    )
    edge = float(model.data.train.inputs.abs().max()) * 1.1
    left, right = style.panel(figure, 52, 84, 266, 266), style.panel(figure, 444, 84, 266, 266)
    left.set(xlim=(-edge, edge), ylim=(-edge, edge))
    right.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
    style.light_axes(left, "first input (no unit)", "second input (no unit)", most=(3, 3), room=24)
    style.light_axes(right, "dendrite weight 1 (no unit)", "dendrite weight 2 (no unit)", most=(2, 2), room=24)
    ends = (-1.0, 1.0)
    style.color_scale(figure, ERRORS, (328, *SCALE), ends, (*ends, 0.0), "error E = σ(h′) − y (no unit)", away=32)
    style.color_scale(figure, style.SCALE, (720, *SCALE), ends, (), f"|{objective}| (no unit)")
    _class_names(left, model)
    figure.keep(model.data.name, model.data.classes, edge, objective)
    _error_map(left, model, edge)
    top = _hill(right, model, objective)
    style.scale_numbers(figure, (720, *SCALE), (0.0, top), (0.0, float(f"{top:.3g}")))
    return figure


def _class_names(axes: Axes, model: OneNeuron) -> None:
    """The classes' marks, which are white because a colour is an error."""
    from matplotlib.lines import Line2D

    from perfteach.plots import style

    look: dict[str, Any] = {"color": style.PAPER, "markeredgecolor": style.INK, "markeredgewidth": 0.5, "lw": 0}
    marks = [
        Line2D([], [], marker=mark, label=name, **look) for mark, name in zip(MARKS, model.data.classes, strict=True)
    ]
    legend: dict[str, Any] = {"frameon": False, "fontsize": style.SMALL, "handletextpad": 0.1, "borderaxespad": 0.2}
    axes.legend(handles=marks, loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=2, labelcolor=style.SOFT, **legend)


def _error_map(axes: Axes, model: OneNeuron, edge: float) -> None:
    from perfteach.plots import style

    x, y = model.data.train.inputs.numpy(), model.data.train.labels.numpy()
    e = model.error()[:, 0].numpy()
    grid = torch.linspace(-edge, edge, 80)
    gx, gy = torch.meshgrid(grid, grid, indexing="xy")
    a1, a2, c = model.dendrite
    v = torch.tanh(a1 * gx + a2 * gy + c).numpy()
    extent = (-edge, edge, -edge, edge)
    axes.imshow(v, extent=extent, origin="lower", cmap="Greys", vmin=-1, vmax=4, gid="dendrite")
    size = (a1**2 + a2**2) ** 0.5
    if size:  # the line a·x + c = 0, from its point nearest to the middle far enough both ways
        middle, along = (-c * a1 / size**2, -c * a2 / size**2), (-a2 / size * 3 * edge, a1 / size * 3 * edge)
        ends = [[m - d, m + d] for m, d in zip(middle, along, strict=True)]
        axes.plot(*ends, color=style.INK, linewidth=2, gid="zero", zorder=0.9)
    for label, marker in enumerate(MARKS):
        of = y == label
        look: dict[str, Any] = {"marker": marker, "edgecolors": style.INK, "linewidths": 0.5, "s": 24}
        axes.scatter(x[of, 0], x[of, 1], c=e[of], cmap=ERRORS, vmin=-1, vmax=1, **look)
    axes.set(xlim=(-edge, edge), ylim=(-edge, edge))


def _hill(axes: Axes, model: OneNeuron, objective: str) -> float:
    """Draws the objective over the two weights; returns its highest value."""
    from matplotlib.patches import FancyArrowPatch

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
        look: dict[str, Any] = {"arrowstyle": shape, "facecolor": style.INK, "edgecolor": "white", "shrinkA": 0}
        ends = ((a1, a2), (a1 + scale * g1, a2 + scale * g2))
        axes.add_artist(FancyArrowPatch(*ends, mutation_scale=12, clip_on=False, zorder=3, **look))
    axes.plot([a1], [a2], "o", color="white", mec=style.INK, ms=9, zorder=5, clip_on=False)
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
    return top


def arm_curves(arms: Mapping[str, Sequence[Run]], data: str) -> Picture:
    """Validation error of each arm by epoch: the mean over its seeds, and the range they span."""
    import pandas as pd
    import seaborn as sns

    from perfteach.plots import style

    title, many = style.with_data("Validation error by arm", data), {len(runs) for runs in arms.values()}
    words = {
        arm: arm if len(many) == 1 else f"{arm} ({len(runs)} seed{'s' if len(runs) > 1 else ''})"
        for arm, runs in arms.items()
    }
    rows = [(words[arm], e.epoch, e.validation_error) for arm, runs in arms.items() for run in runs for e in run.epochs]
    table = pd.DataFrame(rows, columns=["arm", "epoch", "error"])
    if table.empty:
        return style.message(title, "No epoch has been recorded yet.")
    seeds = f"{max(many)} seeds" if len(many) == 1 else "the seeds"
    note = f"lines: mean over {seeds}; bands: from the lowest to the highest seed"
    figure = style.frame(400, title, "one seed each" if many == {1} else note)
    top = 62 + style.legend_rows(list(words.values()))
    axes = style.panel(figure, 62, top, style.WIDTH - 62 - 20, 400 - top - 46)
    sns.lineplot(
        table, x="epoch", y="error", hue="arm", style="arm", errorbar=("pi", 100), err_kws={"alpha": 0.15, "lw": 0},
        palette={words[arm]: style.arm_look(arm, list(arms))[0] for arm in arms}, lw=1.8, ax=axes,
    )  # fmt: skip
    axes.set_xlim(0.5, max(table["epoch"].max(), 5) + 0.5)
    style.arm_legend(axes, list(words.values()))
    numbers = style.round_numbers(axes.get_ylim(), 6)
    style.light_ticks(axes, "x", style.round_numbers(axes.get_xlim(), 8, integer=True))
    style.light_ticks(axes, "y", numbers)
    style.grid_lines(axes, numbers)
    style.name_axes(axes, "epoch", "validation error (%)", pads=(19, 27))
    last = table.groupby(["arm", "epoch"], sort=False)["error"].mean().groupby("arm", sort=False).last()
    ends = ", ".join(f"{arm} {last[word]:.2f} %" for arm, word in words.items() if word in last)
    figure.alt = f"{title}, means over seeds; in the last epoch: {ends}."
    return figure
