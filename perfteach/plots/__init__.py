"""Figures of the course: pure functions from data to a matplotlib `Figure`. Nothing here touches pyplot.

Every function has a sibling `describe_…` with the same arguments that says the numbers in one or two sentences. The
figures carry that text (`figure.alt`), show themselves with it in a notebook, and `html(figure)` writes it into a page.
"""

from __future__ import annotations

from perfteach.plots.comparison import (
    arm_curves,
    describe_paired_differences,
    describe_parameter_bars,
    paired_differences,
    parameter_bars,
)
from perfteach.plots.curves import describe_training_curves, training_curves
from perfteach.plots.forest import describe_forest, forest
from perfteach.plots.front import describe_pareto, pareto, pareto_front
from perfteach.plots.heatmap import describe_score_heatmap, score_heatmap
from perfteach.plots.images import confusion, describe_confusion, describe_example_predictions, example_predictions
from perfteach.plots.points import decision_boundary, describe_decision_boundary
from perfteach.plots.style import Picture, html, message, png, svg

__all__ = [
    "Picture",
    "arm_curves",
    "confusion",
    "decision_boundary",
    "describe_confusion",
    "describe_decision_boundary",
    "describe_example_predictions",
    "describe_forest",
    "describe_paired_differences",
    "describe_parameter_bars",
    "describe_pareto",
    "describe_score_heatmap",
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
