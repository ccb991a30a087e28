"""The trainer: phases, restores and rollbacks, resumption, determinism, and that the test labels decide nothing."""

from __future__ import annotations

import dataclasses
import json
import threading
import warnings

import pytest
import torch
from torch import nn

from perfteach import data as data_module
from perfteach.config import TrainConfig
from perfteach.course import demo
from perfteach.data.points import Points, small_network, two_spirals
from perfteach.dendrites import add_dendrites, dendrite_counts, dendritic_layers, trainable
from perfteach.errors import ConfigError, DataError, NonFiniteLossError
from perfteach.models import mobilenet_small
from perfteach.phases import FixedSwitch, ManualSwitch, Phase, PlateauSwitch
from perfteach.provenance import provenance
from perfteach.runs import Run
from perfteach.selection import perforate
from perfteach.trainer import Callback, PerforatedTrainer

# Runs of one epoch a phase often gain nothing, and then say loudly that no dendrite is installed.
pytestmark = pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning")

SPIRALS = two_spirals(200, turns=1.0)


def config(**changes) -> TrainConfig:
    base = {"switch": FixedSwitch((3, 3), dendrite=2), "batch_size": 50, "lr": 0.05, "dendrite_lr": 0.05}
    return TrainConfig(**(base | {"roll_back": False, "device": "cpu"} | changes))


def trainer(cfg: TrainConfig | None = None, rule: str | None = "perforated", data=SPIRALS, **how) -> PerforatedTrainer:
    model = small_network(5)
    if rule:
        perforate(model, rule=rule)
    return PerforatedTrainer(model, data, cfg or config(), **how)


def comparable(run: Run) -> list[dict]:
    """The record without wall times and dates."""
    lines = json.loads(json.dumps(run.lines()))
    for line in lines:
        for key in ("seconds", "started", "revision"):
            line.pop(key, None)
    return lines


class Spy(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def on_fit_start(self, trainer):
        self.seen.append(("start",))

    def on_batch_end(self, trainer, batch, batches):
        in_optimizer = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
        assert in_optimizer == {id(p) for p in trainable(trainer.model)}, "exactly the trainable tensors"
        self.seen.append(("batch", trainer.machine.phase, batch, batches))

    def on_epoch_end(self, trainer, record):
        self.seen.append(("epoch", record["epoch"]))

    def on_event(self, trainer, event):
        self.seen.append(("event", event["event"]))

    def on_fit_end(self, trainer, run):
        self.seen.append(("end", run.finished))


def test_full_cycle_is_recorded_and_callbacks_hear_everything():
    spy = Spy()
    t = trainer(config(cycles=2), callbacks=[spy])
    run = t.fit(progress=False)
    assert [(e["phase"], e["cycle"]) for e in run.epochs] == (
        [("neuron", 0)] * 3 + [("dendrite", 1)] * 2 + [("neuron", 1)] * 3 + [("dendrite", 2)] * 2 + [("neuron", 2)] * 3
    )
    assert [e["event"] for e in run.events] == ["restore", "switch"] * 4 + ["stop"]
    assert all(set(e["scores"]) == ({"0", "2"} if e["phase"] == "dendrite" else set()) for e in run.epochs)
    assert spy.seen[0] == ("start",) and spy.seen[-1] == ("end", True)
    assert sum(s[0] == "epoch" for s in spy.seen) == len(run.epochs)
    assert {s[1] for s in spy.seen if s[0] == "batch"} == {Phase.NEURON, Phase.DENDRITE}
    best = max(e["validation_accuracy"] for e in run.epochs if e["phase"] == "neuron")
    assert run.result["validation_accuracy"] == best == run.epochs[run.result["best_epoch"] - 1]["validation_accuracy"]
    assert run.result["parameters"]["total"] == sum(p.numel() for p in t.model.parameters())
    assert t.evaluate("validation")[1] == best, "the model is left with the best weights"


def test_dendrite_phase_keeps_the_function_and_the_optimiser_is_new_at_each_switch():
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, trainer, record):
            seen.append((record["phase"], trainer.optimizer, trainer.evaluate("validation")))

    trainer(callbacks=[Watch()]).fit(progress=False)
    dendrite = [accuracy for phase, _, accuracy in seen if phase == "dendrite"]
    assert len({*dendrite}) == 1
    assert len({id(optimizer) for _, optimizer, _ in seen}) == 3


