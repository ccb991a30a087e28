"""A run in words: the whole of it as text, and what happens at one epoch. Plain functions, no widgets."""

from __future__ import annotations

from perfteach.runs import Epoch, Run

CHANGES = {  # events that say what follows an epoch, and why
    "switch": "the phase switches",
    "rollback": "the last cycle is undone",
    "stop": "training ends",
}


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


def epoch_values(run: Run, epoch: int) -> dict[str, str]:
    """The numbers of one epoch as text, by name with unit: exactly what the record holds, rounded for reading."""
    record = run.at(epoch)
    return {
        "epoch": f"{epoch} of {len(run.epochs)}",
        "phase": f"{record.phase} phase",
        "dendrites a neuron": str(run.dendrites_at(record)),
        "training error (%)": f"{record.train_error:.2f}",
        "validation error (%)": f"{record.validation_error:.2f}",
        "training loss": f"{record.train_loss:.4f}",
        "validation loss": f"{record.validation_loss:.4f}",
        "mean |r|": "–" if record.score is None else f"{record.score:.4f}",
        "learning rate": f"{record.lr:.2g}",
        "seconds": f"{record.seconds:.2f}",
        "parameters": f"{record.parameters:,}",
    }


def what_happens(run: Run, epoch: int) -> str:
    """One or two sentences: which phase it is, who learns, who is frozen, and what moves."""
    record = run.at(epoch)
    start, grown = f"Epoch {epoch} of {len(run.epochs)}", run.dendrites_at(record)
    if record.dendritic:
        return (
            f"{start}, dendrite phase: the newest dendrites (number {grown} of each neuron) learn to follow their "
            f"neuron's error; the neurons are frozen, so what the network computes does not change. "
            + _score_sentence(run, record)
        )
    errors = f"Validation error {record.validation_error:.2f} %, training error {record.train_error:.2f} %."
    if not grown:
        return f"{start}, neuron phase: the neurons learn; there is no dendrite yet. {errors}"
    several = f"{grown} dendrite{'s' if grown > 1 else ''}"
    if run.learns_together:
        return f"{start}, neuron phase: neurons, weights w and the {several} of each neuron learn together. {errors}"
    return f"{start}, neuron phase: the neurons and weights w learn; the {several} of each neuron are frozen. {errors}"


def _score_sentence(run: Run, record: Epoch) -> str:
    if record.score is None:
        return "No correlation was recorded."
    best = max(record.scores, key=lambda name: record.scores[name])
    before = [epoch.score for epoch in run.epochs if epoch.epoch == record.epoch - 1 and epoch.scores]
    was = f" ({before[0]:.4f} an epoch earlier)" if before else ""
    return f"Mean |r| is {record.score:.4f}{was}; the highest is {record.scores[best]:.4f}, in {best}."


def why_switched(run: Run, epoch: int) -> str:
    """Why the phase of this epoch began, and what follows if it is the phase's last; from the run's events."""
    began = [event for event in run.events if event.event == "switch" and event.epoch < epoch]
    if began:
        sentences = [f"This phase began after epoch {began[-1].epoch}: {began[-1].reason}."]
    else:
        sentences = ["No switch yet: this is the first phase."]
    for event in run.events:
        if event.epoch == epoch and event.event in CHANGES:
            sentences.append(f"After this epoch {CHANGES[event.event]}: {event.reason}.")
        elif event.epoch == epoch and event.event == "restore":
            sentences.append(f"Then restored: {event.reason}.")
    return " ".join(sentences)
