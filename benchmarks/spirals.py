"""The two spirals of `perfteach demo`, every arm and seed, kept as figures for the page of evidence.

python -m benchmarks.spirals    trains them, which takes some minutes, and writes benchmarks/results/spirals.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perfteach.course.demo import ARMS, Job, side_by_side, spiral_run
from perfteach.provenance import provenance

KEPT = Path(__file__).resolve().parent / "results" / "spirals.json"
SEEDS = (0, 1, 2)


def measured() -> list[dict[str, Any]]:
    """One row an arm and seed: the test error in per cent, and the parameters with all dendrites."""
    pairs = [(arm, seed) for seed in SEEDS for arm in ARMS]
    jobs: list[Job] = [(spiral_run, *pair) for pair in pairs]
    return [
        {"arm": arm, "seed": seed, "error": round(run.error, 2), "parameters": run.ended.total}
        for (arm, seed), (_, run) in zip(pairs, side_by_side(jobs), strict=True)
    ]


def main() -> None:
    kept = {"provenance": provenance(), "rows": measured()}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"{len(kept['rows'])} rows are in {KEPT}")


if __name__ == "__main__":
    main()
