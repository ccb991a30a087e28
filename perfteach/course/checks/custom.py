"""The checks that a table cannot hold: words, gradients, a grown model, and what an experiment has to reach."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import Any

import torch
from torch import nn

from perfteach import data, metrics
from perfteach.arms import ARMS
from perfteach.config import TrainConfig
from perfteach.course.checks.core import Wrong, call, compare, exercise, require
from perfteach.data.points import small_network, two_spirals
from perfteach.dendrites import dendrite_counts
from perfteach.metrics import Interval, paired_interval
from perfteach.phases import FixedSwitch
from perfteach.runs import Run
from perfteach.selection import perforate
from perfteach.trainer import PerforatedTrainer


@exercise("02.4", "The sign of w")
def check_sign_of_w(answer: Any) -> str:
    """The learner's answer is "positive" or "negative"."""
    word = answer.strip().strip(".").lower() if isinstance(answer, str) else ""
    hint = "write one of the two words, with the quotation marks."
    require(word in ("positive", "negative"), answer, '"positive" or "negative"', hint)
    hint = "where r is positive, V is high where the neuron's h is too high. Should V then be added or taken away?"
    require(word == "negative", answer, "the sign that makes h' smaller where E is positive", hint)
    return "V is high where h is too high, so the neuron takes it away."


@exercise("03.1", "A perforated layer")
def check_perforated_forward(answer: Any) -> str:
    """The learner's function takes (x, neuron, dendrite, w); returns neuron(x) + w · tanh(dendrite(x)), perforated."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        neuron, dendrite = nn.Linear(3, 2), nn.Linear(3, 2)
        w, x = nn.Parameter(torch.tensor([0.7, -1.2])), torch.randn(5, 3, requires_grad=True)
    h = call(answer, x, neuron, dendrite, w, hint="neuron and dendrite are modules: call them on x.")
    hint = "the values are those of neuron(x) + w · tanh(dendrite(x)); blocking a gradient changes no value."
    compare(h, (neuron(x) + w * dendrite(x).tanh()).detach(), hint)
    require(h.requires_grad, "an output without a gradient", "one that neuron and w can learn from", "detach x only.")
    h.square().sum().backward()
    if x.grad is None:
        hint = "the neuron sees x itself, the dendrite x.detach()."
        raise Wrong("no gradient for x", "the neuron's part of it", hint)
    hint = "an error still flows through the dendrite: let it see x.detach()."
    require(neuron.weight.grad is not None, "no gradient for the neuron's weights", "a gradient", "detach x only.")
    blocked = torch.allclose(x.grad, 2 * h.detach() @ neuron.weight.detach(), atol=1e-5)
    require(blocked, "a gradient of x that the dendrite takes part in", "the neuron's part only", hint)
    hint = "detach the dendrite's input and not its output, so that the dendrite itself can still learn."
    require(dendrite.weight.grad is not None, "no gradient for the dendrite's weights", "a gradient", hint)
    require(w.grad is not None, "no gradient for w", "a gradient", "w learns in the neuron phase; leave it as it is.")
    return "the same values, and the error reaches x through the neuron alone."


# A short name for each rival explanation, and the arm that rules it out.
EXPLANATIONS = {
    "it trained for more epochs": "same-epochs",
    "it has more parameters": "wider",
    "dendrites left as they were drawn would do as well": "random",
    "the error signal taught the dendrites nothing": "shuffled",
    "plain backpropagation would do as well": "gradient",
}
NO_CONTROLS = {
    "baseline": "the baseline is where all arms start; it rules nothing out.",
    "perforated": "that arm is the claim itself; it rules nothing out.",
}


@exercise("04.1", "Which arm rules it out?")
def check_rules_out(answer: Any) -> str:
    """The learner's dictionary from a rival explanation to the name of the arm that rules it out."""
    require(isinstance(answer, dict), answer, "a dictionary", "keep it, and put an arm's name beside each explanation.")
    keys = sorted(map(str, answer))
    require(set(answer) == set(EXPLANATIONS), keys, "the five explanations", "leave the keys as they are.")
    for explanation, arm in answer.items():
        known = isinstance(arm, str) and arm in ARMS
        require(known, f"{arm!r}", f"one of {', '.join(ARMS)}", "use the names in the table above.")
        hint = NO_CONTROLS.get(arm, f"that arm answers another question: {ARMS[arm].rules_out!r}.")
        require(arm == EXPLANATIONS[explanation], f"{arm!r} for {explanation!r}", "another arm", hint)
    return "each rival explanation has an arm of its own."


def _convolution(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())


