"""A run as the browser draws it: everything is decided and worded here, and sent once.

`story(run)` is a dictionary of plain values, texts, and bytes. Values by epoch are lists, texts belong to a phase.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from perfteach.runs import Band, Epoch, Run

CHANGES = {  # events that say what follows an epoch, and why
    "switch": "the phase switches",
    "rollback": "the last cycle is undone",
    "stop": "training ends",
}
DIGITS = {
    "train_error": 2,
    "validation_error": 2,
    "train_loss": 4,
    "validation_loss": 4,
    "lr": 8,
    "seconds": 3,
    "parameters": 0,
}
NO_LAYERS = "No layer of this run has had a dendrite phase, so there are no dendrites to show."
NO_EPOCHS = "This run has no epochs yet."


def story(run: Run, latest_scores: bool = False) -> dict[str, Any]:
    """What the explorer and the monitor show of a run.

    Args:
        run: finished or not.
        latest_scores: send only the scores of the last epoch, which is all that a growing picture needs.
    """
    scored = [record for record in run.epochs if record.scores]
    if latest_scores:
        scored = scored[-1:]
    highest = max((max(record.scores.values()) for record in scored), default=0.0)
    scores = np.array([[record.scores.get(name, math.nan) for name in run.layers] for record in scored], dtype="<f4")
    return {
        "name": run.name,
        "data": run.data_title,
        "finished": run.finished,
        "columns": {name: [_plain(value, digits) for value in run[name]] for name, digits in DIGITS.items()},
        "bands": [_band(run, band) for band in run.bands()],
        "starts": [band.first for band in run.bands()[1:]],
        "rollbacks": run.after("rollback"),
        "opens": opening(run),
        "rows": max((run.dendrites_at(record) for record in run.epochs), default=0),
        "layers": run.layers,
        "words": [layer_word(name, run.layers) for name in run.layers],
        "groups": groups(run.layers),
        "scored": [record.epoch for record in scored],
        "cycles": [record.cycle for record in scored],
        "scores": scores.tobytes(),
        "highest": highest or 1.0,
        "missing": "" if run.layers else NO_LAYERS,
    }


def opening(run: Run) -> int:
    """The epoch to begin with: the first in which dendrites learn, else the first; 0 where there is none."""
    dendritic = (record.epoch for record in run.epochs if record.dendritic)
    return next(dendritic, 1 if run.epochs else 0)


def learners(run: Run, dendritic: bool, cycle: int) -> list[bool]:
    """Who learns in a phase of a cycle: the neurons, the first dendrites, the second ones, and so on."""
    many = run.dendrites_at(Epoch(0, cycle=cycle))
    if dendritic:
        return [False, *(number == many for number in range(1, many + 1))]
    return [True, *[run.learns_together] * many]


def banner(learns: Sequence[bool]) -> tuple[str, str]:
    """Who learns and who is frozen, in as few words as possible."""
    neurons, *dendrites = learns
    if not neurons:
        older = len(dendrites) > 1 and not all(dendrites)
        return "dendrites learn", "neurons and older dendrites frozen" if older else "neurons frozen"
    if not dendrites:
        return "neurons learn", "no dendrites yet"
    if all(dendrites):
        return "neurons and dendrites learn", "nothing is frozen"
    return "neurons learn", "dendrites frozen"


def describe(run: Run, epoch: int) -> str:
    """What happens in an epoch: phase, who learns, what moves, why the phase began, and what follows it.

    Raises:
        ConfigError: when the run has no such epoch.
    """
    record = run.at(epoch)
    band = next(band for band in run.bands() if band.first <= epoch <= band.last)
    if record.score is None:
        numbers = f"Validation error {record.validation_error:.2f} %, training error {record.train_error:.2f} %."
    else:
        best = max(record.scores, key=record.scores.__getitem__)
        numbers = f"Mean |r| is {record.score:.4f}; the highest is {record.scores[best]:.4f}, in layer {best}."
    ends = _ends(run, band) if epoch == band.last else ""
    return " ".join(filter(None, [f"Epoch {epoch} of {len(run.epochs)}.", _what(run, band), numbers,
                                  _began(run, band), ends]))  # fmt: skip


def _band(run: Run, band: Band) -> dict[str, Any]:
    learns = learners(run, band.dendritic, band.cycle)
    says, frozen = banner(learns)
    return {
        "dendritic": band.dendritic,
        "cycle": band.cycle,
        "first": band.first,
        "last": band.last,
        "learns": learns,
        "says": says,
        "frozen": frozen,
        "what": _what(run, band),
        "began": _began(run, band),
        "ends": _ends(run, band),
    }


def _what(run: Run, band: Band) -> str:
    """Who learns in a phase, who is frozen, and what that does to the network."""
    many = run.dendrites_at(run.at(band.first))
    several = f"{many} dendrite{'s' if many > 1 else ''}"
    if band.dendritic:
        return (
            f"Dendrite phase: the newest dendrites (number {many} of each neuron) learn to follow their neuron's "
            "error; the neurons are frozen, so what the network computes does not change."
        )
    if not many:
        return "Neuron phase: the neurons learn; there is no dendrite yet."
    if run.learns_together:
        return f"Neuron phase: neurons, weights w and the {several} of each neuron learn together."
    return f"Neuron phase: the neurons and weights w learn; the {several} of each neuron are frozen."


def _began(run: Run, band: Band) -> str:
    """Why a phase began; from the run's events."""
    switches = [event for event in run.events if event.event == "switch" and event.epoch < band.first]
    if not switches:
        return "No switch yet: this is the first phase."
    return f"This phase began after epoch {switches[-1].epoch}: {switches[-1].reason}."


