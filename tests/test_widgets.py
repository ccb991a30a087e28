"""The widgets without a browser: every control moves what it should, and says so in words."""

from __future__ import annotations

import base64
import gc
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
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
from perfteach.runs import Epoch, Event, Result, Run, recorded
from perfteach.selection import perforate
from perfteach.trainer import Callback, PerforatedTrainer
from perfteach.widgets import (
    BudgetDesigner,
    CorrelationLab,
    PhaseBar,
    PhaseExplorer,
    PhaseMonitor,
    RunCompare,
    SwitchGame,
    Watch,
)
from perfteach.widgets import bar as bar_module
from perfteach.widgets import budget as budget_module
from perfteach.widgets import compare as compare_module
from perfteach.widgets import monitor as monitor_module
from perfteach.widgets import watch as watch_module
from perfteach.widgets.bar import planned_epochs, time_left
from perfteach.widgets.base import HERE, Number
from perfteach.widgets.compare import signed
from perfteach.widgets.explorer import ExplorerView
from perfteach.widgets.game import GameView, LastPhaseStays, after, verdict
from perfteach.widgets.lab import LabView
from perfteach.widgets.monitor import MonitorView, answer_while_running
from perfteach.widgets.neuron import LIMIT, OneNeuron
from perfteach.widgets.story import banner, describe, layer_word, story

VIEW_CSS = HERE / "view.css"
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
    found = re.search(r'role="img" aria-label="([^"]+)"', getattr(picture, "image", picture).value)
    assert found, "every picture has a description"
    return found[1]


# ---------------------------------------------------------------------------------------------- PhaseExplorer


def test_the_story_holds_exactly_the_records_values():
    run = made_run()
    told = story(run)
    for name, values in told["columns"].items():
        assert values == pytest.approx([epoch[name] for epoch in run.epochs], abs=5e-3 if "error" in name else 5e-5)
    sent = np.frombuffer(told["scores"], "<f4").reshape(3, 3)
    np.testing.assert_allclose(sent, [list(run.at(epoch).scores.values()) for epoch in told["scored"]], rtol=1e-6)
    assert told["scored"] == [7, 8, 9] and told["highest"] == pytest.approx(sent.max())
    latest = story(run, latest_scores=True)
    assert latest["scored"] == [9] and np.frombuffer(latest["scores"], "<f4").tolist() == sent[2].tolist()


def test_missing_values_are_sent_as_nothing():
    run = made_run()
    run.epochs[2].validation_loss = float("nan")
    del run.epochs[7].scores["features.1.0"]
    told = story(run)
    assert told["columns"]["validation_loss"][2] is None and json.dumps(told["columns"], allow_nan=False)
    assert np.isnan(np.frombuffer(told["scores"], "<f4").reshape(3, 3)).sum() == 1


def test_it_opens_on_the_first_dendrite_epoch_and_switches_lead_into_phases():
    run = made_run()
    explorer = PhaseExplorer(run)
    assert explorer.epoch == story(run)["opens"] == 7
    assert story(run)["starts"] == [7, 10], "the first epochs of the phases that follow a switch"
    plain = made_run()
    plain.epochs = plain.epochs[:4]
    assert story(plain)["opens"] == 1 and story(plain)["starts"] == [] and story(Run())["opens"] == 0


def test_who_learns_in_every_phase():
    told = story(made_run())
    assert [band["learns"] for band in told["bands"]] == [[True], [False, True], [True, False]]
    said = [(band["says"], band["frozen"]) for band in told["bands"]]
    assert said[:2] == [("neurons learn", "no dendrites yet"), ("dendrites learn", "neurons frozen")]
    assert said[2] == ("neurons learn", "dendrites frozen") and told["rows"] == 1
    assert banner([False, False, True]) == ("dendrites learn", "neurons and older dendrites frozen")
    together = made_run()
    together.header["config"]["thaw"] = True
    assert story(together)["bands"][2]["says"] == "neurons and dendrites learn"
    assert "learn together" in describe(together, 11) and "frozen" not in story(together)["bands"][2]["what"]


def test_explorer_says_who_learns_and_why_the_switch_came():
    run = made_run()
    assert "there is no dendrite yet" in describe(run, 1) and "this is the first phase" in describe(run, 1)
    assert f"After this epoch the phase switches: {PLATEAU}." in describe(run, 6)
    assert "neurons of epoch 6" in describe(run, 6) and "switches" not in describe(run, 5)
    assert "the neurons are frozen" in describe(run, 7) and f"began after epoch 6: {PLATEAU}" in describe(run, 7)
    assert f"Mean |r| is {run.at(8).score:.4f}" in describe(run, 8)
    assert "1 dendrite of each neuron are frozen" in describe(run, 10)
    assert "training ends" in describe(run, 13)
    with pytest.raises(ConfigError, match="no epoch 99"):
        PhaseExplorer(run).epoch = 99


