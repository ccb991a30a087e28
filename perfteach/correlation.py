"""The perforated learning rule: what a dendrite maximises, and the gradient it follows.

For one neuron n, with the dendrite's output V_p and the neuron's error E_p at each of P places (batch entries
times positions), Fahlman and Lebiere (1989) maximise the covariance

    S = | Σ_p (V_p − V̄)(E_p − Ē) |                 ∂S/∂V_p = sign(Σ …) (E_p − Ē)

and Brenner and Itti (arXiv 2501.18018) train dendrites of deep networks this way. The scale-free form is

    |r| = | cov | / (σ_V σ_E)                      ∂|r|/∂V_p = sign(cov) ((E_p − Ē)/σ_E − r (V_p − V̄)/σ_V) / (P σ_V)

Every neuron has its own dendrite, so everything below is done for C neurons at once, column by column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perfteach.errors import ConfigError

TINY = 1e-30  # keeps a neuron without error or a constant dendrite from dividing by zero


@dataclass(frozen=True)
class Moments:
    """Means, variances and covariance of dendrite output V and error E over P places, per neuron.

    Shapes: every tensor is [C]. `count` is the number of places P.
    """

    count: float
    mean_v: Tensor
    mean_e: Tensor
    var_v: Tensor
    var_e: Tensor
    cov: Tensor

    @classmethod
    def of(cls, v: Tensor, e: Tensor) -> Moments:
        """Moments of one batch. Shapes: v and e are [P, C]."""
        mean_v, mean_e = v.mean(0), e.mean(0)
        dv, de = v - mean_v, e - mean_e
        return cls(len(v), mean_v, mean_e, dv.square().mean(0), de.square().mean(0), (dv * de).mean(0))

    def pooled(self, other: Moments) -> Moments:
        """Moments of both sets of places together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        a, b = self.count / count, other.count / count
        dv, de = other.mean_v - self.mean_v, other.mean_e - self.mean_e
        return Moments(
            count,
            self.mean_v + b * dv,
            self.mean_e + b * de,
            a * self.var_v + b * other.var_v + a * b * dv.square(),
            a * self.var_e + b * other.var_e + a * b * de.square(),
            a * self.cov + b * other.cov + a * b * dv * de,
        )

    @property
    def r(self) -> Tensor:
        """Correlation of V and E per neuron, −1 to 1. Shape [C]."""
        return self.cov / ((self.var_v * self.var_e).sqrt() + TINY)


def covariance_gradient(v: Tensor, e: Tensor, m: Moments) -> Tensor:
    """∂S/∂V of the covariance rule. Shapes: v, e and the result are [P, C]."""
    return m.cov.sign() * (e - m.mean_e)


def correlation_gradient(v: Tensor, e: Tensor, m: Moments) -> Tensor:
    """∂|r|/∂V of the scale-free rule. Shapes: v, e and the result are [P, C]."""
    sigma_v, sigma_e = m.var_v.sqrt() + TINY, m.var_e.sqrt() + TINY
    alive = (m.var_v > 0) & (m.var_e > 0)
    pull = (e - m.mean_e) / sigma_e - m.r * (v - m.mean_v) / sigma_v
    return torch.where(alive, m.cov.sign() * pull / (len(v) * sigma_v), 0.0)


GRADIENTS = {"correlation": correlation_gradient, "covariance": covariance_gradient}


class Correlator:
    """Follows one layer's dendrites and errors through an epoch: gradient per batch, score per epoch.

    The sign and the means come from running moments, because a single batch of a late layer has so few places that
    the sign of a small covariance would be a coin toss. The score pools the moments of every batch of the epoch.

    Args:
        objective: "correlation" (scale-free) or "covariance" (1989).
        decay: weight of the past in the running moments, 0 to below 1; 0 uses each batch alone.
        shuffled: permute the places of E first; a control in which the error carries no signal.

    Raises:
        ConfigError: for an unknown objective or a decay outside 0 ≤ decay < 1.
    """

    def __init__(self, objective: str = "correlation", decay: float = 0.95, shuffled: bool = False) -> None:
        if objective not in GRADIENTS:
            raise ConfigError(f"unknown objective {objective!r}; choose one of {', '.join(GRADIENTS)}")
        if not 0 <= decay < 1:
            raise ConfigError(f"decay must be at least 0 and below 1, got {decay}")
        self.objective, self.decay, self.shuffled = objective, decay, shuffled
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget the running moments and the score."""
        self.running: Moments | None = None
        self.epoch: Moments | None = None

    def gradient(self, v: Tensor, e: Tensor) -> Tensor:
        """∂S/∂V for one batch, which also enters the running moments and the epoch's score.

        Shapes: v, e and the result are [P, C], P places and C neurons.
        """
        if self.shuffled:
            e = e[torch.randperm(len(e), device=e.device)]
        batch = Moments.of(v, e)
        self.epoch = batch if self.epoch is None else self.epoch.pooled(batch)
        self.running = batch if self.running is None else self._mixed(self.running, batch)
        return GRADIENTS[self.objective](v, e, self.running)

    def _mixed(self, old: Moments, new: Moments) -> Moments:
        # A count-weighted mix: old places fade with `decay`, so the first batches are not over-weighted.
        faded = Moments(old.count * self.decay, old.mean_v, old.mean_e, old.var_v, old.var_e, old.cov)
        return faded.pooled(new) if self.decay else new

    @property
    def scores(self) -> Tensor | None:
        """|r| of each neuron over the epoch so far, shape [C]; None before the first batch."""
        return None if self.epoch is None else self.epoch.r.abs()

    @property
    def score(self) -> float:
        """Mean |r| over the neurons, 0 to 1: the figure that is plotted. 0.0 before the first batch."""
        return 0.0 if self.scores is None else float(self.scores.mean())
