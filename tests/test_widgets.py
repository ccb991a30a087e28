"""The widgets without a browser: every control moves what it should, and says so in words."""

from __future__ import annotations

import gc
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from matplotlib import pyplot

from perfteach import plots
from perfteach.config import TrainConfig
from perfteach.correlation import Moments
from perfteach.counting import count_macs, count_parameters
from perfteach.data.points import small_network, two_spirals, xor
from perfteach.errors import ConfigError
from perfteach.metrics import paired_interval
from perfteach.models import mobilenet_small
from perfteach.phases import FixedSwitch, ManualSwitch, Phase, PlateauSwitch
from perfteach.report import what_happens
from perfteach.runs import Epoch, Event, Result, Run
from perfteach.selection import perforate
from perfteach.trainer import PerforatedTrainer
from perfteach.widgets import BudgetDesigner, CorrelationLab, PhaseExplorer, PhaseMonitor, RunCompare
from perfteach.widgets import budget as budget_module
from perfteach.widgets import compare as compare_module
from perfteach.widgets import monitor as monitor_module
from perfteach.widgets.base import Number, answer_while_running
from perfteach.widgets.neuron import LIMIT, OneNeuron

PLATEAU = "no validation gain above 0.1 points for 5 epochs"


def made_run(name: str = "mini/perforated-seed0", accuracy: float = 60.0, total: int = 500_000, layers: int = 3) -> Run:
    """A record as the trainer writes it: 6 neuron epochs, 3 dendrite epochs, 4 neuron epochs."""
    seed, names = int(name.rsplit("seed", 1)[1]), [f"features.{i}.0" for i in range(layers)]
    run = Run({"name": name, "seed": seed, "config": {"grow": True, "thaw": False}, "rule": "perforated"})
    run.header["data"] = {"name": "synthetic10", "synthetic": True, "checksum": "abc123"}
    for epoch in range(1, 14):
        phase = "dendrite" if 7 <= epoch <= 9 else "neuron"
        scores = {layer: 0.01 * epoch + 0.1 * i for i, layer in enumerate(names)} if phase == "dendrite" else {}
        run.epochs.append(
            Epoch(
                epoch, phase, cycle=int(epoch > 6), train_loss=2.0 - 0.1 * epoch,
                train_accuracy=31.17 + 2.03 * epoch, validation_loss=2.1 - 0.09 * epoch,
                validation_accuracy=30.29 + 1.91 * epoch, lr=0.002, seconds=1.5, scores=scores, parameters=total,
            )
        )  # fmt: skip
    run.events = [
        Event(6, "restore", "neurons of epoch 6, validation 41.75 %", "neuron"),
        Event(6, "switch", PLATEAU, "neuron"),
        Event(9, "switch", "the phase's 3 epochs are over", "dendrite"),
        Event(13, "stop", "the limit is reached; 1 of 1 cycles done", "neuron"),
    ]
    run.result = Result(
        accuracy, best_epoch=13, validation_accuracy=55.0, test_loss=1.0, dendrites=dict.fromkeys(names, 1),
        parameters={"stem": 0, "blocks": total, "head": 0, "dendrites": 0, "other": 0, "total": total}, seconds=90.0,
    )  # fmt: skip
    return run


def study() -> list[Run]:
    """Two arms with three seeds each, and a third arm with one."""
    accuracies = {"same-epochs": (60.0, 61.0, 59.5), "perforated": (62.0, 62.5, 62.0), "random": (60.5,)}
    return [
        made_run(f"mini/{arm}-seed{seed}", accuracy, 400_000 + 100_000 * (arm == "perforated"))
        for arm, by_seed in accuracies.items()
        for seed, accuracy in enumerate(by_seed)
    ]


@pytest.fixture(autouse=True)
def _no_figure_left_open():
    yield
    assert pyplot.get_fignums() == []


def alt_text(picture) -> str:
    found = re.search(r'<img alt="([^"]+)"', picture.image.value)
    assert found, "every picture is an <img> with alternative text"
    return found[1]


