"""What a run's record says about one epoch, in values and in words. Plain functions, no widgets."""

from __future__ import annotations

from typing import Any

from perfteach.errors import ConfigError
from perfteach.runs import Run

CHANGES = ("switch", "rollback", "stop")  # events that say what follows an epoch, and why


def record_at(run: Run, epoch: int) -> dict[str, Any]:
    """The record of an epoch (counted from 1).

    Raises:
        ConfigError: when the run has no such epoch.
    """
    for record in run.epochs:
        if record["epoch"] == epoch:
            return record
    raise ConfigError(f"run {run.name!r} has no epoch {epoch}; it has {len(run.epochs)}")


def epoch_values(run: Run, epoch: int) -> dict[str, str]:
    """The numbers of one epoch as text, by name with unit: exactly what the record holds, rounded for reading."""
    record = record_at(run, epoch)
    scores = record.get("scores") or {}
    mean = sum(scores.values()) / len(scores) if scores else None
    return {
        "epoch": f"{epoch} of {len(run.epochs)}",
        "phase": f"{record['phase']} phase",
        "dendrites a neuron": str(dendrites_at(run, record)),
        "training error (%)": f"{100 - record['train_accuracy']:.2f}",
        "validation error (%)": f"{100 - record['validation_accuracy']:.2f}",
        "training loss": f"{record['train_loss']:.4f}",
        "validation loss": f"{record['validation_loss']:.4f}",
        "mean |r|": "–" if mean is None else f"{mean:.4f}",
        "learning rate": f"{record['lr']:.2g}",
        "seconds": f"{record['seconds']:.2f}",
        "parameters": f"{record['parameters']:,}",
    }


def dendrites_at(run: Run, record: dict[str, Any]) -> int:
    """Dendrites per neuron in the perforated layers during an epoch, the one being trained included."""
    grows = layer_names(run) and run.header.get("config", {}).get("grow", True)
    return int(record["cycle"]) if grows else 0


def layer_names(run: Run) -> list[str]:
    """The layers that can carry dendrites, in the network's order; none for a plain network."""
    from perfteach.plots import record

    return record.layer_names(run)


def what_happens(run: Run, epoch: int) -> str:
    """One or two sentences: which phase it is, who learns, who is frozen, and what moves."""
    record = record_at(run, epoch)
    start, grown = f"Epoch {epoch} of {len(run.epochs)}", dendrites_at(run, record)
    if record["phase"] == "dendrite":
        return (
            f"{start}, dendrite phase: the newest dendrites (number {grown} of each neuron) learn to follow their "
            f"neuron's error; the neurons are frozen, so what the network computes does not change. "
            + _score_sentence(run, record)
        )
    errors = (
        f"Validation error {100 - record['validation_accuracy']:.2f} %, "
        f"training error {100 - record['train_accuracy']:.2f} %."
    )
    if not grown:
        return f"{start}, neuron phase: the neurons learn; there is no dendrite yet. {errors}"
    several = f"{grown} dendrite{'s' if grown > 1 else ''}"
    if run.header.get("config", {}).get("thaw") or run.header.get("rule") == "gradient":
        return f"{start}, neuron phase: neurons, weights w and the {several} of each neuron learn together. {errors}"
    return f"{start}, neuron phase: the neurons and weights w learn; the {several} of each neuron are frozen. {errors}"


def _score_sentence(run: Run, record: dict[str, Any]) -> str:
    scores = record.get("scores") or {}
    if not scores:
        return "No correlation was recorded."
    mean = sum(scores.values()) / len(scores)
    best = max(scores, key=lambda name: scores[name])
    before = [r for r in run.epochs if r["epoch"] == record["epoch"] - 1 and r.get("scores")]
    was = f" ({sum(before[0]['scores'].values()) / len(before[0]['scores']):.4f} an epoch earlier)" if before else ""
    return f"Mean |r| is {mean:.4f}{was}; the highest is {scores[best]:.4f}, in {best}."


def why_switched(run: Run, epoch: int) -> str:
    """Why the phase of this epoch began, and what follows if it is the phase's last; from the run's events."""
    began = [event for event in run.events if event["event"] == "switch" and event["epoch"] < epoch]
    sentences = []
    if began:
        sentences.append(f"This phase began after epoch {began[-1]['epoch']}: {began[-1]['reason']}.")
    else:
        sentences.append("No switch yet: this is the first phase.")
    for event in run.events:
        if event["epoch"] == epoch and event["event"] in CHANGES:
            what = {"switch": "the phase switches", "rollback": "the last cycle is undone", "stop": "training ends"}
            sentences.append(f"After this epoch {what[event['event']]}: {event['reason']}.")
        elif event["epoch"] == epoch and event["event"] == "restore":
            sentences.append(f"Then restored: {event['reason']}.")
    return " ".join(sentences)


def arm_of(run: Run) -> str:
    """The arm of a study a run belongs to: its header's "arm", else its name without folder and seed."""
    if run.header.get("arm"):
        return str(run.header["arm"])
    return run.name.rsplit("/", 1)[-1].rsplit("-seed", 1)[0]


def seed_of(run: Run) -> int:
    """The run's seed; 0 where none is recorded."""
    return int(run.header.get("seed", 0))


def data_of(run: Run) -> str:
    """The name of the run's data, marked as synthetic where it is drawn by a program."""
    from perfteach.plots import data_title

    return data_title(run)
