"""`make bench`: what things cost, as ratios from turns in one process. `--write` keeps them and makes the page.

python -m benchmarks            every part, printed
python -m benchmarks --write    also benchmarks/results/cpu.json and docs/performance.md
python -m benchmarks --page     only the page, from what is kept
python -m benchmarks --only perforatedai --write     one part; the others stay as they are kept
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks import growth, peer, steps
from benchmarks.inference import inference
from benchmarks.loader import loading
from benchmarks.timing import table
from benchmarks.widgets import redraws
from perfteach import data
from perfteach.memory import kept
from perfteach.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
KEPT, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"
MEMORY = "Memory at its highest: width 0.35, 64×64 pixels, batch 128"
Part = Callable[[], dict[str, dict[str, float]]]


def parts() -> dict[str, Part]:
    """What is measured, by title."""
    shapes = ((0.35, 32, 128, 9), (1.0, 32, 128, 7), (0.35, 64, 128, 7), (0.5, 64, 64, 9), (1.0, 64, 32, 7))
    made: dict[str, Part] = {
        f"A training step: width {width:g}, {size}×{size} pixels, batch {batch}": (
            lambda width=width, size=size, batch=batch, rounds=rounds: steps.training(width, size, batch, rounds)
        )
        for width, size, batch, rounds in shapes
    }
    made |= {
        "Growth with dendrites: the neuron phase, width 0.35, 32×32 pixels, batch 128": growth.with_dendrites,
        "Growth with layers: one thawed dendrite, width 0.35, 32×32 pixels, batch 128": growth.with_layers,
        "Growth with the batch: width 0.35, 32×32 pixels": growth.with_batch,
    }
    if peer.installed():
        made |= {
            f"A training step beside {peer.NAME}: width {width:g}, {size}×{size} pixels, batch {batch}": (
                lambda width=width, size=size, batch=batch: peer.beside(width, size, batch)
            )
            for width, size, batch in ((0.35, 32, 128), (0.5, 64, 64))
        }
    else:
        print(peer.MISSING)
    made |= {
        f"Inference: width 0.5, 32×32 pixels, batch {batch}": (lambda batch=batch: inference(batch=batch))
        for batch in (1, 64)
    }
    made["An epoch's batches: 4,500 photographs, by the clock"] = lambda: loading(data.load("cifar10-sample"))
    made["A step of a widget, in Python"] = redraws
    return made


def page() -> str:
    """docs/performance.md from the figures that are kept."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))}
    tables = [table(title, rows, steps.LIMITS) for title, rows in results["cpu"]["parts"].items()]
    places = Environment(
        loader=FileSystemLoader(ROOT / "benchmarks"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    return places.get_template("performance.md.jinja").render(tables=tables, memory_title=MEMORY, **results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the figures and make the page")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the parts with this in their title")
    parser.add_argument("--page", action="store_true", help="measure nothing; make the page from what is kept")
    arguments = parser.parse_args()
    if not arguments.page:
        torch.set_num_threads(1)
        found: dict[str, Any] = {}
        with kept():  # as in every training
            for title, part in parts().items():
                if arguments.only not in title:
                    continue
                found[title] = part()
                print(table(title, found[title], steps.LIMITS), flush=True)
        memory = growth.memory() if arguments.only in MEMORY else {}
        for name, most in memory.items():
            print(f"{MEMORY}, {name}: {most} MB")
        if arguments.write:
            before = json.loads((KEPT / "cpu.json").read_text(encoding="utf-8"))
            about: dict[str, Any] = {name: provenance()[name] for name in ("machine", "versions")}
            # The rows of a peer that is not installed stay; of all others only what was measured now, but with --only.
            stays = {title for title in before["parts"] if arguments.only or title in found or peer.NAME in title}
            about["parts"] = {title: rows for title, rows in before["parts"].items() if title in stays} | found
            about["memory"] = memory or before["memory"]
            (KEPT / "cpu.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    if arguments.write or arguments.page:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