def test_explorer_takes_up_new_epochs_of_a_live_run():
    run = made_run()
    whole, run.epochs = run.epochs, run.epochs[:5]
    explorer = PhaseExplorer(run)
    assert len(explorer.widget.run["columns"]["lr"]) == 5 and explorer.epoch == 1
    run.epochs = whole
    explorer.on_message(None, {"do": "latest"}, [])
    assert len(explorer.widget.run["columns"]["lr"]) == 13 and explorer.epoch == 13


def test_explorer_of_an_empty_or_plain_run_says_so():
    assert "no epochs yet" in PhaseExplorer(Run()).summary()
    plain = made_run()
    plain.result.dendrites = {}
    for record in plain.epochs:
        record.scores = {}
    assert "no dendrites to show" in story(plain)["missing"] and not story(made_run())["missing"]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["0", "2"], ["hidden layer", "output layer"]),
        (["0", "2", "4"], ["hidden layer 1", "hidden layer 2", "output layer"]),
        (["features.0.0", "features.1.block.1.fc1"], ["stem", "block 1, squeeze"]),
        (["features.4.block.0.0", "features.4.block.1.0"], ["block 4, expand", "block 4, depthwise"]),
        (["features.12.0", "classifier.3"], ["last convolution", "head, output layer"]),
        (["encoder.first.conv"], ["encoder.first.conv"]),
    ],
)
def test_layers_have_names_that_a_learner_understands(layers, words):
    assert [layer_word(layer, layers) for layer in layers] == words


def test_neighbouring_layers_share_a_short_name():
    real = story(recorded("mini", arm="perforated", seed=0)[0])
    assert [word for word, *_ in real["groups"]] == ["stem", *map(str, range(1, 12)), "last", "head"]
    assert real["groups"][0][1] == 0 and real["groups"][-1][2] == len(real["layers"]) - 1


def test_a_run_of_600_epochs_and_54_layers_is_sent_in_less_than_300_kb():
    real = recorded("mini", arm="perforated", seed=0)[0]
    long = Run(real.header, [replace(real.epochs[k % 80], epoch=k + 1) for k in range(600)], real.events, real.result)
    told = story(long)
    sent = len(json.dumps(told, default=lambda value: base64.b64encode(value).decode()))
    assert sent + len(ExplorerView._esm) + Path(VIEW_CSS).stat().st_size < 300_000


# ---------------------------------------------------------------------------------------------- Watch


@pytest.fixture(scope="module")
def watched():
    """A short training on two spirals, and what a Watch saw of it."""
    watch = Watch(two_spirals(200, turns=1))
    trainer = live(watch, FixedSwitch((6, 5), dendrite=4))
    return trainer.fit(progress=False), watch, trainer


def frames(film) -> np.ndarray:
    steps = np.frombuffer(zlib.decompress(film["frames"]), np.int8).reshape(-1, film["cells"] ** 2)
    return np.cumsum(steps, axis=0, dtype=np.int8)


def test_the_border_stands_still_while_dendrites_learn_and_moves_before_and_after(watched):
    run, watch, _ = watched
    seen = frames(watch.story(run.layers)["film"])
    assert len(seen) == len(run.epochs) == 15
    moved = [k + 2 for k in range(14) if (seen[k] != seen[k + 1]).any()]  # epochs that differ from the one before
    assert not {8, 9, 10} & set(moved), "dendrites learn in epochs 7 to 10"
    assert {3, 4, 13, 14} <= set(moved)


def test_the_film_shows_the_networks_own_border(watched):
    _, watch, trainer = watched
    margin = watch_module.margins(trainer.model, watch.grid)
    shown = watch_module.distances(margin)
    clear = np.abs(shown) > 1
    assert clear.mean() > 0.5 and ((shown > 0) == (margin.numpy() > 0))[clear].all()
    points = watch.data.validation
    said = watch.story([])["film"]["points"]
    assert said["labels"] == points.labels[: len(said["labels"])].tolist() and 0 <= min(said["x"]) < max(said["x"]) <= 1
    with pytest.raises(ConfigError, match="two classes"):
        Watch(replace(watch.data, classes=("a", "b", "c")))


