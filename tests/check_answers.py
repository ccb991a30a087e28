"""What learners write: for every exercise three ways to be right, and at least five to be wrong, each with its hint."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from statistics import fmean, median, pstdev, stdev
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from perfteach import add_dendrites, count_parameters, metrics, perforate
from perfteach.course.checks.helpers import total_parameters, widest
from perfteach.dendrites import dendritic_layers

# --- pieces of answers


def first_in_loop(run):
    for epoch in run.epochs:
        if epoch["phase"] == "dendrite":
            return epoch["epoch"]


def macs_by_loop(c_in, c_out, k, side, stride):
    return sum(c_in * k * k for _ in range(c_out) for _ in range(0, side, stride) for _ in range(0, side, stride))


def in_place(x, fc1, fc2):
    x *= F.hardsigmoid(fc2(F.relu(fc1(F.adaptive_avg_pool2d(x, 1)))))
    return x


def se(x, fc1, fc2, squeeze=lambda x: x.mean((2, 3), keepdim=True), relu=F.relu, gate=F.hardsigmoid):
    return x * gate(fc2(relu(fc1(squeeze(x)))))


def corr(v, e):
    return torch.stack([torch.corrcoef(torch.stack([v[:, k], e[:, k]]))[0, 1] for k in range(v.shape[1])])


def ascent_by_hand(x, v, e):
    cov = ((v - v.mean()) * e).sum()
    total = torch.zeros_like(x[0])
    for p in range(len(v)):
        total = total + torch.sign(cov) * (e[p] - e.mean()) * (1 - v[p] ** 2) * x[p]
    return total


def climb(x, v, e, sign=lambda v, e: ((v - v.mean()) * (e - e.mean())).sum().sign(), error=lambda e: e - e.mean()):
    return sign(v, e) * (error(e) * (1 - v**2)) @ x


def layer(x, neuron, dendrite, w, see=torch.detach, neuron_sees=lambda x: x, pass_on=lambda v: v, phi=torch.tanh):
    return neuron(neuron_sees(x)) + w * pass_on(phi(dendrite(see(x))))


def no_grad_layer(x, neuron, dendrite, w):
    with torch.no_grad():
        seen = x * 1
    return torch.add(neuron(x), w * dendrite(seen).tanh())


def plateau(scores, patience, gain, best=float("-inf"), beyond=0, last=False, any_gain=False, reset=True):
    since = 0
    for score in scores:
        if score > best and (any_gain or score >= best + gain):
            best, since = score, 0 if reset else since
        else:
            best, since = score if last else best, since + 1
    return since >= patience + beyond


def plateau_numpy(scores, patience, gain):
    return np.bool_(plateau(scores, patience, gain))


def best_by_loop(records):
    best = {}
    for record in records:
        for name, score in record["scores"].items():
            if name not in best or score > best[name][0]:
                best[name] = (score, record["epoch"])
    return {name: epoch for name, (_, epoch) in best.items()}


def interval(a, b, t=2.776, spread=stdev, root=0.5):
    d = [y - x for x, y in zip(a, b, strict=True)]
    half = t * spread(d) / len(d) ** root
    return fmean(d), fmean(d) - half, fmean(d) + half


def interval_numpy(a, b):
    d = np.subtract(b, a)
    return d.mean() + np.array([0, -1, 1]) * 2.776 * d.std(ddof=1) / np.sqrt(len(d))


def interval_torch(a, b):
    d = torch.tensor(b) - torch.tensor(a)
    half = 2.776 * d.std() / len(d) ** 0.5
    return [d.mean(), d.mean() - half, d.mean() + half]


def total(model):
    return sum(p.numel() for p in model.parameters())


def hidden(model):
    return sum(p.numel() for n, p in model.named_parameters() if ".dendrites." in n or ".cascade." in n)


def links(model):
    return sum(w.numel() for _, layer in dendritic_layers(model) for w in layer.weights)


def counts_by_library(model):
    found = count_parameters(model)
    return np.array([found.total - found.dendrites + links(model), found.total])


def on_convolutions(model):
    for name in ("stem.0", "first.0", "second.0"):
        add_dendrites(model, only=name)
    return model


def frozen(neuron, x):
    return F.linear(x, neuron.weight.detach(), neuron.bias.detach())


def widest_up(dendrites, limit, widths=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)):
    fits = [width for width in widths if total_parameters(width, dendrites) <= limit]
    return fits[-1]


def greedy(scores, costs, budget, key=lambda s, c: s / c, stop=False, strict=False):
    chosen = []
    for name in sorted(scores, key=lambda n: key(scores[n], costs[n]), reverse=True):
        if costs[name] < budget or (costs[name] == budget and not strict):
            chosen.append(name)
            budget -= costs[name]
        elif stop:
            break
    return chosen


def knapsack(scores, costs, budget):
    names = sorted(scores, key=lambda n: scores[n] / costs[n], reverse=True)
    sets = [[n for k, n in enumerate(names) if bits >> k & 1] for bits in range(2 ** len(names))]
    return max((s for s in sets if sum(costs[n] for n in s) <= budget), key=lambda s: sum(scores[n] for n in s))


def front_by_pairs(points):
    def beaten(p):
        return any(q[1] <= p[1] and q[2] >= p[2] and (q[1], q[2]) != (p[1], p[2]) for q in points)

    return [p[0] for p in sorted(points, key=lambda p: p[1]) if not beaten(p)]


def fold(weight, gamma, beta, mean, variance, eps, scale=None, bias=lambda b, m, s: b - m * s):
    s = gamma * torch.rsqrt(variance + eps) if scale is None else scale(gamma, variance, eps)
    return [weight * s.view(-1, 1, 1, 1), bias(beta, mean, s)]


def fold_by_loop(weight, gamma, beta, mean, variance, eps):
    new = weight.clone()
    for k in range(len(gamma)):
        new[k] *= gamma[k] / (variance[k] + eps) ** 0.5
    return new, beta - gamma * mean / torch.sqrt(variance + eps)


def fold_by_torch(weight, gamma, beta, mean, variance, eps):
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    return fuse_conv_bn_weights(weight, None, mean, variance, eps, gamma, beta)


def by_hand_median(seconds, warm_up, place=None):
    kept = sorted(seconds[warm_up:])
    low, high = (len(kept) - 1) // 2, len(kept) // 2
    return 500 * (kept[low] + kept[high]) if place is None else 1000 * kept[low if place == "low" else high]


def int8(x, scale=lambda x: x.abs().max() / 127, whole=torch.round, kind=torch.int8):
    return whole(x / scale(x)).clamp(-127, 127).to(kind), scale(x)


def int8_numpy(x):
    scale = np.abs(x.numpy()).max() / 127
    return np.rint(x.numpy() / scale).astype(np.int8), np.array([scale])


def convolutions(model):
    names = [name for name, part in model.named_modules() if isinstance(part, nn.Conv2d)]
    return add_dendrites(perforate(model, names))


def redrawn(model):
    for part in model.modules():
        if isinstance(part, nn.Linear):
            part.reset_parameters()
    return add_dendrites(perforate(model, nn.Conv2d))


def problems(control, entry, **other):
    holds = {
        "finished": control["finished"] and entry["finished"],
        "same data": control["data"] == entry["data"],
        "same epochs": control["epochs"] == entry["epochs"],
        "within the limit": entry["parameters"] <= 993_000,
    } | {name.replace("_", " "): rule(control, entry) for name, rule in other.items()}
    return [rule for rule in holds if not holds[rule]]


def problems_by_ifs(control, entry):
    found = []
    if entry["parameters"] > 993_000:
        found.append("within the limit")
    if control["epochs"] != entry["epochs"]:
        found.append("same epochs")
    if control["data"] != entry["data"]:
        found.append("same data")
    if not (control["finished"] and entry["finished"]):
        found.append("finished")
    return found


def ranked(entries, key):
    return [entry[0] for entry in sorted(entries, key=key)]


def reduction(e):
    return metrics.error_reduction(e[1], e[2])


ARMS = {
    "it trained for more epochs": "same-epochs",
    "it has more parameters": "wider",
    "dendrites left as they were drawn would do as well": "random",
    "the error signal taught the dendrites nothing": "shuffled",
    "plain backpropagation would do as well": "gradient",
}
T = torch.tensor

# --- three right ones for each; what they return may be a number, tensor or array, a list or a tuple

RIGHT: dict[str, list[Any]] = {
    "first_dendrite_epoch": [
        first_in_loop,
        lambda run: [e["phase"] for e in run.epochs].index("dendrite") + 1,
        lambda run: np.int64(min(e["epoch"] for e in run.epochs if e["phase"] == "dendrite")),
    ],
    "dendrite_parameters": [
        lambda inputs, neurons: neurons * (inputs + 2),
        lambda inputs, neurons: T(inputs * neurons + neurons + neurons),
        lambda inputs, neurons: sum(p.numel() for p in nn.Linear(inputs, neurons).parameters()) + float(neurons),
    ],
    "error_reduction": [
        lambda control, accuracy: ((100 - control) - (100 - accuracy)) / (100 - control) * 100,
        lambda control, accuracy: np.float64(100 * (1 - (100 - accuracy) / (100 - control))),
        lambda control, accuracy: T([100 * (accuracy - control) / (100 - control)]),
    ],
    "separable_weights": [
        lambda c_in, c_out, k: c_in * (k**2 + c_out),
        lambda c_in, c_out, k: np.array(c_in * k * k + c_out * c_in),
        lambda c_in, c_out, k: sum(
            p.numel()
            for p in (
                *nn.Conv2d(c_in, c_in, k, groups=c_in, bias=False).parameters(),
                *nn.Conv2d(c_in, c_out, 1, bias=False).parameters(),
            )
        ),
    ],
    "convolution_macs": [
        macs_by_loop,
        lambda i, o, k, side, stride: i * o * k**2 * int(np.ceil(side / stride)) ** 2,
        lambda i, o, k, side, stride: T(i * o * k * k * ((side - 1) // stride + 1) ** 2),
    ],
    "hard_swish": [F.hardswish, lambda x: x * F.relu6(x + 3) / 6, lambda x: x.mul_((x + 3).clamp(0, 6) / 6)],
    "squeeze_excite": [
        in_place,
        lambda x, fc1, fc2: torch.einsum(
            "bchw,bc->bchw", x, F.hardsigmoid(fc2(fc1(x.mean((2, 3), True)).relu()))[..., 0, 0]
        ),
        lambda x, fc1, fc2: x * ((fc2(fc1(x.mean((-2, -1))[:, :, None, None]).clamp(min=0)) + 3).clamp(0, 6) / 6),
    ],
    "neuron_error": [
        lambda h, y: 1 / (1 + torch.exp(-h)) - y.float(),
        lambda h, y: np.array(torch.sigmoid(h)) - y.numpy(),
        lambda h, y: torch.where(y == 1, -torch.sigmoid(-h), torch.sigmoid(h)),
    ],
    "correlation": [
        corr,
        lambda v, e: F.cosine_similarity(v - v.mean(0), e - e.mean(0), dim=0),
        lambda v, e: ((v - v.mean(0)) * (e - e.mean(0))).sum(0) / (len(v) - 1) / (v.std(0) * e.std(0)),
    ],
    "ascent": [
        ascent_by_hand,
        climb,
        lambda x, v, e: torch.einsum("p,pd->d", ((v - v.mean()) * e).sum().sign() * (e - e.mean()) * (1 - v * v), x),
    ],
    "sign_of_w": ["negative", " Negative ", "NEGATIVE."],
    "perforated_forward": [
        no_grad_layer,
        lambda x, neuron, dendrite, w: neuron(x) + dendrite(x.detach()).tanh() * w,
        lambda x, neuron, dendrite, w: w * torch.tanh(dendrite(x.data)) + neuron(x),
    ],
    "plateau_ended": [
        plateau_numpy,
        lambda scores, patience, gain: T(plateau(scores, patience, gain)),
        lambda scores, patience, gain: plateau(scores[1:], patience, gain, best=scores[0]),
    ],
    "best_epochs": [
        best_by_loop,
        lambda records: OrderedDict(reversed(list(best_by_loop(records).items()))),
        lambda records: {name: np.int64(epoch) for name, epoch in best_by_loop(records).items()},
    ],
    "rules_out": [ARMS, dict(reversed(ARMS.items())), OrderedDict(ARMS)],
    "same_epochs": [
        lambda neuron, dendrite: [neuron[0]] + [n + dendrite for n in neuron[1:]],
        lambda neuron, dendrite: np.array(neuron) + dendrite * (np.arange(len(neuron)) > 0),
        lambda neuron, dendrite: T([n + dendrite * (k > 0) for k, n in enumerate(neuron)]),
    ],
    "standard_error": [
        lambda accuracy, images: 100 * (accuracy / 100 * (1 - accuracy / 100) / images) ** 0.5,
        lambda accuracy, images: np.sqrt(accuracy * (100 - accuracy) / images),
        lambda accuracy, images: T(accuracy * (100 - accuracy) / images).sqrt(),
    ],
    "paired_interval": [
        interval_numpy,
        interval_torch,
        lambda a, b: tuple(getattr(metrics.paired_interval(a, b), part) for part in ("estimate", "low", "high")),
    ],
    "two_counts": [
        counts_by_library,
        lambda model: [total(model) - hidden(model), total(model)],
        lambda model: (T(total(model) - hidden(model)), T(total(model))),
    ],
    "widest": [widest_up, lambda d, limit: np.float64(widest_up(d, limit)), lambda d, limit: T(widest_up(d, limit))],
    "choose_layers": [
        lambda scores, costs, budget: tuple(greedy(scores, costs, budget)),
        lambda scores, costs, budget: np.array(greedy(scores, costs, budget), dtype=str),
        lambda scores, costs, budget: dict.fromkeys(greedy(scores, costs, budget, key=lambda s, c: -c / s)),
    ],
    "front": [
        front_by_pairs,
        lambda points: tuple(front_by_pairs(points)),
        lambda points: (name for name in front_by_pairs(points)),
    ],
    "fold": [fold, fold_by_loop, fold_by_torch],
    "same_answers": [
        lambda a, b: ((a - b).abs().max(), (a.argmax(1) == b.argmax(1)).float().mean() * 100),
        lambda a, b: [np.abs(a.numpy() - b.numpy()).max(), 100 * np.mean(a.numpy().argmax(1) == b.numpy().argmax(1))],
        lambda a, b: torch.stack([(a - b).norm(float("inf")), 100 * (a.max(1)[1] == b.max(1)[1]).float().mean()]),
    ],
    "latency": [
        by_hand_median,
        lambda seconds, warm_up: np.median(np.array(seconds[warm_up:]) * 1000),
        lambda seconds, warm_up: torch.quantile(T(seconds[warm_up:], dtype=torch.float64), 0.5) * 1e3,
    ],
    "quantize": [
        int8_numpy,
        lambda x: [torch.floor(x * 127 / x.abs().max() + 0.5).char(), float(x.abs().max()) / 127],
        lambda x: ((x / x.abs().amax() * 127).round().to(torch.int8), x.abs().amax() / 127),
    ],
    "perforate_convolutions": [
        lambda model: add_dendrites(perforate(model, nn.Conv2d)),
        convolutions,
        lambda model: add_dendrites(perforate(model, lambda name, module: name != "head")),
        lambda model: on_convolutions(perforate(model)),  # room for them everywhere
    ],
    "problems": [problems, problems_by_ifs, lambda control, entry: set(problems(control, entry))],
    "rank": [
        lambda entries: ranked(entries, lambda e: (round(-reduction(e), 9), e[3])),
        lambda entries: tuple(ranked(entries, lambda e: (round((100 - e[2]) / (100 - e[1]), 9), e[3]))),
        lambda entries: np.array(ranked(entries, lambda e: (round(-reduction(e), 9), e[3]))),
    ],
}

# --- exercise, wrong answer, and a word of the hint that has to come

WRONG: list[tuple[str, Any, str]] = [
    ("first_dendrite_epoch", lambda run: [e["phase"] for e in run.epochs].index("dendrite"), "places in a list"),
    ("first_dendrite_epoch", lambda run: next(e for e in run.epochs if e["phase"] == "dendrite"), "a whole number"),
    ("first_dendrite_epoch", lambda run: 5, "'phase' is 'dendrite'"),
    ("first_dendrite_epoch", lambda run: max(e["epoch"] for e in run.epochs if e["phase"] == "dendrite"), "the last"),
    ("first_dendrite_epoch", lambda run: sum(e["phase"] == "dendrite" for e in run.epochs), "how many"),
    ("dendrite_parameters", lambda inputs, neurons: inputs * neurons, "a bias, too"),
    ("dendrite_parameters", lambda inputs, neurons: inputs * neurons + neurons, "the w that says"),
    ("dendrite_parameters", lambda inputs, neurons: inputs * neurons + neurons + 1, "every neuron has its own"),
    ("dendrite_parameters", lambda inputs, neurons: inputs + 2, "each of the `neurons`"),
    ("dendrite_parameters", lambda inputs, neurons: inputs * neurons / 3, "one weight for each input"),
    ("error_reduction", lambda control, accuracy: accuracy - control, "those are points"),
    (
        "error_reduction",
        lambda control, accuracy: 100 * (accuracy - control) / control,
        "divide by the control's error",
    ),
    ("error_reduction", lambda control, accuracy: (accuracy - control) / (100 - control), "fraction"),
    ("error_reduction", lambda control, accuracy: 100 * (control - accuracy) / (100 - control), "positive"),
    ("error_reduction", lambda control, accuracy: 100 * (accuracy - control) / (100 - accuracy), "not by the other"),
    ("separable_weights", lambda c_in, c_out, k: k * k * c_in * c_out, "ordinary convolution"),
    ("separable_weights", lambda c_in, c_out, k: k * k * c_out + c_in * c_out, "per *input* channel"),
    ("separable_weights", lambda c_in, c_out, k: k * c_in + c_in * c_out, "k rows"),
    ("separable_weights", lambda c_in, c_out, k: c_in * (k * k + 1) + c_out * (c_in + 1), "no biases"),
    ("separable_weights", lambda c_in, c_out, k: k * k * c_in, "for each pair of channels"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k, "number of weights"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * side * side, "*output* map"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * (side // stride) ** 2, "rounds up"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * round(side / stride) ** 2, "rounds up"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * (side / stride) ** 2, "no half positions"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * -(-side // stride), "along one edge"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * (side // stride), "along one edge"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * side * side / stride**2, "then square it"),
    ("hard_swish", lambda x: torch.clamp(x + 3, 0, 6) / 6, "multiply it by x"),
    ("hard_swish", lambda x: x * torch.clamp(x + 3, 0, 6), "divide by 6"),
    ("hard_swish", F.silu, "exponential"),
    ("hard_swish", lambda x: x * torch.clamp(x + 3, max=6) / 6, "below 0"),
    ("hard_swish", lambda x: (x * torch.clamp(x + 3, 0, 6) / 6).sum(), "each element"),
    ("hard_swish", lambda x: x * min(max(x + 3, 0), 6) / 6, "torch.clamp(x + 3, 0, 6)"),
    ("hard_swish", lambda x: x * torch.min(torch.max(x + 3, 0), 6) / 6, "torch.clamp(x + 3, 0, 6)"),
    ("hard_swish", lambda x: x * torch.minimum(torch.maximum(x + 3, 0), 6) / 6, "torch.clamp(x + 3, 0, 6)"),
    ("hard_swish", lambda x: x * torch.clamp(x + three, 0, 6) / 6, "the last one raised it"),  # noqa: F821
    ("squeeze_excite", partial(se, squeeze=lambda x: x.mean((0, 2, 3), keepdim=True)), "last two axes"),
    ("squeeze_excite", partial(se, squeeze=lambda x: x.mean(1, keepdim=True)), "the channels stay"),
    ("squeeze_excite", partial(se, squeeze=lambda x: x.mean((2, 3))), "keep the dimensions"),
    ("squeeze_excite", partial(se, gate=torch.sigmoid), "hardsigmoid"),
    ("squeeze_excite", partial(se, relu=lambda x: x), "relu between"),
    ("squeeze_excite", partial(se, squeeze=lambda x: x.amax((2, 3), keepdim=True)), "maximum"),
    ("squeeze_excite", lambda x, fc1, fc2: F.hardsigmoid(fc2(F.relu(fc1(x.mean((2, 3), True))))), "multiply it by x"),
    ("neuron_error", lambda h, y: y - torch.sigmoid(h), "sign"),
    ("neuron_error", lambda h, y: h - y, "not a probability"),
    ("neuron_error", lambda h, y: (torch.sigmoid(h) - y) / len(h), "not divided"),
    ("neuron_error", lambda h, y: (torch.sigmoid(h) - y).mean(), "one error for each point"),
    ("neuron_error", lambda h, y: (torch.sigmoid(h) - y).abs(), "keep the sign"),
    ("correlation", lambda v, e: corr(v.T, e.T), "each column is a neuron"),
    ("correlation", lambda v, e: (v * e).mean(0) / (v.std(0, correction=0) * e.std(0, correction=0)), "above the line"),
    ("correlation", lambda v, e: F.cosine_similarity(v, e, dim=0), "subtract the means"),
    ("correlation", lambda v, e: ((v - v.mean(0)) * (e - e.mean(0))).mean(0), "covariance"),
    ("correlation", lambda v, e: ((v - v.mean(0)) * (e - e.mean(0))).mean(0) / (v.std(0) * e.std(0)), "P − 1"),
    ("correlation", lambda v, e: corr(v, e).abs(), "keep the sign"),
    ("correlation", lambda v, e: ((v - v.mean(0)) * (e - e.mean(0))).sum(0) / (v.std(0) * e.std(0)), "not the sum;"),
    ("ascent", partial(climb, sign=lambda v, e: 1.0), "use its sign"),
    ("ascent", partial(climb, error=lambda e: e), "mean of e"),
    ("ascent", partial(climb, sign=lambda v, e: (v * e).sum().sign(), error=lambda e: e), "subtract the means"),
    ("ascent", partial(climb, sign=lambda v, e: (v * e).sum().sign()), "sign is that of the covariance"),
    ("ascent", lambda x, v, e: -climb(x, v, e), "sign is turned"),
    ("ascent", lambda x, v, e: climb(x, v, e) / len(v), "not their mean"),
    ("ascent", lambda x, v, e: ((e - e.mean()) * (1 - v**2) * x).sum(0), "make it a column with [:, None]"),
    ("sign_of_w", "positive", "added or taken away"),
    ("sign_of_w", -1, "quotation marks"),
    ("sign_of_w", "minus", "one of the two words"),
    ("sign_of_w", ["negative"], "quotation marks"),
    ("sign_of_w", lambda: "negative", "quotation marks"),
    ("perforated_forward", partial(layer, see=lambda x: x), "x.detach()"),
    ("perforated_forward", partial(layer, neuron_sees=torch.detach), "neuron sees x itself"),
    ("perforated_forward", partial(layer, pass_on=torch.detach), "not its output"),
    ("perforated_forward", partial(layer, phi=lambda v: v), "tanh"),
    ("perforated_forward", lambda x, neuron, dendrite, w: layer(x, neuron, dendrite, w.detach()), "w learns"),
    ("perforated_forward", lambda x, neuron, dendrite, w: layer(x, neuron, dendrite, w).detach(), "detach x only"),
    ("perforated_forward", lambda x, neuron, *rest: layer(x, partial(frozen, neuron), *rest), "detach x only"),
    ("plateau_ended", partial(plateau, beyond=1), "patience is 2"),
    ("plateau_ended", partial(plateau, last=True), "compare with the best"),
    ("plateau_ended", partial(plateau, any_gain=True), "below min_gain"),
    ("plateau_ended", partial(plateau, reset=False), "count begins again"),
    ("plateau_ended", partial(plateau, best=0.0), "negative"),
    ("plateau_ended", lambda scores, patience, gain: 0, "True or False"),
    ("plateau_ended", lambda scores, patience, gain: len(scores) > patience and plateau(scores, 1, gain), "patience"),
    ("best_epochs", lambda records: {n: k for k, n in enumerate(records[0]["scores"])}, "highest"),
    ("best_epochs", lambda records: dict.fromkeys(records[0]["scores"], 11), "highest score"),
    ("best_epochs", lambda records: 11, "dictionary"),
    ("best_epochs", lambda records: dict.fromkeys(records[0]["scores"], records[-1]["epoch"]), "last epoch"),
    ("best_epochs", lambda records: {n: max(r["scores"][n] for r in records) for n in records[0]["scores"]}, "number"),
    ("rules_out", ARMS | {"it has more parameters": "same-epochs"}, "another question"),
    ("rules_out", ARMS | {"it trained for more epochs": "longer"}, "names in the table"),
    ("rules_out", ARMS | {"it has more parameters": ["wider"]}, "names in the table"),
    ("rules_out", ARMS | {"it trained for more epochs": "baseline"}, "where all arms start"),
    ("rules_out", ARMS | {"it has more parameters": "perforated"}, "the claim itself"),
    ("rules_out", dict(list(ARMS.items())[:4]), "as they are"),
    ("rules_out", list(ARMS.values()), "beside each explanation"),
    ("rules_out", ARMS | {"plain backpropagation would do as well": "shuffled"}, "another question"),
    ("same_epochs", lambda neuron, dendrite: neuron, "count too"),
    ("same_epochs", lambda n, d: (n[0] + d * (len(n) - 1), *n[1:]), "where the dendrite phase stood"),
    ("same_epochs", lambda n, d: (sum(n) + d * (len(n) - 1),), "restarts as often"),
    ("same_epochs", lambda n, d: [e + d for e in n], "before the first"),
    ("same_epochs", lambda n, d: (n[0], *(e for later in n[1:] for e in (d, later))), "does not restart again"),
    ("standard_error", lambda p, n: (p / 100 * (1 - p / 100) / n) ** 0.5, "fraction"),
    ("standard_error", lambda p, n: p * (100 - p) / n, "variance"),
    ("standard_error", lambda p, n: round((p * (100 - p) / n) ** 0.5, 2), "right, but rounded"),
    ("standard_error", lambda p, n: (p / n) ** 0.5, "p(1 − p)"),
    ("standard_error", lambda p, n: (p * (1 - p) / n) ** 0.5, "root of a negative number"),
    ("standard_error", lambda p, n: math.sqrt(p * (1 - p) / n), "root of a negative number"),
    ("standard_error", lambda p, n: np.float64(p / n), "both in percent"),
    ("standard_error", lambda p, n: (p * (100 - p)) ** 0.5 / n, "√n"),
    ("standard_error", lambda p, n: (p * (100 - p)) ** 0.5, "√n"),
    ("paired_interval", partial(interval, t=1.96), "2.776"),
    ("paired_interval", partial(interval, spread=pstdev), "n − 1"),
    ("paired_interval", partial(interval, root=0), "√n is missing"),
    ("paired_interval", partial(interval, root=1), "not by n"),
    ("paired_interval", lambda a, b: interval(b, a), "treated minus control"),
    ("paired_interval", lambda a, b: interval(a, b)[0], "3 numbers"),
    ("two_counts", lambda m: (total(m) - hidden(m) - links(m), total(m)), "weights w"),
    ("two_counts", lambda m: (total(m), total(m) - hidden(m)), "other way round"),
    ("two_counts", lambda m: (total(m), total(m)), "leaves the dendrites"),
    ("two_counts", lambda m: (total(m) - hidden(m), hidden(m)), "every parameter"),
    ("two_counts", lambda m: (links(m), total(m)), "*and* its links"),
    ("two_counts", lambda m: total(m), "2 whole numbers"),
    ("widest", lambda d, limit: widest(0, limit), "they count"),
    ("widest", lambda d, limit: widest(d, limit) - 0.1, "wider one"),
    ("widest", lambda d, limit: widest(d, limit) + 0.04, "one of the widths"),
    ("widest", lambda d, limit: round(10 * widest(d, limit)), "one of the widths"),
    ("widest", lambda d, limit: widest(d, limit - 1), "limit itself"),
    ("widest", lambda d, limit: total_parameters(widest(d, limit), d), "one of the widths"),
    ("widest", lambda d, limit: 1.0, "they count"),
    ("widest", partial(widest_up, widths=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)), "wider one"),
    ("choose_layers", partial(greedy, key=lambda s, c: s), "score alone"),
    ("choose_layers", partial(greedy, stop=True), "go on"),
    ("choose_layers", partial(greedy, strict=True), "fills the budget"),
    ("choose_layers", lambda scores, costs, budget: list(scores), "more than the budget"),
    ("choose_layers", knapsack, "greedy way"),
    ("choose_layers", lambda scores, costs, budget: set(greedy(scores, costs, budget)), "in their order"),
    ("choose_layers", lambda scores, costs, budget: greedy(scores, costs, budget)[::-1], "another order"),
    ("choose_layers", lambda scores, costs, budget: ["stem"], "names from"),
    ("choose_layers", lambda scores, costs, budget: [], "whatever still fits"),
    ("front", lambda points: [p[0] for p in sorted(points, key=lambda p: p[1])], "no higher accuracy"),
    ("front", lambda points: front_by_pairs(points)[::-1], "another order"),
    ("front", lambda points: [max(points, key=lambda p: p[2])[0]], "best network only"),
    ("front", lambda points: [p[0] for p in sorted(points, key=lambda p: -p[2])], "smallest first"),
    ("front", lambda points: front_by_pairs(points)[:1], "smallest on"),
    ("fold", partial(fold, scale=lambda g, v, e: g / v.sqrt()), "eps is missing"),
    ("fold", partial(fold, scale=lambda g, v, e: g / (v + e)), "root is missing"),
    ("fold", partial(fold, bias=lambda b, m, s: b), "mean is missing"),
    ("fold", partial(fold, bias=lambda b, m, s: b - m), "same scale"),
    ("fold", partial(fold, bias=lambda b, m, s: b + m * s), "a minus"),
    ("fold", lambda w, g, b, m, v, e: (w * (g / (v + e).sqrt())[None, :, None, None], b), "multiplies the outputs"),
    ("fold", lambda w, g, b, m, v, e: w * (g / (v + e).sqrt())[:, None, None, None], "2 tensors"),
    ("same_answers", lambda a, b: ((a - b).max(), 75.0), "absolute"),
    ("same_answers", lambda a, b: ((b - a).max(), 75.0), "absolute"),
    ("same_answers", lambda a, b: ((a - b).abs().max(), (a.argmax(1) == b.argmax(1)).float().mean()), "percent"),
    (
        "same_answers",
        lambda a, b: ((a - b).abs().max(), 100 * (a.argmax(0) == b.argmax(0)).float().mean()),
        "last axis",
    ),
    ("same_answers", lambda a, b: ((a - b).abs().mean(), 75.0), "a mean hides"),
    ("same_answers", lambda a, b: ((a - b).abs().max(), 100 * (a.argmax(1) != b.argmax(1)).float().mean()), "stayed"),
    ("latency", lambda seconds, warm_up: median(seconds[warm_up:]), "milliseconds"),
    ("latency", lambda seconds, warm_up: 1000 * median(seconds), "warm-up"),
    ("latency", lambda seconds, warm_up: 1000 * fmean(seconds[warm_up:]), "moves a mean"),
    ("latency", partial(by_hand_median, place="high"), "two middle ones"),
    ("latency", partial(by_hand_median, place="low"), "two middle ones"),
    ("latency", lambda seconds, warm_up: 1000 * sorted(seconds)[len(seconds) // 2], "warm-up"),
    ("quantize", partial(int8, scale=lambda x: x.abs().max() / 128), "127"),
    ("quantize", partial(int8, scale=lambda x: x.max() / 127), "*absolute*"),
    ("quantize", partial(int8, whole=lambda x: x), "cuts off"),
    ("quantize", partial(int8, kind=torch.float32), "torch.int8"),
    ("quantize", lambda x: (int8(x)[0], 127 / x.abs().max()), "get the weight back"),
    ("quantize", lambda x: int8(x)[0], "2 values"),
    ("perforate_convolutions", lambda model: add_dendrites(perforate(model)), "Conv2d"),
    ("perforate_convolutions", lambda model: perforate(model, nn.Conv2d), "add_dendrites"),
    ("perforate_convolutions", lambda model: add_dendrites(add_dendrites(perforate(model, nn.Conv2d))), "once"),
    ("perforate_convolutions", lambda model: add_dendrites(perforate(model, ["stem.0", "first.0"])), "by type"),
    ("perforate_convolutions", lambda model: model, "begin with"),
    ("perforate_convolutions", lambda model: grow_dendrites(perforate(model)), "import it first"),  # noqa: F821
    ("perforate_convolutions", lambda model: perforate(perforate(model)), "not been perforated yet"),
    ("perforate_convolutions", lambda model: perforate(model, lambda module: True), "takes (name, module)"),
    ("perforate_convolutions", redrawn, "drawn again"),
    ("perforate_convolutions", lambda model: model.state_dict(), "the model itself"),
    ("problems", partial(problems, finished=lambda c, e: e["finished"]), "control too"),
    ("problems", partial(problems, same_epochs=lambda c, e: True), "same number of epochs"),
    ("problems", partial(problems, within_the_limit=lambda c, e: e["parameters"] < 993_000), "limit itself"),
    ("problems", partial(problems, within_the_limit=lambda c, e: c["parameters"] <= 993_000), "not for the control"),
    ("problems", partial(problems, finished=lambda c, e: c["finished"]), "entry too"),
    ("problems", lambda control, entry: ["unfair"], "every one that is broken"),
    ("rank", lambda entries: ranked(entries, lambda e: -e[2]), "by accuracy"),
    ("rank", lambda entries: ranked(entries, lambda e: e[1] - e[2]), "points"),
    ("rank", lambda entries: ranked(entries, lambda e: (e[1] - e[2], e[3])), "points"),
    ("rank", lambda entries: [e[0] for e in entries][:1], "own control"),
    ("rank", lambda entries: ranked(entries, lambda e: (reduction(e), e[3])), "own control"),
    ("rank", lambda entries: ranked(entries, lambda e: (-reduction(e), -e[3])), "*fewer*"),
    ("rank", lambda entries: ranked(entries, lambda e: round(-reduction(e), 9)), "fewer parameters"),
]
