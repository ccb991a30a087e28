"""The plane as a small network sees it: the decision boundary, with and without the dendrites."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from perfteach import settings
from perfteach.data.points import PointData, Points
from perfteach.dendrites import dendrite_counts
from perfteach.errors import ConfigError
from perfteach.metrics import eval_mode
from perfteach.plots import style
from perfteach.plots.style import Picture
from perfteach.runs import marked

CLASS_LOOKS = (  # colour, marker, tint
    (style.BLUE, "o", "#cfe3f1"), (style.ORANGE, "^", "#fae3bf"), (style.GREEN, "s", "#c9e8de"),
    (style.PINK, "D", "#f3e0ee"),
)  # fmt: skip
_GRID = 200  # points along each side of the map; each is a true output of the network


def decision_boundary(model: nn.Module, data: PointData, *, split: str = "validation") -> Picture:
    """Which class the network gives every point of the plane, with a split's points and their true classes on it.

    Args:
        model: from points [B, 2] to logits [B, classes]. It is not changed.
        data: the points.
        split: the points that are drawn and on which the error is measured.

    Raises:
        ConfigError: more classes than there are looks for, or an unknown split.
    """
    settings.text("split", split, ("train", "validation", "test"))
    if len(data.classes) > len(CLASS_LOOKS):
        raise ConfigError(f"the figure tells {len(CLASS_LOOKS)} classes apart, and {data.name} has {len(data.classes)}")
    points: Points = getattr(data, split)
    error, state, title = _error(model, points), _state(model), marked(data.name, data.synthetic)
    figure = style.frame(500, f"Decision boundary: {title}", state)
    axes = style.panel(figure, 66, 72, 372, 372)
    classes = draw(axes, model, data, points)
    style.name_axes(axes, "first input (no unit)", "second input (no unit)")
    _side_notes(figure, axes, points, split, error)
    shares = [100 * float((classes == label).mean()) for label in range(len(data.classes))]
    regions = " and ".join(f"{name} {share:.0f} %" for name, share in zip(data.classes, shares, strict=True))
    figure.alt = (
        f"Decision boundary on {title}, {state}: {error:.1f} % of the "
        f"{len(points)} {split} points are on the wrong side; of the plane shown, {regions}."
    )
    return figure


def draw(axes: Axes, model: nn.Module, data: PointData, points: Points) -> np.ndarray:
    """The map of the network's classes with points on it; returns the classes, [rows, columns] from the lower left."""
    low, high = data.extent
    classes = _classes(model, low, high)
    axes.imshow(
        classes, origin="lower", extent=(low, high, low, high), interpolation="nearest", gid="regions", vmin=0,
        vmax=len(CLASS_LOOKS) - 1, cmap=ListedColormap([tint for _, _, tint in CLASS_LOOKS]),
    )  # fmt: skip
    for label, name in enumerate(data.classes):
        color, marker, _ = CLASS_LOOKS[label]
        mine = points.inputs[points.labels == label].numpy()
        look: dict[str, Any] = {"color": color, "ms": 3.6, "mec": style.PAPER, "mew": 0.4}
        axes.plot(mine[:, 0], mine[:, 1], marker, gid=f"class:{label}", label=name, **look)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    return classes


def _side_notes(figure: Figure, axes: Axes, points: Points, split: str, error: float) -> None:
    figure.text(0.6, 0.78, f"{error:.1f} %", size=26, color=style.INK, va="baseline", gid="error")
    words = f"of the {len(points)} {split} points\nare on the wrong side"
    figure.text(0.6, 0.735, words, size=style.TEXT, color=style.SOFT, va="top", linespacing=1.5)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(0.59, 0.62), bbox_transform=figure.transFigure, frameon=False,
        fontsize=style.TEXT, labelcolor=style.INK, markerscale=1.8, handletextpad=0.4, title="true class",
        alignment="left", title_fontproperties={"size": style.SMALL},
    )  # fmt: skip
    legend.get_title().set_color(style.SOFT)
    text = "The tint of the ground is the class\nthat the network gives each point."
    figure.text(0.6, 0.36, text, size=style.TEXT, color=style.SOFT, va="top", linespacing=1.5)


def _state(model: nn.Module) -> str:
    many = max(dendrite_counts(model).values(), default=0)
    return "no dendrites" if not many else f"{many} dendrite{'s' if many > 1 else ''} per neuron"


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    first = next(model.parameters(), None)
    with torch.inference_mode(), eval_mode(model):
        logits: Tensor = model(inputs if first is None else inputs.to(first.device))
    return logits.cpu()


def _classes(model: nn.Module, low: float, high: float) -> np.ndarray:
    """The network's class at the middle of each cell of the map, [rows, columns] from the lower left."""
    edge = (high - low) / _GRID
    line = torch.linspace(low + edge / 2, high - edge / 2, _GRID)
    y, x = torch.meshgrid(line, line, indexing="ij")
    labels: np.ndarray = _logits(model, torch.stack([x.flatten(), y.flatten()], 1)).argmax(1).view(_GRID, _GRID).numpy()
    return labels


def _error(model: nn.Module, points: Points) -> float:
    return 100 * float((_logits(model, points.inputs).argmax(1) != points.labels).float().mean())