def test_restore_brings_back_the_best_neurons_and_each_layers_best_dendrites():
    states: dict[int, dict] = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer, record):
            states[record["epoch"]] = {k: v.clone() for k, v in trainer.model.state_dict().items()}

        def on_event(self, trainer, event):
            if event["event"] == "switch":
                states[-event["epoch"]] = {k: v.clone() for k, v in trainer.model.state_dict().items()}

    run = trainer(config(lr=0.5, dendrite_lr=0.5, switch=FixedSwitch((6, 1), 6)), callbacks=[Keep()]).fit(
        progress=False
    )
    neuron = run.epochs[:6]
    best = max(neuron, key=lambda e: e["validation_accuracy"])["epoch"]
    assert all(torch.equal(states[-6][k], v) for k, v in states[best].items())
    for layer in ("0", "2"):
        scores = {e["epoch"]: e["scores"][layer] for e in run.epochs[6:12]}
        top = max(scores, key=scores.get)
        assert torch.equal(states[-12][f"{layer}.dendrites.0.weight"], states[top][f"{layer}.dendrites.0.weight"])


def test_roll_back_takes_the_dendrites_away_and_says_so_loudly():
    cfg = config(roll_back=True, optimizer=lambda p, phase: torch.optim.SGD(p, lr=0.0))  # nothing can improve
    with pytest.warns(UserWarning, match="none is installed"):
        t = trainer(cfg)
        run = t.fit(progress=False)
    assert [e["event"] for e in run.events][-2:] == ["rollback", "warning"]
    best = f"{run['validation_accuracy'][0]:.2f} %"
    assert run.events[-2].reason == f"cycle 1 did not help: best validation {best} is not above the {best} before it"
    assert set(dendrite_counts(t.model).values()) == {0} and run.result["parameters"]["dendrites"] == 0


