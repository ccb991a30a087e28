"""The board in a real browser: upload, queue, board, projector, a phone, and the keyboard alone."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from hackathon_parts import make_event, submission
from test_browser import chromium, unnamed_controls  # noqa: F401

from perfteach.hackathon.board import counts
from perfteach.hackathon.server import Background
from perfteach.hackathon.submission import About

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]
SHOTS = os.environ.get("PERFTEACH_SHOTS")  # a folder for pictures of the pages
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A board with measured submissions of five teams and a reference, its teams' tokens, and a zip to hand in."""
    folder = tmp_path_factory.mktemp("board")
    event = make_event(folder)
    server = Background(event)
    store = server.store
    names = ("owls", "newts", "ants", "a team with a rather long name of sixty letters or nearly so", "<b>bees</b> 🐝")
    tokens = {name: store.add_team(name) for name in names}
    for number, token in enumerate(tokens.values()):
        store.submit(token, submission(event, f"try {number}", number, 0.1 * number), About(f"try {number}"), 10)
    store.add_reference(submission(event, "baseline", 9, 0.2), About("baseline"))
    server.start()
    (folder / "new.zip").write_bytes(submission(event, "from the browser", 7, 0.1))
    end = time.monotonic() + 120
    while counts(store).get("done", 0) < 6 and time.monotonic() < end:
        time.sleep(0.5)
    assert counts(store).get("done", 0) == 6, counts(store)
    yield server.address, tokens, folder / "new.zip"
    server.stop()


@pytest.fixture
def page(chromium):  # noqa: F811
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
    yield page
    page.close()


def shot(page, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def test_a_submission_goes_from_the_form_to_the_board_by_keyboard_alone(page, served):
    address, tokens, file = served
    page.goto(address)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.innerText") == "Hand in":
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Hand in").wait_for()
    page.get_by_label("The zip").set_input_files(file)  # the dialogue itself is the system's
    page.get_by_label("The zip").focus()
    page.keyboard.press("Tab")
    page.keyboard.type(tokens["owls"])
    shot(page, "form")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="from the browser").wait_for()
    page.locator(".is.done").wait_for()  # the page looks again by itself
    page.get_by_role("rowheader", name="Parameters").wait_for()
    shot(page, "submission")
    page.goto(f"{address}/queue")
    page.get_by_role("row", name=re.compile("from the browser.*done")).wait_for()
    shot(page, "queue")
    assert page.problems == []


def test_a_wrong_token_is_said_beside_the_form(page, served):
    address, _, file = served
    page.goto(f"{address}/submit")
    page.get_by_label("The zip").set_input_files(file)
    page.get_by_label("token").fill("wrong")
    page.get_by_role("button", name="Hand in").click()
    assert "no team has this token" in page.get_by_role("alert").inner_text()


def test_the_board_has_figure_table_and_names_for_a_screen_reader(page, served):
    page.goto(served[0])
    page.get_by_role("img", name="Errors against parameters").wait_for()
    assert page.locator("svg .best").count() >= 1 and page.locator("svg line.reference").count() == 1
    assert page.get_by_role("row").count() >= 7
    page.get_by_text("<b>bees</b> 🐝").first.wait_for()
    assert unnamed_controls(page.locator("body")) == []
    shot(page, "board")
    page.emulate_media(color_scheme="dark")
    shot(page, "board-dark")
    assert page.problems == []


@pytest.mark.parametrize(("name", "width", "height"), [("projector", 1920, 1080), ("phone", 400, 800)])
def test_pages_fit_a_projector_and_a_phone(page, served, name, width, height):
    page.set_viewport_size({"width": width, "height": height})
    for path in ("/projector", "/", "/queue", "/submit", "/rules"):
        page.goto(served[0] + path)
        assert page.evaluate(WIDE) <= 0, f"{path} is wider than a {name}"
        shot(page, f"{name}{path.replace('/', '-')}")
    if name == "projector":
        page.goto(f"{served[0]}/projector")
        assert page.evaluate("() => document.documentElement.scrollHeight") <= height, "nobody scrolls a projector"
        smallest = page.evaluate(
            "() => Math.min(...[...document.querySelectorAll('.podium span')].map(s => parseFloat(getComputedStyle(s)"
            ".fontSize)))"
        )
        assert smallest >= 17
    assert page.problems == []


def test_the_board_changes_by_itself(page, served):
    address, tokens, _ = served
    page.goto(f"{address}/queue")
    before = page.get_by_role("row").count()
    import urllib.request

    from perfteach.hackathon.submission import pack

    packed = pack(b"hello", b"", About("broken"))
    headers = {"Authorization": f"Bearer {tokens['ants']}"}
    urllib.request.urlopen(urllib.request.Request(f"{address}/api/submissions", packed, headers)).close()
    page.get_by_role("row", name=re.compile("broken.*refused")).wait_for()
    assert page.get_by_role("row").count() == before + 1