# ---------------------------------------------------------------------------------------------- PhaseExplorer


@pytest.mark.parametrize("epoch", [1, 6, 7, 9, 10, 13])
def test_scrubbing_shows_exactly_the_records_values(epoch):
    run = made_run()
    explorer = PhaseExplorer(run)
    explorer.on_epoch({"new": epoch})
    record = run.epochs[epoch - 1]
    shown = explorer.values.value
    expected = (
        f"{epoch} of 13", f"{record.phase} phase", f"{100 - record.train_accuracy:.2f}",
        f"{100 - record.validation_accuracy:.2f}", f"{record.train_loss:.4f}", f"{record.validation_loss:.4f}",
        "0.002", "1.50", "500,000",
    )  # fmt: skip
    for value in expected:
        assert f">{value}</" in shown, value
    scores = record.scores.values()
    assert f">{sum(scores) / 3:.4f}<" in shown if scores else ">–<" in shown
    assert f"{record.validation_error:.2f} %" in alt_text(explorer.curves)
    assert f"epochs 1 to {epoch}:" in alt_text(explorer.curves)


def test_explorer_says_who_learns_and_why_the_switch_came():
    explorer = PhaseExplorer(made_run())
    assert "there is no dendrite yet" in explorer.words.value
    assert "this is the first phase" in explorer.words.value
    explorer.on_epoch({"new": 6})
    assert f"After this epoch the phase switches: {PLATEAU}." in explorer.words.value
    assert "neurons of epoch 6" in explorer.words.value
    explorer.on_epoch({"new": 7})
    assert "the neurons are frozen" in explorer.words.value
    assert f"began after epoch 6: {PLATEAU}" in explorer.words.value
    assert "The newest dendrites learn" in alt_text(explorer.strip)
    explorer.on_epoch({"new": 10})
    assert "1 dendrite of each neuron are frozen" in explorer.words.value
    assert "The neurons learn; the dendrites are frozen" in alt_text(explorer.strip)
    explorer.on_epoch({"new": 13})
    assert "training ends" in explorer.words.value


def test_thawed_dendrites_are_not_called_frozen():
    run = made_run()
    run.header["config"]["thaw"] = True
    assert "learn together" in what_happens(run, 11)


def test_every_control_of_the_explorer_moves_it():
    explorer = PhaseExplorer(made_run())
    explorer.epoch.slider.value = 4
    assert explorer.epoch.box.value == 4 and ">4 of 13<" in explorer.values.value
    explorer.epoch.box.value = 8
    assert explorer.epoch.slider.value == 8 and explorer.player.value == 8 and ">8 of 13<" in explorer.values.value
    explorer.player.value = 9
    assert explorer.epoch.value == 9 and ">9 of 13<" in explorer.values.value
    explorer.play.value = True
    assert explorer.player.playing
    for expected in (13, 6, 9):
        explorer.on_next_switch(None)
        assert explorer.epoch.value == expected


def test_explorer_takes_up_new_epochs_of_a_live_run():
    run = made_run()
    whole, run.epochs = run.epochs, run.epochs[:5]
    explorer = PhaseExplorer(run)
    assert explorer.epoch.box.max == 5
    run.epochs = whole
    explorer.on_latest(None)
    assert (explorer.epoch.box.max, explorer.player.max, explorer.epoch.value) == (13, 13, 13)
    assert ">13 of 13<" in explorer.values.value


def test_explorer_of_an_empty_or_plain_run_says_so_and_unknown_epochs_raise():
    assert "no epochs yet" in PhaseExplorer(Run()).words.value
    plain = made_run()
    plain.result.dendrites = {}
    for record in plain.epochs:
        record.scores = {}
    assert "no dendrites to show" in PhaseExplorer(plain).strip.text.value
    with pytest.raises(ConfigError, match="no epoch 99"):
        PhaseExplorer(made_run()).on_epoch({"new": 99})


