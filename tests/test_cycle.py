"""The dendrite cycle in a loop of one's own: any model, any loss, any source of batches, one call an epoch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from perfteach.cycle import DendriteCycle, snapshot
from perfteach.dendrites import dendrite_counts
from perfteach.errors import ConfigError
from perfteach.phases import FixedSwitch, ManualSwitch, Phase
from perfteach.selection import perforate

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-loop.md"


def cycle(**how) -> DendriteCycle:
    torch.manual_seed(0)
    model = perforate(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
    return DendriteCycle(model, **({"switch": FixedSwitch((2, 2), dendrite=2), "roll_back": False} | how))


def epoch(one: DendriteCycle, score: float | None = None):
    one.train()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    one.model.zero_grad()
    x = torch.randn(16, 2)
    nn.functional.mse_loss(one.model(x), x.sum(1, keepdim=True) ** 2).backward()
    one.follow()
    optimizer.step()
    return one.step(score)


def test_the_documented_example_is_short_and_gains_dendrites_on_a_regression():
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(code, str(PAGE), "exec"), names)
    model, one = names["model"], names["cycle"]
    assert set(dendrite_counts(model).values()) == {1}
    x, wanted = names["check"]
    assert -nn.functional.mse_loss(model(x), wanted).item() == pytest.approx(one.best.score)
    assert one.best.score > -0.05, "the curve's own variance is 0.5"


def test_a_cycle_says_what_changed_and_who_learns_now():
    one = cycle()
    assert not epoch(one, 0.1) and one.phase is Phase.NEURON
    step = epoch(one, 0.2)
    assert step and [event.event for event in step.events] == ["restore", "switch"]
    assert one.phase is Phase.DENDRITE and one.cycle == 1
    dendrites = {id(p) for name, p in one.model.named_parameters() if ".dendrites." in name}
    assert {id(p) for p in one.parameters()} == dendrites
    function = one.model(torch.ones(1, 2))
    assert not epoch(one) and epoch(one), "a dendrite phase needs no score"
    assert torch.equal(one.model(torch.ones(1, 2)), function)
    assert not epoch(one, 0.3)
    last = epoch(one, 0.25)
    assert one.finished and last.events[-1].event == "stop" and one.best.epoch == 5
    assert all(torch.equal(value, one.best.state[name]) for name, value in one.model.state_dict().items())


def test_a_cycle_that_does_not_help_is_rolled_back():
    one = cycle(roll_back=True)
    for score in (0.5, 0.4, None, None, 0.3, 0.2):
        step = epoch(one, score)
    assert step.events[-1].event == "rollback" and "score 0.3 is not above the 0.5 before it" in step.events[-1].reason
    assert one.finished and set(dendrite_counts(one.model).values()) == {0} and one.best.epoch == 1


def test_the_weights_of_another_model_are_kept_where_they_are_given():
    one = cycle()
    other = {name: value + 1 for name, value in snapshot(one.model).items()}
    average = perforate(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
    average.load_state_dict(other)
    one.step(0.5, average)
    assert all(torch.equal(value, other[name]) for name, value in one.best.state.items())


@pytest.mark.parametrize("epochs", range(7))
def test_state_dict_brings_a_cycle_back_in_every_phase(epochs):
    scores = (0.1, 0.2, None, None, 0.15, 0.3)
    one = cycle()
    for score in scores[:epochs]:
        torch.manual_seed(epochs)
        epoch(one, score)
    twin = cycle()
    twin.model.load_state_dict(one.model.state_dict())
    twin.load_state_dict(one.state_dict())
    assert (twin.phase, twin.cycle, twin.epochs, twin.finished) == (one.phase, one.cycle, one.epochs, one.finished)
    for score in scores[epochs:]:
        for each in (one, twin):
            torch.manual_seed(7)
            step = epoch(each, score)
        del step
    assert all(torch.equal(value, twin.model.state_dict()[name]) for name, value in one.model.state_dict().items())


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_a_neuron_phase_needs_a_finite_score(score):
    with pytest.raises(ConfigError, match="finite score"):
        cycle().step(score)


def test_a_model_without_layers_is_refused_unless_nothing_grows():
    with pytest.raises(ConfigError, match="perforate"):
        DendriteCycle(nn.Linear(2, 1))
    plain = DendriteCycle(nn.Linear(2, 1), ManualSwitch(), grow=False)
    plain.machine.request_switch()
    assert plain.step(0.1) and plain.phase is Phase.NEURON and not plain.finished
    assert plain.stop(0.2).events[0].event == "stop" and plain.finished