def test_control_restarts_and_reloads_but_grows_nothing():
    t = trainer(config(grow=False, switch=FixedSwitch((3, 5), 0)), rule=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = t.fit(progress=False)
    assert [(e["phase"], e["cycle"]) for e in run.epochs] == [("neuron", 0)] * 3 + [("neuron", 1)] * 5
    assert [e["event"] for e in run.events] == ["restore", "switch", "stop"]
    assert run.epochs[3]["lr"] == pytest.approx(run.epochs[0]["lr"]), "the schedule restarts"


def test_gradient_rule_has_no_dendrite_phase():
    run = trainer(rule="gradient").fit(progress=False)
    assert {e["phase"] for e in run.epochs} == {"neuron"} and set(run.result["dendrites"].values()) == {1}


@pytest.mark.parametrize("thaw", [False, True])
def test_frozen_and_thawed_dendrites_in_the_neuron_phase(thaw):
    t = trainer(config(thaw=thaw, switch=FixedSwitch((1, 3), 1)))
    kept: list[torch.Tensor] = []

    class Keep(Callback):
        def on_event(self, trainer, event):
            if event["event"] == "switch" and trainer.machine.cycle == 1:
                kept.append(trainer.model[0].dendrites[0].weight.clone())

    t.callbacks.append(Keep())
    t.fit(progress=False)
    assert torch.equal(kept[1], t.model[0].dendrites[0].weight) != thaw


def test_same_seed_same_result_bit_for_bit(tiny_data):
    def once(seed: int) -> tuple[list, dict]:
        model = perforate(mobilenet_small(10, width=0.25, seed=0))
        cfg = config(switch=FixedSwitch((1, 1), 1), lr=1e-3, dendrite_lr=1e-3, seed=seed)
        return comparable(PerforatedTrainer(model, tiny_data, cfg).fit(progress=False)), model.state_dict()

    torch.manual_seed(1)
    first, a = once(0)
    torch.manual_seed(2)  # the global random state must not matter
    second, b = once(0)
    assert first == second and all(torch.equal(a[k], b[k]) for k in a)
    assert once(1)[0][1:] != first[1:]


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trainer().fit(progress=False)
    assert torch.equal(torch.rand(3), wanted)


class Killed(Exception):
    pass


@pytest.mark.parametrize("epoch", range(1, 8))
def test_a_killed_run_resumes_to_the_same_result(tmp_path, epoch):
    class Kill(Callback):
        def on_batch_end(self, trainer, batch, batches):
            if len(trainer.run.epochs) == epoch and batch == 2:
                raise Killed

    whole = trainer().fit(progress=False)
    with pytest.raises(Killed):
        trainer(folder=tmp_path, callbacks=[Kill()]).fit(progress=False)
    assert len(Run.load(tmp_path / "run.jsonl").epochs) == epoch
    again = trainer(folder=tmp_path)
    run = again.fit(progress=False)
    assert [e["event"] for e in run.events].count("resume") == 1
    run.events = [e for e in run.events if e["event"] != "resume"]
    assert comparable(run) == comparable(whole)
    third = trainer(folder=tmp_path)
    assert comparable(third.fit(progress=False))[-1] == comparable(whole)[-1], "a finished run is not repeated"
    assert third.evaluate("test")[1] == whole.result["test_accuracy"], "and its best weights are loaded"


@pytest.mark.parametrize("what", ["machine", "revision"])
def test_a_run_that_goes_on_elsewhere_says_where(what, tmp_path, monkeypatch):
    class Kill(Callback):
        def on_batch_end(self, trainer, batch, batches):
            if len(trainer.run.epochs) == 2:
                raise Killed

    with pytest.raises(Killed):
        trainer(folder=tmp_path, callbacks=[Kill()]).fit(progress=False)
    here = provenance()
    machine = {"machine": here["machine"] | {"gpu": "a GPU"}, "versions": here["versions"] | {"torch": "9.9"}}
    elsewhere = here | (machine if what == "machine" else {"revision": "abc"})
    monkeypatch.setattr("perfteach.resumable.provenance", lambda: elsewhere)
    run = trainer(folder=tmp_path).fit(progress=False)
    (said,) = [event.reason for event in run.events if event.event == "resume"]
    on = (
        "a GPU with PyTorch 9.9"
        if what == "machine"
        else f"{here['machine']['cpu']} with PyTorch {here['versions']['torch']}"
    )
    assert said.startswith(f"continued from the checkpoint, on {on}") and "and perfteach" in said


def test_resuming_with_other_settings_is_refused(tmp_path):
    trainer(folder=tmp_path).fit(progress=False)
    with pytest.raises(ConfigError, match=r"config \(lr\)"):
        trainer(config(lr=0.01), folder=tmp_path).fit(progress=False)
    with pytest.raises(ConfigError, match="another data"):
        trainer(folder=tmp_path, data=two_spirals(200, turns=1.0, seed=9)).fit(progress=False)
    with pytest.raises(ConfigError, match="another rule"):
        trainer(folder=tmp_path, rule="covariance").fit(progress=False)


def test_test_labels_change_nothing_but_the_final_figure():
    poisoned = dataclasses.replace(SPIRALS, test=Points(SPIRALS.test.inputs, 1 - SPIRALS.test.labels))
    honest, other = trainer(), trainer(data=poisoned)
    a, b = honest.fit(progress=False), other.fit(progress=False)
    assert comparable(a)[1:-1] == comparable(b)[1:-1]
    assert all(torch.equal(x, y) for x, y in zip(honest.model.parameters(), other.model.parameters(), strict=True))
    assert a.result["test_accuracy"] + b.result["test_accuracy"] == pytest.approx(100)


def test_the_test_split_is_read_once():
    reads = []

    class Counting:
        def __getattr__(self, name):
            return getattr(SPIRALS, name)

        def batches(self, split, *args, **how):
            reads.append(split)
            return SPIRALS.batches(split, *args, **how)

    trainer(data=Counting()).fit(progress=False)
    assert reads.count("test") == 1 and reads[-1] == "test"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Linear(2, 1), r"returned \[50, 1\].*need logits \[B, 2 or more\]"),
        (nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (2, 2))), r"returned \[50, 2, 2\]"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(model, said):
    with pytest.raises(ConfigError, match=said):
        PerforatedTrainer(model, SPIRALS, config(cycles=0)).fit(progress=False)


