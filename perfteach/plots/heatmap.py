"""Scores of a run by layer and dendrite-phase epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from perfteach.plots import style, wording
from perfteach.plots.style import Picture
from perfteach.runs import Epoch, Run


def score_heatmap(run: Run) -> Picture:
    """Mean |r| of every layer in every dendrite-phase epoch; the network's input is at the top.

    Columns are dendrite-phase epochs only, white gaps part the cycles.
    """
    title = wording.with_data("Correlation with the error, by layer", run.data_title)
    every = [epoch for epoch in run.epochs if epoch.scores]
    layers = run.score_layers
    height = 112 + min(max(9 * len(layers), 120), 520) if layers else 300
    if not every:
        return style.message(title, _no_scores(run), height)
    highest = max(max(epoch.scores.values()) for epoch in every)
    figure = style.frame(height, title, alt=describe_score_heatmap(run))
    high = height - 66 - 46
    ticks = _layer_words(layers, high / len(layers))
    left = 44 + int(max(style.text_width(word, style.TINY) for _, word in ticks))
    axes = style.panel(figure, left, 66, style.WIDTH - left - 104, high)
    ends = (0.0, highest or 1.0)
    axes.set_xlim(-0.5, len(every) - 0.5)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    style.name_axes(axes, "epoch (dendrite phases only)", "layer", pads=(19, 0))
    axes.yaxis.set_label_coords((22 - left) / (style.WIDTH - left - 104), 0.5)
    gaps = _cycle_marks(axes, every, (style.WIDTH - left - 104) / len(every))
    style.light_ticks(axes, "y", [place for place, _ in ticks], [word for _, word in ticks], style.TINY)
    place, numbers = (style.WIDTH - 84, 66, 12, high), style.round_numbers(ends, 5)
    style.color_scale(figure, style.SCALE, place, ends, numbers, "mean |r| (0 to 1)")
    values = np.array([[epoch.scores.get(layer, np.nan) for epoch in every] for layer in layers], dtype=float)
    how: dict[str, Any] = {"norm": Normalize(*ends), "aspect": "auto", "interpolation": "nearest"}
    how["cmap"] = colormaps[style.SCALE].with_extremes(bad="#b9c0c8")
    axes.imshow(values, gid="scores", **how)
    axes.vlines(gaps, 0, 1, transform=axes.get_xaxis_transform(), color=style.PAPER, lw=3, gid="cycles")
    return figure


def describe_score_heatmap(run: Run) -> str:
    """The numbers of `score_heatmap` in words."""
    shown = [epoch for epoch in run.epochs if epoch.scores]
    if not shown:
        return f"{wording.with_data('Correlation with the error, by layer', run.data_title)}. {_no_scores(run)}"
    first, last = shown[0], shown[-1]
    scores = last.scores
    top, low = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    return (
        f"Mean |r| of {len(scores)} layers over {len(shown)} dendrite-phase epochs on {run.data_title}: the mean over "
        f"layers is {first.score:.4f} in epoch {first.epoch} and {last.score:.4f} in epoch {last.epoch}, where "
        f"{top} is highest with {scores[top]:.4f} and {low} lowest with {scores[low]:.4f}."
    )


def _no_scores(run: Run) -> str:
    return "No dendrite phase has been recorded" + (", so no layer has a score." if run.finished else " yet.")


def _cycle_marks(axes: Axes, every: Sequence[Epoch], pixels: float) -> list[float]:
    """The cycles' names above, their first and last epochs below; returns where a gap parts two of them."""
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
    style.light_ticks(axes, "x", ticks, [str(every[i].epoch) for i in ticks])
    return [i - 0.5 for i in starts[1:]]


def _layer_words(layers: Sequence[str], row: float) -> list[tuple[float, str]]:
    """Place and name of every layer where rows are high enough (in pixels), else of every block of layers."""
    if row >= 13:
        return [(i, layer if len(layer) <= 26 else "…" + layer[-25:]) for i, layer in enumerate(layers)]
    ticks: list[tuple[float, str]] = []
    before = ""
    for name, first, last in layer_groups(layers):
        middle = (first + last) / 2
        if not ticks or (middle - ticks[-1][0]) * row >= 10.5:
            word, _, rest = name.partition(".")
            # "features.3" is only "3" below "features.2": quicker to read, and to draw
            ticks.append((middle, rest if word == before and rest else name[:26]))
            before = word
    return ticks


def layer_groups(layers: Sequence[str]) -> list[tuple[str, int, int]]:
    """Neighbouring layers with the same first two name parts: (name, first index, last index)."""
    grouped = groupby(range(len(layers)), lambda index: ".".join(layers[index].split(".")[:2]))
    return [(name, own[0], own[-1]) for name, indices in grouped for own in [list(indices)]]
