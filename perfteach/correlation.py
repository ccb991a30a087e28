"""The perforated learning rule: what a dendrite maximises, and the gradient it follows.

For one neuron n, with the dendrite's output V_p and the neuron's error E_p at each of P places (batch entries
times positions), Fahlman and Lebiere (1989) maximise the covariance

    S = | Σ_p (V_p − V̄)(E_p − Ē) |                 ∂S/∂V_p = sign(Σ …) (E_p − Ē)

and Brenner and Itti (arXiv 2501.18018) train dendrites of deep networks this way. The scale-free form is

    |r| = | cov | / (σ_V σ_E)                      ∂|r|/∂V_p = sign(cov) ((E_p − Ē)/σ_E − r (V_p − V̄)/σ_V) / (P σ_V)

Every neuron has its own dendrite, so everything below is done for C neurons at once, column by column.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor

from perfteach import ranks, settings

TINY = 1e-30  # keeps a neuron without error or a constant dendrite from dividing by zero
ROUNDING = 1e-12  # variance by squared mean, below which a column counts as constant in single precision


class Rule(StrEnum):
    """How dendrites learn."""

    PERFORATED = "perforated"  # the scale-free correlation
    COVARIANCE = "covariance"  # the covariance of 1989
    SHUFFLED = "shuffled"  # the correlation with shuffled errors, a control
    GRADIENT = "gradient"  # joint backpropagation, a control

    @classmethod
    def of(cls, name: str) -> Rule:
        """The rule of that name.

        Raises:
            ConfigError: when there is none.
        """
        return cls(settings.text("rule", name, [rule.value for rule in cls]))

    @property
    def has_dendrite_phase(self) -> bool:
        """Whether dendrites learn in a phase of their own, from their neuron's error. If not, errors flow back through
        them to earlier layers, and so reach them in the neuron phase."""
        return self is not Rule.GRADIENT

    def correlator(self) -> Correlator | None:
        """What follows one layer's dendrites and errors; None where nothing is correlated."""
        if not self.has_dendrite_phase:
            return None
        objective = "covariance" if self is Rule.COVARIANCE else "correlation"
        return Correlator(objective, shuffled=self is Rule.SHUFFLED)


class Moments:
    """Means, variances and covariance of dendrite output V and error E over P places, per neuron.

    Kept as sums over places, so that two sets of places are pooled by adding; in float64, so that nothing is lost.

    Attributes:
        count: the number of places P.
        sums: ΣV, ΣE, ΣV², ΣE², ΣVE, shape [5, C].
        means, variances: of V and of E, shape [2, C].
        cov: shape [C].
    """

    def __init__(self, count: float, sums: Tensor) -> None:
        self.count, self.sums = count, sums

    @cached_property
    def _by_place(self) -> Tensor:
        return self.sums / (self.count or 1)

    @property
    def means(self) -> Tensor:
        return self._by_place[:2]

    @cached_property
    def variances(self) -> Tensor:
        return (self._by_place[2:4] - self.means.square()).clamp_min(0)

    @cached_property
    def cov(self) -> Tensor:
        return self._by_place[4] - self.means[0] * self.means[1]

    @classmethod
    def of(cls, v: Tensor, e: Tensor) -> Moments:
        """Moments of one batch. Shapes: v and e are [P, C]; a P of 0 is fine."""
        if not len(v):
            return cls(0.0, v.new_zeros(5, v.shape[1], dtype=torch.float64))
        mean_v, mean_e = v.mean(0), e.mean(0)
        dv, de = v - mean_v, e - mean_e  # centred first: in single precision the squares would cancel
        cov = (dv * de).mean(0)
        spread = torch.stack([mean_v, mean_e, dv.square_().mean(0), de.square_().mean(0), cov]).double()
        spread[2:4] += spread[:2].square()
        spread[4] += spread[0] * spread[1]
        return cls(float(len(v)), spread * len(v))

    def pooled(self, other: Moments, weight: float = 1.0) -> Moments:
        """Moments of both sets of places together, the places of this one counted `weight` times."""
        return Moments(weight * self.count + other.count, weight * self.sums + other.sums)

    def of_all_ranks(self) -> Moments:
        """The moments of what all processes have that train together."""
        if ranks.count() == 1:
            return self
        places = self.sums.new_tensor([self.count])
        ranks.add_up(self.sums, places)
        return Moments(float(places), self.sums)

    @cached_property
    def alive(self) -> Tensor:
        """Where both V and E vary. A constant has the variance of its rounding errors, and dividing by that would
        explode. Shape [C]."""
        return (self.variances > ROUNDING * self.means.square()).all(0)

    @property
    def r(self) -> Tensor:
        """Correlation of V and E per neuron, −1 to 1; 0 where one of them is constant. Shape [C]."""
        return self.alive * self.cov / (self.variances.prod(0).sqrt() + TINY)


def covariance_gradient(v: Tensor, e: Tensor, m: Moments, places: float = 0) -> Tensor:
    """∂S/∂V of the covariance rule. Shapes: v, e and the result are [P, C]."""
    return m.cov.sign().to(e.dtype) * (e - m.means[1].to(e.dtype))


def correlation_gradient(v: Tensor, e: Tensor, m: Moments, places: float = 0) -> Tensor:
    """∂|r|/∂V of the scale-free rule. Shapes: v, e and the result are [P, C]; these P can be part of more `places`."""
    (sigma_v, sigma_e), (mean_v, mean_e) = m.variances.sqrt() + TINY, m.means
    pull = m.cov.sign() * m.alive / ((places or len(v)) * sigma_v)
    by_e, by_v = pull / sigma_e, -pull * m.r / sigma_v  # the formula, sorted by what stands before E_p and V_p
    rest = -by_e * mean_e - by_v * mean_v
    return torch.addcmul(rest.to(v.dtype), v, by_v.to(v.dtype)).addcmul_(e, by_e.to(v.dtype))


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
        settings.text("objective", objective, GRADIENTS)
        decay = settings.number("decay", decay, 0, 1, below=True)
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
        batch = Moments.of(v, e).of_all_ranks()
        if not batch.count:  # the layer was called with no rows, as an expert is to which no example was sent
            return torch.zeros_like(v)
        if not batch.sums.isfinite().all():  # it costs its own step only, which a guard against such steps leaves out
            return torch.full_like(v, torch.nan)
        self.epoch = batch if self.epoch is None else self.epoch.pooled(batch)
        self.running = batch if self.running is None else self.running.pooled(batch, weight=self.decay)
        return GRADIENTS[self.objective](v, e, self.running, batch.count)

    @property
    def scores(self) -> Tensor | None:
        """|r| of each neuron over the epoch so far, shape [C]; None before the first batch."""
        return None if self.epoch is None else self.epoch.r.abs()

    @property
    def score(self) -> float:
        """Mean |r| over the neurons, 0 to 1: the figure that is plotted. 0.0 before the first batch."""
        return 0.0 if self.scores is None else float(self.scores.mean())