def test_non_finite_loss_stops_and_keeps_the_last_good_state(tmp_path):
    calls = []

    def broken(output, y):
        calls.append(1)
        loss = nn.functional.cross_entropy(output, y)
        return loss * float("nan") if len(calls) > 14 else loss  # 4 training and 1 validation batch an epoch

    t = trainer(config(loss=broken), folder=tmp_path)
    with pytest.raises(NonFiniteLossError, match=r"epoch 3 \(neuron phase\); the weights of epoch [12] were kept"):
        t.fit(progress=False)
    assert all(torch.isfinite(p).all() for p in t.model.parameters())
    assert "not finite in epoch 3" in Run.load(tmp_path / "run.jsonl").events[-1]["reason"]
    assert [e["epoch"] for e in Run.load(tmp_path / "run.jsonl").epochs] == [1, 2]


def test_non_finite_loss_in_the_first_epoch_keeps_the_start():
    t = trainer(config(lr=1e30))
    start = {k: v.clone() for k, v in t.model.state_dict().items()}
    with pytest.raises(NonFiniteLossError, match="epoch 1"):
        t.fit(progress=False)
    assert all(torch.equal(start[k], v) for k, v in t.model.state_dict().items())


def test_switch_and_stop_by_hand_take_effect_within_the_epoch():
    class Press(Callback):
        def on_batch_end(self, trainer, batch, batches):
            epoch = len(trainer.run.epochs) + 1
            if (epoch, batch) in ((2, 1), (4, 2)):
                trainer.request_switch()
            if (epoch, batch) == (6, 2):
                trainer.request_stop()

    run = trainer(config(switch=ManualSwitch(), cycles=3), callbacks=[Press()]).fit(progress=False)
    assert [e["phase"] for e in run.epochs] == ["neuron"] * 2 + ["dendrite"] * 2 + ["neuron"] * 2
    assert run.finished and run.events[-1]["event"] == "stop"


def test_pause_holds_training_until_it_is_continued():
    t = trainer()

    class Pause(Callback):
        def on_batch_end(self, trainer, batch, batches):
            if len(trainer.run.epochs) == 0 and batch == 1:
                trainer.paused = True

    t.callbacks.append(Pause())
    thread = threading.Thread(target=t.fit, kwargs={"progress": False})
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and not t.run.epochs
    t.paused = False
    thread.join(20)
    assert not thread.is_alive() and t.run.finished


def test_plateau_rule_drives_the_trainer():
    run = trainer(config(switch=PlateauSwitch(patience=2, max_epochs=8, dendrite_patience=1))).fit(progress=False)
    reasons = [e["reason"] for e in run.events if e["event"] in ("switch", "stop")]
    assert len(reasons) == 3 and all("no " in r or "limit" in r for r in reasons)


def test_schedule_and_optimiser_factories_get_the_phase():
    seen = []

    def schedule(optimizer, phase, steps):
        seen.append((phase, steps))

    trainer(config(schedule=schedule)).fit(progress=False)
    assert seen == [(Phase.NEURON, 12), (Phase.DENDRITE, 8), (Phase.NEURON, 12)]


