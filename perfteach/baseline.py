"""Arms that begin as their baseline does take its first neuron phase over, in place of training it once more."""

from __future__ import annotations

import warnings
from pathlib import Path

from perfteach import checkpoint
from perfteach.arms import EVERY_ARM
from perfteach.cycle import Kept
from perfteach.errors import CheckpointError, ConfigError
from perfteach.grids import Study
from perfteach.phases import Phase
from perfteach.trainer import PerforatedTrainer


def shares_baseline(study: Study, arm: str) -> bool:
    """Whether an arm starts as the baseline does: with the same layers and settings."""
    kind = EVERY_ARM[arm]
    return bool(kind.cycles and study.cycles and not (kind.wider or kind.select or kind.activation or kind.net))


def is_finished(baseline: Path) -> bool:
    """Whether a folder has a finished run whose checkpoint can be used; warns where it is damaged."""
    try:
        saved = checkpoint.load(baseline)
    except CheckpointError as error:
        warnings.warn(f"{error}; until then the other arms train from the start", stacklevel=2)
        return False
    return saved is not None and saved.run.finished


def continue_from(trainer: PerforatedTrainer, baseline: Path) -> None:
    """Let a trainer take over its first neuron phase from the folder of a finished baseline run.

    Raises:
        ConfigError: when the baseline is not finished, or was trained on other data, as another network, or with
            another seed or other settings.
        CheckpointError: when its checkpoint cannot be used.
    """
    saved = checkpoint.load(baseline, trainer.device)
    if saved is None or not saved.run.finished:
        raise ConfigError(f"the baseline in {baseline} is not finished; run the arm baseline first")
    run = saved.run
    if any(run.header[key] != trainer.run.header[key] for key in ("data", "seed", "model", "layers")):
        raise ConfigError(f"the baseline in {baseline} was trained on other data, another network or another seed")
    own = ("switch", "cycles", "grow", "thaw")  # what distinguishes arms
    old, new = ({key: value for key, value in one.config.items() if key not in own} for one in (run, trainer.run))
    if old != new or len(run.epochs) != trainer.config.switch.length(Phase.NEURON, 0):
        raise ConfigError(f"the baseline in {baseline} was trained with other settings; delete it to train it again")
    trainer.take_over(run, Kept(run.ended.best_epoch, run.ended.validation_accuracy, saved.weights))
