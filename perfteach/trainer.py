"""Training in two phases: `PerforatedTrainer(model, data, config).fit()` returns the record of the run."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from perfteach import checkpoint, dendrites
from perfteach.config import TrainConfig
from perfteach.counting import count_parameters
from perfteach.cycle import DendriteCycle, Kept, Step, epoch_seed, seeded
from perfteach.data import Data, LabelledBatches
from perfteach.dendrites import dendrite_counts, dendritic, dendritic_layers
from perfteach.errors import ConfigError, NonFiniteLossError
from perfteach.metrics import evaluate, require_logits
from perfteach.phases import Phase, PhaseMachine
from perfteach.provenance import anatomy, identity, provenance
from perfteach.runs import Epoch, Event, Result, Run

EVALUATED = 500  # images at a time when nothing is trained


class Callback:
    """Base class: override what you need. The trainer is passed to every method."""

    def on_fit_start(self, trainer: PerforatedTrainer) -> None: ...

    def on_batch_end(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None: ...

    def on_epoch_end(self, trainer: PerforatedTrainer, record: Epoch) -> None: ...

    def on_event(self, trainer: PerforatedTrainer, event: Event) -> None: ...

    def on_fit_end(self, trainer: PerforatedTrainer, run: Run) -> None: ...


class PerforatedTrainer:
    """Trains a model in alternating phases and keeps the record.

    A model without dendritic layers is trained in one neuron phase, so the same trainer makes the baselines.

    Args:
        model: any classifier, from inputs [B, …] to logits [B, classes or more], usually after `perforate(model)`. It
            is moved to the device and trained in place.
        data: an `ImageData`, a `PointData`, or anything with the members of `perfteach.data.Data`.
        config: the settings; defaults if left out.
        name: the run's name in the record.
        folder: where to keep `run.jsonl` and the checkpoint. With it, a killed run continues after its last epoch.
        callbacks: objects derived from `Callback`.

    Raises:
        ConfigError: when dendrites are asked for and the model has no layers for them, or the batch is too large.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        config: TrainConfig | None = None,
        *,
        name: str = "run",
        folder: str | Path | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        self.config = config or TrainConfig()
        self.device = find_device(self.config.device)
        self.model = model.to(self.device)
        if self.device.type != "meta" and {p.dim() for p in model.parameters()} & {4, 5} == {4}:
            model.to(memory_format=torch.channels_last)  # 3 times faster on CPU; refused where there are 3-D kernels
        self.data: Data = data
        self.folder, self.callbacks = Path(folder) if folder else None, list(callbacks)
        if self.config.batch_size > len(self.data.train):
            raise ConfigError(
                f"batch_size {self.config.batch_size} is larger than the {len(self.data.train)} training images"
            )
        self.cycle = DendriteCycle(
            model,
            self.config.switch,
            cycles=self.config.cycles,
            grow=self.config.grow,
            thaw=self.config.thaw,
            roll_back=self.config.roll_back,
            seed=self.config.seed,
            batches=lambda: self._batches("train"),
            score_format="validation {:.2f} %",
        )
        self.run = Run(
            {"name": name, "config": self.config.describe(), "seed": self.config.seed}
            | {"rule": min((layer.rule for _, layer in dendritic_layers(model)), default=None)}
            | {"data": identity(data), **provenance(), **anatomy(model)}
        )
        self.interrupt = ""  # set by request_switch and request_stop: ends the epoch after the running batch
        self.stopping = self.paused = False
        self._begin_phase()

    @property
    def machine(self) -> PhaseMachine:
        """Which phase it is, and what the phase's scores are."""
        return self.cycle.machine

    def fit(self, *, progress: bool = True) -> Run:
        """Train to the end (or on from where the folder's checkpoint stands) and return the record.

        The test set is read once, at the end, with the weights of the best validation epoch.

        Raises:
            NonFiniteLossError: when the loss is infinite or not a number; the best weights so far are restored.
            ConfigError: when the folder holds a run with other settings or other data.
            CheckpointError: when its checkpoint cannot be used, or a new one cannot be written.
        """
        self._resume()
        if self.run.finished:
            return self.run
        self._tell("on_fit_start")
        with tqdm(initial=len(self.run.epochs), unit="epoch", disable=not progress) as bar:
            while not self.cycle.finished:
                record = self._epoch(progress)
                self.run.epochs.append(record)
                self._tell("on_epoch_end", record)
                self._follow(self._step(record))
                self.save()
                bar.set_description(f"{record.phase} phase")
                bar.set_postfix_str(f"validation {record.validation_accuracy:.2f} %")
                bar.update()
        return self._finish()

    def _epoch(self, progress: bool) -> Epoch:
        number, phase, start = len(self.run.epochs) + 1, self.cycle.phase, time.perf_counter()
        rate = self.optimizer.param_groups[0]["lr"]
        self.cycle.train()
        parts = [self.model, *self._parts().values()]
        states = [copy.deepcopy(part.state_dict()) for part in parts]
        try:
            with seeded(2 * epoch_seed(self.config.seed, number), self.device):
                loss, accuracy = self._train(number, progress)
        except KeyboardInterrupt:  # fit() can be called again, and then repeats this epoch
            for part, state in zip(parts, states, strict=True):
                part.load_state_dict(state)
            raise
        if phase is Phase.NEURON:
            validation = self.evaluate("validation")
        else:  # the network's function does not change in a dendrite phase, so its validation does not either
            kept = self.cycle.phase_best or self.cycle.best
            known = self.run.epochs[(kept.epoch if kept else number - 1) - 1]
            validation = known.validation_loss, known.validation_accuracy
        self._require_finite(number, phase, loss, validation[0])
        return Epoch(
            epoch=number,
            phase=phase.value,
            cycle=self.cycle.cycle,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=validation[0],
            validation_accuracy=validation[1],
            lr=rate,
            seconds=round(time.perf_counter() - start, 3),
            scores=dendrites.scores(self.model) if phase is Phase.DENDRITE else {},
            parameters=sum(p.numel() for p in self.model.parameters()),
        )

    def _train(self, epoch: int, progress: bool) -> tuple[float, float]:
        """One pass over the training images in the present phase; returns loss and accuracy in percent."""
        batches = self._training_batches(epoch_seed(self.config.seed, epoch))
        total, loss_sum, hits = 0, torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        steps = len(batches)
        bar = tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=not progress)
        for step, (x, y) in enumerate(bar, start=1):
            self.optimizer.zero_grad(set_to_none=True)
            output = self.model(x)
            require_logits(output, len(self.data.classes))
            loss = self.config.training_loss(output, y)
            loss.backward()
            self.cycle.follow()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            loss_sum += loss.detach() * len(y)
            hits += (output.detach().argmax(1) == y).sum()
            total += len(y)
            self._tell("on_batch_end", step, steps)
            while self.paused and not self.interrupt:
                time.sleep(0.05)
            if self.interrupt:
                break
        return float(loss_sum) / total, 100 * float(hits) / total

    def _step(self, record: Epoch) -> Step:
        """Tell the cycle that the epoch is over, and what was asked for by hand."""
        score = None if record.dendritic else record.validation_accuracy
        if self.interrupt:
            self.machine.request_switch(self.interrupt)
            self.interrupt = ""
        ended = self.cycle.stop if self.stopping else self.cycle.step
        return ended(score, self.evaluated)

    def _follow(self, step: Step) -> None:
        """Note what the cycle did, and build what the new phase needs."""
        for event in step.events:
            self._event(event)
        if step and not self.cycle.finished:
            self._begin_phase()

    def take_over(self, run: Run, best: Kept) -> None:
        """Go on from a first neuron phase that was trained elsewhere, with the epochs of its record."""
        self.run.epochs = run.epochs
        self._follow(self.cycle.replay(run["validation_accuracy"], best))

    def _begin_phase(self) -> None:
        """A fresh optimiser over exactly the tensors this phase trains, its schedule, and a new average."""
        phase = self.cycle.phase
        self.optimizer = self.config.build_optimizer(self.cycle.parameters(), phase, dendritic(self.model))
        epochs = self.config.switch.length(phase, self.cycle.cycle)
        steps = epochs * len(self._training_batches()) if epochs else None
        self.schedule = self.config.schedule(self.optimizer, phase, steps)
        self.average: AveragedModel | None = None
        if self.config.average and phase is Phase.NEURON:
            decay = get_ema_multi_avg_fn(self.config.average)
            self.average = AveragedModel(self.model, multi_avg_fn=decay, use_buffers=True)

    @property
    def evaluated(self) -> nn.Module:
        """What is validated and kept: the running average of the weights where there is one, else the model."""
        return self.model if self.average is None else self.average.module

    def request_switch(self) -> None:
        """End the running phase after the batch that is being trained. Safe to call from another thread."""
        self.interrupt = "asked for by hand"

    def request_stop(self) -> None:
        """End training after the batch that is being trained; the best weights are kept."""
        self.stopping, self.interrupt = True, "asked for by hand"

    def _finish(self) -> Run:
        best, grown = self.cycle.best, dendrite_counts(self.model)
        assert best is not None
        self.average = None  # the model has the best weights now
        loss, accuracy = self.evaluate("test")
        if self.config.grow and self.config.cycles and not any(grown.values()):
            text = "dendrites were asked for, and none is installed: no cycle raised the best validation accuracy"
            self._event(Event(len(self.run.epochs), "warning", text, self.cycle.phase.value))
            warnings.warn(f"run {self.run.name!r}: {text}", stacklevel=3)
        fresh = self.evaluate("fresh")[1] if getattr(self.data, "fresh", None) is not None else None
        self.run.result = Result(
            test_accuracy=accuracy,
            best_epoch=best.epoch,
            validation_accuracy=best.score,
            test_loss=loss,
            parameters=count_parameters(self.model).as_dict(),
            dendrites=grown,
            seconds=round(sum(self.run["seconds"]), 1),
            fresh_accuracy=fresh,
        )
        self.model.eval()
        self.save()
        self._tell("on_fit_end", self.run)
        return self.run

    def evaluate(self, split: str) -> tuple[float, float]:
        """Mean loss, and accuracy in percent, on a split ("train", "validation" or "test"), in eval mode."""
        return evaluate(self.evaluated, self._batches(split), self.config.loss)

    def _training_batches(self, seed: int = 0) -> LabelledBatches:
        # A norm in training mode cannot work on a last batch of one image, so that one is left out.
        single = self.config.batch_size > 1 and len(self.data.train) % self.config.batch_size == 1
        how: dict[str, Any] = {"drop_last": True} if single else {}
        if self.config.cutout:
            how["cutout"] = self.config.cutout
        return self._batches("train", shuffle=True, augment=self.config.augment, seed=seed, **how)

    def _batches(self, split: str, **how: Any) -> LabelledBatches:
        size = self.config.batch_size if how else min(EVALUATED, len(getattr(self.data, split)))
        return self.data.batches(split, size, size=self.config.size, device=self.device, **how)

    def _require_finite(self, epoch: int, phase: Phase, *values: float) -> None:
        if all(abs(value) < float("inf") for value in values):  # also false for not-a-number
            return
        kept = self.cycle.restore_best()
        reason = f"the loss was not finite in epoch {epoch} ({phase} phase); {kept} were kept"
        self._event(Event(len(self.run.epochs), "stop", reason, phase.value))
        if self.folder:
            self.run.save(self.folder / "run.jsonl")
        raise NonFiniteLossError(f"{reason}; a lower learning rate usually helps (lr is {self.config.lr:g})")

    def _event(self, event: Event) -> None:
        self.run.events.append(event)
        self._tell("on_event", event)

    def _tell(self, method: str, *what: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(self, *what)

    # ------------------------------------------------------------------ on disk

    def save(self) -> None:
        """Write a checkpoint to the folder, if the trainer has one, and beside it a copy of its record to read."""
        if not self.folder:
            return
        state = {name: part.state_dict() for name, part in self._parts().items()}
        checkpoint.save(self.folder, self.run, self.model, {"cycle": self.cycle.state_dict(), **state})
        self.run.save(self.folder / "run.jsonl")

    def _parts(self) -> dict[str, Any]:
        """What has a state of its own beside the model and the cycle."""
        parts = {"optimizer": self.optimizer, "schedule": self.schedule, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}

    def _resume(self) -> None:
        saved = checkpoint.load(self.folder, self.device) if self.folder and not self.run.epochs else None
        if not saved:
            return
        saved.refuse_other(self.run)
        self.run = saved.run
        saved.restore(self.model)
        self.cycle.load_state_dict(saved.state["cycle"])
        if self.run.finished:
            self.model.eval()
            return
        self._begin_phase()
        for name, part in self._parts().items():
            part.load_state_dict(saved.state[name])
        self._event(Event(len(self.run.epochs), "resume", "continued from the checkpoint", self.cycle.phase.value))


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: when there is no such device, or it cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"device {name!r} cannot be used here ({reason}); use 'cpu' or 'auto'") from error
    return torch.device(name)
