"""Every check against the notebook's solution, three other right answers, and at least five plausible wrong ones."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import jupytext
import pytest
import torch
from check_answers import ARMS, RIGHT, WRONG
from torch import nn

from perfteach.course import checks
from perfteach.course.checks import core, tables, values

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(name.removeprefix("check_") for name in checks.CHECKS)
TABLE: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(checks.__file__).parent / "exercises.toml").read_text(encoding="utf-8")
)
VALUES = {
    "sign_of_w": [...],
    "rules_out": [dict.fromkeys(ARMS, ...)],
    "spirals": [..., None],
    "surgery": [...],
    "own_experiment": [...],
}


def check(name: str, answer: Any) -> core.Result:
    return checks.CHECKS[f"check_{name}"](answer)


def ids(rows: list[Any]) -> list[str]:
    return [f"{row[0]}-{i}" for i, row in enumerate(rows)]


def _solutions() -> list[tuple[str, str, str]]:
    """Name of the check, the line that calls it, and the exercise's code, of every notebook."""
    found = []
    for path in sorted((ROOT / "notebooks" / "src").glob("0*.py")):
        cells = [cell for cell in jupytext.read(path, fmt="py:percent").cells if cell.cell_type == "code"]
        for cell, after in pairwise(cells):
            if "exercise" in cell.metadata.get("tags", []):
                line = after.source.splitlines()[-1]
                assert line.startswith("checks.check_"), f"{path.name}: an exercise without its check: {line}"
                found.append((line.split("(")[0].removeprefix("checks.check_"), line, cell.source))
    return found


SOLUTIONS = _solutions()
REACHED = {"train_in_phases", "spirals", "surgery", "own_experiment"}  # see test_phase_loop.py and test_experiments.py


def test_every_exercise_has_its_check_and_enough_answers() -> None:
    assert sorted(name for name, _, _ in SOLUTIONS) == NAMES
    assert sorted(RIGHT) == sorted({row[0] for row in WRONG}) == sorted(set(NAMES) - REACHED)
    assert {name for name in RIGHT if len(RIGHT[name]) < 3} == set()
    assert {name for name in RIGHT if sum(row[0] == name for row in WRONG) < 5} == set()


@pytest.mark.parametrize(
    ("name", "line", "code"), [row for row in SOLUTIONS if row[0] not in REACHED], ids=lambda part: part[:20]
)
def test_the_solution_in_the_notebook_passes(name: str, line: str, code: str) -> None:
    import perfteach
    from perfteach.course.checks.helpers import total_parameters
    from perfteach.dendrites import dendritic_layers

    names = {"torch": torch, "nn": nn, "F": nn.functional, "size": total_parameters, "checks": checks}
    names |= {"dendritic_layers": dendritic_layers, "metrics": perfteach.metrics, "perforate": perfteach.perforate}
    names["add_dendrites"] = perfteach.add_dendrites
    exec(code, names)
    result = eval(line, names)
    assert result.passed is True, repr(result)


ROWS = [(name, answer) for name, answers in RIGHT.items() for answer in answers]


@pytest.mark.parametrize(("name", "answer"), ROWS, ids=ids(ROWS))
def test_another_right_answer_passes(name: str, answer: Any) -> None:
    result = check(name, answer)
    assert result.passed is True, repr(result)
    assert result and repr(result).startswith("✓ ")


@pytest.mark.parametrize(("name", "answer", "word"), WRONG, ids=ids(WRONG))
def test_a_wrong_answer_fails_with_its_hint(name: str, answer: Any, word: str) -> None:
    result = check(name, answer)
    said = repr(result)
    assert result.passed is False, said
    got, expected, advice = said.index("Got "), said.index("; expected "), said.index("; hint: ")
    assert got < expected < advice
    assert word in said[advice:], said
    assert "could not be used" not in said, said


MISTAKES = [(name, *row) for name, entry in TABLE.items() for row in entry.get("mistakes", [])]


@pytest.mark.parametrize(("name", "expression", "hint"), MISTAKES, ids=ids(MISTAKES))
def test_every_mistake_of_the_table_gets_the_hint_beside_it(name: str, expression: str, hint: str) -> None:
    entry = TABLE[name]

    def answer(*given: Any) -> Any:
        value, right = tables.evaluate(entry, expression, given), tables.evaluate(entry, entry["right"], given)
        if isinstance(value, tuple) and None in [part if not torch.is_tensor(part) else 0 for part in value]:
            return tuple(b if a is None else a for a, b in zip(value, right, strict=True))
        return value

    result = check(name, answer)
    assert result.passed is False
    assert result.text.endswith(f"hint: {hint}"), result.text


