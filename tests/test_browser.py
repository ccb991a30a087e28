"""The widgets in a real JupyterLab: keyboard, live training, names for a screen reader, no page errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from conftest import free_port, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

CELLS = {
    "setup": """
        from perfteach import PerforatedTrainer, TrainConfig, FixedSwitch, ManualSwitch, Callback, perforate
        from perfteach.data.points import small_network, two_spirals
        from perfteach.widgets import BudgetDesigner, CorrelationLab, PhaseBar, PhaseExplorer, PhaseMonitor, RunCompare
        from perfteach.runs import recorded
        import copy, time, warnings
        warnings.simplefilter("ignore")
        data = two_spirals(200, turns=1)
        def training(arm, seed, switch, *callbacks):
            settings = dict(seed=seed, batch_size=50, lr=0.02, dendrite_lr=0.05, roll_back=False, device="cpu")
            model = perforate(small_network(5, seed=seed))
            config = TrainConfig(switch=switch, grow=arm != "same-epochs", **settings)
            return PerforatedTrainer(model, data, config, name=f"demo/{arm}-seed{seed}", callbacks=callbacks)
        runs = [training(arm, seed, FixedSwitch((4, 3), dendrite=3)).fit(progress=False)
                for arm in ("same-epochs", "perforated") for seed in (0, 1)]
        odd = copy.deepcopy(runs)
        for run in odd:
            run.header["name"] = run.name.replace("demo", "<img src=x onerror=alert(1)>").replace("perf", "<b>perf")
            run.header["data"]["name"] = '<i>slanted</i>'""",
    "explorer": "PhaseExplorer(runs[2])",
    "lab": "CorrelationLab()",
    "budget": "BudgetDesigner([run for name in ('mini', 'search') for run in recorded(name)])",
    "compare": "RunCompare(recorded('mini'))",
    "odd budget": "BudgetDesigner(odd)",
    "odd compare": "RunCompare(odd)",
    "bar": "training('bar', 0, FixedSwitch((3, 3), dendrite=2), PhaseBar()).fit(progress=False); None",
    "live": """
        class Slow(Callback):  # a second an epoch, and an end in case no button works
            began = time.monotonic()
            def on_batch_end(self, trainer, batch, batches):
                time.sleep(0.25)
                if time.monotonic() - self.began > 90:
                    trainer.request_stop()
        live = training("live", 0, ManualSwitch(), PhaseMonitor(), Slow()).fit(progress=False)""",
    "after": """
        print("PHASES", [epoch["phase"] for epoch in live.epochs])
        print("REASONS", [event["reason"] for event in live.events if event["event"] in ("switch", "stop")])
        print("USABLE", live.finished, round(live.result["test_accuracy"]))""",
}
COURSE = ("00_start_here", "03_perforated_backpropagation")
# Whether every code cell of the notebook has run.
# From the cells themselves: the prompt of a folded cell, such as the one for Colab, stays empty in the page.
ALL_RUN = """() => {
    const cells = window.jupyterapp?.shell.currentWidget?.content?.widgets ?? [];
    const counts = cells.filter(cell => cell.model.type === 'code' && cell.model.sharedModel.source.trim())
        .map(cell => cell.model.executionCount);
    return counts.length > 10 && counts.every(count => count !== null);
}"""
IDLE = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.session?.kernel?.status === 'idle';
}"""
# Every slider of ipywidgets in an element, with the name and value of the number box in its own row.
SLIDERS = """place => [...place.querySelectorAll('[role=slider]:not(input)')].map(slider => {
    const box = slider.closest('.widget-box')?.querySelector('input[type=number]');
    return [slider.getAttribute('aria-valuenow'), box?.labels[0]?.textContent, box?.value];
})"""


def missing(sentence: str) -> None:
    """Skip, or fail where the browser is required."""
    if os.environ.get("PERFTEACH_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{sentence} PERFTEACH_REQUIRE_BROWSER=1 asks for it.")
    pytest.skip(sentence)