# ---------------------------------------------------------------------------------------------- PhaseMonitor


def live(monitor: PhaseMonitor, switch, **changes) -> PerforatedTrainer:
    model = perforate(small_network(4))
    settings = {"batch_size": 50, "lr": 0.05, "dendrite_lr": 0.05, "roll_back": False, "device": "cpu"} | changes
    return PerforatedTrainer(
        model, two_spirals(200, turns=1), TrainConfig(switch=switch, **settings), callbacks=[monitor]
    )


def test_monitor_follows_a_whole_training():
    monitor = PhaseMonitor()
    assert monitor.switch.disabled
    run = live(monitor, FixedSwitch((2, 2), dendrite=2)).fit(progress=False)
    assert monitor.epochs.value == monitor.epochs.max == 6
    assert f"test accuracy {run.result.test_accuracy:.2f} %" in monitor.answer.value
    assert "epochs 1 to 6" in alt_text(monitor.curves)
    assert "Training ended after epoch 6" in monitor.words.value
    assert "2 layers with 1 dendrite per neuron" in alt_text(monitor.strip)
    assert monitor.switch.disabled and monitor.pause.disabled and monitor.stop.disabled


def test_layers_are_known_before_they_have_scores():
    monitor, seen = PhaseMonitor(), []
    trainer = live(monitor, FixedSwitch((2, 2), dendrite=2))
    redraw = monitor._redraw
    monitor._redraw = lambda run: (redraw(run), seen.append(monitor.strip.summary))
    trainer.fit(progress=False)
    assert next(words for words in seen if words).startswith("Network: two spirals")
    first = PhaseExplorer(Run(trainer.run.header, trainer.run.epochs[:1]))
    assert "2 layers with 0 dendrites per neuron" in alt_text(first.strip)
    older = Run({**trainer.run.header, "layers": None}, trainer.run.epochs[:1])
    assert older.layers == [] and "no dendrites to show" in PhaseExplorer(older).strip.text.value