def test_the_error_beside_the_film_is_the_records(watched):
    run, watch, _ = watched
    for record, wrong in zip(run.epochs, watch.wrong, strict=True):
        if not record.dendritic:  # the record takes a dendrite phase's validation from the best epoch before it
            assert wrong == pytest.approx(record.validation_error, abs=0.01)


def test_neurons_scores_average_to_their_layers_score(watched):
    run, watch, _ = watched
    last = run.at(10).scores
    kept = watch.story(run.layers)["neurons"]["1"]
    for name, values in zip(run.layers, kept, strict=True):
        assert np.mean(values) / 255 == pytest.approx(last[name], abs=2e-3)
    assert len(kept[0]) == 4, "one for each neuron of the hidden layer"


def test_a_film_of_600_epochs_is_small():
    rng = np.random.default_rng(0)
    centre = np.cumsum(rng.normal(0, 0.05, 600))
    grid = np.linspace(-3, 3, watch_module.CELLS)
    pictures = [
        watch_module.distances(torch.tensor(np.add.outer(grid, np.sin(grid + c)), dtype=torch.float32).flatten())
        for c in centre
    ]
    assert 4 / 3 * len(watch_module.packed(pictures)) < 270_000


# ---------------------------------------------------------------------------------------------- PhaseMonitor


def live(callback, switch, **changes) -> PerforatedTrainer:
    model = perforate(small_network(4))
    settings = {"batch_size": 50, "lr": 0.05, "dendrite_lr": 0.05, "roll_back": False, "device": "cpu"} | changes
    return PerforatedTrainer(
        model, two_spirals(200, turns=1), TrainConfig(switch=switch, **settings), callbacks=[callback]
    )


def test_monitor_follows_a_whole_training():
    monitor = PhaseMonitor()
    assert not monitor.widget.progress["running"]
    run = live(monitor, FixedSwitch((2, 2), dendrite=2)).fit(progress=False)
    now = monitor.widget.progress
    assert (now["done"], now["planned"], now["running"]) == (6, 6, False)
    assert f"test accuracy {run.result.test_accuracy:.2f} %" in now["words"] and now["words"] in monitor.summary()
    assert len(monitor.widget.run["columns"]["lr"]) == 6 and monitor.widget.run["layers"] == ["0", "2"]
    assert "Training ended after epoch 6" in now["said"] and now["says"] == "neurons learn"


class Begun(Callback):
    """Notes at the first batch of each epoch how many epochs the monitor's curves have by then."""

    def __init__(self, monitor: PhaseMonitor) -> None:
        self.monitor, self.seen = monitor, []

    def on_batch_end(self, trainer, batch, batches):
        if batch == 1:
            self.seen.append(len(self.monitor.widget.run.get("columns", {}).get("lr", [])))


@pytest.mark.filterwarnings("ignore:run 'run'. dendrites were asked for")
@pytest.mark.parametrize("number", range(10))
def test_when_k_epochs_have_begun_the_curves_have_all_before(number):
    monitor = PhaseMonitor()
    begun = Begun(monitor)
    trainer = live(monitor, FixedSwitch((4, 2), dendrite=2), seed=number)
    trainer.callbacks.append(begun)
    trainer.fit(progress=False)
    assert begun.seen == list(range(8))


