"""The board: tokens, limits, the queue and its dead workers, ranks and the front, and that no page tells too much."""

from __future__ import annotations

import csv
import io
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hackathon_parts import make_event, record, submission
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from perfteach import cli
from perfteach.errors import ConfigError, DataError
from perfteach.hackathon import board as boards
from perfteach.hackathon import client
from perfteach.hackathon import event as events
from perfteach.hackathon import store as stores
from perfteach.hackathon.app import POLICY, application
from perfteach.hackathon.store import Closed, Store, TooMany, UnknownToken
from perfteach.hackathon.submission import About, SubmissionError, pack
from perfteach.hackathon.worker import work


@pytest.fixture(scope="module")
def event(tmp_path_factory):
    return make_event(tmp_path_factory.mktemp("board"))


@pytest.fixture
def store(tmp_path):
    made = Store(f"sqlite:///{tmp_path / 'board.sqlite'}")
    yield made
    made.engine.dispose()


@pytest.fixture
def web(store, event):
    return TestClient(application(store, event), follow_redirects=False)


def put(store: Store, token: str, number: int, per_hour: int = 1000) -> int:
    about = About(f"try {number}")
    return store.submit(token, pack(b"model", b"record %d" % number, about), about, per_hour)[0]


def measured(store: Store, number: int, public: float, final: float, parameters: int = 100, **more) -> None:
    """As if the scorer had measured it."""
    result = {"public": public, "final": final, "parameters": parameters, "macs": 1000, "bytes": 2000}
    result |= {"latency_ms": 0.5, "claimed": {"accuracy": public, "parameters": parameters}, "flags": []} | more
    while (claimed := store.claim("test")) is not None:
        if claimed[0] == number:
            assert store.finish(number, "test", "done", result=result)
            return


# --- teams, limits, tokens --------------------------------------------------------------------------------------------


def test_a_token_is_kept_as_a_checksum_and_the_old_one_ends(store, tmp_path):
    old = store.add_team("owls")
    new = store.add_team("owls")
    written = b"".join(path.read_bytes() for path in tmp_path.glob("board.sqlite*"))
    assert old != new and old.encode() not in written and new.encode() not in written
    assert put(store, new, 1) == 1
    with pytest.raises(UnknownToken):
        put(store, old, 2)


def test_the_same_zip_twice_is_one_submission_and_another_team_may_send_it_too(store):
    owls, newts = store.add_team("owls"), store.add_team("newts")
    assert put(store, owls, 1) == put(store, owls, 1) == 1
    assert put(store, newts, 1) == 2


def test_an_hour_has_room_for_so_many_even_when_they_come_at_once(store):
    token = store.add_team("owls")

    def attempt(number: int) -> bool:
        try:
            put(store, token, number, per_hour=3)
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(12))) == 3
    with pytest.raises(TooMany, match=r"3 submissions within the hour, and 3 are allowed, refused ones too; the next"):
        put(store, token, 99, per_hour=3)
    assert put(store, store.add_team("newts"), 1, per_hour=3), "the other team has its own hour"


def test_the_zip_of_another_team_is_refused(store):
    about = About("x", team="newts")
    with pytest.raises(SubmissionError, match="the token is that of 'owls', and the zip says 'newts'"):
        store.submit(store.add_team("owls"), pack(b"", b"", about), about, 10)


def test_after_the_end_nothing_is_taken_in_but_a_repeated_upload_is_answered(store):
    token = store.add_team("owls")
    put(store, token, 1)
    assert store.end_event() == 1
    assert put(store, token, 1) == 1
    with pytest.raises(Closed):
        put(store, token, 2)


def test_after_an_hour_the_next_one_is_taken_in_when_it_was_said(store, monkeypatch):
    token, clock = store.add_team("owls"), time.time()
    monkeypatch.setattr(stores.time, "time", lambda: clock)
    put(store, token, 1, per_hour=2)
    clock += 600
    put(store, token, 2, per_hour=2)
    with pytest.raises(TooMany, match=f"at {stores.clock(clock + 3000)}"):
        put(store, token, 3, per_hour=2)
    clock += 3001
    assert put(store, token, 3, per_hour=2)


