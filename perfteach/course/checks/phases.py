"""Checks of notebook 03: the blocked gradient, the plateau rule, and what is restored after a dendrite phase."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perfteach.course.checks.core import (
    Wrong,
    call,
    exercise,
    require,
    require_close,
    require_equal,
    require_shape,
    require_type,
)
from perfteach.phases import Phase, PlateauSwitch


@exercise("A perforated layer")
def check_perforated_forward(answer: Any) -> str:
    """The learner's function takes (x, neuron, dendrite, w); returns neuron(x) + w · tanh(dendrite(x)), perforated."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        neuron, dendrite = nn.Linear(3, 2), nn.Linear(3, 2)
        w, x = nn.Parameter(torch.tensor([0.7, -1.2])), torch.randn(5, 3, requires_grad=True)
    h = call(answer, x, neuron, dendrite, w, hint="neuron and dendrite are modules: call them on x.")
    require_type(h, Tensor, hint="return the layer's output.")
    require_shape(h, (5, 2), hint="the output has the neurons' shape, [B, 2].")
    hint = "the values are those of neuron(x) + w · tanh(dendrite(x)); blocking a gradient changes no value."
    require_close(h, neuron(x) + w * dendrite(x).tanh(), hint)
    require(h.requires_grad, "an output without a gradient", "one that neuron and w can learn from", "detach x only.")
    h.square().sum().backward()
    through_neuron = 2 * h.detach() @ neuron.weight.detach()
    if x.grad is None:
        raise Wrong(
            "no gradient for x", "the neuron's part of it", "the neuron sees x itself, the dendrite x.detach()."
        )
    missing = not torch.allclose(x.grad, through_neuron, atol=1e-5)
    hint = "an error still flows through the dendrite: let it see x.detach()."
    require(not missing, "a gradient of x that the dendrite takes part in", "the neuron's part only", hint)
    hint = "detach the dendrite's input and not its output, so that the dendrite itself can still learn."
    require(dendrite.weight.grad is not None, "no gradient for the dendrite's weights", "a gradient", hint)
    require(w.grad is not None, "no gradient for w", "a gradient", "w learns in the neuron phase; leave it as it is.")
    return "the same values, and the error reaches x through the neuron alone."


@exercise("The plateau rule")
def check_plateau_ended(answer: Any) -> str:
    """The learner's function takes (scores, patience, min_gain) and says whether the phase is over."""
    cases: list[tuple[list[float], int, float, str]] = [
        ([50.0], 1, 0.1, "the first score is the best so far, so nothing has failed to rise yet"),
        ([50.0, 60.0, 70.0], 2, 0.1, "it rises at every epoch"),
        ([50.0, 60.0, 60.0], 2, 0.1, "only one epoch without gain, and patience is 2"),
        ([50.0, 60.0, 60.0, 60.0], 2, 0.1, "two epochs without gain, and patience is 2"),
        ([50.0, 60.0, 55.0, 57.0], 2, 0.1, "compare with the best score, and not with the one before"),
        ([60.0, 55.0, 61.0, 58.0], 2, 0.1, "the best came at the third epoch; the count begins again there"),
        ([60.0, 60.05, 60.08], 2, 0.1, "a gain below min_gain does not count"),
        ([60.0, 60.06, 60.12], 2, 0.1, "small gains add up: the last score is 0.12 above the best that counted"),
        ([60.0, 60.06, 60.12, 60.14], 2, 0.1, "the count begins again at 60.12, the last score that counted"),
        ([60.0, 60.1, 60.1], 2, 0.1, "a gain of exactly min_gain counts"),
        ([60.0, 60.0, 60.0], 2, 0.0, "with min_gain 0 a score still has to be higher than the best"),
    ]
    for scores, patience, gain, why in cases:
        wanted = PlateauSwitch(patience=patience, min_gain=gain).ended(Phase.NEURON, 0, scores) is not None
        ended = call(answer, list(scores), patience, gain)
        require_type(ended, bool, hint="return True or False.")
        hint = f"for scores {scores}, patience {patience}, min_gain {gain}: {why}."
        require_equal(ended, wanted, hint)
    return "the same verdicts as PlateauSwitch."


@exercise("Which dendrites are restored")
def check_best_epochs(answer: Any) -> str:
    """The learner's function takes dendrite-phase records and returns {layer: number of its best epoch}."""
    rows = [(9, 0.10, 0.40), (10, 0.30, 0.35), (11, 0.20, 0.50), (12, 0.25, 0.20)]
    records = [{"epoch": epoch, "scores": {"first": one, "second": two}} for epoch, one, two in rows]
    best = call(answer, records)
    require_type(best, dict, hint="one entry for each layer: its name and the number of its best epoch.")
    layers = sorted(map(str, best))
    require(layers == ["first", "second"], f"the layers {layers}", "the layers ['first', 'second']", "see 'scores'.")
    hints = {
        (1, 2): "return the record's own 'epoch', and not its place in the list.",
        (2, 3): "return the record's own 'epoch', and not its place in the list.",
        (11, 11): "each layer has a best epoch of its own; do not average over the layers.",
        (9, 12): "the best score is the highest.",
        (10, 10): "each layer has a best epoch of its own; do not take one layer's for all.",
    }
    found = (best["first"], best["second"])
    hint = hints.get(found, "for each layer the epoch with its highest score.")
    require_equal({name: best[name] for name in layers}, {"first": 10, "second": 11}, hint)
    return "each layer gets back its own best dendrites, from whichever epoch."
