"""One neuron and one dendrite on a problem in the plane: the state of the correlation lab, without widgets.

    V = tanh(a·x + c)        h' = n·x + b + w V        p = σ(h')        E = ∂L/∂h' = p − y

The dendrite climbs |cov(V, E)| or |r| (see `perfteach.correlation`); after the switch, n, b and w learn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perfteach import settings
from perfteach.correlation import GRADIENTS, Moments
from perfteach.data.points import PointData
from perfteach.layer import DendriticLayer

LIMIT = 5.0  # weights and bias of the dendrite stay within ±LIMIT


class OneNeuron(nn.Module):
    """A single neuron with a single dendrite; outputs the two logits [0, h'], so it is a two-class model.

    Args:
        data: a two-class problem in the plane.
    """

    def __init__(self, data: PointData) -> None:
        super().__init__()
        self.data = data
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.layer = DendriticLayer(nn.Linear(2, 1))
            self.train_neuron()  # alone first: its error is what the dendrite will follow
            self.layer.add_dendrite()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x is [B, 2], the logits are [B, 2]."""
        h = self.layer(x)
        return torch.cat([torch.zeros_like(h), h], dim=1)

    @property
    def dendrite(self) -> tuple[float, float, float]:
        """The dendrite's two weights and its bias."""
        linear: Any = self.layer.dendrites[0]
        return float(linear.weight[0, 0]), float(linear.weight[0, 1]), float(linear.bias[0])

    @dendrite.setter
    def dendrite(self, values: tuple[float, float, float]) -> None:
        linear: Any = self.layer.dendrites[0]
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([values[:2]], dtype=torch.float64))
            linear.bias.fill_(values[2])

    @property
    def weight(self) -> float:
        """The dendrite-to-neuron weight w; 0 until the neuron has learned with its dendrite."""
        return float(self.layer.weights[0][0].detach())

    def error(self) -> Tensor:
        """E = p − y at every training point, shape [P, 1]."""
        with torch.no_grad():
            h = self.layer(self.data.train.inputs)
        return h.sigmoid() - self.data.train.labels[:, None]

    def output(self) -> Tensor:
        """The dendrite's output V at every training point, shape [P, 1]."""
        with torch.no_grad():
            return self.layer.dendrite_outputs(self.data.train.inputs)[0]

    def moments(self) -> Moments:
        """Means, variances and covariance of V and E over the training points."""
        return Moments.of(self.output(), self.error())

    def objective(self, name: str) -> float:
        """|cov| ("covariance") or |r| ("correlation") at the dendrite's present weights."""
        return float(_objective(self.moments(), name)[0])

    def gradient(self, name: str) -> tuple[float, float, float]:
        """Derivative of `objective(name)` by the dendrite's two weights and its bias.

        Raises:
            ConfigError: for an objective other than "covariance" and "correlation".
        """
        settings.text("objective", name, GRADIENTS)
        x, v, e = self.data.train.inputs, self.output(), self.error()
        by_v = GRADIENTS[name](v, e, Moments.of(v, e))
        if name == "covariance":
            by_v = by_v / len(v)  # the rule of 1989 is about the sum over the points, the picture about the mean
        by_a = by_v * (1 - v.square())  # the chain rule through tanh
        return float((by_a * x[:, :1]).sum()), float((by_a * x[:, 1:]).sum()), float(by_a.sum())

    def ascend(self, name: str, rate: float, steps: int = 1) -> None:
        """Steps of plain gradient ascent on the dendrite; its numbers stay within ±5."""
        for _ in range(steps):
            moved = [
                max(-LIMIT, min(LIMIT, p + rate * g)) for p, g in zip(self.dendrite, self.gradient(name), strict=True)
            ]
            self.dendrite = (moved[0], moved[1], moved[2])

    def landscape(self, name: str, cells: int = 41) -> tuple[Tensor, Tensor]:
        """The objective over the plane of the dendrite's two weights, at its present bias.

        Returns:
            The grid's values of a weight, shape [cells], and the objective, shape [second weight, first weight].
        """
        grid = torch.linspace(-LIMIT, LIMIT, cells)
        a1, a2 = torch.meshgrid(grid, grid, indexing="xy")
        weights = torch.stack([a1.flatten(), a2.flatten()])  # [2, cells²]
        v = torch.tanh(self.data.train.inputs @ weights + self.dendrite[2])
        moments = Moments.of(v, self.error().expand_as(v))
        return grid, _objective(moments, name).view(cells, cells)

    def train_neuron(self, steps: int = 200, rate: float = 0.1) -> None:
        """The neuron phase: the neuron's weights and bias learn, and w once the dendrite has a use."""
        neuron: Any = self.layer.neuron
        learning = [*neuron.parameters(), *self.layer.weights]
        optimizer = torch.optim.Adam(learning, lr=rate)
        x, y = self.data.train.inputs, self.data.train.labels
        with torch.enable_grad():
            for _ in range(steps):
                loss = nn.functional.cross_entropy(self(x), y)
                for parameter, slope in zip(learning, torch.autograd.grad(loss, learning), strict=True):
                    parameter.grad = slope
                optimizer.step()

    def wrong(self) -> float:
        """Training points on the wrong side of the boundary, in percent."""
        with torch.no_grad():
            predicted = self(self.data.train.inputs).argmax(1)
        return 100 * float((predicted != self.data.train.labels).float().mean())


def _objective(moments: Moments, name: str) -> Tensor:
    return moments.cov.abs() if name == "covariance" else moments.r.abs()
