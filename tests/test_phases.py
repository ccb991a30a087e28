"""The switch rules as a state machine: no sequence of scores gets it stuck or skips a phase."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfteach.errors import ConfigError
from perfteach.phases import Action, FixedSwitch, ManualSwitch, Phase, PhaseMachine, PlateauSwitch

rules = st.one_of(
    st.builds(FixedSwitch, st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), dendrite=st.integers(0, 4)),
    st.builds(
        PlateauSwitch,
        patience=st.integers(1, 4),
        min_gain=st.floats(0, 2),
        dendrite_patience=st.integers(1, 4),
        dendrite_min_gain=st.floats(0, 0.1),
        max_epochs=st.integers(1, 12),
    ),
    st.builds(ManualSwitch, max_epochs=st.integers(1, 12)),
)
machines = st.builds(PhaseMachine, rules, cycles=st.integers(0, 4), roll_back=st.booleans())


@settings(deadline=None)
@given(machines, st.lists(st.floats(0, 100), min_size=200, max_size=200), st.sets(st.integers(0, 199)))
def test_no_sequence_of_scores_gets_it_stuck_or_skips_a_phase(machine, scores, presses):
    """12 epochs a phase at most, 4 cycles of two phases at most: 108 epochs must be enough, whatever the scores."""
    silent = getattr(machine.rule, "dendrite", 1) == 0  # dendrite phases of no epochs
    visited = [(machine.phase, machine.cycle)]
    for epoch, score in enumerate(scores):
        if machine.finished:
            break
        if epoch in presses:
            machine.request_switch()
        decision = machine.observe(score)
        assert decision.reason or decision.action is Action.CONTINUE
        if (machine.phase, machine.cycle) != visited[-1]:
            assert decision.action is Action.SWITCH
            visited.append((machine.phase, machine.cycle))
    assert machine.finished and epoch < 9 * 12 + 1
    order = [(Phase.NEURON, 0)]
    for cycle in range(1, machine.cycles + 1):
        order += [(Phase.NEURON, cycle)] if silent else [(Phase.DENDRITE, cycle), (Phase.NEURON, cycle)]
    assert visited == order[: len(visited)], "the phases come in order, none is skipped"
    assert visited[-1][0] is Phase.NEURON, "training never ends in the middle of a cycle"
    if not machine.roll_back:
        assert visited == order, "without rollback every cycle is run"


@settings(deadline=None)
@given(machines, st.lists(st.floats(0, 100), min_size=1, max_size=120), st.integers(0, 119))
def test_a_restored_machine_goes_on_as_if_nothing_had_happened(machine, scores, cut):
    twin = PhaseMachine(machine.rule, machine.cycles, machine.roll_back)
    for index, score in enumerate(scores):
        if machine.finished:
            break
        if index == cut:
            twin = PhaseMachine(machine.rule, machine.cycles, machine.roll_back)
            twin.load_state_dict(json.loads(json.dumps(machine.state_dict())))
        assert twin.observe(score) == machine.observe(score)
    assert twin.state_dict() == machine.state_dict()


def drive(machine: PhaseMachine, scores: list[float]) -> list[tuple[str, str]]:
    out = []
    for score in scores:
        decision = machine.observe(score)
        out.append((decision.action.value, machine.phase.value))
    return out


def test_fixed_lengths():
    machine = PhaseMachine(FixedSwitch((2, 1), dendrite=2), cycles=2)
    assert drive(machine, [50, 51, 0.1, 0.2, 52, 0.1, 0.1, 53]) == [
        ("continue", "neuron"),
        ("switch", "dendrite"),
        ("continue", "dendrite"),
        ("switch", "neuron"),
        ("switch", "dendrite"),
        ("continue", "dendrite"),
        ("switch", "neuron"),
        ("stop", "neuron"),
    ]
    assert machine.finished and machine.cycle == 2


def test_plateau_counts_epochs_without_enough_gain():
    machine = PhaseMachine(PlateauSwitch(patience=2, min_gain=0.5), cycles=1)
    assert [machine.observe(s).action for s in (50, 50.4, 50.6, 50.9)] == [Action.CONTINUE] * 4
    assert machine.observe(51.0).action is Action.SWITCH, "0.9 and 1.0 are less than 0.5 above 50.6"


def test_plateau_says_why():
    machine = PhaseMachine(PlateauSwitch(patience=2, min_gain=0.1))
    for score in (60, 60.05):
        machine.observe(score)
    assert machine.observe(60.09).reason == "no validation gain of 0.1 points for 2 epochs"


def test_a_slow_steady_rise_is_measured_from_the_last_counted_gain():
    machine = PhaseMachine(PlateauSwitch(patience=3, min_gain=0.1), cycles=0)
    for index in range(30):  # 0.05 an epoch: every second epoch is 0.1 above the best that counted
        assert machine.observe(50 + 0.0501 * index).action is Action.CONTINUE


def test_manual_switch_and_cycle_that_does_not_help():
    machine = PhaseMachine(ManualSwitch(), cycles=3)
    machine.observe(70)
    machine.request_switch("a button was pressed")
    decision = machine.observe(69)
    assert (decision.action, decision.reason) == (Action.SWITCH, "a button was pressed")
    machine.request_switch()
    machine.observe(0.1)
    machine.request_switch()
    decision = machine.observe(70)
    assert decision.action is Action.ROLL_BACK and machine.finished
    assert decision.reason == "cycle 1 did not help: best score 70 is not above the 70 before it"


def test_no_roll_back_when_switched_off_or_when_it_helped():
    for roll_back, last in ((False, 60.0), (True, 70.1)):
        machine = PhaseMachine(FixedSwitch((1, 1), dendrite=1), roll_back=roll_back)
        machine.observe(70)
        machine.observe(0.1)
        assert machine.observe(last).action is Action.STOP


def test_without_dendrite_phase_a_cycle_is_a_restart():
    machine = PhaseMachine(FixedSwitch((1, 1), dendrite=5), cycles=2, dendrite_phase=False)
    assert [p for _, p in drive(machine, [1, 2, 3])] == ["neuron"] * 3
    assert machine.finished and machine.cycle == 2


def test_zero_dendrites_is_one_neuron_phase():
    machine = PhaseMachine(FixedSwitch((3,), dendrite=1), cycles=0)
    assert drive(machine, [1, 2, 3])[-1] == ("stop", "neuron")


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedSwitch(()),
        lambda: FixedSwitch((0,)),
        lambda: FixedSwitch(8),
        lambda: FixedSwitch((1.5,)),
        lambda: FixedSwitch((1,), dendrite=1.5),
        lambda: FixedSwitch((1,), dendrite=-1),
        lambda: PlateauSwitch(patience=0),
        lambda: PlateauSwitch(min_gain=-1),
        lambda: ManualSwitch(0),
        lambda: PhaseMachine(ManualSwitch(), cycles=-1),
        lambda: PhaseMachine(ManualSwitch()).observe(math.nan),
        lambda: PhaseMachine(ManualSwitch(), finished=True).observe(1.0),
    ],
)
def test_bad_settings(make):
    with pytest.raises(ConfigError):
        make()
