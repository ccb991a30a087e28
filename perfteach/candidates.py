"""Several random candidates a neuron, of which the one with the best score becomes its dendrite.

Fahlman and Lebiere (1989) train a pool of candidate units and install the best of them. Here the candidates are drawn
and scored but do not learn, so that a study can ask what the learning itself is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor, nn

from perfteach import settings
from perfteach.cycle import epoch_seed, seeded, snapshot
from perfteach.dendrites import dendritic_layers, set_phase
from perfteach.errors import ConfigError
from perfteach.phases import Phase
from perfteach.runs import Event
from perfteach.trainer import Callback, PerforatedTrainer

OWN_SEED = 500_000_003  # added to the epoch's, whose draws the first candidate has
BATCHES = 100  # that a candidate is scored on: in the stem of 32×32 images 13 million places


def keep_best(
    model: nn.Module,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    loss: Callable[[Tensor, Tensor], Tensor],
    candidates: int = 8,
) -> dict[str, Tensor]:
    """Give every neuron the best of several random candidates in place of its newest dendrite.

    The newest dendrite is the first candidate; the others are drawn from torch's random state. All of them see the
    same batches and learn nothing from them but their norms' statistics. The model is left in a dendrite phase.

    Args:
        model: perforated, with dendrites whose weights w are still zero.
        batches: returns the pairs of inputs and labels that candidates are scored on.
        loss: of the model's output and the labels.

    Returns:
        By layer, |r| of each neuron's chosen candidate, shape [C].

    Raises:
        ConfigError: when there is no new dendrite, under the gradient rule, or without batches.
    """
    candidates = settings.whole("candidates", candidates, 1)
    set_phase(model, Phase.DENDRITE)
    layers = {name: layer for name, layer in dendritic_layers(model) if layer.fresh}
    state = {name: snapshot(layer.dendrites[-1]) for name, layer in layers.items()}  # of the best so far
    best = {name: torch.full_like(layer.weights[-1].detach(), -1) for name, layer in layers.items()}
    for number in range(candidates):
        if number:
            for layer in layers.values():
                layer.remove_dendrite()
                layer.add_dendrite()
            set_phase(model, Phase.DENDRITE)
        for x, y in batches():
            loss(model(x), y).backward()
            for layer in layers.values():
                layer.objective_gradient()  # for the scores alone
        for name, layer in layers.items():
            scores = layer.correlator.scores if layer.correlator else None
            if scores is None:
                raise ConfigError("candidates have to be scored on at least one batch; batches() returned none")
            better = scores > best[name]
            best[name] = torch.where(better, scores.to(best[name].dtype), best[name])
            for key, tensor in layer.dendrites[-1].state_dict().items():
                if tensor.dim():  # a norm's counter of batches is the same for all
                    state[name][key][better] = tensor[better]
    for name, layer in layers.items():
        layer.dendrites[-1].load_state_dict(state[name])
    return best


class BestOfRandom(Callback):
    """In a trainer: when dendrites have grown, each neuron keeps the best of several random candidates."""

    def __init__(self, candidates: int = 8) -> None:
        self.candidates = settings.whole("candidates", candidates, 1)

    def on_event(self, trainer: PerforatedTrainer, event: Event) -> None:
        if event.event != "switch" or not any(la.has_new_dendrite for _, la in dendritic_layers(trainer.model)):
            return
        config, seed = trainer.config, epoch_seed(trainer.config.seed, event.epoch) + OWN_SEED

        def batches() -> Iterable[tuple[Tensor, Tensor]]:
            how = {"shuffle": True, "seed": seed, "size": config.size, "device": trainer.device}
            found = islice(trainer.data.batches("train", config.batch_size, **how), BATCHES)
            return trainer.interrupts.between(found)

        with seeded(seed, trainer.device):
            keep_best(trainer.model, batches, config.loss, self.candidates)
        trainer.cycle.train()
