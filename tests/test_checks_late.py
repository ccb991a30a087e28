"""The checks of notebooks 04 to 07: solutions pass, stubs are not attempts, plausible mistakes get their hint."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, pstdev, stdev
from typing import Any

import jupytext
import pytest
import torch
from torch import nn

from perfteach import add_dendrites, perforate
from perfteach.course import checks
from perfteach.course.checks.core import Result
from perfteach.course.checks.extra_small import total_parameters, widest

SOURCES = Path(__file__).resolve().parent.parent / "notebooks" / "src"
RULED_OUT = {
    "it trained for more epochs": "same-epochs",
    "it has more parameters": "wider",
    "untrained dendrites would do as well": "random",
    "the error signal taught the dendrites nothing": "shuffled",
    "plain backpropagation would do as well": "gradient",
}


# --- plausible wrong answers, each with a word that its hint has to contain


def _unpaired(a: list[float], b: list[float]) -> tuple[float, float, float]:
    middle, half = fmean(b) - fmean(a), 2.776 * ((stdev(a) ** 2 + stdev(b) ** 2) / len(a)) ** 0.5
    return middle, middle - half, middle + half


def _interval(t: float, spread: Callable[[list[float]], float]) -> Callable[..., tuple[float, float, float]]:
    def answer(a: list[float], b: list[float]) -> tuple[float, float, float]:
        d = [y - x for x, y in zip(a, b, strict=True)]
        half = t * spread(d) / len(d) ** 0.5
        return fmean(d), fmean(d) - half, fmean(d) + half

    return answer


def _greedy(key: Callable[[float, float], float], stop: bool = False, strict: bool = False) -> Callable[..., list[str]]:
    def answer(scores: dict[str, float], costs: dict[str, int], budget: int) -> list[str]:
        chosen = []
        for name in sorted(scores, key=lambda n: key(scores[n], costs[n]), reverse=True):
            if costs[name] < budget or (costs[name] == budget and not strict):
                chosen.append(name)
                budget -= costs[name]
            elif stop:
                break
        return chosen

    return answer


def _widest_without_counting(dendrites: int, limit: int) -> float:
    return widest(0, limit)


def _widest_below_the_limit(dendrites: int, limit: int) -> float:
    return widest(dendrites, limit - 1)


def _widest_a_step_short(dendrites: int, limit: int) -> float:
    return widest(dendrites, limit) - 0.1


def _all_layers(model: nn.Module) -> nn.Module:
    return add_dendrites(perforate(model))


def _no_dendrites(model: nn.Module) -> nn.Module:
    return perforate(model, select=nn.Conv2d)


def _two_each(model: nn.Module) -> nn.Module:
    return add_dendrites(add_dendrites(perforate(model, select=nn.Conv2d)))


def _by_name(model: nn.Module) -> nn.Module:
    return add_dendrites(perforate(model, select=["stem.0", "first.0"]))


def _fold(scale: Callable[..., Any], bias: Callable[..., Any]) -> Callable[..., Any]:
    def answer(weight: Any, gamma: Any, beta: Any, mean: Any, variance: Any, eps: float) -> Any:
        s = scale(gamma, variance, eps)
        return weight * s[:, None, None, None], bias(beta, mean, s)

    return answer


def _problems(skip: str = "", strict: bool = False, entry_only: bool = False) -> Callable[..., list[str]]:
    def answer(control: dict[str, Any], entry: dict[str, Any]) -> list[str]:
        small = entry["parameters"] < 1_660_000 if strict else entry["parameters"] <= 1_660_000
        kept = {
            "finished": entry["finished"] and (entry_only or control["finished"]),
            "same data": control["data"] == entry["data"],
            "same epochs": control["epochs"] == entry["epochs"],
            "within the limit": small,
        }
        return [rule for rule, holds in kept.items() if not holds and rule != skip]

    return answer


def _hidden(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if ".dendrites." in name or ".cascade." in name)


def _w(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if ".weights." in name)


def _total(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _int8(scale: Callable[[Any], Any], rounded: bool = True) -> Callable[[Any], Any]:
    def answer(x: Any) -> Any:
        q = x / scale(x)
        return (q.round() if rounded else q).clamp(-127, 127).to(torch.int8), scale(x)

    return answer


ROOT_OF: Callable[..., Any] = lambda g, v, e: g / (v + e).sqrt()  # noqa: E731
BIAS: Callable[..., Any] = lambda b, m, s: b - m * s  # noqa: E731
WRONG: list[tuple[str, Any, str]] = [
    ("standard_error", lambda p, n: (p / 100 * (1 - p / 100) / n) ** 0.5, "fraction"),
    ("standard_error", lambda p, n: p * (100 - p) / n, "variance"),
    ("standard_error", lambda p, n: (p / n) ** 0.5, "accuracy times error"),
    ("same_epochs", lambda neuron, dendrite: neuron, "those epochs count too"),
    ("same_epochs", lambda n, d: (n[0] + d * (len(n) - 1), *n[1:]), "where the dendrite phase stood"),
    ("same_epochs", lambda n, d: (sum(n) + d * (len(n) - 1),), "restarts as often"),
    ("paired_interval", _unpaired, "differences"),
    ("paired_interval", _interval(1.96, stdev), "2.776"),
    ("paired_interval", _interval(2.776, pstdev), "n − 1"),
    ("rules_out", RULED_OUT | {"it has more parameters": "same-epochs"}, "another question"),
    ("rules_out", RULED_OUT | {"it trained for more epochs": "longer"}, "names in the table"),
    ("two_counts", lambda m: (_total(m) - _hidden(m) - _w(m), _total(m)), "weights w"),
    ("two_counts", lambda m: (_total(m), _total(m) - _hidden(m)), "every parameter"),
    ("widest", _widest_without_counting, "count"),
    ("widest", _widest_a_step_short, "wider one"),
    ("widest", _widest_below_the_limit, "limit itself"),
    ("choose_layers", _greedy(lambda score, cost: score), "score alone"),
    ("choose_layers", _greedy(lambda score, cost: score / cost, stop=True), "go on"),
    ("choose_layers", _greedy(lambda score, cost: score / cost, strict=True), "fills the budget"),
    ("choose_layers", lambda scores, costs, budget: list(scores), "does not fit"),
    ("front", lambda points: [p[0] for p in sorted(points, key=lambda p: p[1])], "no higher accuracy"),
    ("front", lambda points: ["l", "m", "s"] if points[0][0] == "m" else [], "another order"),
    ("front", lambda points: [max(points, key=lambda p: p[2])[0]], "smallest on"),
    ("fold", _fold(lambda g, v, e: g / v.sqrt(), BIAS), "eps"),
    ("fold", _fold(ROOT_OF, lambda b, m, s: b), "mean"),
    ("fold", _fold(ROOT_OF, lambda b, m, s: b - m), "same scale"),
    ("fold", lambda w, g, b, m, v, e: (w * ROOT_OF(g, v, e)[None, :, None, None], b), "multiplies"),
    ("quantize", _int8(lambda x: x.abs().max() / 128), "127"),
    ("quantize", _int8(lambda x: x.max() / 127), "absolute"),
    ("quantize", _int8(lambda x: x.abs().max() / 127, rounded=False), "cuts off"),
    ("quantize", lambda x: ((x / x.abs().max() * 127).round(), x.abs().max() / 127), "torch.int8"),
    ("latency", lambda seconds, warm_up: median(seconds[warm_up:]), "milliseconds"),
    ("latency", lambda seconds, warm_up: 1000 * median(seconds), "warm-up"),
    ("latency", lambda seconds, warm_up: 1000 * fmean(seconds[warm_up:]), "mean"),
    ("same_answers", lambda a, b: ((a - b).max(), 75.0), "absolute"),
    ("same_answers", lambda a, b: ((a - b).abs().max(), (a.argmax(1) == b.argmax(1)).float().mean()), "percent"),
    ("same_answers", lambda a, b: ((a - b).abs().max(), 100 * (a.argmax(0) == b.argmax(0)).float().mean()), "last"),
    ("perforate_convolutions", _all_layers, "Conv2d"),
    ("perforate_convolutions", _no_dendrites, "add_dendrites"),
    ("perforate_convolutions", _two_each, "once"),
    ("perforate_convolutions", _by_name, "by type"),
    ("perforate_convolutions", lambda model: model, "begin with"),
    ("problems", _problems(entry_only=True), "control too"),
    ("problems", _problems(skip="same epochs"), "fewer epochs"),
    ("problems", _problems(strict=True), "allowed"),
    ("rank", lambda entries: [e[0] for e in sorted(entries, key=lambda e: -e[2])], "by accuracy"),
    ("rank", lambda entries: [e[0] for e in sorted(entries, key=lambda e: e[1] - e[2])], "points"),
    ("rank", lambda entries: [e[0] for e in entries][:1], "names of the teams"),
]
NAMES = sorted({name for name, _, _ in WRONG})


def _check(name: str) -> Callable[[Any], Result]:
    found: Callable[[Any], Result] = getattr(checks, f"check_{name}")
    return found


@pytest.mark.parametrize(("name", "answer", "word"), WRONG, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(WRONG)])
def test_a_plausible_mistake_fails_with_its_hint(name: str, answer: Any, word: str) -> None:
    result = _check(name)(answer)
    assert result.passed is False, repr(result)
    text = repr(result)
    assert text.startswith("Got ") and "; expected " in text and "; hint: " in text
    assert word in text.split("; hint: ")[1], text
    assert "could not be used" not in text, text


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_at_least_two_wrong_answers(name: str) -> None:
    assert sum(wrong == name for wrong, _, _ in WRONG) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_not_an_attempt(name: str) -> None:
    stub: Any = dict.fromkeys(RULED_OUT, ...) if name == "rules_out" else lambda *arguments: None
    result = _check(name)(stub)
    assert result.passed is None
    assert repr(result).startswith("Not attempted yet")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("answer", [3, "text", lambda: 1, [1, 2]], ids=["number", "text", "no arguments", "list"])
def test_an_answer_of_another_kind_never_raises(name: str, answer: Any) -> None:
    result = _check(name)(answer)
    assert result.passed is False
    assert "; hint: " in repr(result)


def _solutions() -> list[tuple[str, str]]:
    """(name of the check, code of the exercise) of notebooks 04 to 07."""
    found = []
    for path in sorted(SOURCES.glob("0[4-7]_*.py")):
        cells = [cell for cell in jupytext.read(path, fmt="py:percent").cells if cell.cell_type == "code"]
        for cell, after in pairwise(cells):
            if "exercise" in cell.metadata.get("tags", []):
                call = after.source.splitlines()[-1]
                assert call.startswith("checks.check_"), f"{path.name}: an exercise without its check: {call}"
                found.append((call, cell.source))
    return found


@pytest.mark.parametrize(("call", "code"), _solutions(), ids=[call for call, _ in _solutions()])
def test_the_solution_in_the_notebook_passes(call: str, code: str) -> None:
    from perfteach import metrics, mobilenet_small
    from perfteach.dendrites import dendritic_layers

    names: dict[str, Any] = {
        "torch": torch,
        "size": total_parameters,
        "nn": nn,
        "perforate": perforate,
        "add_dendrites": add_dendrites,
    }
    names |= {"metrics": metrics, "mobilenet_small": mobilenet_small, "dendritic_layers": dendritic_layers}
    exec(code, names)
    result = eval(call, names | {"checks": checks})
    assert result.passed is True, repr(result)


def test_every_check_here_belongs_to_an_exercise_of_a_notebook() -> None:
    used = {call.split("(")[0].removeprefix("checks.check_") for call, _ in _solutions()}
    assert used == set(NAMES)
    assert len(_solutions()) >= 12


def test_the_demonstrations_in_the_instructors_guide_show_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    guide = (SOURCES.parent.parent / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in guide.split("```python\n")[1:]]
    assert len(blocks) == 2
    exec(blocks[0], {})
    assert capsys.readouterr().out == "True\n"
    exec(blocks[1], {})
    assert len(set(capsys.readouterr().out.splitlines())) == 4, "four seeds, four different results"