def test_monitors_buttons_from_another_thread():
    monitor = PhaseMonitor()
    trainer = live(monitor, ManualSwitch(100_000))
    thread = threading.Thread(target=trainer.fit, kwargs={"progress": False})
    thread.start()
    try:
        wait_for(lambda: len(trainer.run.epochs) > 1)
        assert monitor.widget.progress["running"]
        monitor.on_message(None, {"do": "switch"})
        wait_for(lambda: trainer.machine.phase is Phase.DENDRITE)
        monitor.on_message(None, {"do": "pause"})
        assert monitor.widget.progress["paused"] and "Paused" in monitor.widget.progress["said"]
        assert monitor.widget.progress["heard"] == 2
        time.sleep(0.3)
        held = len(trainer.run.epochs)
        time.sleep(0.3)
        assert len(trainer.run.epochs) == held
        monitor.on_message(None, {"do": "pause"})
        wait_for(lambda: len(trainer.run.epochs) > held)
    finally:
        monitor.on_message(None, {"do": "stop"})
        thread.join(20)
    stops = [event.reason for event in trainer.run.events if event.event == "stop"]
    assert trainer.run.finished and stops == ["asked for by hand; the best weights are kept"]
    monitor.on_message(None, {"do": "switch"})
    assert "No training is running" in monitor.widget.progress["said"]


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_sending_takes_at_most_a_fifth_of_the_time(monkeypatch):
    clock, sent = [100.0], []
    monitor = PhaseMonitor()
    trainer = live(monitor, ManualSwitch())
    trainer.run.epochs = made_run().epochs
    monkeypatch.setattr(monitor_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(monitor_module, "ALWAYS", 0)

    def slow(run, latest_scores):
        clock[0] += 0.1
        sent.append(clock[0])
        return {"opens": 1}

    monkeypatch.setattr(monitor_module, "story", slow)
    monitor.on_fit_start(trainer)
    for _ in range(400):  # an epoch each 25 ms, for 10 seconds
        clock[0] += 0.025
        monitor.on_batch_end(trainer, 1, 2)
        monitor.on_epoch_end(trainer, trainer.run.epochs[-1])
    gaps = [after - before for before, after in itertools.pairwise(sent)]
    assert min(gaps) >= 0.5, "0.1 s of work is followed by at least 0.5 s without"
    assert max(gaps) < 0.7, "and the next epoch is not held back for longer"


def test_planned_epochs_are_known_for_fixed_phases_only():
    assert planned_epochs(live(PhaseMonitor(), FixedSwitch((8, 4), dendrite=3), cycles=2)) == 8 + 3 + 4 + 3 + 4
    assert planned_epochs(live(PhaseMonitor(), PlateauSwitch())) is None


def test_the_time_that_is_left_follows_the_last_epochs():
    trainer = live(PhaseMonitor(), FixedSwitch((8, 4), dendrite=3))
    assert time_left(trainer, 0.0) == (15, "")
    trainer.run.epochs = [replace(epoch, seconds=float(epoch.epoch)) for epoch in made_run().epochs[:5]]
    assert time_left(trainer, 0.5) == (15, "about 28 s left"), "9.5 epochs of 3 s"
    trainer.run.epochs = [replace(epoch, seconds=60.0) for epoch in made_run().epochs[:5]]
    assert time_left(trainer, 0.0) == (15, "about 10 min left")


def test_the_bar_names_phase_epoch_and_time(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=lambda text: shown.append(text.data))
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda text, display_id: shown.append(text.data) or handle)
    monkeypatch.setattr(bar_module, "UPDATE", 0)
    live(PhaseBar(), FixedSwitch((2, 2), dendrite=2)).fit(progress=False)
    assert "neuron phase · epoch 1 of 6" in shown[0] and '<progress max="6" value="0.00"' in shown[0]
    assert any("dendrite phase · epoch 4 of 6 · about 0 s left" in text for text in shown)
    assert shown[-1] == "<small>run: 6 epochs done (neuron 2, dendrite 2, neuron 2).</small>"


def test_buttons_messages_follow_the_pages_choice_of_shell():
    widget = SimpleNamespace(comm=SimpleNamespace(_reply_subshell_for=lambda data, default: "busy shell"))
    answer_while_running(widget)
    assert widget.comm._reply_subshell_for({}, "subshell of the page") == "subshell of the page"
    answer_while_running(SimpleNamespace(comm=None))


# ---------------------------------------------------------------------------------------------- SwitchGame


def press(game: SwitchGame, what: str) -> None:
    game.on_message(None, {"do": what})


@pytest.fixture
def played():
    """Plays a whole game that is shown at full speed; presses Switch while the given epochs are on the page."""
    games = []

    def play(*presses: int, seed: int = 0, epochs: int = 12, stop: int = 0, only: bool = False) -> SwitchGame:
        game = SwitchGame(seed, epochs=epochs, pace=0)
        show, game.seen = game.show, []

        def watch(trainer, record):
            show(trainer, record)
            game.seen.append(game.widget.state)
            for what, when in (("switch", record.epoch in presses), ("stop", record.epoch == stop)):
                if when:
                    press(game, what)

        game.show = watch
        games.append(game)
        if not only:
            press(game, "start")
            game.join()
        return game

    yield play
    for game in games:
        game.close()


def right(trainer: PerforatedTrainer) -> float:
    """Test accuracy of a trainer's network, computed anew."""
    points = trainer.data.test
    with torch.no_grad():
        return 100 * float((trainer.model(points.inputs).argmax(1) == points.labels).float().mean())


def test_a_game_trains_nothing_before_start_and_says_what_it_is(played):
    game = played(only=True)
    assert game.widget.state["stage"] == "ready" and not game.played and not game.playing
    assert "running kernel" in game._repr_html_() and "a game of about a minute" in repr(game).lower()
    press(game, "switch")
    press(game, "stop")
    assert game.widget.state["stage"] == "ready"


