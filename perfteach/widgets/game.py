"""`SwitchGame`: two spirals are trained live, and the learner presses the switch; then the plateau rule plays too.

The trainer runs in a thread of its own, so the page stays awake, and one epoch is shown at a time. How many epochs
there are is fixed, so a slow machine takes longer and does not score worse.
"""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from statistics import fmean
from typing import Any

import traitlets
from torch import nn

from perfteach import settings
from perfteach.config import TrainConfig
from perfteach.data.points import small_network, two_spirals
from perfteach.phases import ManualSwitch, Phase, PlateauSwitch, SwitchRule
from perfteach.runs import Epoch, Run
from perfteach.selection import perforate
from perfteach.trainer import Callback, PerforatedTrainer
from perfteach.widgets.base import Panel, View, module
from perfteach.widgets.lab import FINE
from perfteach.widgets.monitor import answer_while_running
from perfteach.widgets.story import banner, learners, story
from perfteach.widgets.watch import CELLS, SHOWN, distances, margins, square, within

EPOCHS = 300
PACE = 0.25  # seconds from one epoch to the next at least: 300 of them take 75 seconds
CYCLES = 3
NAME = "the switch game"
RECIPE = {"cycles": CYCLES, "roll_back": False, "lr": 0.05, "dendrite_lr": 0.05, "weight_decay": 0.0, "batch_size": 250}
WAITS = "Press Start. Then watch, and press Switch when you think that a phase has given what it can."
HINTS = [
    "While neurons learn: does the green curve still fall? Epochs on a flat curve are lost to what comes after.",
    "While dendrites learn, border and error stand still. Watch the mean |r| instead: has it stopped rising?",
]
ABOUT = (
    "A game of about a minute for JupyterLab: five neurons learn two spirals live, you press the button that switches "
    "between the neurons' and the dendrites' phases, and your test error is compared with that of the plateau rule. "
    "It needs a running kernel; where you read this sentence there is none."
)

games: weakref.WeakSet[SwitchGame] = weakref.WeakSet()


class GameView(View):
    """The game in the browser: the problem once, the record so far, and the state after every epoch."""

    _esm = module("game")
    problem = traitlets.Dict().tag(sync=True)
    run = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)


class LastPhaseStays(PlateauSwitch):
    """The plateau rule, except that the last neuron phase takes the epochs that are left, as the learner's does."""

    def ended(self, phase: Phase, cycle: int, scores: list[float]) -> str | None:
        if phase is Phase.NEURON and cycle == CYCLES:
            return None
        return super().ended(phase, cycle, scores)


class Referee(Callback):
    """Ends a training after so many epochs, or when the game ends; shows each epoch of the learner's own."""

    def __init__(self, game: SwitchGame, shown: bool) -> None:
        self.game, self.shown, self._due = game, shown, time.monotonic()

    def on_epoch_end(self, trainer: PerforatedTrainer, record: Epoch) -> None:
        """Show it, and wait for the next one's time. A switch pressed meanwhile follows this epoch."""
        game = self.game
        if self.shown:
            game.show(trainer, record)
            self._due = max(time.monotonic(), self._due + game.pace)
            game.ending.wait(self._due - time.monotonic())
        if record.epoch >= game.epochs or game.ending.is_set():
            trainer.request_stop()