@exercise("07.1", "Dendrites on the convolutions only")
def check_perforate_convolutions(answer: Any) -> str:
    """The learner's function of a model: one dendrite a neuron on every convolution and nowhere else."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        parts = {"stem": _convolution(3), "first": _convolution(8), "second": _convolution(8)}
        pooled = {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(8, 10)}
        model = nn.Sequential(OrderedDict(parts | pooled)).eval()
        images = torch.randn(2, 3, 8, 8)
    before = model(images)
    raised = {
        "NameError.*dendrites": "import it first: from perfteach import add_dendrites.",
        "SelectionError": "select by type: select=torch.nn.Conv2d.",
        "positional argument": "a function for select takes (name, module).",
        "": "the argument is a network that has not been perforated yet; see your lines below.",
    }
    got = call(answer, model, hint=raised)
    require(isinstance(got, nn.Module), got, "a model", "return the model itself.")
    counts = dendrite_counts(got)
    require(counts, "a model without dendritic layers", "dendritic layers", "begin with perforate(model, …).")
    hint = "leave the Linear head out: use select=torch.nn.Conv2d."
    counts = {name: count for name, count in counts.items() if count} or counts  # room for dendrites is none yet
    require("head" not in counts, f"dendritic layers {list(counts)}", "convolutions only", hint)
    compare(len(counts), 3, "every Conv2d of the network, whatever its name: select by type.")
    hint = "perforate makes room for dendrites; add_dendrites(model) grows one, once."
    require(set(counts.values()) == {1}, f"{max(counts.values())} dendrites a neuron", "1", hint)
    hint = "add nothing but dendrites: no weight may be drawn again, and no w set."
    require(torch.equal(before, got.eval()(images)), "other logits", "the same logits bit for bit", hint)
    return "three convolutions carry dendrites, the head does not, and no logit has changed."


_PLAN = [("neuron", 12), ("dendrite", 4), ("neuron", 6)]


@exercise("03.4", "The loop of phases")
def check_train_in_phases(answer: Any) -> str:
    """The learner's function of (model, plan) to each epoch's (loss, validation accuracy), on notebook 03's spirals."""
    (first, dendrite, _), wanted = (epochs for _, epochs in _PLAN), _trainers_epochs()
    model = perforate(small_network(5, seed=0))
    by_name = "a state belongs to one part of the model: find the part by its name, as keep_best does."
    got = call(answer, model, list(_PLAN), hint={"loading state_dict": by_name})
    hint = "return the history, with one (loss, accuracy) for each epoch."
    require(isinstance(got, list) and len(got) == len(wanted), got, f"a list of {len(wanted)} epochs", hint)
    counts = set(dendrite_counts(model).values())
    hint = "call add_dendrites(model) once before each dendrite phase."
    require(counts == {1}, f"{max(counts, default=0)} dendrites a neuron at the end", "1", hint)
    measured = {round(float(accuracy), 6) for _, accuracy in got[first : first + dendrite]}
    hint = "only the newest dendrites may learn there: set_phase(model, phase), and their parameters to the optimiser."
    require(len(measured) == 1, "an accuracy that moves in the dendrite phase", "one that stands still", hint)
    hint = "at the end of a phase find each part by its name, as keep_best does, and load its best state into it."
    best = max(accuracy for _, accuracy in wanted[:first])
    require(abs(measured.pop() - best) < 1e-3, "another network than the best one so far", "the best one", hint)
    gap = max(abs(a - b) for mine, theirs in zip(got, wanted, strict=True) for a, b in zip(mine, theirs, strict=True))
    hint = "look at who learns, at the optimiser's parameters, and at the dendrites' best states in their phase."
    require(gap < 1e-3, f"losses that differ by {gap:.2g} from the trainer's", "the same ones", hint)
    return "the same losses and accuracies as the trainer's, epoch by epoch."


@cache
def _trainers_epochs() -> list[tuple[float, float]]:
    settings = TrainConfig(
        switch=FixedSwitch(neuron=(_PLAN[0][1], _PLAN[2][1]), dendrite=_PLAN[1][1]),
        cycles=1,
        roll_back=False,
        batch_size=250,
        device="cpu",  # where the learner's loop runs: a GPU would draw other dendrites
        optimizer=lambda parameters, phase: torch.optim.Adam(parameters, lr=0.05),
        schedule=lambda optimizer, phase, steps: None,
    )
    model = perforate(small_network(5, seed=0))
    run = PerforatedTrainer(model, two_spirals(1000, turns=1.4), settings, name="check").fit(progress=False)
    return [(epoch["train_loss"], epoch["validation_accuracy"]) for epoch in run.epochs]