def test_a_whole_game_switches_where_asked_and_scores_both_networks_on_the_test_points(played):
    game = played(3, 5, 8)
    yours, rules = game.played
    assert yours.run.after("switch") == [3, 5, 8] and [len(band) for band in yours.run.bands()] == [3, 2, 3, 4]
    assert len(yours.run.epochs) == len(rules.run.epochs) == 12
    assert yours.run.header["seed"] == rules.run.header["seed"] == 0
    state = game.widget.state
    assert state["stage"] == "over" and state["left"] == 0 and not state["switchable"]
    for trainer, sentence in zip(game.played, state["notes"], strict=True):
        assert trainer.run.result.test_accuracy == pytest.approx(right(trainer), abs=1e-3)
        assert f"wrong on {100 - right(trainer):.1f} %" in sentence
    assert "3 times, after epochs 3, 5 and 8" in state["notes"][0]
    assert state["says"] == verdict(yours.run.error, rules.run.error)
    assert state["notes"][0] in game.summary()


def test_the_border_stands_still_while_dendrites_learn(played):
    game = played(3, 7)
    borders = [state["border"] for state in game.seen]
    assert [len(set(part)) for part in (borders[:3], borders[3:7], borders[7:])] == [3, 1, 5]
    assert [state["before"] != b"" for state in game.seen] == [False] * 7 + [True] * 5
    assert game.seen[9]["before"] == borders[3]
    assert [state["phase"] for state in game.seen] == ["neuron"] * 3 + ["dendrite"] * 4 + ["neuron"] * 5
    assert [follow is not None for follow in game.seen[-1]["follows"]] == [False] * 3 + [True] * 4 + [False] * 5
    assert game.seen[3]["said"] == "Switch 1 of 6, after epoch 3: dendrites learn."


def test_the_plateau_rule_with_the_same_seed_does_the_same_twice_and_uses_every_epoch(played):
    first, second, other = (played(epochs=40, seed=seed).played[1].run for seed in (0, 0, 1))
    columns = [run["validation_accuracy"] for run in (first, second, other)]
    assert columns[0] == columns[1] != columns[2] and len(columns[0]) == 40
    assert first.result.test_accuracy == second.result.test_accuracy
    assert first.after("switch") == second.after("switch") and len(first.after("switch")) >= 2
    flat = [50.0] * 50
    assert LastPhaseStays().ended(Phase.NEURON, 2, flat) and LastPhaseStays().ended(Phase.DENDRITE, 3, flat)
    assert LastPhaseStays().ended(Phase.NEURON, 3, flat) is None


def test_six_switches_are_all_and_without_any_there_are_no_dendrites(played, recwarn):
    game = played(1, 2, 3, 4, 5, 6, 7, 8)
    assert game.played[0].run.after("switch") == [1, 2, 3, 4, 5, 6] and len(game.played[0].run.epochs) == 12
    assert "It was the last one" in game.seen[6]["said"] and not game.seen[7]["switchable"]
    assert "never, so it has no dendrites" in played().widget.state["notes"][0]
    assert not recwarn, "nothing is printed below the game"


def test_stop_ends_a_game_without_a_score_and_start_begins_another(played):
    game = played(2, stop=4)
    assert game.widget.state["stage"] == "over" and "nothing was scored" in game.widget.state["said"]
    assert len(game.played[0].run.epochs) == 4 and len(game.played) == 1 and not game.scored
    game.show = SwitchGame.show.__get__(game)
    press(game, "new")
    press(game, "start")  # while it runs, nothing
    game.join()
    assert game.seed == 1 and game.scored
    assert [trainer.run.header["seed"] for trainer in game.played] == [1, 1]


def test_a_new_game_and_close_leave_no_thread(played):
    game = played(only=True, epochs=10_000)
    game.pace = 60  # it sleeps on its first epoch
    press(game, "start")
    thread = game._thread
    assert thread.is_alive()
    began = time.monotonic()
    other = SwitchGame(epochs=5)
    assert not thread.is_alive() and game.widget.comm is None and time.monotonic() - began < 10
    press(other, "start")
    other.close()
    assert not other._thread.is_alive()
    assert not [each for each in threading.enumerate() if each.name == "the switch game"]


def test_the_pace_is_kept_and_an_error_is_said(played, monkeypatch):
    game = played(only=True, epochs=4)
    game.pace = 0.2
    began = time.monotonic()
    press(game, "start")
    while game.widget.state["stage"] == "plays":
        time.sleep(0.01)
    assert time.monotonic() - began >= 4 * 0.2
    game.join()
    monkeypatch.setattr(SwitchGame, "_train", lambda *_, **_how: 1 / 0)
    press(game, "start")
    game.join()
    assert game.widget.state["said"] == "The game broke off: division by zero" and not game.playing


