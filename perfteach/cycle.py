"""The dendrite cycle: train the neurons, grow, train the dendrites, keep what was best. One call an epoch.

    cycle = DendriteCycle(perforate(model), PlateauSwitch())
    while not cycle.finished:
        optimizer = torch.optim.Adam(cycle.parameters())  # new at each switch
        changed = False
        while not changed:
            cycle.train()
            for x, y in loader:
                optimizer.zero_grad()
                loss(model(x), y).backward()
                cycle.follow()
                optimizer.step()
            changed = bool(cycle.step(score()))

Any model, any loss and any source of batches will do. The cycle owns the phase machine, the best weights of the run and
of the phase, and each layer's best dendrites; it grows, restores and rolls back, and returns what it did.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from perfteach import dendrites, ranks, settings
from perfteach.dendrites import add_dendrites, calibrate, dendritic_layers, follow_errors, set_training
from perfteach.errors import ConfigError
from perfteach.phases import Action, FixedSwitch, Phase, PhaseMachine, SwitchRule
from perfteach.runs import Event

State = dict[str, Tensor]
Source = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass
class Kept:
    """Weights worth keeping: those of the epoch with the best score."""

    epoch: int
    score: float
    state: State


@dataclass(frozen=True)
class Step:
    """What an epoch led to. It is true where other parameters learn from now on, which need a new optimiser."""

    changed: bool
    events: tuple[Event, ...] = ()

    def __bool__(self) -> bool:
        return self.changed


class DendriteCycle:
    """Alternates neuron and dendrite phases over a model, told once an epoch how good it is.

    A model without dendritic layers is trained in one neuron phase, or with `grow=False` in several.

    Args:
        model: usually after `perforate(model)`; changed in place.
        switch: when phases end; `FixedSwitch()` if left out.
        cycles: at most so many; each gives every neuron one more dendrite.
        grow: False keeps the cycles' restarts and reloads but grows nothing.
        thaw: let dendrites go on learning from their own neuron's error in the neuron phases.
        roll_back: undo a cycle that did not raise the best score, and end.
        seed: of the start of new dendrites.
        batches: returns pairs of inputs and labels; needed only where dendrites never learn, to calibrate their norms.

    Raises:
        ConfigError: when dendrites are asked for and the model has no layers for them or was compiled, when nothing in
            the model can learn, or a setting has another type or range.
    """

    def __init__(
        self,
        model: nn.Module,
        switch: SwitchRule | None = None,
        *,
        cycles: int = 1,
        grow: bool = True,
        thaw: bool = False,
        roll_back: bool = True,
        seed: int = 0,
        batches: Source | None = None,
    ) -> None:
        settings.a(nn.Module, "model", model, "a torch.nn.Module")
        grow, thaw, roll_back = (
            settings.flag(name, value) for name, value in (("grow", grow), ("thaw", thaw), ("roll_back", roll_back))
        )
        cycles, seed = settings.whole("cycles", cycles), settings.seed("seed", seed)
        if batches is not None and not callable(batches):
            raise ConfigError(f"batches is {settings.said(batches)}; use a function that returns pairs, or None")
        rules = {layer.rule for _, layer in dendritic_layers(model)}
        if grow and cycles and not rules:
            raise ConfigError(
                "dendrites are asked for but the model has no dendritic layers; "
                "call perforate(model) first, or set cycles=0 to train without"
            )
        phases = grow and all(rule.has_dendrite_phase for rule in rules)
        if grow and cycles and not phases and any(rule.has_dendrite_phase for rule in rules):
            raise ConfigError(
                f"the layers have the rules {', '.join(sorted(rules))}, and those of gradient alone have no phase of "
                "their own; give all layers one rule"
            )
        rule = FixedSwitch() if switch is None else switch
        self.machine = PhaseMachine(rule, cycles, roll_back, dendrite_phase=phases)
        if phases and cycles:
            dendrites.require_hooks(model)
        self.model, self.grow, self.thaw, self.seed, self.batches = model, grow, thaw, seed, batches
        self.epochs = 0  # that are over
        self.start = snapshot(model)
        self.best: Kept | None = None  # of the whole run
        self.phase_best: Kept | None = None  # of this neuron phase
        self.layer_best: dict[str, tuple[float, State]] = {}  # of this dendrite phase: best dendrites by layer
        self._followed = False  # whether errors were followed in this epoch, so that its scores have begun
        self.train()
        if not self.parameters():
            raise ConfigError("nothing in the model can learn: it has no parameters, or all of them are frozen")

    @property
    def phase(self) -> Phase:
        """Who learns now."""
        return self.machine.phase

    @property
    def cycle(self) -> int:
        """Cycles begun, which is how many dendrites each neuron has been given."""
        return self.machine.cycle

    @property
    def finished(self) -> bool:
        """Whether training has ended; the model then has its best weights."""
        return self.machine.finished

    def train(self) -> None:
        """Put the model into training in the present phase, as `model.train()` would, once an epoch or more often."""
        if self._followed:
            dendrites.set_modes(self.model, self.phase)
        else:
            set_training(self.model, self.phase, self.thaw)

    def parameters(self) -> list[nn.Parameter]:
        """The tensors that learn in the present phase: build a new optimiser over them after each switch."""
        return dendrites.trainable(self.model)

    def follow(self) -> None:
        """After `loss.backward()`: in a dendrite phase give the newest dendrites their gradients; else nothing.

        Raises:
            ConfigError: when layers with new dendrites were called, and none of them has heard an error.
        """
        if self.phase is Phase.DENDRITE:
            self._followed |= follow_errors(self.model)

    def step(self, score: float | None = None, weights: nn.Module | None = None) -> Step:
        """Say that an epoch is over, and how good the model is now.

        Args:
            score: higher is better, such as validation accuracy in percent, or minus the validation loss. A dendrite
                phase does not need one, because the model's function does not change: it is judged by its mean |r|.
            weights: the model whose weights are kept where that is another than the trained one, such as a running
                average of it, made anew after each switch.

        Raises:
            ConfigError: without a score in a neuron phase, for one that is not finite, after the end, in a dendrite
                phase in which no error was followed, or for weights of another network.
        """
        ended = self.phase
        decision = self.machine.observe(self._keep_best(score, self._same_network(weights)))
        if decision.action is Action.CONTINUE:
            return Step(False)
        events = []
        if decision.action is Action.SWITCH:
            events.append(self._event("restore", self._restore(ended), ended))
            self.model.zero_grad()  # those who learn no more would keep what the last batch left
            self.train()
        else:
            self.restore_best()
        events.append(self._event(decision.action.value, decision.reason, ended))
        return Step(True, tuple(events))

    def stop(self, score: float | None = None, weights: nn.Module | None = None) -> Step:
        """End training with the epoch that is over, and give the model the best weights. Arguments as for `step`."""
        ended = self.phase
        self._keep_best(score, self._same_network(weights))
        self.machine.finished = True
        self.restore_best()
        return Step(True, (self._event("stop", "asked for by hand; the best weights are kept", ended),))

    def restore_best(self) -> str:
        """Give the model the best weights of the run, or those of the start where there are none; says which."""
        set_training(self.model, Phase.NEURON, self.thaw)  # by hand it can end in a dendrite phase
        self.model.load_state_dict(self.best.state if self.best else self.start)
        return f"the weights of epoch {self.best.epoch}" if self.best else "the weights of the start"

    def replay(self, scores: list[float], best: Kept) -> Step:
        """Take over a first neuron phase that was trained elsewhere: its score by epoch, and its best weights.

        Returns:
            What the phase's last epoch leads to.
        """
        self.model.load_state_dict(best.state)
        self.best = self.phase_best = best
        for score in scores[:-1]:
            self.machine.observe(score)
        self.epochs = len(scores) - 1
        return self.step(scores[-1])

    def _same_network(self, weights: nn.Module | None) -> nn.Module:
        """What `weights` of a step stands for, checked before it is kept: the best are to be loaded into the model."""
        model = weights.module if isinstance(weights, AveragedModel) else weights
        if model is None or model is self.model:
            return self.model
        settings.a(nn.Module, "weights", model, "a torch.nn.Module")
        if model.state_dict().keys() != self.model.state_dict().keys():
            raise ConfigError("weights is not of the model's form; make a new average of it after each switch")
        return model

    def _keep_best(self, score: float | None, model: nn.Module) -> float:
        """Count the epoch and keep its weights where they are the best; returns what the phase is judged by."""
        ranks.align(model)
        self._followed = False
        if self.phase is Phase.DENDRITE:
            return self._keep_best_dendrites()
        score = settings.number("score of a neuron phase, which needs a finite score such as its accuracy,", score)
        score = ranks.agreed(score)
        self.epochs += 1
        if not self.phase_best or score > self.phase_best.score:
            self.phase_best = Kept(self.epochs, score, snapshot(model))
        if not self.best or score > self.best.score:
            self.best = self.phase_best
        return score

    def _keep_best_dendrites(self) -> float:
        scores = dendrites.scores(self.model)
        if not scores:
            raise ConfigError("no dendrite followed an error in this epoch; call cycle.follow() after loss.backward()")
        self.epochs += 1
        for name, layer in dendritic_layers(self.model):
            score = scores.get(name, 0.0)
            if name not in self.layer_best or score > self.layer_best[name][0]:
                self.layer_best[name] = (score, snapshot(layer))
        return sum(scores.values()) / len(scores)

    def _restore(self, ended: Phase) -> str:
        """Bring back the best of the phase that ended, and grow where a new cycle begins; says what came back."""
        if ended is Phase.NEURON:
            best = self.phase_best
            assert best is not None
            self.model.load_state_dict(best.state)
            said = f"neurons of epoch {best.epoch}, {self.machine.score_format.format(best.score)}"
            if self.grow:
                self._grow()
        else:
            scores = dendrites.scores(self.model)
            for name, layer in dendritic_layers(self.model):
                layer.load_state_dict(self.layer_best[name][1])
            best_scores = [score for score, _ in self.layer_best.values()]
            mean = sum(best_scores) / len(best_scores) if best_scores else 0.0
            said = f"each layer's best dendrites, mean |r| {mean:.4f}"
            still = [name for name, (score, _) in self.layer_best.items() if not score]
            for heard, why in ((False, "no error reached"), (True, "errors or dendrites do not vary in")):
                if names := [name for name in still if (name in scores) == heard]:
                    said += f"; {why} {', '.join(names)}, so dendrites there stay as random as they were drawn"
            if still:
                warnings.warn(said, stacklevel=3)
        self.layer_best = {}
        if self.phase is Phase.NEURON:
            self.phase_best = None
        return said

    def _grow(self) -> None:
        device = next(self.model.parameters()).device
        with seeded(2 * epoch_seed(self.seed, self.epochs) + 1, device):
            add_dendrites(self.model)
        if self.phase is Phase.NEURON and self.batches:  # frozen as they were drawn: the control `random`
            calibrate(self.model, self.batches())

    def _event(self, event: str, reason: str, phase: Phase) -> Event:
        return Event(self.epochs, event, reason, phase.value)

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes while training, the model's own weights left out: plain values and tensors."""
        kept = {"best": self.best, "phase_best": self.phase_best}
        return {
            "machine": self.machine.state_dict(),
            "epochs": self.epochs,
            **{name: vars(value) if value else None for name, value in kept.items()},
            "layer_best": {name: list(pair) for name, pair in self.layer_best.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; the model has to have its weights already."""
        self.machine.load_state_dict(state["machine"])
        self.epochs = state["epochs"]
        self.best, self.phase_best = (Kept(**state[name]) if state[name] else None for name in ("best", "phase_best"))
        self.layer_best = {name: (score, kept) for name, (score, kept) in state["layer_best"].items()}
        self._followed = False
        if self.finished:  # by hand in a dendrite phase, perhaps, and the best weights need not have its dendrites
            set_training(self.model, Phase.NEURON, self.thaw)
        else:
            self.train()


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of everything random in an epoch, so that a resumed run draws what the whole one draws."""
    return seed * 1_000_003 + epoch


def snapshot(module: nn.Module) -> State:
    """A deep copy of the state: `state_dict()` alone would go on changing with the module."""
    state: State = copied(dict(module.state_dict()))  # of more than tensors, with a module's own `get_extra_state`
    return state


def copied(value: Any) -> Any:
    """As `copy.deepcopy`, which takes fifteen times as long for a tensor, and would be 2 % of a short epoch."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(copied(item) for item in value)
    return copy.deepcopy(value)


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block with torch's global random state seeded, and put the caller's state back afterwards."""
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