@exercise("03.5", "Two spirals in 300 epochs")
def check_spirals(answer: Any) -> str:
    """The learner's run on notebook 03's spirals: five hidden neurons, 150 parameters, 300 epochs, 98 % of the test."""
    require(isinstance(answer, Run), answer, "a run", "hand over what the trainer's fit() returns.")
    require(answer.finished, "a run that has not ended", "a finished one", "let fit() come to its end.")
    hint = "train on `data`, two_spirals(1000, turns=1.4), as it is."
    same = answer.data.get("checksum") == two_spirals(1000, turns=1.4).checksum
    require(same, f"a run on {answer.data_title}", "one on the notebook's spirals", hint)
    ended = answer.ended
    neurons = ended.total - ended.parameters.get("dendrites", 0)
    hint = "the network is small_network(5); what it lacks has to come from dendrites."
    require(neurons == 27, f"{neurons} parameters without dendrites", "the 27 of five hidden neurons", hint)
    hint = "three dendrites a neuron make 150, with their links."
    require(ended.total <= 150, f"{ended.total} parameters", "at most 150", hint)
    hint = "dendrite phases count too. Smaller batches give more steps in an epoch."
    require(len(answer.epochs) <= 300, f"{len(answer.epochs)} epochs", "at most 300", hint)
    hint = (
        "look at which phase still improved when it ended, and give epochs to that one; "
        "then at lr, and at batch_size: smaller batches give more steps in an epoch."
    )
    accuracy = ended.test_accuracy
    require(accuracy >= 98, f"{accuracy:.1f} % of the test points right", "at least 98 %", hint)
    return f"{accuracy:.1f} % with {ended.total} parameters after {len(answer.epochs)} epochs."


@exercise("05.5", "Smaller by surgery")
def check_surgery(answer: Any) -> str:
    """The learner's network: at most 40,000 parameters, and 74 % of the sample's test images right.

    Tried, six to twelve epochs each: leaving out whole blocks gives 77 % with 46,682 parameters, and 63 % with the
    24,634 of the first five features. Block 7 beside those has 34,122 without any squeeze-and-excite, and gave 74.5 %
    to 78.5 % in six runs.
    """
    require(isinstance(answer, nn.Module), answer, "a network", "hand over the model itself, not its run.")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    kept = (buffer for name, buffer in answer.named_buffers() if not name.endswith(statistics))
    total = sum(tensor.numel() for tensor in (*answer.parameters(), *kept))  # a weight in a buffer is one as well
    hint = (
        "leaving out whole blocks is not enough. Count by kind, as in section 6 of notebook 01, what the blocks that "
        "are left hold; which kind could they do without?"
    )
    require(total <= 40_000, f"{total:,} parameters", "at most 40,000", hint)
    images = data.load("cifar10-sample", progress=False)
    place = next((parameter.device for parameter in answer.parameters()), None)
    outputs = call(answer.eval(), torch.zeros(2, 3, 32, 32, device=place), hint="it takes images [B, 3, 32, 32].")
    hint = "return logits [B, 10], one for each class."
    require(getattr(outputs, "shape", None) == (2, 10), getattr(outputs, "shape", outputs), "(2, 10)", hint)
    right = metrics.predictions(answer, images, "test", batch_size=64) == images.test.labels
    accuracy = 100 * float(right.double().mean())
    hint = (
        "let it learn on for some epochs on all 4,500 images, with a rate of about 0.002. Where that is not enough, "
        "keep another block and cut inside it (a squeeze-and-excite costs much and brings little), or learn from the "
        "whole network's answers beside the labels."
    )
    require(accuracy >= 74, f"{accuracy:.1f} % of the test images right", "at least 74 %", hint)
    return f"{accuracy:.0f} % of the test images right, with {total:,} parameters."