def test_verdicts_and_switches_in_words():
    assert verdict(1.04, 0.96) == "a draw" and verdict(0.5, 2.0) == "you win by 1.5 points"
    assert verdict(2.0, 0.5) == "the rule wins by 1.5 points"
    run = made_run()
    assert after(run) == "2 times, after epochs 6 and 9"
    run.events = run.events[:2]
    assert after(run) == "once, after epoch 6"


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
    with pytest.raises(ConfigError, match="objective is"):
        model.gradient("luck")


def ask(lab: CorrelationLab, what: str, **more) -> dict:
    lab.on_message(None, {"do": what, **more})
    return lab.widget.state


def test_switching_phase_bends_the_boundary():
    lab = CorrelationLab()
    frozen, alone, border = (
        lab.model.layer.neuron.weight.detach().clone(),
        lab.model.wrong(),
        lab.widget.state["border"],
    )
    assert alone > 20 and lab.model.weight == 0
    now = ask(lab, "run")
    assert torch.equal(lab.model.layer.neuron.weight, frozen), "the neuron is frozen while the dendrite climbs"
    assert lab.model.wrong() == alone and now["border"] == border, "with w = 0 the dendrite is not heard"
    climbed = lab.model.dendrite
    now = ask(lab, "switch")
    assert lab.model.wrong() < 5 and lab.model.weight != 0 and now["border"] != border
    assert lab.model.dendrite == climbed, "the dendrite is frozen in the neuron phase"
    assert now["switched"] and f"w is {lab.model.weight:.2f}" in now["frozen"] and "Neuron phase done" in now["words"]
    for what in ("step", "run", "switch"):
        ask(lab, what)
    assert ask(lab, "move", dendrite=[0, 0, 0])["dendrite"] == list(climbed), "until it starts over"
    assert not ask(lab, "again")["switched"] and lab.model.wrong() == alone


def test_the_lab_answers_a_move_that_changes_nothing():
    """The page waits for an answer to each move, and sends what the hand did meanwhile after it."""
    lab, told = CorrelationLab(), []
    lab.widget.observe(lambda change: told.append(change["new"]), "state")
    for _ in range(3):
        ask(lab, "move", dendrite=[0.5, 0.5, 0.0])
    assert len(told) == 3


def test_every_control_of_the_lab_moves_it():
    lab = CorrelationLab()
    before = lab.widget.state
    now = ask(lab, "move", dendrite=[2.0, -1.0, 0.5])
    assert lab.model.dendrite == (2.0, -1.0, 0.5) and now["landscape"] != before["landscape"]
    assert now["height"] == pytest.approx(lab.model.objective("correlation"))
    assert ask(lab, "move", dendrite=[99, -99, 0])["dendrite"] == [LIMIT, -LIMIT, 0.0]
    assert "after 1 step;" in ask(lab, "step")["numbers"]
    small = lab.model.dendrite
    ask(lab, "rate", value=5.0)
    assert ask(lab, "step")["dendrite"] != list(small) and lab.steps == 2
    assert ask(lab, "rate", value=1e9)["rate"] == 5.0
    now = ask(lab, "objective", value="covariance")
    assert now["height"] == pytest.approx(lab.model.objective("covariance")) and "covariance" in now["climbs"]
    assert f"{float(lab.model.moments().cov[0]):+.4f}" in now["numbers"]


def test_the_labs_pictures_are_the_models():
    lab = CorrelationLab()
    ask(lab, "run")
    now = ask(lab, "switch")
    assert now["errors"] == pytest.approx(lab.model.error()[:, 0].tolist(), abs=1e-3)
    shown = np.frombuffer(now["border"], np.int8)
    _, places = lab.model.landscape("correlation")
    np.testing.assert_allclose(np.frombuffer(now["landscape"], "<f4"), places.numpy().flatten(), rtol=1e-6)
    margin = watch_module.margins(lab.model, lab._grid).numpy()
    clear = np.abs(shown) > 1
    assert ((shown > 0) == (margin > 0))[clear].all() and clear.mean() > 0.5
    assert f"{lab.model.wrong():.1f} %" in now["draws"]


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


def test_the_heads_hidden_layer_is_counted():
    whole, small, none = (budget_module.design(1.0, "task", "all layers", 0, hidden) for hidden in (None, 64, 0))
    assert whole.parameters["head"] / whole.total == pytest.approx(0.393, abs=0.001)
    for hidden, counted in ((64, small), (0, none)):
        assert counted.parameters == count_parameters(mobilenet_small(10, 1.0, hidden=hidden)).as_dict()
        assert counted.macs == count_macs(mobilenet_small(10, 1.0, hidden=hidden)).total