def test_bad_settings():
    with pytest.raises(ConfigError, match="perforate"):
        trainer(rule=None)
    with pytest.raises(ConfigError, match="larger than the 200"):
        trainer(config(batch_size=201))
    for bad in ({"batch_size": 0}, {"cycles": -1}, {"lr": 0.0}):
        with pytest.raises(ConfigError):
            config(**bad)
    with pytest.raises(DataError):
        SPIRALS.batches("train", 1000)


def test_what_five_neurons_cannot_solve_is_solved_after_dendrites():
    """The first part of `perfteach demo`, with one seed of its three."""
    control, random, perforated = (demo.spiral_run(arm, seed=0)[1] for arm in ("same-epochs", "random", "perforated"))
    errors = [100 - run.result["test_accuracy"] for run in (control, random, perforated)]
    assert errors[0] > 8 and errors[1] > 2 and errors[2] < 2, errors
    assert len({len(run.epochs) for run in (control, random, perforated)}) == 1, "every arm trains as many epochs"


def test_every_layer_of_a_mobilenet_has_a_score_in_each_dendrite_epoch(tiny_data):
    model = perforate(mobilenet_small(10, width=0.25, seed=0))
    cfg = config(switch=FixedSwitch((2, 1), 2), lr=2e-3, dendrite_lr=5e-3, batch_size=32)
    run = PerforatedTrainer(model, tiny_data, cfg).fit(progress=False)
    scores = [e["scores"] for e in run.epochs if e["scores"]]
    assert len(scores) == 2 and set(scores[0]) == {name for name, _ in dendritic_layers(model)}
    assert all(0 < s <= 1 for epoch in scores for s in epoch.values())


class At(Callback):
    """Do something once, at a batch of an epoch."""

    def __init__(self, epoch, do):
        self.epoch, self.do, self.done = epoch, do, False

    def on_batch_end(self, trainer, batch, batches):
        if not self.done and len(trainer.run.epochs) + 1 == self.epoch and batch == 2:
            self.done = True
            self.do(trainer)


def test_stopping_in_a_later_dendrite_phase_keeps_the_trained_dendrites():
    cfg = config(switch=FixedSwitch((3, 8, 3), dendrite=3), cycles=2)
    t = trainer(cfg, callbacks=[At(15, lambda trainer: trainer.request_stop())])
    run = t.fit(progress=False)
    assert dendrite_counts(t.model) == {"0": 1, "2": 1}, "the run ended in the second dendrite phase"
    x, y = SPIRALS.test.inputs, SPIRALS.test.labels
    accuracy = 100 * float((t.model(x).argmax(1) == y).double().mean())  # with gradients on
    assert accuracy == pytest.approx(run.result["test_accuracy"])


def _interrupt(trainer):
    raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [2, 4, 7])
def test_an_interrupted_cell_can_be_run_again(epoch):
    t = trainer(callbacks=[At(epoch, _interrupt)])
    with pytest.raises(KeyboardInterrupt):
        t.fit(progress=False)
    assert len(t.run.epochs) == epoch - 1
    again = t.fit(progress=False)
    assert comparable(again) == comparable(trainer().fit(progress=False))


def test_a_folder_with_another_network_is_refused(tmp_path):
    trainer(folder=tmp_path).fit(progress=False)
    for other, what in ((small_network(6), "layers"), (small_network(5), "layers")):
        perforate(other, activation="relu")
        with pytest.raises(ConfigError, match=f"another {what}"):
            PerforatedTrainer(other, SPIRALS, config(), folder=tmp_path).fit(progress=False)


def test_a_finished_run_is_ready_for_use_when_it_is_fetched_again(tmp_path):
    trainer(folder=tmp_path).fit(progress=False)
    again = trainer(folder=tmp_path)
    again.fit(progress=False)
    assert not again.model.training