def write_notebook(path: Path) -> None:
    import textwrap

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(code).strip()) for code in CELLS.values()]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def settings(folder: Path, theme: str = "JupyterLab Light") -> None:
    """No news, no update check, and all cells in the page at once."""
    chosen = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "apputils-extension/themes": {"theme": theme},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in chosen.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a JupyterLab of our own, with the widgets' notebook in it."""
    base = tmp_path_factory.mktemp("lab")
    (base / "work").mkdir()
    write_notebook(base / "work" / "widgets.ipynb")
    for name in COURSE:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", base / "work")
    settings(base / "settings")
    places = {"SETTINGS": "LAB_SETTINGS_DIR", "WORKSPACES": "LAB_WORKSPACES_DIR", "CONFIG": "_CONFIG_DIR"}
    places |= {"DATA": "_DATA_DIR", "RUNTIME": "_RUNTIME_DIR"}
    own = {f"JUPYTER{name}": str(base / place.lower()) for place, name in places.items()}
    own |= {"IPYTHONDIR": str(base / "ipython"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    own["JUPYTER_CONFIG_PATH"] = str(ROOT / "tools" / "jupyter")  # as `make lab` has it
    port = free_port()
    options = (
        "--allow-root", "--no-browser", "--ServerApp.ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=", f"--ServerApp.root_dir={base / 'work'}", "--LabApp.expose_app_in_browser=True",
    )  # fmt: skip
    address, command = f"http://127.0.0.1:{port}", [sys.executable, "-m", "jupyterlab", *options]
    with running(command, f"{address}/api/status", base / "lab.log", env=os.environ | own):
        yield address


@pytest.fixture(scope="module")
def chromium():
    """A headless browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (pip install perfteach[dev]).")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing("no Chromium is installed (Debian, Ubuntu: apt install chromium).")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--headless", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(chromium, lab):
    """The notebook, all of its cells started; the last but one trains until it is stopped."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(180_000)  # a busy machine; alone it takes seconds
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(f"{lab}/lab/tree/widgets.ipynb")
    page.wait_for_function(IDLE)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")  # not awaited: it is long
    yield page
    assert page.problems == []


def output(page, name: str):
    """The output of one of the notebook's cells."""
    return page.locator(".jp-Cell").nth(list(CELLS).index(name)).locator(".jp-Cell-outputArea")


def settle(page) -> None:
    """Wait for the notebook's end. The kernel's status is of no use: it is "idle" after each message of a button."""
    output(page, "after").get_by_text("USABLE").wait_for()


def press(page, cell: str, name: str, key: str = "Enter") -> None:
    """Use a button from the keyboard."""
    button = output(page, cell).get_by_role("button", name=name)
    button.focus()
    page.keyboard.press(key)


def choose(page, view: str) -> None:
    """Choose what the comparison shows."""
    output(page, "compare").get_by_role("combobox", name="Show").select_option(view)


def test_buttons_work_while_the_cell_is_still_training(page):
    live = output(page, "live")
    live.get_by_text("neuron phase · cycle 0").wait_for()
    live.get_by_role("img", name="Error by epoch").wait_for()
    live.get_by_role("img", name="2 layers with 0 dendrites a neuron: neurons learn").wait_for()  # before any score
    press(page, "live", "Switch phase now")
    live.get_by_text("dendrite phase · cycle 1").wait_for()
    live.get_by_text("dendrites learn").wait_for()
    press(page, "live", "Pause", "Space")
    live.get_by_role("button", name="Continue").wait_for()
    time.sleep(0.5)
    held = live.locator(".pt-progress").inner_text()
    time.sleep(1.5)
    assert live.locator(".pt-progress").inner_text() == held
    prompt = page.locator(".jp-Cell").nth(list(CELLS).index("live")).locator(".jp-InputPrompt")
    assert prompt.inner_text() == "[*]:", "the cell is still running"
    press(page, "live", "Continue")
    page.wait_for_function("held => !document.body.innerText.includes(held)", arg=held)
    press(page, "live", "Stop and keep the best")
    live.get_by_text("Training has ended").first.wait_for()
    assert live.get_by_role("button", name="Stop and keep the best").is_disabled()
    output(page, "after").get_by_text("USABLE").wait_for()
    said = output(page, "after").inner_text()
    assert "'neuron', 'dendrite'" in said and "USABLE True" in said
    assert "'asked for by hand', 'asked for by hand; the best weights are kept'" in said


def test_one_line_of_the_bar_stays(page):
    settle(page)
    assert "demo/bar-seed0: 8 epochs done (neuron 3, dendrite 2, neuron 3)." in output(page, "bar").inner_text()


def test_explorer_plays_and_switches_without_a_kernel(page):
    settle(page)
    place = output(page, "explorer")
    box = place.get_by_role("spinbutton", name="Epoch")
    assert box.input_value() == "5" and "dendrites learn" in place.locator(".pt-banner").inner_text()
    press(page, "explorer", "Next switch")
    changed(page, box, "value", "5")
    assert box.input_value() == "8" and "neurons learn" in place.locator(".pt-banner").inner_text()
    place.get_by_role("slider", name="Epoch").press("ArrowRight")
    changed(page, box, "value", "8")
    press(page, "explorer", "Play")
    place.get_by_role("button", name="Play").wait_for()  # it has come to the end
    page.wait_for_function("document.querySelector('.pt-explorer input[type=number]').value === '10'")  # next frame
    assert place.locator(".pt").bounding_box()["height"] <= 760


def test_designers_slider_is_driven_by_the_keyboard(page):
    settle(page)
    place = output(page, "budget")
    box, picture = place.get_by_role("spinbutton", name="Width"), place.get_by_role("img").first
    value, words = box.input_value(), picture.get_attribute("aria-label")
    place.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    changed(page, box, "value", value)
    changed(page, picture, "aria-label", words)
    assert float(box.input_value()) > float(value)


def changed(page, locator, attribute: str, old: str) -> None:
    """Wait until an attribute of an element is no longer what it was."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        now = locator.input_value() if attribute == "value" else locator.get_attribute(attribute)
        if now != old:
            return
        time.sleep(0.1)
    pytest.fail(f"the {attribute} did not change from {old[:40]}")


def test_lab_climbs_and_switches(page):
    settle(page)
    press(page, "lab", "Run 50 steps")
    output(page, "lab").get_by_role("status").filter(has_text="after 50 steps").wait_for()
    press(page, "lab", "Switch phase")
    output(page, "lab").get_by_text("the border bends").wait_for()


def test_comparison_by_keyboard(page):
    settle(page)
    place = output(page, "compare")
    line = place.get_by_text("wider is better than same-epochs")
    line.wait_for()
    place.get_by_role("checkbox", name="wider").press("Space")
    line.wait_for(state="detached")
    place.get_by_role("checkbox", name="wider").press("Space")
    line.wait_for()
    for view, what in (("table", "minutes"), ("in words", "in the last epoch"), ("gains", "small: one seed")):
        choose(page, view)
        place.get_by_text(what).first.wait_for()
    for seed in range(1, 5):
        place.get_by_role("checkbox", name=f"seed {seed}", exact=True).press("Space")
    place.get_by_text("fewer than two seeds").first.wait_for()
    for seed in range(1, 5):
        place.get_by_role("checkbox", name=f"seed {seed}", exact=True).press("Space")
    line.wait_for()


def test_arrow_keys_and_letters_are_those_of_a_control_in_an_output_and_jupyterlab_s_elsewhere(page):
    settle(page)
    place = output(page, "compare")
    control = place.get_by_role("combobox", name="Control")
    control.select_option("same-epochs")
    many, focused = page.locator(".jp-Cell").count(), "document.activeElement.tagName"
    control.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "SELECT" and control.evaluate("menu => menu.value") != "same-epochs"
    page.keyboard.press("x")
    assert page.locator(".jp-Cell").count() == many, "no cell is cut"
    control.select_option("same-epochs")
    first, second = page.locator(".jp-Cell").nth(0), page.locator(".jp-Cell").nth(1)
    first.locator(".jp-InputPrompt").click()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("cell => cell.classList.contains('jp-mod-active')", arg=second.element_handle())


def test_comparison_by_mouse(page):
    settle(page)
    place = output(page, "compare")
    place.get_by_role("combobox", name="Control").select_option("baseline")
    place.get_by_text("same-epochs is better than baseline").wait_for()
    choose(page, "curves")
    place.get_by_role("img", name="Validation error by arm").wait_for()
    place.get_by_role("checkbox", name="random").click()
    place.get_by_text("random and baseline").wait_for(state="detached")
    place.get_by_role("checkbox", name="random").click()
    choose(page, "gains")
    place.get_by_role("combobox", name="Control").select_option("same-epochs")
    place.get_by_role("img", name="Gain over same-epochs").wait_for()


def test_designer_by_mouse_and_nothing_jumps(page):
    settle(page)
    place = output(page, "budget")
    place.get_by_role("combobox", name="Recorded network").select_option("mini/perforated")
    place.get_by_text("This network was trained").wait_for()
    places = """place => JSON.stringify([...place.querySelectorAll('.widget-box, [role=img], .widget-html, svg')]
        .map(node => node.getBoundingClientRect()).map(box => [box.top, box.left]))"""
    box, bars, before = place.get_by_role("spinbutton", name="Width"), place.get_by_role("img").first, set()
    track = place.locator(".noUi-base").first
    for share in (0.8, 0.65, 0.5, 0.35, 0.9):  # the handle begins at 0.17
        value, words = box.input_value(), bars.get_attribute("aria-label")
        track.click(position={"x": share * track.bounding_box()["width"], "y": 2})
        changed(page, box, "value", value)
        changed(page, bars, "aria-label", words)
        # The slider passes over a press while its handle still glides to the one before, and we can be that quick.
        place.locator(".noUi-state-tap").wait_for(state="detached")
        before.add(place.evaluate(places))
    assert len(before) == 1
    assert place.get_by_role("combobox", name="Recorded network").evaluate("menu => menu.value") == "of your own"
    place.get_by_role("combobox", name="Layers with dendrites").select_option("head")
    place.get_by_text("1 a neuron in 2 layers").wait_for()


THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${theme}`})"
OUTSIDE = """place => [...place.querySelectorAll('select, input, button, p, strong')].filter(node =>
    node.getBoundingClientRect().right > place.getBoundingClientRect().right + 1).map(node => node.outerHTML)"""
# The least contrast of words in an element with the page's ground. Words in a control have a ground of their own.
READABLE = """place => {
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const light = rgb => rgb.slice(0, 3).map(value => value / 255).map(value =>
        value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4).reduce((sum, value, k) =>
        sum + value * [0.2126, 0.7152, 0.0722][k], 0);
    const ground = parts(getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor);
    const found = [...place.querySelectorAll('p, strong, b, label, svg text')].filter(node => node.textContent.trim());
    return Math.min(...found.map(node => {
        const look = getComputedStyle(node);
        const [red, green, blue, alpha = 1] = parts(node.tagName === 'text' ? look.fill : look.color);
        const mixed = [red, green, blue].map((value, k) => value * alpha + ground[k] * (1 - alpha));
        const [low, high] = [light(mixed), light(ground)].sort((one, other) => one - other);
        return (high + 0.05) / (low + 0.05);
    }));
}"""


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_designer_and_comparison_fit_and_can_be_read(page, theme):
    settle(page)
    page.evaluate(THEME, theme)
    page.wait_for_function("dark => (document.body.dataset.jpThemeLight === 'false') === dark", arg=theme == "Dark")
    for width in (1440, 800, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(f"() => window.jupyterapp.shell.{'collapse' if width == 400 else 'expand'}Left()")
        page.wait_for_timeout(500)
        for name in ("budget", "compare"):
            place = output(page, name)
            if width == 1440:
                assert place.bounding_box()["height"] <= 760, f"{name} on one screen"
            assert place.evaluate("place => place.scrollWidth - place.clientWidth") <= 1, (name, width)
            assert place.evaluate(OUTSIDE) == [], (name, width)
            assert place.evaluate(READABLE) >= 4.5, (name, width)
            if folder := os.environ.get("PERFTEACH_SHOTS"):
                place.screenshot(path=Path(folder) / f"{name}-{theme.lower()}-{width}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("() => window.jupyterapp.shell.expandLeft()")


def test_names_that_contain_html_are_text_in_designer_and_comparison(page):
    settle(page)
    for name in ("odd budget", "odd compare"):
        place = output(page, name)
        place.locator("svg").get_by_text("<i>slanted</i>").first.wait_for()
        assert place.locator("img[src=x]").count() == 0
        assert place.locator("i, b").get_by_text(re.compile("slanted|perf")).count() == 0


CONTROLS = re.compile(
    r"^\s*- '?(button|spinbutton|combobox|listbox|option|textbox|checkbox|slider|img)\b(.*)$", re.MULTILINE
)


def unnamed_controls(place) -> list[str]:
    """Controls and pictures of a page, or of a part of it, that a screen reader has no name for.

    JupyterLab gives a slider of ipywidgets no name. It passes when a named number box with the same value stands
    next to it.
    """
    controls = CONTROLS.findall(place.aria_snapshot())
    unnamed = [kind + rest for kind, rest in controls if kind != "slider" and not re.match(r' "[^"]', rest)]
    unnamed += place.locator("input[type=range]:not([aria-label])").all_inner_texts()
    for value, name, number in place.evaluate(SLIDERS):
        if not name or abs(float(value) - float(number)) > 0.051:
            unnamed.append(f"slider at {value}, beside {name or 'nothing'} {number}")
    return unnamed


def test_no_control_is_without_a_name(page):
    settle(page)
    seen = {}
    for name in ("explorer", "lab", "budget", "compare", "odd budget", "odd compare", "live"):
        place = output(page, name)
        seen[name] = [kind for kind, _ in CONTROLS.findall(place.aria_snapshot())]
        assert unnamed_controls(place) == [], name
    assert {"button", "spinbutton", "slider", "img", "combobox"} <= set(seen["explorer"])
    assert {"combobox", "checkbox", "img"} <= set(seen["compare"]) and {"button", "img"} <= set(seen["live"])
    assert [seen[name].count("slider") for name in ("explorer", "lab", "budget")] == [1, 3, 2]


ROW = '<div class="widget-box"><div role="slider" aria-valuenow="{}"></div><label>A<input type="number" value="{}">'
NAMED = f'<button>Play</button> <img alt="curves"> <label>Epoch <input type="number"></label> {ROW.format(3, 3)}'


@pytest.mark.parametrize(
    ("html", "unnamed"),
    [
        ("", []),
        ("<button></button>", ["button"]),
        ('<button><i class="fa fa-play"></i></button>', ["button"]),
        ('<input type="number">', ["spinbutton"]),
        ("<select><option>a</option></select>", ["combobox"]),
        ('<img src="x.png">', ["img"]),
        ('<div role="slider" aria-valuenow="4"></div>', ["slider at 4, beside nothing"]),
        (ROW.format(4, 5), ["slider at 4, beside A 5"]),
    ],
)
def test_the_check_finds_a_control_without_a_name(chromium, html, unnamed):
    page = chromium.new_page()
    page.set_content(f"<body>{NAMED}</label></div> {html}</body>")
    found = unnamed_controls(page.locator("body"))
    assert len(found) == len(unnamed)
    assert all(said.startswith(expected) for said, expected in zip(found, unnamed, strict=True)), found
    page.close()


def test_nothing_went_wrong_in_the_page(page):
    settle(page)
    assert page.problems == []
    assert page.locator(".jp-OutputArea [data-mime-type*=stderr]").all_inner_texts() == []
    assert page.get_by_text("Error displaying widget").count() == 0


@pytest.mark.parametrize("name", COURSE)
def test_a_course_notebook_runs_from_top_to_bottom(chromium, lab, name):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(180_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{lab}/lab/workspaces/{name}/tree/{name}.ipynb")  # not the workspace in which the widgets are open
    page.wait_for_function(IDLE)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    page.wait_for_function(ALL_RUN)
    shown = page.locator(".jp-Notebook")
    assert shown.locator("[data-mime-type*=stderr], [data-mime-type*=error]").all_inner_texts() == []
    shown.locator(".pt-explorer").get_by_role("slider", name="Epoch").wait_for()  # the explorer has come up
    assert page.get_by_text("Error displaying widget").count() == 0
    assert problems == []
    page.close()