def test_every_control_of_the_designer_moves_it():
    designer = BudgetDesigner()
    seen = [designer.summary()]

    def moved() -> None:
        assert designer.summary() not in seen
        total = f"{designer.design.total:,}"
        assert total in " ".join(designer.words.sentences) and total in designer.described.value
        seen.append(designer.summary())

    designer.width.slider.value = 0.25
    moved()
    designer.dendrites.slider.value = 2
    moved()
    designer.layers.value = "depthwise"
    moved()
    designer.hidden.value = 64
    moved()
    designer.head.value = "imagenet"
    moved()
    assert "below the line of 993,000" in " ".join(designer.words.sentences)
    designer.width.value = 1.0
    designer.hidden.value = "published"
    assert "above the line of 993,000" in " ".join(designer.words.sentences)
    assert "993,000" in alt_text(designer.bars)


def test_the_nearest_recorded_network_is_named_with_its_interval():
    designs = budget_module.recorded_designs(study())
    sentence = budget_module.nearest_sentence(designs, 480_000)
    interval = paired_interval([0.0] * 3, [38.0, 37.5, 38.0])
    assert "mini/perforated, 500,000" in sentence and f"{interval.estimate:.2f} % on synthetic10" in sentence
    assert f"95 % interval {interval.low:.2f} to {interval.high:.2f}" in sentence and "not for this design" in sentence
    designer = BudgetDesigner(study())
    assert designer.left_out == 1 and "Left out: 1 networks with a single seed" in designer.summary()
    assert "random" not in alt_text(designer.points) and "no measured error" in alt_text(designer.points)


def test_a_recorded_network_can_be_chosen_and_is_counted_as_it_was():
    runs = [*recorded("mini", seed=0), *recorded("search-early", seed=0), *recorded("search-depthwise", seed=0)]
    designer = BudgetDesigner(runs)
    known = {name: chosen for name, chosen in designer.recorded.options.items() if chosen}
    assert {"mini/perforated", "mini/wider", "search-early/relu"} <= set(known)
    assert "search-depthwise/thawed" not in known, "ten of the eleven depthwise layers are no choice of the designer"
    for chosen in known.values():
        designer.recorded.value = chosen
        assert designer.design.total == chosen.total
        assert None not in (designer.hidden.index, designer.recorded.index), "the menus show what is chosen"
        assert f"This network was trained: {chosen.reached}" in designer.summary()
    assert designer.layers.value in budget_module.LAYERS
    designer.width.value = 0.9
    assert designer.recorded.index == 0 and "was trained" not in designer.summary()


def test_without_recorded_runs_the_designer_says_so():
    unfinished = made_run()
    unfinished.result = None
    designer = BudgetDesigner([unfinished])
    assert (
        "no recorded runs" in " ".join(designer.words.sentences) and "no recorded runs" in designer.points.image.value
    )
    assert "<svg" not in designer.points.image.value


# ---------------------------------------------------------------------------------------------- RunCompare


def test_the_last_choice_is_shown_where_two_are_answered_in_two_threads(monkeypatch):
    """ipykernel may answer a menu in one subshell while a button comes in another."""
    compare, drawing, slow = RunCompare(study()), threading.Event(), plots.paired_differences

    def late(*args, **kwargs):
        drawing.set()
        time.sleep(0.5)  # long enough for the other answer to overtake it
        return slow(*args, **kwargs)

    monkeypatch.setattr(plots, "paired_differences", late)
    menu = threading.Thread(target=setattr, args=(compare.control, "value", "perforated"))
    menu.start()
    assert drawing.wait(30)
    compare.view.value = "curves"
    menu.join(30)
    assert "Validation error by arm" in alt_text(compare.picture)


def test_comparison_is_paired_by_seed():
    compare = RunCompare(study())
    assert compare.control.value == "same-epochs"
    assert "perforated" in alt_text(compare.picture) and "random" not in alt_text(compare.picture)
    gain = paired_interval([60.0, 61.0, 59.5], [62.0, 62.5, 62.0])
    errors, points = (40.0, 39.0, 40.5), (2.0, 1.5, 2.5)
    share, middle = 100 * sum(points) / sum(errors), sum(errors) / 3
    less = paired_interval(
        [0.0] * 3, [share + (100 * p - share * e) / middle for p, e in zip(points, errors, strict=True)]
    )
    assert f"perforated is better than same-epochs: {signed(gain, 2)} points." in " ".join(compare.words.sentences)
    assert len(compare.words.sentences) == 2, "a line for each arm"
    assert "random: fewer than two seeds in common" in " ".join(compare.words.sentences)
    compare.view.value = "table"
    table = compare.picture.image.value
    assert f">{signed(gain, 2)}<" in table and f">{signed(less, 1)}<" in table
    assert "needs 2 seeds" in table, "the arm with one seed has no interval"
    assert "Fewer errors are positive" in table


