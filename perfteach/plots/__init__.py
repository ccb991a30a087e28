"""Figures of the course: pure functions from data to a matplotlib `Figure`. Nothing here touches pyplot.

Every figure says its numbers in one or two sentences (`figure.alt`), shows itself with them in a notebook, and
`html(figure)` writes them into a page.
"""

from __future__ import annotations

from perfteach.plots.comparison import (
    arm_curves,
    paired_differences,
    parameter_bars,
)
from perfteach.plots.curves import describe_training_curves, training_curves
from perfteach.plots.forest import forest
from perfteach.plots.front import pareto, pareto_front
from perfteach.plots.heatmap import score_heatmap
from perfteach.plots.images import confusion, example_predictions
from perfteach.plots.points import decision_boundary
from perfteach.plots.style import Picture, html, message, png, svg

__all__ = [
    "Picture",
    "arm_curves",
    "confusion",
    "decision_boundary",
    "describe_training_curves",
    "example_predictions",
    "forest",
    "html",
    "message",
    "paired_differences",
    "parameter_bars",
    "pareto",
    "pareto_front",
    "png",
    "score_heatmap",
    "svg",
    "training_curves",
]
