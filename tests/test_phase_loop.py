"""Exercise 4 of notebook 03: the loop in its source passes, and each line that can be wrong gets its hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jupytext
import pytest

from perfteach.course import checks

SOURCE = Path(__file__).resolve().parent.parent / "notebooks" / "src" / "03_perforated_backpropagation.py"
RESTORE = "model.get_submodule(name).load_state_dict(state)"
CHANGES = [
    (RESTORE, "pass", "load its best state into it"),
    (RESTORE, "model.load_state_dict(state)", "find the part by its name"),
    (RESTORE, "model.load_state_dict(state)", "Missing key(s) in state_dict"),
    (RESTORE, "model[name].load_state_dict(state)", "the last one raised it"),
    ("set_phase(model, phase)", 'set_phase(model, "neuron")', "who learns"),
    ("            add_dendrites(model)\n", "            pass\n", "call add_dendrites(model) first"),
    ("            add_dendrites(model)\n", "            add_dendrites(add_dendrites(model))\n", "once before"),
    ("return history", "return [(loss + 0.1, accuracy) for loss, accuracy in history]", "differ by 0.1"),
    ("    return history", "    return history[-1]", "one (loss, accuracy) for each epoch"),
    ("    return history", "    history.clear()", "a `return` is missing"),
]


def _cells() -> list[Any]:
    return [cell for cell in jupytext.read(SOURCE, fmt="py:percent").cells if cell.cell_type == "code"]


def _loop() -> str:
    return next(cell.source for cell in _cells() if "def train_in_phases" in cell.source)


def _define(code: str) -> Any:
    """The loop, among the functions that the notebook has defined before it."""
    names: dict[str, Any] = {}
    wanted = ("import copy\n", "from perfteach.dendrites import scores", "def train_epoch", "def keep_best")
    for cell in _cells():
        if any(word in cell.source for word in wanted):
            exec(cell.source, names)
    exec(code, names)
    return names["train_in_phases"]


@pytest.mark.parametrize(
    "change",
    [
        lambda code: code,
        lambda code: code.replace("trainable(model), lr", "[p for p in model.parameters() if p.requires_grad], lr"),
        lambda code: code.replace("add_dendrites(model)\n", "model = add_dendrites(model)\n"),
        lambda code: code.replace("trainable(model), lr", "model.parameters(), lr"),
        lambda code: code.replace("best.items():", "reversed(list(best.items())):"),
    ],
)
def test_the_loop_and_other_ways_to_write_it_pass(change: Any) -> None:
    result = checks.check_train_in_phases(_define(change(_loop())))
    assert result.passed is True, repr(result)


@pytest.mark.parametrize(("old", "new", "word"), CHANGES)
def test_a_wrong_line_gets_its_hint(old: str, new: str, word: str) -> None:
    code = _loop()
    assert code.count(old) == 1, old
    result = checks.check_train_in_phases(_define(code.replace(old, new)))
    assert result.passed is False, repr(result)
    assert word in repr(result), repr(result)


def test_a_loop_with_blanks_is_not_an_attempt() -> None:
    from conftest import load_tool

    blank = load_tool("build_notebooks")._exercise(_loop(), "learner", "03")
    assert checks.check_train_in_phases(_define(blank)).passed is None