def test_every_control_of_the_comparison_moves_it():
    compare = RunCompare(study())
    seen = {}
    for view in compare.view.options:
        compare.view.value = view
        seen[view] = compare.picture.image.value
    assert len(set(seen.values())) == 5, "each view shows something of its own"
    assert [view for view, shown in seen.items() if "<svg" in shown] == list(compare.view.options)[:3]
    assert "Gain over same-epochs" in seen["in words"] and "Validation error by arm" in seen["in words"]
    compare.view.value = "table"
    compare.arms.boxes["same-epochs"].value = compare.arms.boxes["random"].value = False
    assert set(compare.chosen()) == {"same-epochs", "perforated"} and ">random<" not in compare.picture.image.value
    compare.seeds.value = (0, 1)
    assert f">{signed(paired_interval([60.0, 61.0], [62.0, 62.5]), 2)}<" in compare.picture.image.value
    compare.view.value = "gains"
    assert "2 seeds" in alt_text(compare.picture)
    compare.control.value = "perforated"
    assert set(compare.chosen()) == {"perforated"} and "need a second arm" in compare.picture.image.value
    assert "Choose an arm beside the control" in " ".join(compare.words.sentences)
    compare.view.value = "table"
    assert ">control<" in compare.picture.image.value
    compare.seeds.value = ()
    assert "Choose a seed" in " ".join(compare.words.sentences) and compare.picture.image.value == ""


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
        assert "no finished runs" in " ".join(compare.words.sentences) and "no finished runs" in compare._repr_html_()
    assert "mini/perforated-seed0" in " ".join(compare.words.sentences)


# ---------------------------------------------------------------------------------------------- all of them


PANELS = {
    "explorer": lambda: PhaseExplorer(made_run()),
    "monitor": PhaseMonitor,
    "game": SwitchGame,
    "lab": CorrelationLab,
    "budget": lambda: BudgetDesigner(study()),
    "compare": lambda: RunCompare(study()),
}


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


@pytest.mark.parametrize("name", ["budget", "compare"])
def test_controls_have_names_and_pictures_have_words(name):
    panel = PANELS[name]()
    for widget in descendants(panel.widget):
        kind = type(widget).__name__
        if kind in ("Dropdown", "Checkbox", "BoundedIntText", "BoundedFloatText"):
            assert widget.description
        elif kind.endswith("Slider"):
            assert not widget.readout, "the read-out is an editable text without a name"
        elif kind == "HTML":
            assert not re.search(r'<svg (?!role="img" aria-label="\w)', widget.value)
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
    elif isinstance(panel, SwitchGame):
        assert "running kernel" in bundle["text/html"]
    else:
        assert '<img alt="' in bundle["text/html"] and bundle["image/png"].startswith("iVBOR")


def test_names_in_a_record_cannot_inject_html():
    run = made_run("mini/<script>x</script>-seed0")
    run.events[1].reason = "<b onclick=x>"
    text = PhaseExplorer(run)._repr_html_() + RunCompare([run]).study.description
    assert "<script>" not in text and "<b onclick" not in text
    drawn = plots.svg(plots.training_curves(run))
    assert "<script>" not in drawn and "&lt;script&gt;" in drawn


@pytest.mark.parametrize("view", [ExplorerView, GameView, LabView, MonitorView])
def test_a_views_module_is_whole_and_loads_nothing(view):
    assert "import " not in re.sub(r"//.*", "", view._esm) and view._esm.count("export default") == 1
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)", view._esm + Path(VIEW_CSS).read_text())
    assert "innerHTML" not in view._esm and "eval(" not in view._esm


def growth_over_500_updates() -> float:
    """By how many MB this process grows while pictures are redrawn and states are sent."""
    torch.set_num_threads(1)
    compare, lab, process = RunCompare(study()), CorrelationLab(), psutil.Process()

    def update(times: int) -> None:
        for number in range(times):
            if number % 10 == 0:
                compare.seeds.value = ((0, 1, 2), (0, 1), (1, 2))[number // 10 % 3]
            lab.on_message(None, {"do": "move", "dendrite": [-4.0 + number % 7, 1.0, 0.0]})

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
