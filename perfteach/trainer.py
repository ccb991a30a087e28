"""Training in two phases: `PerforatedTrainer(model, data, config).fit()` returns the record of the run."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from perfteach import dendrites, memory, ranks, settings
from perfteach.config import TrainConfig, check_arguments, find_device
from perfteach.counting import count_parameters
from perfteach.cycle import DendriteCycle, Kept, Step, epoch_seed, seeded
from perfteach.data import Data, LabelledBatches
from perfteach.data.loaders import LoaderData
from perfteach.dendrites import dendrite_counts, dendritic, dendritic_layers
from perfteach.engine import engine
from perfteach.errors import ConfigError, NonFiniteLossError
from perfteach.metrics import evaluate, require_logits
from perfteach.phases import Phase, PhaseMachine
from perfteach.provenance import anatomy, identity, provenance
from perfteach.resumable import Resumable
from perfteach.runs import Epoch, Event, Result, Run

EVALUATED = 250  # images at a time when nothing is trained; more take memory and save no time
NAN_INSIDE = "look for values that are infinite or not a number in the data"


class Callback:
    """Base class: override what you need. The trainer is passed to every method.

    An interrupt or an error undoes the epoch and tells `on_fit_broken`; when it is repeated, so are its methods' calls.
    """

    def on_fit_start(self, trainer: PerforatedTrainer) -> None: ...

    def on_batch_end(self, trainer: PerforatedTrainer, batch: int, batches: int) -> None: ...

    def on_epoch_end(self, trainer: PerforatedTrainer, record: Epoch) -> None: ...

    def on_event(self, trainer: PerforatedTrainer, event: Event) -> None: ...

    def on_fit_end(self, trainer: PerforatedTrainer, run: Run) -> None: ...

    def on_fit_broken(self, trainer: PerforatedTrainer) -> None: ...


class PerforatedTrainer(Resumable):
    """Trains a model in alternating phases and keeps the record.

    A model without dendritic layers is trained in one neuron phase, so the same trainer makes the baselines.

    Args:
        model: any classifier, from inputs [B, …] to logits [B, classes or more], usually after `perforate(model)`. It
            is moved to the device and trained in place.
        data: an `ImageData`, a `PointData`, `DataLoader`s in `perfteach.data.from_loaders`, or anything with the
            members of `perfteach.data.Data`.
        config: the settings; defaults if left out.
        name: the run's name in the record.
        folder: where to keep `run.jsonl` and the checkpoint. With it, a killed run continues after its last epoch.
        callbacks: objects derived from `Callback`.

    Raises:
        ConfigError: when dendrites are asked for and the model has no layers for them, nothing in it can learn, its
            weights are not in single precision, the batch is too large, or an argument has another type.
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
        super().__init__()
        check_arguments(model, data, config, name)
        self.config = config or TrainConfig()
        self.device = find_device(self.config.device)
        if ranks.count() > 1 and self.device.type == "cuda":  # which there is for GPUs only
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model.to(self.device)
        if self.device.type == "cpu" and {p.dim() for p in model.parameters()} & {4, 5} == {4}:
            model.to(memory_format=torch.channels_last)  # 3 times faster on CPU; refused where there are 3-D kernels
        self.data: Data = data
        self.folder = None if folder is None else settings.path("folder", folder)
        use = "objects derived from perfteach.Callback"
        self.callbacks = [callbacks] if isinstance(callbacks, Callback) else settings.items("callbacks", callbacks, use)
        for callback in self.callbacks:
            settings.a(Callback, "a callback", callback, use)
        many, own = len(self.data.train), isinstance(self.data, LoaderData)  # whose batches have a size already
        if self.config.batch_size > many and not own:
            raise ConfigError(f"batch_size {self.config.batch_size} is larger than the {many} training images")
        self.cycle = DendriteCycle(
            model,
            self.config.switch,
            cycles=self.config.cycles,
            grow=self.config.grow,
            thaw=self.config.thaw,
            roll_back=self.config.roll_back,
            seed=self.config.seed,
            batches=lambda: self._batches("train"),
        )
        self.machine.score_format = "validation {:.2f} %"
        self.run = Run(
            {"name": name, "config": self.config.describe(), "seed": self.config.seed}
            | {"rule": min((layer.rule for _, layer in dendritic_layers(model)), default=None)}
            | {"data": identity(data), **provenance(), **anatomy(model)}
        )
        self.asked = ""  # set by request_switch and request_stop: ends the epoch after the running batch
        self.stopping = self.paused = False
        self._share = 1.0  # of a batch that this rank has, as its loss counts
        self._begin_phase()

    @property
    def machine(self) -> PhaseMachine:
        """Which phase it is, and what the phase's scores are."""
        return self.cycle.machine

    def fit(self, *, progress: bool = True) -> Run:
        """Train to the end, or on from what memory or folder holds, whichever is further, and return the record.

        The test set is read once, at the end, with the weights of the best validation epoch.

        An epoch is done as a whole, to its checkpoint, or not at all. Ctrl-C, a kernel's stop button, SIGTERM and
        SIGHUP end training after the batch that is being trained, a second one at once; either way the epoch is
        undone, `KeyboardInterrupt` is raised, and `fit()` again repeats it to the same result.

        Raises:
            NonFiniteLossError: when a loss is infinite or not a number; the best weights so far are restored.
            ConfigError: when the folder holds a run with other settings or other data, or `progress` is no truth value.
            CheckpointError: when its checkpoint cannot be used, a new one cannot be written, or another trainer is
                writing there.
        """
        with self.interrupts, self._alone(), memory.kept(), torch.enable_grad():
            self._resume()
            if self.run.finished:
                return self.run
            self._tell("on_fit_start")
            progress = settings.flag("progress", progress) and not ranks.rank()
            try:
                self._to_the_end(progress)
            except BaseException:
                self._tell("on_fit_broken")
                raise
            self._tell("on_fit_end", self.run)
        return self.run

    def _to_the_end(self, progress: bool) -> None:
        with tqdm(initial=len(self.run.epochs), unit="epoch", disable=not progress) as bar:
            while not self.cycle.finished:
                with self._as_a_whole():
                    record = self._epoch(progress)
                    self.run.epochs.append(record)
                    self._tell("on_epoch_end", record)
                    self._follow(self._step(record))
                    self.save()
                self.interrupts.check()
                bar.set_description(f"{record.phase} phase")
                bar.set_postfix_str(f"validation {record.validation_accuracy:.2f} %")
                bar.update()
        with self._as_a_whole():
            self._finish()
            self.save()

    def _epoch(self, progress: bool) -> Epoch:
        number, phase, start = len(self.run.epochs) + 1, self.cycle.phase, time.perf_counter()
        rate = self.optimizer.param_groups[0]["lr"]
        self.cycle.train()
        with seeded(2 * epoch_seed(self.config.seed, number), self.device):
            loss, accuracy = self._train(number, progress)
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
        # Gradients of neurons are averaged over ranks, those of dendrites added up.
        across = ranks.count() if self.cycle.phase is Phase.NEURON else 1
        bar = tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=not progress)
        for step, batch in enumerate(bar, start=1):
            x, y = ranks.part(*batch)
            self._share = across * len(y) / len(batch[1])
            output, loss = self.forward_backward(x, y)
            self.cycle.follow()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            loss_sum += loss * (len(batch[1]) / across)
            hits += (output.argmax(1) == y).sum()
            total += len(y)
            self._tell("on_batch_end", step, steps)
            self.interrupts.check()
            while self.paused and not self.asked:
                time.sleep(0.05)
                self.interrupts.check()
            if self.asked:
                break
        sums = torch.stack([loss_sum.double(), hits.double(), loss_sum.new_tensor(total).double()])
        ranks.add_up(sums)
        loss_all, hits_all, count = sums.tolist()
        return loss_all / count, 100 * hits_all / count

    def _loss(self, output: Tensor, y: Tensor) -> Tensor:
        require_logits(output, len(self.data.classes))
        loss = self.config.training_loss(output, y)
        return loss * self._share if ranks.count() > 1 else loss

    def _step(self, record: Epoch) -> Step:
        """Tell the cycle that the epoch is over, and what was asked for by hand."""
        if self.asked:
            self.machine.request_switch(self.asked)
            self.asked = ""
        ended = self.cycle.stop if self.stopping else self.cycle.step
        return ended(None if record.dendritic else record.validation_accuracy, self.evaluated)

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
        """A fresh optimiser over exactly the tensors this phase trains, its schedule, its engine, and a new average."""
        phase = self.cycle.phase
        self.optimizer = self.config.build_optimizer(self.cycle.parameters(), phase, dendritic(self.model))
        epochs = self.config.switch.length(phase, self.cycle.cycle)
        steps = epochs * len(self._training_batches()) if epochs else None
        self.schedule = self.config.schedule(self.optimizer, phase, steps)
        # A dendrite phase listens to errors through hooks, which neither a graph nor a compiler can follow.
        neurons = phase is Phase.NEURON
        kind = self.config.engine if neurons else "eager"
        self.forward_backward = engine(kind, self.model, self._loss, self.device, averaged=neurons)
        self.average = None
        if self.config.average and neurons:
            decay = get_ema_multi_avg_fn(self.config.average)
            self.average = AveragedModel(self.model, multi_avg_fn=decay, use_buffers=True)

    @property
    def evaluated(self) -> nn.Module:
        """What is validated and kept: the running average of the weights where there is one, else the model."""
        return self.model if self.average is None else self.average.module

    def request_switch(self) -> None:
        """End the running phase after the batch that is being trained. Safe to call from another thread."""
        self.asked = "asked for by hand"

    def request_stop(self) -> None:
        """End training after the batch that is being trained; the best weights are kept."""
        self.stopping, self.asked = True, "asked for by hand"

    def _finish(self) -> None:
        best, grown = self.cycle.best, dendrite_counts(self.model)
        assert best is not None
        self.average = None  # the model has the best weights now
        loss, accuracy = self.evaluate("test")
        if not math.isfinite(loss):
            raise NonFiniteLossError(f"the loss on the test split is {loss}: its accuracy means nothing; {NAN_INSIDE}")
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

    def evaluate(self, split: str) -> tuple[float, float]:
        """Mean loss, and accuracy in percent, on a split ("train", "validation" or "test"), in eval mode."""
        return evaluate(self.evaluated, self.interrupts.between(self._batches(split)), self.config.loss)

    def _training_batches(self, seed: int = 0) -> LabelledBatches:
        # A norm in training mode cannot work on one image, so a last batch that leaves a rank with less is left out.
        rest = len(self.data.train) % self.config.batch_size
        short = self.config.batch_size > 1 and 0 < rest < 2 * ranks.count()
        cutout = self.config.cutout
        how: dict[str, Any] = ({"drop_last": True} if short else {}) | ({"cutout": cutout} if cutout else {})
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
        if self.folder and not ranks.rank():
            self.run.save(self.folder / "run.jsonl")
        advice = f"a lower learning rate usually helps (lr is {self.config.lr:g})"
        raise NonFiniteLossError(f"{reason}; {advice if self._inputs_are_finite() else NAN_INSIDE}")

    def _inputs_are_finite(self) -> bool:
        batches = (x for split in ("train", "validation") for x, _ in self._batches(split))
        return all(bool(torch.isfinite(x).all()) for x in batches)

    def _event(self, event: Event) -> None:
        self.run.events.append(event)
        self._tell("on_event", event)

    def _tell(self, method: str, *what: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(self, *what)
