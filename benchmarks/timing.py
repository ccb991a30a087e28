"""Timing by turns: every kind does one step, then every kind the next, so that a slow minute slows all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

Step = Callable[[], object]


def by_turns(
    steps: dict[str, Step], rounds: int, least: float = 0.0, *, clock: bool = False
) -> dict[str, dict[str, float]]:
    """Milliseconds of each step, and its ratio to the first one's.

    Args:
        steps: what to time, by name; the first is what the others are compared with.
        rounds: how often each is done, after one time that does not count.
        least: seconds that a step has to take in all; where one is shorter it is repeated.
        clock: measure by the clock even on a CPU, for work that other processes do.

    Returns:
        By name: "ms", the median; "ratio", the median over rounds of the step's time by the first one's in the same
        round; "low" and "high", the quarter points of that ratio.
    """
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(_seconds(step, least, time.perf_counter if clock else _now))
    first = taken[next(iter(steps))]
    found = {}
    for name, times in taken.items():
        ratios = sorted(time / base for time, base in zip(times, first, strict=True))
        quarter = len(ratios) // 4
        found[name] = {
            "ms": round(1000 * median(times), 3),
            "ratio": round(median(ratios), 3),
            "low": round(ratios[quarter], 3),
            "high": round(ratios[-1 - quarter], 3),
        }
    return found


def _seconds(step: Step, least: float, now: Callable[[], float]) -> float:
    count, start = 0, now()
    while not count or now() - start < least:
        step()
        count += 1
    return (now() - start) / count


def _now() -> float:
    """On a CPU the processor's time, which does not count when others had the core; on a GPU the clock's."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.perf_counter() if os.name == "nt" else time.process_time()  # which Windows counts in 16 ms


def table(title: str, rows: dict[str, dict[str, Any]], limits: dict[str, str] | None = None) -> str:
    """The figures as a Markdown table, with the limit that arithmetic sets beside them."""
    head = f"### {title}\n\n| what | ms | ratio | middle half | by arithmetic |\n|---|---|---|---|---|\n"
    lines = [
        f"| {name} | {row['ms']:,.2f} | {row['ratio']:.2f} | {row['low']:.2f} to {row['high']:.2f} "
        f"| {(limits or {}).get(name, '–')} |"
        for name, row in rows.items()
    ]
    return head + "\n".join(lines) + "\n"
