"""Every check of notebooks 00 to 03 against the solution, the stub, and wrong answers that people give."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn import functional

from perfteach.course import checks
from perfteach.course.checks import core


def late_best(records):
    means = {record["epoch"]: sum(record["scores"].values()) for record in records}
    return dict.fromkeys(records[0]["scores"], max(means, key=means.get))


def plateau(scores, patience, gain, *, beyond=False, last=False, any_gain=False):
    best, since = float("-inf"), 0
    for score in scores:
        if score > best and (any_gain or score >= best + gain):
            best, since = score, 0
        else:
            best, since = score if last else best, since + 1
    return since > patience if beyond else since >= patience


def squeezed(x, fc1, fc2, axes=(2, 3), gate=functional.hardsigmoid, scaled=True):
    scale = gate(fc2(functional.relu(fc1(x.mean(axes, keepdim=True)))))
    return x * scale if scaled else scale.expand_as(x)


def perforated(x, neuron, dendrite, w, *, neuron_sees=None, dendrite_sees=torch.detach, blocked=False):
    v = torch.tanh(dendrite(dendrite_sees(x)))
    return neuron(neuron_sees(x) if neuron_sees else x) + w * (v.detach() if blocked else v)


def correlation(v, e, axis=0, above=True, below=True, correction=0):
    dv, de = (v - v.mean(axis), e - e.mean(axis)) if above else (v, e)
    cov = (dv * de).mean(axis)
    return cov / (v.std(axis, correction=correction) * e.std(axis, correction=correction)) if below else cov


def ascent(x, v, e, sign=True, mean=True, slope=True):
    de = e - e.mean() if mean else e
    turn = torch.sign(((v - v.mean()) * (e - e.mean())).sum()) if sign else 1.0
    return (turn * de * (1 - v.square() if slope else 1.0)) @ x


SOLUTIONS = {
    "first_dendrite_epoch": lambda run: next(e["epoch"] for e in run.epochs if e["phase"] == "dendrite"),
    "dendrite_parameters": lambda inputs, neurons: inputs * neurons + neurons + neurons,
    "error_reduction": lambda control, accuracy: 100 * (accuracy - control) / (100 - control),
    "separable_weights": lambda c_in, c_out, k: k * k * c_in + c_in * c_out,
    "convolution_macs": lambda i, o, k, side, stride: i * o * k * k * ((side + stride - 1) // stride) ** 2,
    "hard_swish": lambda x: x * torch.clamp(x + 3, 0, 6) / 6,
    "squeeze_excite": squeezed,
    "neuron_error": lambda h, y: torch.sigmoid(h) - y,
    "correlation": correlation,
    "ascent": ascent,
    "sign_of_w": "negative",
    "perforated_forward": perforated,
    "plateau_ended": plateau,
    "best_epochs": lambda records: {
        layer: max(records, key=lambda record: record["scores"][layer])["epoch"] for layer in records[0]["scores"]
    },
}

# exercise, wrong answer, and a word of the hint that has to come
WRONG = [
    ("first_dendrite_epoch", lambda run: [e["phase"] for e in run.epochs].index("dendrite"), "first epoch is number 1"),
    ("first_dendrite_epoch", lambda run: next(e for e in run.epochs if e["phase"] == "dendrite"), "whole number"),
    ("first_dendrite_epoch", lambda run: 5, "then 1 dendrite epochs"),
    ("dendrite_parameters", lambda inputs, neurons: inputs * neurons, "bias"),
    ("dendrite_parameters", lambda inputs, neurons: inputs * neurons + neurons, "w of each neuron"),
    ("dendrite_parameters", lambda inputs, neurons: float(inputs * neurons + 2 * neurons), "whole numbers only"),
    ("error_reduction", lambda control, accuracy: accuracy - control, "which part of that"),
    ("error_reduction", lambda control, accuracy: 100 * (accuracy - control) / control, "which part of that"),
    ("error_reduction", lambda control, accuracy: (accuracy - control) / (100 - control), "which part of that"),
    ("separable_weights", lambda c_in, c_out, k: k * k * c_in * c_out, "ordinary convolution"),
    ("separable_weights", lambda c_in, c_out, k: k * k * c_out + c_in * c_out, "per *input* channel"),
    ("separable_weights", lambda c_in, c_out, k: k * c_in + c_in * c_out, "for each input channel"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k, "number of weights"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * side * side, "*output* map"),
    ("convolution_macs", lambda i, o, k, side, stride: i * o * k * k * (side // stride) ** 2, "rounds up"),
    ("hard_swish", lambda x: torch.clamp(x + 3, 0, 6) / 6, "multiply it by x"),
    ("hard_swish", lambda x: x * torch.clamp(x + 3, 0, 6), "divide by 6"),
    ("hard_swish", functional.silu, "clamp"),
    ("hard_swish", lambda x: x.mul_(x.add(3).clamp(0, 6) / 6), "in place"),
    ("squeeze_excite", partial(squeezed, axes=(0, 2, 3)), "last two axes"),
    ("squeeze_excite", partial(squeezed, axes=(1,)), "[B, C, 1, 1]"),
    ("squeeze_excite", partial(squeezed, gate=torch.sigmoid), "hardsigmoid"),
    ("squeeze_excite", partial(squeezed, scaled=False), "multiply it by x"),
    ("neuron_error", lambda h, y: y - torch.sigmoid(h), "sign"),
    ("neuron_error", lambda h, y: h - y, "not a probability"),
    ("neuron_error", lambda h, y: (torch.sigmoid(h) - y) / len(h), "not divided"),
    ("neuron_error", lambda h, y: (torch.sigmoid(h) - y).mean(), "one error for each point"),
    ("correlation", partial(correlation, axis=1), "each column is a neuron"),
    ("correlation", partial(correlation, above=False), "above the line"),
    (
        "correlation",
        lambda v, e: (v * e).mean(0) / (v.square().mean(0) * e.square().mean(0)).sqrt(),
        "subtract the means",
    ),
    ("correlation", partial(correlation, below=False), "covariance"),
    ("correlation", partial(correlation, correction=1), "divides by P − 1"),
    ("ascent", partial(ascent, sign=False), "use its sign"),
    ("ascent", partial(ascent, mean=False), "mean of e"),
    ("ascent", partial(ascent, slope=False), "1 − V²"),
    ("ascent", lambda x, v, e: -ascent(x, v, e), "sign is turned"),
    ("sign_of_w", "positive", "added or taken away"),
    ("sign_of_w", -1, "quotation marks"),
    ("perforated_forward", partial(perforated, dendrite_sees=lambda x: x), "x.detach()"),
    ("perforated_forward", partial(perforated, neuron_sees=torch.detach), "neuron sees x itself"),
    ("perforated_forward", partial(perforated, blocked=True), "not its output"),
    ("perforated_forward", lambda x, neuron, dendrite, w: neuron(x) + w * dendrite(x.detach()), "tanh"),
    ("plateau_ended", partial(plateau, beyond=True), "patience is 2"),
    ("plateau_ended", partial(plateau, last=True), "compare with the best"),
    ("plateau_ended", partial(plateau, any_gain=True), "below min_gain"),
    ("plateau_ended", lambda scores, patience, gain: len(scores) - scores.index(max(scores)) > patience, "min_gain"),
    ("best_epochs", late_best, "do not average"),
    (
        "best_epochs",
        lambda records: {
            name: max(range(len(records)), key=lambda i: records[i]["scores"][name]) for name in records[0]["scores"]
        },
        "place in the list",
    ),
    ("best_epochs", lambda records: 11, "one entry for each layer"),
]


def check(name):
    return getattr(checks, f"check_{name}")


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solution_passes(name):
    result = check(name)(SOLUTIONS[name])
    assert result, result
    assert result.passed is True
    assert repr(result).startswith("✓ ")


@pytest.mark.parametrize("name", SOLUTIONS)
def test_stub_is_not_attempted(name):
    stubs = [..., None] if isinstance(SOLUTIONS[name], str) else [lambda *arguments: None, lambda *arguments: ..., ...]
    for stub in stubs:
        result = check(name)(stub)
        assert result.passed is None, result
        assert repr(result).startswith("Not attempted yet: ")
        assert not result


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG, ids=[f"{row[0]}-{i}" for i, row in enumerate(WRONG)])
def test_wrong_answer_gets_its_hint(name, answer, hint):
    result = check(name)(answer)
    said = repr(result)
    assert result.passed is False, said
    got, expected, advice = said.index("Got "), said.index("; expected "), said.index("; hint: ")
    assert got < expected < advice
    assert hint in said[advice:], said


@pytest.mark.parametrize("name", SOLUTIONS)
def test_no_answer_raises(name):
    def raises(*arguments):
        raise RuntimeError("the learner's mistake")

    for answer in (raises, 3, "negative?", [], {}, object(), torch.zeros(2, 2), lambda *arguments: "text"):
        result = check(name)(answer)
        assert result.passed is False, (answer, result)
        assert "; hint: " in repr(result)


def test_every_check_has_at_least_two_wrong_answers():
    assert {name for name in SOLUTIONS if sum(row[0] == name for row in WRONG) < 2} == set()


def test_result_in_a_page_is_escaped_and_says_it_in_words():
    result = core.Result("<b>", False, "Got <1>; expected 2; hint: count.")
    page = result._repr_html_()
    assert "<1>" not in page
    assert "Got &lt;1&gt;" in page


def test_close_names_the_place_of_the_largest_difference():
    wanted = torch.zeros(2, 3)
    found = wanted.clone()
    found[1, 2] = 5
    with pytest.raises(core.Wrong, match=r"Got 5.0 at position \[1, 2\]; expected 0.0; hint: look"):
        core.require_close(found, wanted, "look")
    with pytest.raises(core.Wrong, match="nan"):
        core.require_close(float("nan"), 1.0, "look")


def test_bool_is_no_whole_number_but_a_whole_number_is_a_number():
    core.require_type(3, float, "hint")
    with pytest.raises(core.Wrong, match="a whole number"):
        core.require_type(True, int, "hint")