def test_every_reason_of_the_plateau_rule_can_be_the_hint() -> None:
    entry = TABLE["plateau_ended"]
    for index, why in enumerate(entry["whys"]):
        count = iter(range(99))
        answer = lambda *given: tables.evaluate(entry, entry["right"], given) != (next(count) == index)  # noqa: B023,E731
        assert check("plateau_ended", answer).text.endswith(f"hint: {why}")


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_not_attempted(name: str) -> None:
    for stub in VALUES.get(name, [..., None, lambda *given: None, lambda *given: ...]):
        result = check(name, stub)
        assert result.passed is None, result
        assert repr(result).startswith("Not attempted yet: ") and not result


@pytest.mark.parametrize("name", sorted(set(NAMES) - REACHED - set(VALUES)))
def test_forgetting_return_is_said_and_an_error_shows_the_learners_line(name: str) -> None:
    def forgot(*given: Any) -> None:
        sum(range(3))

    def inner() -> None:
        raise RuntimeError("the learner's mistake")

    def raises(*given: Any) -> None:
        inner()

    assert "a `return` is missing" in repr(check(name, forgot))
    result = check(name, raises)
    assert result.passed is False and "RuntimeError: the learner's mistake" in result.text
    lines = result.trace.splitlines()
    assert len(lines) == 2 and "inner()" in lines[0] and "raise RuntimeError" in lines[1], result.trace
    assert "<pre>line " in result._repr_html_()


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_raises(name: str) -> None:
    for answer in (3, "negative?", {}, object(), torch.zeros(2, 2), lambda *given: "text", lambda: 1, [1, 2]):
        result = check(name, answer)
        assert result.passed is False, (answer, result)
        assert "; hint: " in repr(result)


def test_a_blank_in_a_longer_function_is_not_an_attempt() -> None:
    def half_done(inputs: int, neurons: int) -> Any:
        weights = inputs * neurons
        biases = ...
        return weights + biases

    assert check("dendrite_parameters", half_done).passed is None


def test_an_answer_that_changes_its_input_in_place_is_told_so() -> None:
    assert "in place" in check("hard_swish", lambda x: x.mul_((x + 3).clamp(0, 6) / 6)).text
    assert "in place" not in check("hard_swish", nn.functional.hardswish).text


def test_what_the_texts_claim_is_so() -> None:
    from perfteach import add_dendrites, count_parameters, perforate
    from perfteach.course.checks.helpers import LIMIT, widest
    from perfteach.data.points import small_network

    by_layer = [tables.evaluate(TABLE["dendrite_parameters"], TABLE["dendrite_parameters"]["right"], sizes)
                for sizes in ((2, 5), (5, 2))]  # fmt: skip
    total = count_parameters(add_dendrites(perforate(small_network(5)))).dendrites
    assert f"{by_layer[0]} + {by_layer[1]} = {total} in" in TABLE["dendrite_parameters"]["said"]
    said = TABLE["widest"]["said"]
    assert f"width {widest(0, LIMIT)} is the widest without" in said and f"and {widest(1, LIMIT)} with one" in said


def test_result_in_a_page_is_escaped_and_says_it_in_words() -> None:
    page = core.Result("<b>", False, "Got <1>; expected 2; hint: count.")._repr_html_()
    assert "<1>" not in page and "Got &lt;1&gt;" in page


def test_the_largest_difference_is_named_with_its_place() -> None:
    wanted = torch.zeros(2, 3)
    found = wanted.clone()
    found[1, 2] = 5
    with pytest.raises(core.Wrong, match=r"Got 5 at position \[1, 2\]; expected 0; hint: look"):
        core.compare(found, wanted, "look")
    with pytest.raises(core.Wrong, match="nan"):
        core.compare(float("nan"), 1.0, "look")


def test_bool_is_no_number_and_a_number_no_bool() -> None:
    assert values.fit(3, 1.0) == 3 and values.fit(torch.tensor([True]), False) is True
    for got, like in ((True, 1), (1, True), ("1", 1), (torch.ones(2), 1.0)):
        with pytest.raises(values.Misfit):
            values.fit(got, like)


def test_the_demonstrations_in_the_instructors_guide_show_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    guide = (ROOT / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in guide.split("```python\n")[1:]]
    assert len(blocks) == 2
    exec(blocks[0], {})
    assert capsys.readouterr().out == "True\n"
    exec(blocks[1], {})
    assert len(set(capsys.readouterr().out.splitlines())) == 4, "four seeds, four different results"