def test_an_event_that_closes_at_a_time_says_so_on_its_pages_and_keeps_it(store, event, monkeypatch):
    token, clock = store.add_team("owls"), time.time()
    monkeypatch.setattr(stores.time, "time", lambda: clock)
    web = TestClient(application(store, event))
    put(store, token, 1)
    assert store.close(at=clock + 60) == 1
    for page in ("/", "/projector", "/queue", "/submit"):
        assert f"Open until {stores.clock(clock + 60)}" in web.get(page).text, page
    put(store, token, 2)
    clock += 61
    with pytest.raises(Closed, match="nothing more is taken in"):
        put(store, token, 3)
    time.sleep(1.1)
    assert f"Closed since {stores.clock(clock - 1)}" in web.get("/").text
    form = web.get("/submit").text
    assert "nothing more is taken in" in form and "<form" not in form
    store.close(False)
    assert put(store, token, 3) and "<form" in web.get("/submit").text
    store.close(at=clock + 60)
    store.close()
    assert store.state().closed, "now comes before later"


def test_no_token_looks_like_an_option(store):
    """As one in 64 of those with letters, digits, - and _ would."""
    assert all(store.add_team(f"team {number}").isalnum() for number in range(20))


def test_a_full_disk_is_said_and_costs_nobody_a_submission(store, event, web, monkeypatch, capsys):
    token, packed = store.add_team("owls"), submission(event)

    def full(*_):
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(stores, "_insert", full)
        answer = web.post("/api/submissions", content=packed, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 503 and "disk is full), so nothing was changed" in answer.json()["error"]
        form = web.post("/submit", data={"token": token}, files={"file": ("s.zip", packed)})
        assert form.status_code == 503 and "tell the organisers" in form.text
    number = store.submit(token, packed, About("x"), 1)[0]
    beat = Store.beat

    def once(self, *of):
        monkeypatch.setattr(Store, "beat", beat)
        with self._write():
            full()

    monkeypatch.setattr(Store, "beat", once)
    monkeypatch.setattr("perfteach.hackathon.worker.SILENT", 0.0)
    monkeypatch.setattr("perfteach.hackathon.worker.MEND", 0.0)
    monkeypatch.setattr(stores, "SILENT", 0.0)
    assert work(store, event, until_empty=True) == 1
    assert boards.queue(store, [number])[0].state == "done", "the team is not blamed, and it is measured again"
    assert "cannot write at the moment" in capsys.readouterr().err


# --- the queue --------------------------------------------------------------------------------------------------------


def test_what_a_dead_worker_had_waits_again_and_is_given_up_after_five(store, monkeypatch):
    token = store.add_team("owls")
    put(store, token, 1), put(store, token, 2)
    clock = time.time()
    monkeypatch.setattr(stores.time, "time", lambda: clock)
    assert store.claim("one")[0] == 1
    assert store.claim("two")[0] == 2
    clock += stores.SILENT / 2
    store.beat(2, "two")
    clock += stores.SILENT / 2 + 1
    assert store.claim("three")[0] == 1, "the second one's worker is alive"
    assert not store.finish(1, "one", "done", result={}), "it came back too late"
    assert "1 of 5 times" in boards.queue(store)[-1].reason
    for _ in range(4):
        clock += stores.SILENT + 1
        store.beat(2, "two")
        store.claim("next")
    clock += stores.SILENT + 1
    store.beat(2, "two")
    assert store.claim("last") is None
    first = boards.queue(store)[-1]
    assert first.state == "failed" and "5 of 5 times" in first.reason


def test_many_workers_never_get_the_same_submission(store):
    token = store.add_team("owls")
    wanted = {put(store, token, number) for number in range(40)}
    got: list[int] = []

    def take(worker: int) -> None:
        while (claimed := store.claim(str(worker))) is not None:
            got.append(claimed[0])

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(got) == sorted(wanted)


def test_a_worker_measures_refuses_and_goes_on(store, event):
    token = store.add_team("owls")
    good, bad = submission(event), pack(b"hello", record(), About("bad"))
    for packed in (good, bad):
        store.submit(token, packed, About("x"), 10)
    store.add_reference(submission(event, name="baseline", seed=1), About("baseline"))
    assert work(store, event, until_empty=True) == 3
    assert [line.state for line in boards.queue(store)] == ["done", "refused", "done"]
    assert "not an ONNX file" in boards.queue(store, [2])[0].reason
    shown = boards.board(store)
    assert [row.team for row in shown.ranks] == ["owls"] and [row.name for row in shown.references] == ["baseline"]


def test_a_scorer_that_fails_says_so_and_blames_nobody(store, event, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("perfteach.hackathon.worker.MEND", 0)
    token, packed = store.add_team("owls"), submission(event)
    with monkeypatch.context() as broken:
        broken.setattr("perfteach.hackathon.worker.score", fail)
        store.submit(token, packed, About("x"), 1)
        assert work(store, event, until_empty=True) == stores.ATTEMPTS
    (line,) = boards.queue(store)
    assert line.state == "failed" and "the scorer failed (OSError)" in line.reason
    assert "No space left" in capsys.readouterr().err
    assert store.submit(token, packed, About("x"), 1) == (1, False), "handed in again, it is tried again"
    work(store, event, until_empty=True)
    assert boards.queue(store)[0].state == "done"


def test_nobody_waits_for_one_teams_many(store):
    owls, newts = store.add_team("owls"), store.add_team("newts")
    many = [put(store, owls, number) for number in range(4)]
    one = put(store, newts, 9)
    ahead = {line.number: line.ahead for line in boards.queue(store)}
    assert sorted(ahead, key=lambda number: ahead[number]) == [many[0], one, *many[1:]]
    assert [store.claim("test")[0] for _ in range(5)] == [many[0], one, *many[1:]]


def test_a_submission_can_be_looked_at_and_taken_off_the_board(store, event, tmp_path, capsys):
    store.submit(store.add_team("owls"), submission(event), About("x"), 10)
    work(store, event, until_empty=True)
    assert boards.board(store).ranks
    folder, address = str(event.folder), ["--database", store.engine.url.render_as_string(hide_password=False)]
    assert cli.main(["hackathon", "fetch", folder, "1", str(tmp_path / "1.zip"), *address]) == 0
    assert (tmp_path / "1.zip").read_bytes() == submission(event)
    assert cli.main(["hackathon", "withdraw", folder, "1", "weights in a table", *address]) == 0
    assert not boards.board(store).every and boards.queue(store)[0].reason == "weights in a table"
    assert "Submission 1, 'x' of owls, is off the board" in capsys.readouterr().out
    assert cli.main(["hackathon", "withdraw", folder, "7", "x", *address]) == 1
    assert "no submission 7" in capsys.readouterr().err
    assert cli.main(["hackathon", "withdraw", folder, "1", *address]) == 1 and "--undo" in capsys.readouterr().err
    assert cli.main(["hackathon", "withdraw", folder, "1", "--undo", *address]) == 0
    assert boards.board(store).ranks and boards.queue(store)[0].reason == ""
    assert cli.main(["hackathon", "withdraw", folder, "1", "--undo", *address]) == 1
    assert "it is done" in capsys.readouterr().err


def test_what_guesses_is_not_on_the_front(store, event):
    for number, (team, accuracy, size) in enumerate([("owls", 80, 900), ("jokers", 34, 0)], start=1):
        measured(store, put(store, store.add_team(team), number), accuracy, accuracy, size)
    assert {row.team for row in boards.board(store).points if row.on_front} == {"jokers", "owls"}
    shown = boards.board(store, least=40)
    assert [row.team for row in shown.points] == ["owls"] and [row.team for row in shown.ranks] == ["owls", "jokers"]
    assert TestClient(application(store, event)).get("/").text.count('class="best"') == 1


# --- ranks ------------------------------------------------------------------------------------------------------------


def filled(store: Store) -> None:
    """Owls climb the public part, newts are small, ants are beaten everywhere."""
    tokens = {name: store.add_team(name) for name in ("owls", "newts", "ants")}
    for number, (team, public, final, size) in enumerate(
        [("owls", 80, 81, 900), ("owls", 82, 78, 900), ("newts", 75, 76, 100), ("ants", 74, 90, 950)], start=1
    ):
        measured(store, put(store, tokens[team], number), public, final, size)


def test_ranks_and_front_are_of_the_public_part_until_the_end(store):
    filled(store)
    shown = boards.board(store)
    assert [(row.rank, row.team, row.accuracy) for row in shown.ranks] == [
        (1, "owls", 82), (2, "newts", 75), (3, "ants", 74),
    ]  # fmt: skip
    assert {row.team for row in shown.points if row.on_front} == {"owls", "newts"}


def test_in_the_end_a_team_stands_with_what_did_best_on_the_public_part(store):
    filled(store)
    store.end_event()
    shown = boards.board(store)
    assert [(row.team, row.accuracy) for row in shown.ranks] == [("ants", 90), ("owls", 78), ("newts", 76)]
    assert 81 not in [row.accuracy for row in shown.points], "chosen with the final part, it would have been the 81"


def test_a_team_that_climbs_the_public_part_gains_nothing_on_the_final_part(store):
    """200 random changes of one network, measured on 1,000 images each; the rule of the board picks one."""
    import numpy as np

    rng = np.random.default_rng(0)
    token = store.add_team("climbers")
    for number in range(200):
        public, final = (100 * (rng.random(1000) < 0.70).mean() for _ in range(2))
        measured(store, put(store, token, number), public, final)
    (climbed,) = boards.board(store).ranks
    assert climbed.accuracy > 72.5, "the public part is climbed"
    store.end_event()
    (ended,) = boards.board(store).ranks
    assert ended.number == climbed.number and abs(ended.accuracy - 70) < 2 * 1.45


def test_the_figure_has_every_point_inside_and_the_csv_every_submission(store):
    filled(store)
    shown = boards.board(store)
    drawn = boards.figure(shown)
    assert all(boards.LEFT <= d.x <= boards.RIGHT and boards.TOP <= d.y <= boards.BOTTOM for d in drawn.dots)
    assert drawn.steps.count("H") == 2 and len(drawn.x_ticks) >= 2 and len(drawn.y_ticks) >= 2
    rows = list(csv.DictReader(io.StringIO(boards.as_csv(shown))))
    assert [row["rank"] for row in rows] == ["", "1", "2", "3"] and {row["final_accuracy"] for row in rows} == {""}
    store.end_event()
    rows = list(csv.DictReader(io.StringIO(boards.as_csv(boards.board(store)))))
    assert [row["final_accuracy"] for row in rows] == ["81", "78", "76", "90"]


def test_an_empty_board_and_one_with_a_single_reference_can_be_shown(store, web):
    assert "Nothing is measured yet" in web.get("/").text
    measured(store, store.add_reference(b"zip", About("baseline")), 70, 70)
    time.sleep(1.1)  # the page is kept for a second
    assert "baseline" in web.get("/").text and web.get("/projector").status_code == 200


def test_a_board_of_weak_networks_shows_ranks_and_says_why_nothing_is_drawn(store, web):
    measured(store, put(store, store.add_team("owls"), 1), 34, 34)
    page = web.get("/").text
    assert "Nothing is measured yet" not in page and "No network has reached 40 %" in page and "owls" in page
    measured(store, put(store, store.add_team("newts"), 1), 70, 70)
    time.sleep(1.1)
    assert "A network needs 40 % on the public part to be drawn" in web.get("/").text


# --- pages ------------------------------------------------------------------------------------------------------------

NASTY = "<script>alert(1)</script>🦎"
PAGES = ("/", "/projector", "/queue", "/submit", "/rules", "/submissions/1", "/static/style.css")


def test_every_page_is_escaped_and_sends_the_headers(store, web):
    token = store.add_team(NASTY)
    packed = pack(b"m", b"r", About(NASTY, note=NASTY))
    assert web.post("/api/submissions", content=packed, headers={"Authorization": f"Bearer {token}"}).status_code == 201
    measured(store, 1, 70, 71, flags=[NASTY])
    store.add_reference(b"zip", About(NASTY))
    for page in (*PAGES, "/nothing", "/submissions/77"):
        answer = web.get(page)
        assert "<script>alert" not in answer.text, page
        assert answer.headers["content-security-policy"] == POLICY and answer.headers["x-frame-options"] == "DENY"
        assert ("&lt;script&gt;" in answer.text) is (page in ("/", "/projector", "/queue", "/submissions/1")), page
    assert "'unsafe" not in POLICY and "style=" not in web.get("/").text, "what the policy forbids is not needed"


def test_no_page_shows_the_final_part_before_the_end(store, web):
    token = store.add_team("owls")
    measured(store, put(store, token, 1), 70.5, 61.25)
    pages = ("/", "/projector", "/queue", "/submissions/1", "/board.csv", "/api/submissions/1")
    assert [page for page in pages if "61.25" in web.get(page).text] == []
    store.end_event()
    assert "61.25" in web.get("/board.csv").text, "what was kept for a second is of the public part"
    time.sleep(1.1)
    assert "61.25" in web.get("/").text and web.get("/api/submissions/1").json()["result"]["final"] == 61.25


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ({"token": "wrong"}, 401, "no team has this token"),
        ({"packed": b"hello"}, 400, "not a zip"),
        ({"packed": bytes(20_200_000)}, 400, "20.2 MB"),
        ({"times": 3}, 429, "2 are allowed"),
        ({"ended": True}, 403, "has ended"),
    ],
)
def test_what_is_not_taken_in_is_said_in_the_form_and_by_the_api(store, tmp_path, how, status, said):
    event = make_event(tmp_path, per_hour=2)
    web = TestClient(application(store, event), follow_redirects=False)
    token = how.get("token", store.add_team("owls"))
    if how.get("ended"):
        store.end_event()
    for number in range(how.get("times", 1)):
        packed = how.get("packed", pack(b"m", b"%d" % number, About("x")))
        by_api = web.post("/api/submissions", content=packed, headers={"Authorization": f"Bearer {token}"})
    assert by_api.status_code == status and said in by_api.json()["error"]
    if len(packed) < 1000:
        packed = how.get("packed", pack(b"m", b"other", About("x")))
    in_form = web.post("/submit", data={"token": token}, files={"file": ("s.zip", packed)})
    assert in_form.status_code == status and said in in_form.text


