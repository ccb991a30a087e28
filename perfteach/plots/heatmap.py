"""Scores of a run by layer and dendrite-phase epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from perfteach.plots.record import Epoch, data_title, epochs_until, layer_groups, mean_score, score_layers
from perfteach.plots.style import (
    PAPER,
    SCALE,
    SMALL,
    SOFT,
    TEXT,
    TINY,
    WIDTH,
    Picture,
    color_scale,
    fitting,
    frame,
    light_ticks,
    message,
    name_axes,
    panel,
    round_numbers,
    text_width,
    with_data,
)
from perfteach.runs import Run


def score_heatmap(run: Run, until: int | None = None) -> Picture:
    """Mean |r| of every layer in every dendrite-phase epoch; the network's input is at the top.

    Columns are dendrite-phase epochs only, white gaps part the cycles. Colours mean the same whatever `until` is.

    Raises:
        ConfigError: when `until` is negative.
    """
    title = with_data("Correlation with the error, by layer", data_title(run))
    epochs_until(run, until)
    every = [epoch for epoch in run.epochs if epoch.get("scores")]
    layers = score_layers(run)
    height = _heatmap_height(len(layers))
    if not every:
        return message(title, _no_scores(run), height)
    shown = [epoch for epoch in every if until is None or epoch["epoch"] <= until]
    highest = max(max(epoch["scores"].values()) for epoch in every)
    figure = frame(height, title, alt=describe_score_heatmap(run, until))
    high = height - 66 - 46
    ticks = _layer_words(layers, high / len(layers))
    left = 44 + int(max(text_width(word, TINY) for _, word in ticks))
    axes = panel(figure, left, 66, WIDTH - left - 104, high)
    ends = (0.0, highest or 1.0)
    axes.set_xlim(-0.5, len(every) - 0.5)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    name_axes(axes, "epoch (dendrite phases only)", "layer", pads=(19, 0))
    axes.yaxis.set_label_coords((22 - left) / (WIDTH - left - 104), 0.5)
    gaps = _cycle_marks(axes, every, (WIDTH - left - 104) / len(every))
    light_ticks(axes, "y", [place for place, _ in ticks], [word for _, word in ticks], TINY)
    color_scale(figure, SCALE, (WIDTH - 84, 66, 12, high), ends, round_numbers(ends, 5), "mean |r| (0 to 1)")
    figure.keep(title, layers, [(epoch["epoch"], epoch.get("cycle")) for epoch in every], ends)
    if shown:
        values = np.array([[epoch["scores"].get(layer, np.nan) for epoch in shown] for layer in layers], dtype=float)
        how: dict[str, Any] = {"norm": Normalize(*ends), "aspect": "auto", "interpolation": "nearest"}
        how["cmap"] = colormaps[SCALE].with_extremes(bad="#b9c0c8")
        axes.imshow(values, extent=(-0.5, len(shown) - 0.5, len(layers) - 0.5, -0.5), gid="scores", **how)
        axes.set_xlim(-0.5, len(every) - 0.5)  # the image has set its own
        axes.vlines(gaps, 0, 1, transform=axes.get_xaxis_transform(), color=PAPER, lw=3, gid="cycles")
    else:
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "no dendrite phase yet", size=TEXT, color=SOFT, **middle)
    return figure


def describe_score_heatmap(run: Run, until: int | None = None) -> str:
    """The numbers of `score_heatmap` in words."""
    shown = [epoch for epoch in epochs_until(run, until) if epoch.get("scores")]
    if not shown:
        why = "No dendrite phase yet." if score_layers(run) else _no_scores(run)
        return f"{with_data('Correlation with the error, by layer', data_title(run))}. {why}"
    first, last = mean_score(shown[0]), mean_score(shown[-1])
    scores = shown[-1]["scores"]
    top, low = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    return (
        f"Mean |r| of {len(scores)} layers over {len(shown)} dendrite-phase epochs on {data_title(run)}: the mean over "
        f"layers is {first:.4f} in epoch {shown[0]['epoch']} and {last:.4f} in epoch {shown[-1]['epoch']}, where "
        f"{top} is highest with {scores[top]:.4f} and {low} lowest with {scores[low]:.4f}."
    )


def _no_scores(run: Run) -> str:
    return "No dendrite phase has been recorded" + (", so no layer has a score." if run.finished else " yet.")


def _heatmap_height(layers: int) -> int:
    return 112 + min(max(9 * layers, 120), 520) if layers else 300


def _cycle_marks(axes: Axes, every: Sequence[Epoch], pixels: float) -> list[float]:
    """The cycles' names above, their first and last epochs below; returns where a gap parts two of them."""
    starts = [i for i, e in enumerate(every) if i == 0 or e.get("cycle") != every[i - 1].get("cycle")]
    ends = [i - 1 for i in starts[1:]] + [len(every) - 1]
    ticks: list[int] = []
    for start, end in zip(starts, ends, strict=True):
        words = (f"dendrite {every[start].get('cycle')}", str(every[start].get("cycle")))
        word = fitting(words, (end - start + 1) * pixels, SMALL)
        axes.annotate(
            word, ((start + end) / 2, 1), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", size=SMALL, color=SOFT,
        )  # fmt: skip
        ticks += [i for i in dict.fromkeys((start, end)) if not ticks or (i - ticks[-1]) * pixels >= 24]
    light_ticks(axes, "x", ticks, [str(every[i]["epoch"]) for i in ticks])
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
