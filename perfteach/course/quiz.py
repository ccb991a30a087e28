"""The quizzes: a question with answers to choose from, and the same as text where widgets do not run."""

from __future__ import annotations

import html
from typing import Any

from perfteach.course import progress
from perfteach.widgets.base import Panel, Said, paragraphs

# ipywidgets gives an answer one line; on a narrow page it takes several, which would lie on each other.
WRAPPED = """<style>.pt-quiz .widget-radio-box label {
    display: flex; align-items: flex-start; height: auto; line-height: 1.5; margin-bottom: 3px;
} .pt-quiz .widget-radio-box input { flex: none; order: -1; margin: 4px 8px 0 0; }</style>"""


class Quiz(Panel):
    """One question: choosing an answer says at once whether it is right, and why.

    Args:
        number: notebook and place in it, such as "00.1".
        question, answers, right, explanation: as in quizzes.toml.
    """

    def __init__(self, number: str, question: str, answers: list[list[str]], right: int, explanation: str) -> None:
        import ipywidgets

        super().__init__(f"Question {number[-1]}")
        self.number, self.question, self.answers, self.right = number, question, answers, right
        self.explanation = explanation
        self.choice = ipywidgets.RadioButtons(
            options=[(text, place) for place, (text, _) in enumerate(answers)],
            index=None,
            layout=ipywidgets.Layout(width="auto"),
        )
        self.choice.add_class("pt-quiz")
        self.said = Said(lines=1)
        self.choice.observe(self.on_choice, names="value")
        self.fill(ipywidgets.HTML(WRAPPED + paragraphs(question)), self.choice, self.said)

    def on_choice(self, _: Any) -> None:
        """Say whether the chosen answer is right; a right one is kept in the learner's progress."""
        place = self.choice.value
        if place is None:
            return
        if place == self.right:
            progress.record("questions", self.number)
            self.said.sentences = [f"✓ {self.answers[place][1]} {self.explanation}"]
        else:
            self.said.sentences = [f"✗ Not this one. {self.answers[place][1]} Choose again."]

    def summary(self) -> str:
        letters = (f"({chr(97 + place)}) {text}" for place, (text, _) in enumerate(self.answers))
        return f"{self.question} {' '.join(letters)}"

    def _repr_html_(self) -> str:
        choices = "".join(f"<li>{html.escape(text)}</li>" for text, _ in self.answers)
        answer = f"({chr(97 + self.right)}) {self.answers[self.right][0]} {self.explanation}"
        return (
            f"<div><strong>{html.escape(self.question)}</strong><ol type='a'>{choices}</ol>"
            f"<details><summary>Answer</summary>{paragraphs(answer)}</details></div>"
        )


def ask(number: str) -> Quiz:
    """The question with this number, such as `ask("00.1")`.

    Raises:
        KeyError: when there is no such question.
    """
    return Quiz(number, **progress.questions()[number])