def test_monitors_buttons_from_another_thread():
    monitor = PhaseMonitor()
    trainer = live(monitor, ManualSwitch(100_000))
    thread = threading.Thread(target=trainer.fit, kwargs={"progress": False})
    thread.start()
    try:
        wait_for(lambda: len(trainer.run.epochs) > 1)
        assert not monitor.switch.disabled
        monitor.on_switch(None)
        wait_for(lambda: trainer.machine.phase is Phase.DENDRITE)
        monitor.on_pause(None)
        assert monitor.pause.description == "Continue" and "Paused" in monitor.answer.value
        time.sleep(0.3)
        held = len(trainer.run.epochs)
        time.sleep(0.3)
        assert len(trainer.run.epochs) == held
        monitor.on_pause(None)
        wait_for(lambda: len(trainer.run.epochs) > held)
    finally:
        monitor.on_stop(None)
        thread.join(20)
    stops = [event.reason for event in trainer.run.events if event.event == "stop"]
    assert trainer.run.finished and stops == ["asked for by hand; the best weights are kept"]
    monitor.on_switch(None)
    assert "No training is running" in monitor.answer.value


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_monitor_draws_at_most_twice_a_second(monkeypatch):
    clock, drawn = [100.0], []
    monitor = PhaseMonitor()
    trainer = live(monitor, ManualSwitch())
    trainer.run.epochs = made_run().epochs
    monkeypatch.setattr(monitor_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    picture = plots.message("curves", "")
    monkeypatch.setattr(plots, "training_curves", lambda run: drawn.append(clock[0]) or picture)
    monitor.on_fit_start(trainer)
    for _ in range(400):  # an epoch each 25 ms, for 10 seconds
        clock[0] += 0.025
        monitor.on_epoch_end(trainer, trainer.run.epochs[-1])
    assert 18 <= len(drawn) <= 21
    assert min(after - before for before, after in itertools.pairwise(drawn)) >= 0.499
    monkeypatch.setattr(plots, "training_curves", lambda run: clock.__setitem__(0, clock[0] + 1.0) or picture)
    clock[0] += 1
    monitor.on_epoch_end(trainer, trainer.run.epochs[-1])
    assert monitor._next - clock[0] >= 4, "a drawing that takes a second is followed by at least four without one"


def test_planned_epochs_are_known_for_fixed_phases_only():
    from perfteach.widgets.monitor import planned_epochs

    assert planned_epochs(live(PhaseMonitor(), FixedSwitch((8, 4), dendrite=3), cycles=2)) == 8 + 3 + 4 + 3 + 4
    assert planned_epochs(live(PhaseMonitor(), PlateauSwitch())) is None


def test_buttons_messages_follow_the_pages_choice_of_shell():
    widget = SimpleNamespace(comm=SimpleNamespace(_reply_subshell_for=lambda data, default: "busy shell"))
    answer_while_running(widget)
    assert widget.comm._reply_subshell_for({}, "subshell of the page") == "subshell of the page"
    answer_while_running(SimpleNamespace(comm=None))


# ---------------------------------------------------------------------------------------------- CorrelationLab


@pytest.mark.parametrize("objective", ["covariance", "correlation"])
def test_gradient_of_the_dendrite_is_the_slope_of_its_objective(objective):
    model = OneNeuron(xor(100)).double()
    model.data = type(model.data)("XOR", *[_double(getattr(model.data, s)) for s in ("train", "validation", "test")])
    start, step = (0.4, -0.7, 0.3), 1e-5
    model.dendrite = start
    for place, slope in enumerate(model.gradient(objective)):
        heights = []
        for way in (step, -step):
            moved = list(start)
            moved[place] += way
            model.dendrite = tuple(moved)
            heights.append(model.objective(objective))
        model.dendrite = start
        assert (heights[0] - heights[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-8)


def _double(points):
    return type(points)(points.inputs.double(), points.labels)


def test_ascent_rises_and_the_landscape_agrees_with_the_model():
    model = OneNeuron(xor(100))
    before = model.objective("correlation")
    model.ascend("correlation", rate=1.0, steps=30)
    assert model.objective("correlation") > before + 0.05
    grid, height = model.landscape("correlation", cells=11)
    model.dendrite = (float(grid[8]), float(grid[2]), model.dendrite[2])
    assert float(height[2, 8]) == pytest.approx(model.objective("correlation"), abs=1e-5)
    moments = Moments.of(model.output(), model.error())
    assert float(moments.r.abs()[0]) == pytest.approx(model.objective("correlation"))
    with pytest.raises(ConfigError, match="unknown objective"):
        model.gradient("luck")


def test_switching_phase_bends_the_boundary():
    lab = CorrelationLab()
    frozen, alone = lab.model.layer.neuron.weight.detach().clone(), lab.model.wrong()
    assert alone > 20 and lab.model.weight == 0
    lab.on_run(None)
    assert torch.equal(lab.model.layer.neuron.weight, frozen), "the neuron is frozen while the dendrite climbs"
    assert lab.model.wrong() == alone, "with w = 0 the dendrite is not heard"
    climbed = lab.model.dendrite
    lab.on_switch(None)
    assert lab.model.wrong() < 5 and lab.model.weight != 0
    assert lab.model.dendrite == climbed, "the dendrite is frozen in the neuron phase"
    assert all(number.disabled for number in lab.numbers) and lab.switch.disabled
    assert "Neuron phase done" in lab.words.value
    lab.on_again(None)
    assert lab.model.wrong() == alone and not lab.switch.disabled


def test_every_control_of_the_lab_moves_it():
    lab = CorrelationLab()
    for place in range(3):
        before, picture = lab.model.dendrite, lab.dendrite.image.value
        lab.numbers[place].slider.value = 2.0 - place
        now = lab.model.dendrite
        assert now[place] == pytest.approx(2.0 - place)
        assert [now[i] for i in range(3) if i != place] == [before[i] for i in range(3) if i != place]
        assert lab.dendrite.image.value != picture
    lab.on_step(None)
    assert lab.steps == 1 and "1 step so far" in lab.words.value
    small = lab.model.dendrite
    lab.rate.value = 5.0
    lab.on_step(None)
    assert lab.model.dendrite != small and lab.steps == 2
    words = lab.words.value
    lab.objective.value = "covariance"
    assert lab.words.value != words and "covariance" in alt_text(lab.dendrite)
    assert f"{float(lab.model.moments().cov[0]):+.4f}" in lab.words.value


def test_the_boundary_shown_is_the_models():
    lab = CorrelationLab()
    lab.numbers[0].value = 3.0  # it is not drawn anew, as the dendrite is not heard
    lab.on_run(None)
    assert lab.boundary.summary == plots.describe_decision_boundary(lab.model, lab.data)
    before = lab.boundary.summary
    lab.on_switch(None)
    assert lab.boundary.summary == plots.describe_decision_boundary(lab.model, lab.data) != before
    lab.on_again(None)
    assert lab.boundary.summary == before


def test_rounded_boxes_do_not_change_the_dendrite():
    lab = CorrelationLab()
    lab.on_step(None)
    exact = lab.model.dendrite
    lab.numbers[0].value = 1.0
    assert lab.model.dendrite == (1.0, *exact[1:])


def test_dendrite_stays_in_the_range_of_its_sliders():
    model = OneNeuron(xor(100))
    model.ascend("covariance", rate=1e6)
    assert max(abs(value) for value in model.dendrite) <= LIMIT


# ---------------------------------------------------------------------------------------------- BudgetDesigner


@pytest.mark.parametrize(
    ("width", "head", "layers", "dendrites"),
    [
        (0.25, "task", "head", 2),
        (0.1, "task", "all layers", 1),  # here a block drops its first convolution
        (0.6, "imagenet", "blocks", 0),
        (0.35, "imagenet", "squeeze-excite", 3),
        (1.0, "task", "depthwise", 1),
        (0.8, "task", "1×1 convolutions", 2),
    ],
)
def test_design_counts_what_the_real_model_has(width, head, layers, dendrites):
    from perfteach.dendrites import add_dendrites

    model = mobilenet_small(10, width, head=head)
    wrapped = 0
    if dendrites:
        perforate(model, select=budget_module.LAYERS[layers])
        wrapped = len(model.perforation.wrapped)
    for _ in range(dendrites):
        add_dendrites(model)
    got = budget_module.design(width, head, layers, dendrites)
    assert got.parameters == count_parameters(model).as_dict()
    assert got.macs == count_macs(model).total and got.layers == wrapped
    assert got.megabytes == pytest.approx(4 * got.total / 1e6)


def test_published_sizes():
    assert budget_module.design(1.0, "imagenet", "all layers", 0).total == 2_542_856
    assert budget_module.design(0.5, "task", "all layers", 0).total == 409_394


@pytest.mark.parametrize("layers", budget_module.LAYERS)
def test_every_choice_of_layers_selects_some_and_not_all(layers):
    counted = budget_module.design(0.25, "task", layers, 1)
    every = budget_module.design(0.25, "task", "all layers", 1)
    assert 0 < counted.parameters["dendrites"] <= every.parameters["dendrites"]
    assert (counted.layers == every.layers) == (layers == "all layers")


def test_every_control_of_the_designer_moves_it():
    designer = BudgetDesigner()
    seen = [designer.summary()]

    def moved() -> None:
        assert designer.summary() not in seen
        total = f"{designer.design.total:,}"
        assert total in designer.words.value and total in designer.numbers.value
        seen.append(designer.summary())

    designer.width.slider.value = 0.25
    moved()
    designer.dendrites.slider.value = 2
    moved()
    designer.layers.value = "depthwise"
    moved()
    designer.head.value = "imagenet"
    moved()
    assert "below the 1.66 M line" in designer.words.value
    designer.width.value = 1.0
    assert "above the 1.66 M line" in designer.words.value
    assert "this design" in alt_text(designer.bars) or "1,660,000" in alt_text(designer.bars)


def test_nearest_recorded_run_is_named_and_nothing_is_interpolated():
    runs = study()
    sentence = budget_module.nearest_sentence(runs, 480_000)
    assert "mini/perforated-seed0" in sentence and "500,000" in sentence and "62.00 %" in sentence
    assert "not this design's" in sentence and "synthetic10" in sentence
    designer = BudgetDesigner(runs)
    numbers = re.findall(r"(\d+\.\d+) % on", designer.words.value)
    recorded = {f"{run.result.test_accuracy:.2f}" for run in runs}
    assert numbers and set(numbers) <= recorded
    assert "no measured error" in alt_text(designer.points)


def test_without_recorded_runs_the_designer_says_so():
    unfinished = made_run()
    unfinished.result = None
    designer = BudgetDesigner([unfinished])
    assert "no recorded runs" in designer.words.value and "no recorded runs" in designer.points.text.value
    assert "<img" not in designer.points.image.value


# ---------------------------------------------------------------------------------------------- RunCompare


def test_comparison_is_paired_by_seed():
    compare = RunCompare(study())
    assert compare.control.value == "same-epochs"
    gain = paired_interval([60.0, 61.0, 59.5], [62.0, 62.5, 62.0])
    errors, points = (40.0, 39.0, 40.5), (2.0, 1.5, 2.5)
    share, middle = 100 * sum(points) / sum(errors), sum(errors) / 3
    less = paired_interval(
        [0.0] * 3, [share + (100 * p - share * e) / middle for p, e in zip(points, errors, strict=True)]
    )
    assert short(gain) in compare.table.value and short(less) in compare.table.value
    assert "needs 2 seeds" in compare.table.value, "the arm with one seed has no interval"
    assert "perforated is better than same-epochs" in compare.words.value
    assert "random: fewer than two seeds in common" in compare.words.value
    assert "perforated" in alt_text(compare.differences) and "random" not in alt_text(compare.differences)


def short(interval) -> str:
    return f">{str(interval).removesuffix(' (95 %)')}<"


def test_every_control_of_the_comparison_moves_it():
    compare = RunCompare(study())
    compare.arms.value = ("perforated",)
    assert set(compare.chosen()) == {"same-epochs", "perforated"} and ">random<" not in compare.table.value
    compare.seeds.value = (0, 1)
    assert short(paired_interval([60.0, 61.0], [62.0, 62.5])) in compare.table.value
    assert "2 seeds" in alt_text(compare.differences)
    compare.control.value = "perforated"
    assert ">control<" in compare.table.value and set(compare.chosen()) == {"perforated"}
    assert (
        "needs a second arm" in compare.differences.text.value or "need a second arm" in compare.differences.text.value
    )
    compare.seeds.value = ()
    assert "Nothing is chosen" in compare.curves.text.value and "<img" not in compare.curves.image.value


def test_runs_on_other_data_or_of_other_studies_are_kept_apart():
    runs = study()
    other = made_run("wide/perforated-seed1", 90.0)
    stranger = made_run("mini/baseline-seed0", 90.0)
    stranger.header["data"]["checksum"] = "fffffff"
    compare = RunCompare([*runs, other, stranger])
    assert len(compare.study.options) == 3
    assert "baseline" not in compare.chosen()
    compare.study.value = compare.study.options[1]
    assert list(compare.chosen()) == ["perforated"]


def test_no_difference_is_called_no_difference():
    reached = {"baseline": (60, 61, 62), "perforated": (61, 60, 62.5)}
    runs = [made_run(f"mini/{arm}-seed{seed}", reached[arm][seed]) for arm in reached for seed in range(3)]
    assert "cannot be told apart" in compare_module.verdicts(compare_module.groups(runs).popitem()[1], "baseline")[0]


def test_without_finished_runs_the_comparison_says_so():
    unfinished = made_run()
    unfinished.result = None
    for compare in (RunCompare(), RunCompare([unfinished])):
        assert "no finished runs" in compare.words.value and "no finished runs" in compare._repr_html_()
    assert "mini/perforated-seed0" in compare.words.value


# ---------------------------------------------------------------------------------------------- all of them


PANELS = {
    "explorer": lambda: PhaseExplorer(made_run()),
    "monitor": PhaseMonitor,
    "lab": CorrelationLab,
    "budget": lambda: BudgetDesigner(study()),
    "compare": lambda: RunCompare(study()),
}


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


@pytest.mark.parametrize("name", PANELS)
def test_controls_have_names_and_pictures_have_words(name):
    panel = PANELS[name]()
    for widget in descendants(panel.widget):
        kind = type(widget).__name__
        if kind in ("Button", "ToggleButton"):
            assert widget.description and widget.tooltip
        elif kind in ("Dropdown", "SelectMultiple", "BoundedIntText", "BoundedFloatText"):
            assert widget.description
        elif kind == "Play":
            assert widget.layout.display == "none", "the player's own buttons have no names"
        elif kind.endswith("Slider"):
            assert not widget.readout, "the read-out is an editable text without a name"
        elif kind == "HTML":
            assert widget.value.count("<img") == widget.value.count('<img alt="') - widget.value.count('<img alt=""')
    for number in (value for value in vars(panel).values() if isinstance(value, Number)):
        assert number.box.description and number.box.value == number.slider.value


@pytest.mark.parametrize("name", PANELS)
def test_still_edition(name):
    panel = PANELS[name]()
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"].startswith(panel.title) and len(bundle["text/plain"]) > len(panel.title) + 10
    if isinstance(panel, PhaseMonitor):
        assert "Training has not begun" in bundle["text/html"]
    else:
        assert '<img alt="' in bundle["text/html"] and bundle["image/png"].startswith("iVBOR")


def test_names_in_a_record_cannot_inject_html():
    run = made_run("mini/<script>x</script>-seed0")
    run.events[1].reason = "<b onclick=x>"
    explorer = PhaseExplorer(run)
    explorer.on_epoch({"new": 6})
    text = explorer.words.value + explorer._repr_html_() + explorer.curves.image.value
    assert "<script>" not in text and "<b onclick" not in text


def growth_over_500_updates() -> float:
    """By how many MB this process grows while three widgets are redrawn."""
    torch.set_num_threads(1)
    plain = made_run()
    plain.result.dendrites = {}
    for record in plain.epochs:
        record.scores = {}  # one picture instead of three: the quickest redraw there is
    quick, explorer, lab = PhaseExplorer(plain), PhaseExplorer(made_run()), CorrelationLab()
    process = psutil.Process()

    def update(times: int) -> None:
        for number in range(times):
            if number % 50 == 0:
                lab.numbers[0].value = -4.0 + number % 7
            elif number % 10 == 0:
                explorer.epoch.value = 1 + number % 13
            else:
                quick.epoch.value = 1 + number % 13

    update(250)  # the allocator grows in steps at first; a leak goes on growing
    gc.collect()
    before, known = process.memory_info().rss, len(gc.get_objects())
    update(500)
    gc.collect()
    assert pyplot.get_fignums() == []
    assert len(gc.get_objects()) - known < 2000
    return (process.memory_info().rss - before) / 1e6


@pytest.mark.slow
def test_500_updates_leave_no_figure_and_little_memory():
    # In a process of its own: what other tests leave in the allocator would be counted too.
    code = "import test_widgets; print(test_widgets.growth_over_500_updates())"
    here = Path(__file__).resolve().parent
    paths = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) < 20


def test_sliders_rounding_does_not_reach_the_number_box():
    number = Number("Step size", 1.0, 0.1, 5.0, 0.1, lambda change: None)
    number.slider.value = 1.2000000000000002
    assert number.box.value == 1.2