def test_an_upload_of_unknown_length_and_a_form_without_a_file_are_refused(web):
    parts = (b"x" * 10 for _ in range(3))
    assert "how long" in web.post("/api/submissions", content=parts).json()["error"]
    assert "choose a file" in web.post("/submit", data={"token": "x"}).text


def test_a_number_that_no_database_has_is_not_found(web):
    assert web.get("/submissions/99999999999999999999999").status_code == 404
    assert web.get("/api/submissions/99999999999999999999999").status_code == 404


def test_the_form_leads_to_the_page_of_the_submission(store, web, event):
    packed = submission(event)
    answer = web.post("/submit", data={"token": store.add_team("owls")}, files={"file": ("s.zip", packed)})
    assert answer.status_code == 303 and answer.headers["location"] == "/submissions/1"
    assert "waiting" in web.get("/submissions/1").text
    work(store, event, until_empty=True)
    assert "done" in web.get("/submissions/1").text
    assert web.get("/pack.zip").content == event.pack_path.read_bytes()


# --- the commands -----------------------------------------------------------------------------------------------------


def test_the_commands_make_teams_take_references_and_end_the_event(event, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.jsonl").write_bytes(record())
    folder, address = str(event.folder), ["--database", f"sqlite:///{tmp_path / 'b.sqlite'}"]
    assert cli.main(["hackathon", "team", folder, "owls", "newts", *address]) == 0
    assert len({line.split()[-1] for line in capsys.readouterr().out.splitlines()[:2]}) == 2
    assert cli.main(["hackathon", "reference", folder, str(tmp_path / "run"), *address]) == 1
    assert "--onnx" in capsys.readouterr().err
    (tmp_path / "run" / "model.onnx").write_bytes(b"x")
    assert cli.main(["hackathon", "reference", folder, str(tmp_path / "run"), "--name", "base", *address]) == 0
    assert "submission 1" in capsys.readouterr().out
    assert cli.main(["hackathon", "team", folder, "Owls", "ants", *address]) == 1
    assert "there already: owls" in capsys.readouterr().err
    assert cli.main(["hackathon", "team", folder, "owls", "--again", *address]) == 0
    assert cli.main(["hackathon", "close", folder, *address]) == 0
    assert "1 are not measured yet" in capsys.readouterr().out
    assert cli.main(["hackathon", "close", folder, "--open", *address]) == 0
    assert cli.main(["hackathon", "finish", folder, *address]) == 1
    assert "1 submissions are still measured" in capsys.readouterr().err
    assert cli.main(["hackathon", "finish", folder, "--now", *address]) == 0
    assert "1 submissions are still being measured" in capsys.readouterr().out
    assert cli.main(["hackathon", "close", folder, "--open", *address]) == 1
    assert "has ended" in capsys.readouterr().err
    assert cli.main(["hackathon", "serve", folder, "--workers", "-1", *address]) == 1
    assert cli.main(["hackathon", "serve", folder, "--port", "99999", *address]) == 1
    assert "port" in capsys.readouterr().err
    assert cli.main(["hackathon", "team", str(tmp_path), "owls"]) == 1
    assert "perfteach hackathon init" in capsys.readouterr().err


def test_submit_packs_without_an_address_and_asks_for_a_token(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PERFTEACH_TOKEN", raising=False)
    (tmp_path / "run.jsonl").write_bytes(record())
    (tmp_path / "model.onnx").write_bytes(b"x")
    assert cli.main(["submit", str(tmp_path), "--name", "first"]) == 0
    assert (tmp_path / "submission.zip").is_file()
    assert cli.main(["submit", str(tmp_path), "--name", "first", "--to", "http://127.0.0.1:9"]) == 1
    assert "a token is missing" in capsys.readouterr().err
    assert cli.main(["submit", str(tmp_path), "--name", "x", "--to", "http://127.0.0.1:9", "--token", "t"]) == 1
    assert "no board answers" in capsys.readouterr().err
    assert cli.main(["submit", str(tmp_path), "--name", "x", "--to", "file:///etc/passwd", "--token", "t"]) == 1
    assert "http://" in capsys.readouterr().err


def test_submit_says_what_to_do_where_the_board_dies_in_the_middle_of_its_answer(tmp_path, capsys):
    (tmp_path / "run.jsonl").write_bytes(record())
    (tmp_path / "model.onnx").write_bytes(b"x")

    class Dying(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "36")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Dying) as board:
        threading.Thread(target=board.handle_request).start()
        address = f"http://127.0.0.1:{board.server_port}"
        assert cli.main(["submit", str(tmp_path), "--name", "x", "--to", address, "--token", "t"]) == 1
    said = capsys.readouterr().err
    assert "broke off in the middle" in said and "run the command again" in said and said.count("\n") == 1


def test_submit_waits_through_a_moment_without_a_network(monkeypatch, capsys):
    result = {"public": 80.0, "parameters": 9, "macs": 9, "latency_ms": 1.0, "flags": []}
    answers = iter(
        [ConfigError("no board answers"), ConfigError("no board answers"), {"state": "done", "result": result}]
    )

    def ask(address: str) -> dict:
        answer = next(answers)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    monkeypatch.setattr(client, "_ask", ask)
    monkeypatch.setattr(client.time, "sleep", lambda _: None)
    assert client._measured("http://board/api/submissions/1") == result
    assert capsys.readouterr().out.count("does not answer at the moment") == 1


def test_submit_ends_where_its_submission_was_withdrawn(monkeypatch):
    monkeypatch.setattr(client, "_ask", lambda address: {"state": "withdrawn", "reason": "an insult", "ahead": 0})
    with pytest.raises(SubmissionError, match="it was withdrawn: an insult"):
        client._measured("http://board/api/submissions/1")


def test_a_page_of_the_board_is_no_address_of_a_board():
    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Nothing) as board:
        threading.Thread(target=board.handle_request).start()
        with pytest.raises(SubmissionError, match="give the address of its first page"):
            client._ask(f"http://127.0.0.1:{board.server_port}/submit/api/submissions")


