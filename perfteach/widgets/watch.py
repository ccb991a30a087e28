"""What a record leaves out and the explorer can show: the border in the plane by epoch, and |r| of every neuron."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from perfteach.data.points import PointData
from perfteach.dendrites import dendritic_layers
from perfteach.errors import ConfigError
from perfteach.metrics import eval_mode
from perfteach.trainer import Callback, PerforatedTrainer

if TYPE_CHECKING:
    from perfteach.runs import Epoch

CELLS = 48  # of the film, along each side
LEVELS, REACH = 12, 3.0  # steps on either side of the border, and the cells that they cover
SHOWN = 300  # points drawn
SPLIT = "validation"


class Watch(Callback):
    """Give it to the trainer beside other callbacks, and to the explorer after its run: `PhaseExplorer(run, watch)`.

    Args:
        data: two classes in the plane, whose border is filmed; None films nothing.

    Raises:
        ConfigError: for data with other than two classes.
    """

    def __init__(self, data: PointData | None = None) -> None:
        if data is not None and len(data.classes) != 2:
            raise ConfigError(f"the film tells two classes apart, and the data has {len(data.classes)}")
        self.data = data
        self.frames: list[np.ndarray] = []
        self.wrong: list[float] = []  # percent of the validation points, by epoch
        self.neurons: dict[int, dict[str, list[int]]] = {}  # by cycle and layer: |r| of each neuron, 1 as 255
        if data is not None:
            self.grid = square(*data.extent, CELLS)

    def on_epoch_end(self, trainer: PerforatedTrainer, record: Epoch) -> None:
        """Look at the network as the epoch has left it."""
        if record.dendritic:
            self.neurons[record.cycle] = {
                name: (255 * layer.correlator.scores).round().int().tolist()
                for name, layer in dendritic_layers(trainer.model)
                if layer.correlator and layer.correlator.scores is not None
            }
        if self.data is None:
            return
        points = getattr(self.data, SPLIT)
        margin = margins(trainer.evaluated, torch.cat([self.grid, points.inputs]))
        shown, answers = margin[: len(self.grid)], margin[len(self.grid) :] > 0
        self.wrong.append(round(100 * float((answers != points.labels.bool()).float().mean()), 2))
        self.frames.append(distances(shown))

    def story(self, layers: list[str]) -> dict[str, Any]:
        """What the explorer's story gains by it: the film, and the neurons' |r| by cycle in the order of the layers."""
        more: dict[str, Any] = {}
        if self.neurons:
            more["neurons"] = {
                str(cycle): [of_layer.get(name, []) for name in layers] for cycle, of_layer in self.neurons.items()
            }
        if self.data is not None and self.frames:
            points = getattr(self.data, SPLIT)
            more["film"] = {
                "cells": CELLS,
                "frames": packed(self.frames),
                "points": {**within(self.data, points.inputs[:SHOWN]), "labels": points.labels[:SHOWN].tolist()},
                "wrong": self.wrong,
                "split": SPLIT,
            }
        return more


def distances(margin: torch.Tensor, levels: int = LEVELS) -> np.ndarray:
    """About how many cells each place lies from the border, in steps of 1/levels of REACH; the sign is the class.

    The distance, not the margin, because a steep margin says nothing of where between two cells it crosses zero.
    """
    plane = margin.view(CELLS, CELLS)
    slope = torch.stack(torch.gradient(plane)).norm(dim=0).clamp_min(1e-6)
    return (levels * (plane / slope / REACH).clamp(-1, 1)).round().to(torch.int8).flatten().numpy()


def packed(frames: list[np.ndarray]) -> bytes:
    """Frames as differences to the one before, compressed: a border that stands still costs nothing."""
    stack = np.stack(frames)
    return zlib.compress(np.diff(stack, axis=0, prepend=np.zeros_like(stack[:1])).tobytes(), 9)


def within(data: PointData, inputs: torch.Tensor) -> dict[str, list[float]]:
    """Places as shares of the square's edge, 0 to 1 from the lower left."""
    low, high = data.extent
    x, y = ((inputs - low) / (high - low)).double().numpy().round(3).T.tolist()
    return {"x": x, "y": y}


def square(low: float, high: float, cells: int) -> torch.Tensor:
    """Places of a grid over the square, shape [cells², 2]: rows from below, each from the left."""
    line = torch.linspace(low, high, cells)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def margins(model: torch.nn.Module, places: torch.Tensor) -> torch.Tensor:
    """By how much the second class's logit exceeds the first's, shape [places]."""
    device = next(model.parameters()).device
    with torch.inference_mode(), eval_mode(model):
        logits = model(places.to(device))
    return (logits[:, 1] - logits[:, 0]).cpu()