def _ends(run: Run, band: Band) -> str:
    """What follows the last epoch of a phase, and why."""
    said = []
    for event in run.events:
        if event.epoch == band.last and event.event in CHANGES:
            said.append(f"After this epoch {CHANGES[event.event]}: {event.reason}.")
        elif event.epoch == band.last and event.event == "restore":
            said.append(f"Then restored: {event.reason}.")
    return " ".join(said)


def _plain(value: float, digits: int) -> float | None:
    """A number that JSON can carry; None for what is not finite."""
    return round(value, digits) if math.isfinite(value) else None


def layer_word(name: str, among: Sequence[str]) -> str:
    """What a learner calls a layer: "hidden layer" in a small network, "block 4, squeeze" in a MobileNet."""
    if all(other.isdigit() for other in among):
        at, last = among.index(name), len(among) - 1
        return "output layer" if at == last else "hidden layer" if last == 1 else f"hidden layer {at + 1}"
    if found := re.fullmatch(r"features\.(\d+)\.block\.(\d+)\.(\w+)", name):
        number, place, part = found.groups()
        if part in ("fc1", "fc2"):
            return f"block {number}, {'squeeze' if part == 'fc1' else 'excite'}"
        expands = place == "0" and number != "1"  # the first block has nothing to expand
        return f"block {number}, {'expand' if expands else 'depthwise' if place in '01' else 'project'}"
    whole = {"features.0.0": "stem", "classifier.0": "head, hidden layer", "classifier.3": "head, output layer"}
    return whole.get(name, "last convolution" if re.fullmatch(r"features\.\d+\.0", name) else name)


def groups(layers: Sequence[str]) -> list[tuple[str, int, int]]:
    """Neighbouring layers with one short name: (name, first index, last index)."""
    found: list[tuple[str, int, int]] = []
    for index, layer in enumerate(layers):
        word = layer_word(layer, layers)
        short = {"stem": "stem", "last convolution": "last"}.get(word, word.partition(",")[0].removeprefix("block "))
        if short == layer:  # a network of the learner's own
            short = ".".join(layer.split(".")[:2])
        first = found.pop()[1] if found and found[-1][0] == short else index
        found.append((short, first, index))
    return found
