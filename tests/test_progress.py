"""What a learner has done is kept in one file, shown on the map, and printed; quizzes answer at once."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from perfteach.course import checks, progress, quiz
from perfteach.runs import Run

ROOT = Path(__file__).resolve().parent.parent
NOTHING: dict[str, dict[str, str]] = {"exercises": {}, "questions": {}}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


def test_a_passed_check_is_kept_and_a_failed_one_is_not(kept: Path) -> None:
    checks.check_sign_of_w("positive")
    assert not kept.exists()
    checks.check_sign_of_w("negative")
    checks.check_separable_weights(lambda c_in, c_out, k: c_in * (k * k + c_out))
    assert sorted(progress.load()["exercises"]) == ["01.1", "02.4"]
    before = kept.read_text()
    checks.check_sign_of_w("negative")
    assert kept.read_text() == before and json.loads(before)["schema"] == 1


def test_outside_a_notebook_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert checks.check_sign_of_w("negative")
    assert list(tmp_path.iterdir()) == [] and progress.load() == NOTHING


@pytest.mark.parametrize("text", ["{", "[]", '{"exercises": 3, "questions": {}}', '{"schema": 1}'])
def test_a_damaged_file_is_put_aside(kept: Path, text: str) -> None:
    kept.write_text(text)
    assert progress.load() == NOTHING
    assert kept.with_suffix(".damaged").read_text() == text
    progress.record("exercises", "01.1")
    assert list(progress.load()["exercises"]) == ["01.1"]


def test_a_folder_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nowhere").write_text("a file, no folder")
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "nowhere" / "mine.json"))
    assert checks.check_sign_of_w("negative").passed is True


def test_what_is_answered_in_several_threads_at_once_is_all_kept(kept: Path) -> None:
    """A quiz is answered in another thread than a cell's check, and two notebooks may be open."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(progress.record, "questions"), progress.questions()))
    assert progress.load()["questions"].keys() == progress.questions().keys() and len(progress.questions()) > 8


def test_the_map_shows_every_notebook_and_what_is_done(kept: Path) -> None:
    progress.record("exercises", "02.4")
    progress.record("questions", "02.1")
    page = progress.show()
    for name in re.findall(r'href="([^"]+)"', page._repr_html_()):
        assert (ROOT / "notebooks" / name).is_file(), name
    assert len(progress.NOTEBOOKS) == page._repr_html_().count("<a ") == 8
    assert "The sign of w: done" in page._repr_html_() and "Correlation: open" in page._repr_html_()
    assert "02 One neuron, one dendrite: exercises 1 of 4, questions 1 of 2" in repr(page)


def test_the_certificate_names_the_learner_and_their_network(kept: Path, tmp_path: Path) -> None:
    progress.record("exercises", "00.1")
    run = Run.load(next((ROOT / "data" / "runs" / "mini").glob("*.jsonl")))
    shown = progress.certificate("Ada <Lovelace>", run, tmp_path)
    page = (tmp_path / progress.PAGE).read_text(encoding="utf-8")
    assert "Ada &lt;Lovelace&gt;" in page and "<Lovelace>" not in page
    assert f"{run.ended.total:,} parameters" in page and f"{run.ended.test_accuracy:.1f} %" in page
    assert f"1 of {len(checks.TITLES)} exercises" in page and "@media print" in page
    assert "certificate.html" in shown._repr_html_()
    assert "No network of their own yet" in progress.certificate("Ada", folder=tmp_path)._repr_html_()


@pytest.mark.parametrize("number", progress.questions())
def test_a_question_answers_at_once_and_keeps_a_right_answer(kept: Path, number: str) -> None:
    asked = quiz.ask(number)
    wrong = next(place for place in range(len(asked.answers)) if place != asked.right)
    asked.choice.value = wrong
    assert "✗" in " ".join(asked.said.sentences) and number not in progress.load()["questions"]
    asked.choice.value = asked.right
    assert "✓" in " ".join(asked.said.sentences) and number in progress.load()["questions"]
    still = asked._repr_html_()
    assert "<details>" in still and asked.explanation[:20] in still and asked.answers[wrong][0][:20] in still


def test_every_notebook_asks_its_questions() -> None:
    for number in progress.NOTEBOOKS:
        (source,) = (ROOT / "notebooks" / "src").glob(f"{number}_*.py")
        asked = re.findall(r'quiz\.ask\("([\d.]+)"\)', source.read_text(encoding="utf-8"))
        assert asked == [key for key in progress.questions() if key.startswith(number)], source.name
