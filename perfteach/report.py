"""A run in words: the whole of it as text."""

from __future__ import annotations

from perfteach.runs import Run


def report(run: Run) -> str:
    """A run as text: where it ran, a line per epoch, the events, and the result with every dendrite counted."""
    sizes = [f"{run.data.get(split, 0):,}" for split in ("train", "validation", "test")]
    lines = [
        f"{run.name}: {run.data.get('name')}, {sizes[0]} training, {sizes[1]} validation and {sizes[2]} test images",
        f"{'epoch':>5}  {'phase':<8} {'cycle':>5}  {'train error':>11}  {'valid. error':>12}  {'mean |r|':>8} {'s':>5}",
    ]
    events = list(run.events)
    for epoch in run.epochs:
        score = "" if epoch.score is None else f"{epoch.score:.4f}"
        lines.append(
            f"{epoch.epoch:>5}  {epoch.phase:<8} {epoch.cycle:>5}  {epoch.train_error:>9.2f} %  "
            f"{epoch.validation_error:>10.2f} %  {score:>8} {epoch.seconds:>5.1f}"
        )
        while events and events[0].epoch <= epoch.epoch:
            event = events.pop(0)
            lines.append(f"       {event.event}: {event.reason}")
    lines += [f"       {event.event}: {event.reason}" for event in events]  # such as a first epoch that was not finite
    if run.result is None:
        return "\n".join([*lines, "not finished"])
    parts = run.result.parameters
    shares = ", ".join(f"{part} {count:,}" for part, count in parts.items() if part != "total" and count)
    lines.append(
        f"test accuracy {run.result.test_accuracy:.2f} % (error {run.error:.2f} %) "
        f"with the weights of epoch {run.result.best_epoch}, in {run.result.seconds:.0f} s"
    )
    lines.append(f"parameters, every dendrite counted: {run.result.total:,} ({shares})")
    return "\n".join(lines)
