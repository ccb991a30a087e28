"""A day of a hackathon from the commands in its documents, and a crowd with a killed server in between."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import load_tool
from hackathon_parts import brightness, make_event, record

from perfteach import cli
from perfteach.hackathon.client import submit
from perfteach.hackathon.event import Event
from perfteach.hackathon.server import Background
from perfteach.hackathon.submission import SubmissionError

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("docs/hackathon.md", "docs/workshop-hub.md", "docs/instructor-guide.md", "perfteach/hackathon/kit/RULES.md")


def commands(page: str) -> list[list[str]]:
    """The lines of a page that begin with `perfteach`, as words."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = re.findall(r"^(?: {4,})?perfteach (.+)$", text, re.M) + re.findall(r"`perfteach ([^`…]+)`", text)
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_documents_is_one_that_the_command_line_knows(page, capsys):
    whole = [words for words in commands(page) if words[0] in ("hackathon", "submit", "train")]
    if page == "docs/hackathon.md":
        assert {tuple(words[:2]) for words in whole} >= {
            ("hackathon", part) for part in ("init", "team", "serve", "finish")
        }
    for words in whole:
        named = words[:2] in (["hackathon", "init"], ["hackathon", "serve"], ["hackathon", "finish"], ["submit"])
        if (len(words) <= 2 and named) or words in (["submit"], ["train"]):
            continue  # the name of a command in a sentence
        try:
            assert cli.parser().parse_args(words)
        except SystemExit as left:
            assert left.code == 0, f"{page}: perfteach {' '.join(words)}\n{capsys.readouterr().err}"


@pytest.mark.slow
def test_from_nothing_to_a_finished_event(tmp_path, capsys, monkeypatch):
    """The commands of docs/hackathon.md in their order, with small images in place of the drawn ones."""
    made = make_event(tmp_path)  # writes the images
    monkeypatch.chdir(tmp_path)
    (init, team, serve, _, _, close, finish, *_) = [
        w for w in commands("docs/hackathon.md") if w[0] in ("hackathon", "train", "submit")
    ]
    assert (init[1], team[1], serve[1], close[1], finish[1]) == ("init", "team", "serve", "close", "finish")
    folder = init[2]
    made.folder.rename(tmp_path / "first")
    assert cli.main([*init, "--data", str(tmp_path / "images")]) == 0
    assert "180 hidden images" in capsys.readouterr().out
    assert cli.main(team) == 0
    token = capsys.readouterr().out.splitlines()[0].split()[-1]
    (tmp_path / "run").mkdir()
    event = Event.load(Path(folder))
    (tmp_path / "run" / "run.jsonl").write_bytes(record(checksum=event.checksum, parameters=14))
    (tmp_path / "run" / "model.onnx").write_bytes(brightness())
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PERFTEACH_DATABASE", "sqlite:////nowhere/board.sqlite")  # of another event
        board = Background(event).start()
    try:
        found = submit("run", "first try", to=board.address, token=token)
        assert found["public"] > 90 and "final" not in found and found["flags"] == []
        (tmp_path / "run" / "model.onnx").write_bytes(b"broken")
        with pytest.raises(SubmissionError, match=r"it was refused: model\.onnx is not an ONNX file"):
            submit("run", "second try", to=board.address, token=token)
        with pytest.raises(SubmissionError, match="no team has this token"):
            submit("run", "third try", to=board.address, token="wrong")
        assert cli.main(close[:3]) == 0
        with pytest.raises(SubmissionError, match="nothing more is taken in"):
            submit("run", "too late", to=board.address, token=token)
        assert cli.main(finish) == 0
        with pytest.raises(SubmissionError, match="has ended"):
            submit("run", "too late", to=board.address, token=token)
    finally:
        board.stop()
    assert "Measured:" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_crowd_and_three_kills_lose_nothing(tmp_path):
    """The small version of tools/hackathon_load.py."""
    seen = load_tool("hackathon_load").trial(tmp_path, 16, 8, 3, gap=1.0)
    assert seen.problems == [], str(seen)
    assert len(seen.acknowledged) == 16 and sum(seen.kills.values()) == 3