def test_teams_are_checked_before_one_is_made_and_can_be_listed(event, tmp_path, capsys):
    on_event = [str(event.folder), "--database", f"sqlite:///{tmp_path / 'b.sqlite'}"]
    teams, team = ["hackathon", "teams", *on_event], ["hackathon", "team", *on_event]
    assert cli.main(teams) == 0 and "no team yet" in capsys.readouterr().out
    assert cli.main([*team, "owls", "n" * 61]) == 1 and "name" in capsys.readouterr().err
    assert cli.main([*team, "owls", " "]) == 1 and "team's name is empty" in capsys.readouterr().err
    assert cli.main([*team, "newts", "newts "]) == 1 and "there twice" in capsys.readouterr().err
    assert cli.main([*team, "owls"]) == 0
    capsys.readouterr()
    assert cli.main([*team, "owls "]) == 1 and "there already: owls" in capsys.readouterr().err
    assert cli.main(teams) == 0 and capsys.readouterr().out == "owls\n"


def test_a_time_to_close_is_one_of_today_that_is_still_to_come(event, tmp_path, capsys):
    close = ["hackathon", "close", str(event.folder), "--database", f"sqlite:///{tmp_path / 'b.sqlite'}", "--at"]
    assert cli.main([*close, "noon"]) == 1 and "as in 16:00" in capsys.readouterr().err
    assert cli.main([*close, "00:00"]) == 1 and "has passed" in capsys.readouterr().err
    if time.strftime("%H:%M") < "23:59":
        assert cli.main([*close, "23:59"]) == 0 and "from 23:59:00" in capsys.readouterr().out