class SwitchGame(Panel):
    """Five neurons on two spirals, and a button that ends the phase. Nothing is trained before Start is pressed.

    A new game closes the one before it. While a game runs, let other cells wait: they share torch's random numbers.

    Args:
        seed: of the network's start, of the order of the points and of the dendrites.
        epochs: how many, for the learner and for the plateau rule alike.
        pace: seconds from one epoch to the next, at least.

    Raises:
        ConfigError: for a seed, epochs or pace out of range.
    """

    def __init__(self, seed: int = 0, *, epochs: int = EPOCHS, pace: float = PACE) -> None:
        for game in list(games):
            game.close()
        self.seed, self.epochs = settings.seed("seed", seed), settings.whole("epochs", epochs, 1)
        self.pace = settings.number("pace", pace, 0)
        self.data = two_spirals(1000, turns=1.4)
        self.played: list[PerforatedTrainer] = []  # the learner's, then the plateau rule's
        self.ending, self._telling = threading.Event(), threading.Lock()
        self.scored = False
        self._thread: threading.Thread | None = None
        self._grid = square(*self.data.extent, CELLS)
        self._before = b""  # the border while the newest dendrites learned
        points = self.data.validation
        places = within(self.data, points.inputs[:SHOWN]) | {"labels": points.labels[:SHOWN].tolist()}
        problem = {"title": "The switch game", "cells": CELLS, "points": places, "epochs": self.epochs}
        problem |= {"switches": 2 * CYCLES}
        super().__init__("The switch game", GameView(problem=problem, run={"opens": 0}, state=self._opening()))
        self.widget.on_msg(self.on_message)
        answer_while_running(self.widget)
        games.add(self)

    def _opening(self) -> dict[str, Any]:
        return {
            "stage": "ready", "says": "nobody learns yet", "frozen": "five neurons at their random start",
            "phase": "neuron", "epoch": 0, "left": self.epochs * self.pace, "switches": 0, "switchable": False,
            "said": WAITS, "notes": HINTS,
            "border": self._border(small_network(seed=self.seed)), "before": b"", "error": None, "follows": [],
        }  # fmt: skip

    @property
    def playing(self) -> bool:
        """Whether a training of this game is running: the learner's or, after it, the plateau rule's."""
        return self.widget.state["stage"] in ("plays", "rule")

    def on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any = None) -> None:
        """A button: start, the same again or with a new seed, switch after the epoch that is shown, or stop."""
        match content.get("do"), self.playing:
            case "start", False:
                self._start()
            case "new", False:
                self.seed += 1
                self._start()
            case "switch", True if self.widget.state["switchable"]:
                self._tell(switchable=False, said="Switch asked for: it comes after this epoch.")
                self.played[0].machine.request_switch()
            case "stop", True:
                self.ending.set()

    def _start(self) -> None:
        self.join()
        self.ending.clear()
        self.played, self.scored, self._before = [], False, b""
        self.widget.state = self._opening() | {"stage": "plays", "said": "The neurons learn: no dendrites yet."}
        self.widget.run = {"opens": 0}
        self._thread = threading.Thread(target=self._play, name=NAME, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread of this game has ended."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def close(self) -> None:
        """End the game and its thread, and take it off the page."""
        self.ending.set()
        self.join()
        self.widget.close()
        games.discard(self)

    def _play(self) -> None:
        warnings.filterwarnings("ignore", f"run '{NAME}'")  # whoever never switches has no dendrites, and sees that
        try:
            self._train(ManualSwitch(max_epochs=self.epochs), shown=True)
            if not self.ending.is_set():
                says, frozen = "the plateau rule plays", "the same start, as many epochs, nothing drawn"
                said = "Your time is over. Now the plateau rule plays from the same start; it takes a moment."
                self._tell(stage="rule", says=says, frozen=frozen, left=0, switchable=False, said=said)
                self._train(LastPhaseStays(), shown=False)
            if self.ending.is_set():
                said = "Stopped: nothing was scored. Play again whenever you like."
                self._tell(stage="over", says="stopped", frozen="", switchable=False, said=said)
            else:
                self._score()
        except Exception as error:
            self._tell(stage="over", says="stopped", frozen="", switchable=False, said=f"The game broke off: {error}")

    def _score(self) -> None:
        self.scored, yours = True, self.played[0]
        best = {"border": self._border(yours.model), "error": min(yours.run["validation_error"])}
        said = "Done. This was one game with one random start: another may end the other way."
        self._tell(stage="over", says=verdict(*self._errors()), frozen="", said=said, notes=self.results(), **best)

    def _train(self, rule: SwitchRule, shown: bool) -> None:
        model = perforate(small_network(seed=self.seed))
        config = TrainConfig(switch=rule, seed=self.seed, device="cpu", **RECIPE)  # type: ignore[arg-type]
        trainer = PerforatedTrainer(model, self.data, config, name=NAME, callbacks=[Referee(self, shown)])
        self.played.append(trainer)
        trainer.fit(progress=False)

    def show(self, trainer: PerforatedTrainer, record: Epoch) -> None:
        """Send what the page draws of an epoch."""
        run, switches, left = trainer.run, len(trainer.run.after("switch")), self.epochs - record.epoch
        says, frozen = banner(learners(run, record.dendritic, record.cycle))
        border = self._border(trainer.evaluated)
        self._before = border if record.dendritic else self._before
        asked = bool(trainer.machine.requested)
        now: dict[str, Any] = {"says": says, "frozen": frozen, "phase": record.phase, "epoch": record.epoch}
        now |= {"left": left * max(self.pace, fmean(run["seconds"][-10:])), "switches": switches, "border": border}
        now |= {"before": b"" if record.dendritic else self._before, "error": record.validation_error}
        now |= {"follows": [epoch.score for epoch in run.epochs]}
        if not asked and switches != self.widget.state["switches"]:
            now["said"] = f"Switch {switches} of {2 * CYCLES}, after epoch {record.epoch - 1}: {says}."
            if switches == 2 * CYCLES:
                now["said"] += " It was the last one: the neurons keep the time that is left."
        self._tell(switchable=not asked and switches < 2 * CYCLES, **now)
        self.widget.run = story(run, latest_scores=True)

    def _border(self, model: nn.Module) -> bytes:
        return distances(margins(model, self._grid), FINE).tobytes()

    def _tell(self, **changes: Any) -> None:
        with self._telling:
            self.widget.state = self.widget.state | changes

    def _errors(self) -> tuple[float, float]:
        yours, rules = (trainer.run.error for trainer in self.played)
        return yours, rules

    def results(self) -> list[str]:
        """Both test errors, one sentence each."""
        yours, rules = self._errors()
        mine, theirs = (after(trainer.run) for trainer in self.played)
        many = f"the {len(self.data.test):,} test points"
        return [
            f"Your network is wrong on {yours:.1f} % of {many}; you switched {mine}.",
            f"The plateau rule's network, with the same start and epochs, is wrong on {rules:.1f} %; it switched "
            f"{theirs}.",
        ]

    def summary(self) -> str:
        """What this is and, after a game, how it ended."""
        return " ".join(self.results()) if self.scored else ABOUT


def after(run: Run) -> str:
    """When a run switched, in words."""
    epochs = [str(epoch) for epoch in run.after("switch")]
    if len(epochs) < 2:
        return f"once, after epoch {epochs[0]}" if epochs else "never, so it has no dendrites"
    return f"{len(epochs)} times, after epochs {', '.join(epochs[:-1])} and {epochs[-1]}"


def verdict(yours: float, rules: float) -> str:
    """Who has fewer errors on the test points."""
    if round(yours, 1) == round(rules, 1):
        return "a draw"
    return f"{'you win' if yours < rules else 'the rule wins'} by {abs(yours - rules):.1f} points"