def test_a_last_batch_of_one_image_is_left_out(tiny_data):
    images = tiny_data.subset(33, validation=20, test=20)
    cfg = config(switch=FixedSwitch((2,)), cycles=0, batch_size=len(images.train) - 1)
    t = PerforatedTrainer(mobilenet_small(10, 0.25, seed=0), images, cfg)
    t.fit(progress=False)
    assert t.schedule.last_epoch == 2, "one step an epoch, and the schedule knows"


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match=name):
        trainer(config(device=name))


def groups(**changes) -> list[tuple[float, float, int]]:
    """Rate, decay and number of tensors of the optimiser's groups, after one dendrite a neuron has been grown."""
    model = perforate(mobilenet_small(10, width=0.25, seed=0), "features.0.0")
    add_dendrites(model)
    images = data_module.load("synthetic10", progress=False).subset(100, validation=50, test=50)
    cfg = config(cycles=0, thaw=True, lr=0.2, weight_decay=0.1, batch_size=50, **changes)
    optimizer = PerforatedTrainer(model, images, cfg).optimizer
    return sorted((group["lr"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups)


def test_decay_can_spare_norms_and_thawed_dendrites_can_have_a_rate_of_their_own():
    constant = {"schedule": lambda optimizer, phase, steps: None}
    model = perforate(mobilenet_small(10, width=0.25, seed=0), "features.0.0")
    add_dendrites(model)
    tensors, wide = list(model.parameters()), [p for p in model.parameters() if p.dim() > 1]
    assert groups(**constant) == [(0.2, 0.1, len(tensors))]
    assert groups(decay_norms=False, **constant) == [(0.2, 0.0, len(tensors) - len(wide)), (0.2, 0.1, len(wide))]
    assert groups(thawed_lr=0.5, **constant) == [(0.1, 0.1, 3), (0.2, 0.1, len(tensors) - 3)], "convolution and norm"
    sgd = groups(optimizer="sgd", **constant)
    assert sgd == [(0.2, 0.1, len(tensors))]


def test_a_running_average_is_what_is_validated_kept_and_tested():
    class Watch(Callback):
        def on_epoch_end(self, trainer, record):
            if record.phase == "neuron":
                average = trainer.average.module.state_dict()
                assert not all(torch.equal(v, average[k]) for k, v in trainer.model.state_dict().items())
                seen.append({k: v.clone() for k, v in average.items()})

    seen: list[dict] = []
    t = trainer(config(average=0.9), callbacks=[Watch()])
    run = t.fit(progress=False)
    neuron = [epoch.epoch for epoch in run.epochs if epoch.phase == "neuron"]
    best = seen[neuron.index(run.result.best_epoch)]
    assert all(torch.equal(v, best[k]) for k, v in t.model.state_dict().items())
    assert t.evaluate("validation")[1] == run.result.validation_accuracy


def test_smoothed_targets_are_trained_on_and_not_validated_on():
    smooth, sharp = config(label_smoothing=0.2), config()
    outputs, labels = torch.tensor([[4.0, 0.0]]), torch.tensor([0])
    assert smooth.training_loss(outputs, labels) > 2 * sharp.training_loss(outputs, labels)
    assert smooth.loss(outputs, labels) == sharp.loss(outputs, labels)
    for bad in ({"label_smoothing": 1.0}, {"average": 1.0}, {"cutout": -1}, {"optimizer": "adam"}, {"thawed_lr": 0}):
        with pytest.raises(ConfigError):
            config(**bad)
    with pytest.raises(ConfigError, match="goes with the default loss"):
        config(label_smoothing=0.1, loss=nn.functional.multi_margin_loss)


def test_held_out_images_are_tested_at_the_end(tiny_data):
    images = tiny_data.hold_out(50)
    cfg = config(switch=FixedSwitch((1,)), cycles=0, lr=1e-3)
    run = PerforatedTrainer(mobilenet_small(10, 0.25, seed=0), images, cfg).fit(progress=False)
    assert run.header["data"]["fresh"] == 50 and run.header["data"]["train"] == 150
    assert 0 <= run.result.fresh_accuracy <= 100 and run.lines()[-1]["fresh_accuracy"] == run.result.fresh_accuracy