def test_a_folder_that_could_not_be_filled_is_taken_away_again(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(events, "_write_pack", full)
    with pytest.raises(DataError, match="No space left"):
        make_event(tmp_path)
    assert not (tmp_path / "event").exists()


def test_without_the_extra_the_commands_name_it(event, monkeypatch, capsys):
    monkeypatch.setattr("perfteach.extras.find_spec", lambda name: None if name == "starlette" else object())
    assert cli.main(["hackathon", "serve", str(event.folder)]) == 1
    assert 'perfteach[hackathon]"' in capsys.readouterr().err


def test_an_address_that_is_none_is_refused_without_its_password():
    with pytest.raises(ConfigError) as caught:
        Store("nodatabase://user:secret@host/db")
    assert "secret" not in str(caught.value)


def test_help_needs_nothing_of_the_extra():
    code = "import sys, perfteach.cli as c; c.parser(); print([m for m in ('torch', 'starlette', 'sqlalchemy', 'onnx') "
    command = [sys.executable, "-c", f"{code}if m in sys.modules])"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() == "[]"


# --- what an attacker sends -------------------------------------------------------------------------------------------


def test_a_body_in_pieces_is_refused_before_it_is_read(web):
    """h11 lets it win over a length that is given beside it, so the length would say nothing."""
    for path in ("/api/submissions", "/submit"):
        answer = web.post(path, headers={"transfer-encoding": "chunked", "content-length": "10"}, content=b"0123456789")
        assert answer.status_code == 400 and "does not say how long it is" in answer.text


def test_without_a_token_nothing_is_read(web, monkeypatch):
    async def never(request):
        raise AssertionError("the body was read")

    monkeypatch.setattr("starlette.requests.Request.body", never)
    assert web.post("/api/submissions", content=b"x" * 1000).status_code == 401


def test_a_form_with_a_charset_is_refused(web):
    form = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\nbbb-aaa\r\n--x--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=x; charset=punycode"}
    answer = web.post("/submit", content=form, headers=kind)
    assert answer.status_code == 400 and "charset" in answer.text


def test_a_record_with_half_a_character_is_refused_and_the_scorer_goes_on(store, event):
    token = store.add_team("odd")
    broken = b'{"kind": "epoch", "\\ud800\\u0000": 1}\n'
    model = submission(event)
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        packed = pack(archive.read("model.onnx"), broken, About("odd"))
    store.submit(token, packed, About("odd"), 10)
    store.submit(token, model, About("whole"), 10)
    assert work(store, event, until_empty=True) == 2
    states = {entry.name: entry for entry in boards.queue(store)}
    assert states["whole"].state == "done" and states["odd"].state == "refused"
    assert "is not the record of a finished run" in states["odd"].reason
