"""Scores of a run by layer and dendrite-phase epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from perfteach.plots import style
from perfteach.plots.style import Picture
from perfteach.runs import Epoch, Run

MISSING = "#b9c0c8"  # where a layer has no score


def score_heatmap(run: Run) -> Picture:
    """Mean |r| of every layer in every dendrite-phase epoch; the network's input is at the top.

    Columns are dendrite-phase epochs only, white gaps part the cycles.
    """
    title = style.with_data("Correlation with the error, by layer", run.data_title)
    every = [epoch for epoch in run.epochs if epoch.scores]
    layers = run.score_layers
    height = 112 + min(max(9 * len(layers), 120), 520) if layers else 300
    if not every:
        none = "No dendrite phase has been recorded" + (", so no layer has a score." if run.finished else " yet.")
        return style.message(title, none, height)
    figure = style.frame(height, title, alt=_in_words(run, every))
    high = height - 66 - 46
    ticks = _layer_words(layers, high / len(layers))
    left = 44 + int(max(style.text_width(word, style.TINY) for _, word in ticks))
    axes = style.panel(figure, left, 66, style.WIDTH - left - 104, high)
    scale = style.panel(figure, style.WIDTH - 84, 66, 12, high)
    values = np.array([[epoch.scores.get(layer, np.nan) for epoch in every] for layer in layers], dtype=float)
    how: dict[str, Any] = {"vmin": 0, "vmax": np.nanmax(values) or 1.0, "aspect": "auto", "interpolation": "nearest"}
    image = axes.imshow(values, cmap=style.SCALE, gid="scores", **how)
    figure.colorbar(image, cax=scale, format=style.whole_numbers()).outline.set_visible(False)
    scale.minorticks_off()
    axes.spines[:].set_visible(False)
    axes.set_facecolor(MISSING)
    axes.set_yticks([place for place, _ in ticks], [word for _, word in ticks], size=style.TINY)
    _cycle_marks(axes, every, (style.WIDTH - left - 104) / len(every))
    style.name_axes(axes, "epoch (dendrite phases only)", "layer")
    scale.tick_params(labelsize=style.TINY)
    scale.set_ylabel("mean |r| (0 to 1)", labelpad=4, size=style.SMALL, color=style.SOFT)
    return figure


def _in_words(run: Run, shown: Sequence[Epoch]) -> str:
    first, last = shown[0], shown[-1]
    scores = last.scores
    top, low = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    return (
        f"Mean |r| of {len(scores)} layers over {len(shown)} dendrite-phase epochs on {run.data_title}: the mean over "
        f"layers is {first.score:.4f} in epoch {first.epoch} and {last.score:.4f} in epoch {last.epoch}, where "
        f"{top} is highest with {scores[top]:.4f} and {low} lowest with {scores[low]:.4f}."
    )


def _cycle_marks(axes: Axes, every: Sequence[Epoch], pixels: float) -> None:
    """The cycles' names above, their first and last epochs below, and a gap between two of them."""
    starts = [i for i, e in enumerate(every) if i == 0 or e.cycle != every[i - 1].cycle]
    ends = [i - 1 for i in starts[1:]] + [len(every) - 1]
    ticks: list[int] = []
    for start, end in zip(starts, ends, strict=True):
        words = (f"dendrite {every[start].cycle}", str(every[start].cycle))
        word = style.fitting(words, (end - start + 1) * pixels, style.SMALL)
        axes.annotate(
            word, ((start + end) / 2, 1), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", size=style.SMALL, color=style.SOFT,
        )  # fmt: skip
        ticks += [i for i in dict.fromkeys((start, end)) if not ticks or (i - ticks[-1]) * pixels >= 24]
    axes.set_xticks(ticks, [str(every[i].epoch) for i in ticks])
    gaps, across = [i - 0.5 for i in starts[1:]], axes.get_xaxis_transform()
    axes.vlines(gaps, 0, 1, transform=across, color=style.PAPER, lw=3, gid="cycles")


def _layer_words(layers: Sequence[str], row: float) -> list[tuple[float, str]]:
    """Place and name of every layer where rows are high enough (in pixels), else of every block of layers."""
    if row >= 13:
        return [(i, layer if len(layer) <= 26 else "…" + layer[-25:]) for i, layer in enumerate(layers)]
    ticks: list[tuple[float, str]] = []
    before = ""
    for name, own in groupby(range(len(layers)), lambda index: ".".join(layers[index].split(".")[:2])):
        middle = fmean(own)
        if not ticks or (middle - ticks[-1][0]) * row >= 10.5:
            word, _, rest = name.partition(".")
            # "features.3" is only "3" below "features.2": quicker to read
            ticks.append((middle, rest if word == before and rest else name[:26]))
            before = word
    return ticks