@exercise("07.4", "An experiment of your own")
def check_own_experiment(answer: Any) -> str:
    """The learner's (control runs, runs with dendrites, interval of the gain): a comparison to believe in.

    The interval is three numbers, mean, low and high, or what `metrics.paired_interval` returns.
    """
    hint = "hand over two lists of runs and the interval, which is three numbers: mean, low, high."
    require(isinstance(answer, (tuple, list)) and len(answer) == 3, answer, "three things", hint)
    controls, treated, interval = answer
    both = all(isinstance(arm, (tuple, list)) for arm in (controls, treated))
    require(both, [controls, treated], "two lists of runs and an interval", hint)
    runs = [*controls, *treated]
    require(all(isinstance(run, Run) for run in runs), runs, "lists of runs", "a run is what fit() returns.")
    hint = "one seed says nothing about the method: three pairs at least."
    require(len(controls) == len(treated) >= 3, f"{len(controls)} and {len(treated)} runs", "three pairs or more", hint)
    hint = "let fit() come to its end."
    require(all(run.finished for run in runs), "a run that has not ended", "finished runs", hint)
    seeds = [run.seed for run in controls]
    hint = "each control has the seed of its partner, and no two pairs the same: put seed=… into the settings, too."
    fair = seeds == [run.seed for run in treated] and len(set(seeds)) == len(seeds)
    require(fair, f"seeds {seeds} and {[run.seed for run in treated]}", "the same ones, each once", hint)
    checksums = {run.data.get("checksum") for run in runs}
    hint = "all runs on the same images and the same split."
    require(len(checksums) == 1, f"{len(checksums)} data sets", "one", hint)
    hint = "dendrite phases count: give the control their epochs."
    epochs = [(len(a.epochs), len(b.epochs)) for a, b in zip(controls, treated, strict=True)]
    require(all(a == b for a, b in epochs), f"epochs {epochs}", "as many in a control as in its partner", hint)
    _require_fair_arms(controls, treated)
    found = paired_interval([r.ended.test_accuracy for r in controls], [r.ended.test_accuracy for r in treated])
    hint = (
        "mean, low end and high end, in this order, of the paired differences in test accuracy, in points: "
        "metrics.paired_interval(control, treated) returns them, at its level of 95 %."
    )
    compare(interval[:3] if isinstance(interval, Interval) else interval, found[:3], hint)
    said = "and tells the two apart" if found.excludes_zero else "and cannot tell the two apart: a result, too"
    return f"{len(seeds)} pairs, a gain of {found}, {said}."


# What may differ between an arm with dendrites and its control; the cycles have to be as many, since each restarts.
OF_DENDRITES = {"switch", "grow", "thaw", "roll_back", "dendrite_lr", "thawed_lr", "seed", "device"}


def _require_fair_arms(controls: list[Run], treated: list[Run]) -> None:
    """Raises `Wrong` unless the arms differ in their dendrites and in nothing else."""
    grown = [run.name for run in controls if _grew(run)]
    hint = "a control grows no dendrites: grow=False, or a network that was not perforated."
    require(not grown, f"dendrites in {', '.join(grown)}", "none in the first list", hint)
    bare = [run.name for run in treated if not any(run.ended.dendrites.values())]
    hint = (
        "what was tested there has no dendrites: its best epoch lies before they grew, or they were rolled back. "
        "Train longer after they grow, or let them grow before the first epoch: "
        "add_dendrites(perforate(model, …)), with cycles=0."
    )
    require(not bare, f"no dendrites at the end of {', '.join(bare)}", "some in every run of the second list", hint)
    runs = [*controls, *treated]
    names = {name for run in runs for name in run.config} - OF_DENDRITES
    unlike = sorted(name for name in names if any(run.config.get(name) != runs[0].config.get(name) for run in runs))
    hint = "a control has its partner's settings, but for the dendrites: arm_config writes both from the same ones."
    require(not unlike, f"runs that differ in {', '.join(unlike)}", "equal settings", hint)
    fixed = ("FixedSwitch" in run.config.get("switch", {}) for run in runs)
    if all(fixed):  # any other rule decides for each run by itself when the next cycle begins
        begun = [(_restarts(a), _restarts(b)) for a, b in zip(controls, treated, strict=True)]
        hint = "a control restarts where its partner does: arm_config writes both settings."
        unlike = [f"{a} and {b}" for a, b in begun if a != b]
        require(not unlike, f"cycles that begin in epochs {'; '.join(unlike)}", "the same in both of a pair", hint)
    sizes = sorted({run.ended.total - run.ended.parameters.get("dendrites", 0) for run in runs})
    said = " and ".join(f"{size:,}" for size in sizes)
    hint = "without its dendrites a network is the one of its control: the same class, and the same width."
    require(len(sizes) == 1, f"networks of {said} parameters without dendrites", "one size", hint)


def _restarts(run: Run) -> list[int]:
    """The first epoch of each cycle but the first, where the optimiser and its schedule begin anew."""
    first: dict[int, int] = {}
    for epoch in run.epochs:
        first.setdefault(epoch.cycle, epoch.epoch)
    return list(first.values())[1:]


def _grew(run: Run) -> bool:
    """Whether it had dendrites at any time; the best epoch, which the result speaks of, may lie before they grew."""
    sizes = {epoch.parameters for epoch in run.epochs}
    return any(run.ended.dendrites.values()) or len(sizes) > 1
