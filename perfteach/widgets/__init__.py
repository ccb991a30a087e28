"""Widgets of the course. Python decides and words, small JavaScript modules beside it draw; nothing needs a network.

* `PhaseExplorer(run)`: scrub and play through a run, epoch by epoch.
* `PhaseMonitor()`: a callback that shows a training while it runs, with buttons that work meanwhile.
* `PhaseBar()`: a callback with one line for a live cell: phase, epoch, time left.
* `Watch(points)`: a callback that keeps what a record leaves out and the explorer can show.
* `CorrelationLab()`: one neuron and one dendrite on a problem in the plane.
* `SwitchGame()`: two spirals live, a button that switches the phase, and the plateau rule as the opponent.
* `BudgetDesigner(runs)`: width, head and dendrites against parameters, arithmetic and file size.
* `RunCompare(runs)`: arms and seeds side by side, with the interval of the paired difference.
* `PictureReader(picture)`: what a trained network sees in a picture that is chosen or uploaded.

Each shows itself as a widget, and as a still picture with its text where widgets cannot run. Each works from the
keyboard alone. A slider has no name of its own for a screen reader, so every slider is tied to a named number box
next to it that does the same.
"""

from __future__ import annotations

from perfteach.extras import need

need("course", "ipywidgets", "anywidget")

from perfteach.widgets.bar import PhaseBar
from perfteach.widgets.budget import BudgetDesigner
from perfteach.widgets.compare import RunCompare
from perfteach.widgets.explorer import PhaseExplorer
from perfteach.widgets.game import SwitchGame
from perfteach.widgets.lab import CorrelationLab
from perfteach.widgets.monitor import PhaseMonitor
from perfteach.widgets.picture import PictureReader
from perfteach.widgets.watch import Watch

__all__ = [
    "BudgetDesigner",
    "CorrelationLab",
    "PhaseBar",
    "PhaseExplorer",
    "PhaseMonitor",
    "PictureReader",
    "RunCompare",
    "SwitchGame",
    "Watch",
]
