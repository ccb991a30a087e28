"""The pictures in README and docs: `python tools/pictures.py` draws them again, widgets in a headless Chromium.

Each holds a checksum of the sources that it shows, so that a test can tell when a picture is older than its widget.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stage import stage

from perfteach.course.demo import spiral_run
from perfteach.data.points import two_spirals
from perfteach.plots import style
from perfteach.plots.points import draw
from perfteach.runs import recorded
from perfteach.widgets import CorrelationLab, PhaseExplorer
from perfteach.widgets.base import HERE, module

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH, SHARPNESS = 1000, 1.5
SPIRALS = "two-spirals"
SOURCES = {  # the JavaScript, and the Python that words and counts
    "phase-explorer": ("explorer", ("explorer.py", "story.py")),
    "correlation-lab": ("lab", ("lab.py", "neuron.py")),
}


def fingerprint(name: str) -> str:
    """Checksum of everything that draws a picture."""
    if name == SPIRALS:
        package = HERE.parent
        pages = [package / "course" / "demo.py", package / "plots" / "points.py", package / "data" / "points.py"]
        return hashlib.sha256(b"\0".join(page.read_bytes() for page in pages)).hexdigest()
    script, pages = SOURCES[name]
    texts = [module(script), *((HERE / page).read_text(encoding="utf-8") for page in ("view.css", *pages))]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def panels() -> dict[str, Any]:
    """The widgets in the state that is shown: a dendrite phase's last epoch, and a dendrite on its way up the hill."""
    run = recorded("mini", arm="perforated", seed=0)[0]
    explorer, lab = PhaseExplorer(run), CorrelationLab()
    explorer.epoch = next(band.last for band in run.bands() if band.dendritic)
    lab.on_message(None, {"do": "run"})
    return {"phase-explorer": explorer, "correlation-lab": lab}


def spirals() -> Image.Image:
    """What the demo's five neurons answer on two spirals, after training longer and with their dendrites."""
    figure = Figure(figsize=(8.4, 4.4), dpi=150, layout="constrained")
    for axes, (arm, title) in zip(
        figure.subplots(1, 2), {"same-epochs": "Five neurons", "perforated": "With dendrites"}.items(), strict=True
    ):
        model, run = spiral_run(arm, 0)
        style.quiet(axes)
        data = two_spirals(1000, turns=1.4)
        draw(axes, model, data, data.test)
        axes.set_title(f"{title}: {run.error:.1f} % of the test points wrong", fontsize=12)
        axes.set(xticks=[], yticks=[])
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.12)
    drawn = io.BytesIO()
    figure.savefig(drawn, facecolor="white")
    return Image.open(drawn).convert("RGB")


def keep(name: str, picture: Image.Image) -> None:
    """Write a picture with the checksum of its sources."""
    note = PngInfo()
    note.add_text("sources", fingerprint(name))
    picture.save(FOLDER / f"{name}.png", optimize=True, pnginfo=note)
    print(f"docs/images/{name}.png: {(FOLDER / f'{name}.png').stat().st_size // 1000} kB")


def main() -> int:
    """Draw every picture."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        print("No Chromium is installed, which draws the pictures (Debian, Ubuntu: apt install chromium).")
        return 2
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--headless"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, device_scale_factor=SHARPNESS)
        for name, panel in panels().items():
            place = Path(folder, f"{name}.html")
            place.write_text(stage(panel.widget), encoding="utf-8")
            page.goto(place.as_uri())
            page.wait_for_function("window.ready")
            keep(name, Image.open(io.BytesIO(page.locator("#widget").screenshot())).convert("RGB"))
        browser.close()
    keep(SPIRALS, spirals())
    return 0


if __name__ == "__main__":
    sys.exit(main())
