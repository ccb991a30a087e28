"""Training in two phases: `PerforatedTrainer(model, data, config).fit()` returns the record of the run."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from perfteach import dendrites
from perfteach.config import Batches, Callback, Data, TrainConfig, find_device, require_logits
from perfteach.dendrites import add_dendrites, calibrate, dendrite_counts, dendritic_layers, follow_errors, set_training
from perfteach.errors import ConfigError, NonFiniteLossError
from perfteach.models import count_parameters
from perfteach.phases import Action, Phase, PhaseMachine
from perfteach.runs import Run, identity, provenance

State = dict[str, Tensor]


class PerforatedTrainer:
    """Trains a model in alternating phases and keeps the record.

    A model without dendritic layers is trained in one neuron phase, so the same trainer makes the baselines.

    Args:
        model: any classifier, from inputs [B, …] to logits [B, classes or more], usually after `perforate(model)`. It
            is moved to the device and trained in place.
        data: an `ImageData`, a `PointData`, or anything with the members of `perfteach.config.Data`.
        config: the settings; defaults if left out.
        name: the run's name in the record.
        folder: where to keep `run.jsonl` and `checkpoint.pt`. With it, a killed run continues after its last epoch.
        callbacks: objects derived from `Callback`.

    Raises:
        ConfigError: when dendrites are asked for and the model has no layers for them, or the batch is too large.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
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
        self.data, self.folder, self.callbacks = data, Path(folder) if folder else None, list(callbacks)
        self._check()
        rules = {layer.rule for _, layer in dendritic_layers(model)}
        self.machine = PhaseMachine(
            self.config.switch,
            self.config.max_dendrites if rules or not self.config.grow else 0,
            self.config.roll_back,
            dendrite_phase=self.config.grow and "gradient" not in rules,
        )
        self.run = Run({"name": name, "config": self.config.describe(), "seed": self.config.seed})
        self.run.header |= {"rule": min(rules, default=None), "data": identity(data), **provenance()}
        self.run.header["layers"] = [
            {"name": name, "neurons": layer.neurons, "activation": layer.activation}
            for name, layer in dendritic_layers(model)
        ]
        self.run.header["model"] = {"class": type(model).__name__, "parameters": count_parameters(model).as_dict()}
        self.start = snapshot(model)
        self.best: dict[str, Any] = {}  # of the whole run: state and record of the best validation epoch
        self.phase_best: dict[str, Any] = {}  # of this neuron phase
        self.layer_best: dict[str, tuple[float, State]] = {}  # of this dendrite phase: best dendrites by layer
        self.interrupt = ""  # set by request_switch and request_stop: ends the epoch after the running batch
        self.stopping = self.paused = False
        self._begin_phase()

    def _check(self) -> None:
        if self.config.grow and self.config.max_dendrites and not any(dendritic_layers(self.model)):
            raise ConfigError(
                "dendrites are asked for but the model has no dendritic layers; "
                "call perforate(model) first, or set max_dendrites=0 to train without"
            )
        images = len(self.data.train)
        if self.config.batch_size > images:
            raise ConfigError(f"batch_size {self.config.batch_size} is larger than the {images} training images")

    # ------------------------------------------------------------------ the loop

    def fit(self, *, progress: bool = True) -> Run:
        """Train to the end (or on from where the folder's checkpoint stands) and return the record.

        The test set is read once, at the end, with the weights of the best validation epoch.

        Raises:
            NonFiniteLossError: when the loss is infinite or not a number; the best weights so far are restored.
            ConfigError: when the folder holds a run with other settings or other data.
        """
        self._resume()
        if self.run.finished:
            return self.run
        self._tell("on_fit_start")
        with tqdm(initial=len(self.run.epochs), unit="epoch", disable=not progress) as bar:
            while not self.machine.finished:
                record = self._epoch(progress)
                self.run.epochs.append(record)
                self._tell("on_epoch_end", record)
                self._keep_best(record)
                self.follow(record)
                self.save()
                bar.set_description(f"{record['phase']} phase")
                bar.set_postfix_str(f"validation {record['validation_accuracy']:.2f} %")
                bar.update()
        return self._finish()

    def _epoch(self, progress: bool) -> dict[str, Any]:
        epoch, phase, start = len(self.run.epochs) + 1, self.machine.phase, time.perf_counter()
        rate = self.optimizer.param_groups[0]["lr"]
        set_training(self.model, phase, self.config.thaw)
        parts = [part for part in (self.model, self.optimizer, self.schedule, self.average) if part]
        before = [copy.deepcopy(part.state_dict()) for part in parts]
        try:
            with self._seeded(epoch):
                loss, accuracy = self._train(epoch, phase, progress)
        except KeyboardInterrupt:  # fit() can be called again, and then repeats this epoch
            for part, state in zip(parts, before, strict=True):
                part.load_state_dict(state)
            raise
        if phase is Phase.NEURON:
            validation = self.evaluate("validation")
        else:  # the network's function does not change in a dendrite phase, so its validation does not either
            before = self.best["record"] if not self.phase_best else self.phase_best["record"]
            validation = (before["validation_loss"], before["validation_accuracy"])
        self._require_finite(epoch, phase, loss, validation[0])
        return {
            "epoch": epoch,
            "phase": phase.value,
            "cycle": self.machine.cycle,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "validation_loss": validation[0],
            "validation_accuracy": validation[1],
            "lr": rate,
            "seconds": round(time.perf_counter() - start, 3),
            "scores": dendrites.scores(self.model) if phase is Phase.DENDRITE else {},
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }

    def _train(self, epoch: int, phase: Phase, progress: bool) -> tuple[float, float]:
        """One pass over the training images in the present phase; returns loss and accuracy in percent."""
        batches = self._training_batches(self._seed(epoch))
        total, loss_sum, hits = 0, torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        steps = len(batches)
        bar = tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=not progress)
        for step, (x, y) in enumerate(bar, start=1):
            self.optimizer.zero_grad(set_to_none=True)
            output = self.model(x)
            require_logits(output, len(self.data.classes))
            loss = self.config.training_loss(output, y)
            loss.backward()
            if phase is Phase.DENDRITE:
                follow_errors(self.model)
            self.optimizer.step()
            if self.schedule:
                self.schedule.step()
            if self.average:
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

    def _keep_best(self, record: dict[str, Any]) -> None:
        if self.machine.phase is Phase.DENDRITE:
            for name, layer in dendritic_layers(self.model):
                score = record["scores"].get(name, 0.0)
                if name not in self.layer_best or score > self.layer_best[name][0]:
                    self.layer_best[name] = (score, snapshot(layer))
            return
        if not self.phase_best or record["validation_accuracy"] > self.phase_best["record"]["validation_accuracy"]:
            self.phase_best = {"record": record, "state": snapshot(self.evaluated)}
        if not self.best or record["validation_accuracy"] > self.best["record"]["validation_accuracy"]:
            self.best = self.phase_best

    def follow(self, record: dict[str, Any]) -> None:
        """Let the state machine decide what follows this epoch, and do it."""
        phase, neuron = self.machine.phase, self.machine.phase is Phase.NEURON
        score = record["validation_accuracy"] if neuron else _mean(record["scores"].values())
        if self.interrupt:
            self.machine.request_switch(self.interrupt)
            self.interrupt = ""
        if self.stopping:
            self.machine.finished = True
            return self._event("stop", "asked for by hand; the best weights are kept", phase)
        decision = self.machine.observe(score)
        if decision.action is Action.CONTINUE:
            return None
        if decision.action is Action.SWITCH:
            self._restore(phase)
            self._begin_phase()
        return self._event(decision.action.value, decision.reason, phase)

    # ------------------------------------------------------------------ switching

    def _restore(self, ended: Phase) -> None:
        """Bring back the best of the phase that ended, and grow dendrites where a new cycle begins."""
        if ended is Phase.NEURON:
            best = self.phase_best["record"]
            self.model.load_state_dict(self.phase_best["state"])
            said = f"neurons of epoch {best['epoch']}, validation {best['validation_accuracy']:.2f} %"
            self._event("restore", said, ended)
            if self.config.grow:
                with self._seeded(len(self.run.epochs), salt=1):
                    add_dendrites(self.model)
                if self.machine.phase is Phase.NEURON:  # frozen as they were drawn: the control `random`
                    calibrate(self.model, self._batches("train"))
        else:
            for name, layer in dendritic_layers(self.model):
                layer.load_state_dict(self.layer_best[name][1])
            mean = _mean(score for score, _ in self.layer_best.values())
            self._event("restore", f"each layer's best dendrites, mean |r| {mean:.4f}", ended)
        self.layer_best = {}
        if self.machine.phase is Phase.NEURON:
            self.phase_best = {}

    def _begin_phase(self) -> None:
        """A fresh optimiser over exactly the tensors this phase trains, and its schedule."""
        phase, cycle = self.machine.phase, self.machine.cycle
        set_training(self.model, phase, self.config.thaw)
        self.optimizer = self.config.build_optimizer(dendrites.trainable(self.model), phase)
        epochs = self.config.switch.length(phase, cycle)
        steps = epochs * len(self._training_batches()) if epochs else None
        self.schedule = self.config.schedule(self.optimizer, phase, steps)
        self.average = None
        if self.config.average and phase is Phase.NEURON:
            self.average = AveragedModel(
                self.model, multi_avg_fn=get_ema_multi_avg_fn(self.config.average), use_buffers=True
            )

    @property
    def evaluated(self) -> nn.Module:
        """What is validated and kept: the running average of the weights where there is one, else the model."""
        return self.average.module if self.average else self.model

    def request_switch(self) -> None:
        """End the running phase after the batch that is being trained. Safe to call from another thread."""
        self.interrupt = "asked for by hand"

    def request_stop(self) -> None:
        """End training after the batch that is being trained; the best weights are kept."""
        self.stopping, self.interrupt = True, "asked for by hand"

    # ------------------------------------------------------------------ the end

    def _finish(self) -> Run:
        set_training(self.model, Phase.NEURON, self.config.thaw)  # by hand it can end in a dendrite phase
        self.model.load_state_dict(self.best["state"])
        self.average = None
        loss, accuracy = self.evaluate("test")
        best, grown = self.best["record"], dendrite_counts(self.model)
        if self.config.grow and self.config.max_dendrites and not any(grown.values()):
            self._warn("dendrites were asked for, and none is installed: no cycle raised the best validation accuracy")
        self.run.result = {
            "best_epoch": best["epoch"],
            "validation_accuracy": best["validation_accuracy"],
            "test_accuracy": accuracy,
            "test_loss": loss,
            "parameters": count_parameters(self.model).as_dict(),
            "dendrites": grown,
            "seconds": round(sum(epoch["seconds"] for epoch in self.run.epochs), 1),
        }
        if getattr(self.data, "fresh", None) is not None:
            self.run.result["fresh_accuracy"] = self.evaluate("fresh")[1]
        self.model.eval()
        self.save()
        self._tell("on_fit_end", self.run)
        return self.run

    def evaluate(self, split: str) -> tuple[float, float]:
        """Mean loss, and accuracy in percent, on a split ("train", "validation" or "test"), in eval mode."""
        model = self.evaluated.eval()
        loss = hits = 0.0
        with torch.inference_mode():
            for x, y in self._batches(split):
                output = model(x)
                loss += float(self.config.loss(output, y)) * len(y)
                hits += float((output.argmax(1) == y).sum())
        images = len(getattr(self.data, split))
        return loss / images, 100 * hits / images

    def _training_batches(self, seed: int = 0) -> Batches:
        # A norm in training mode cannot work on a last batch of one image, so that one is left out.
        single = self.config.batch_size > 1 and len(self.data.train) % self.config.batch_size == 1
        how: dict[str, Any] = {"drop_last": True} if single else {}
        if self.config.cutout:
            how["cutout"] = self.config.cutout
        return self._batches("train", shuffle=True, augment=self.config.augment, seed=seed, **how)

    def _batches(self, split: str, **how: Any) -> Batches:
        size = self.config.batch_size if how else min(500, len(getattr(self.data, split)))
        return self.data.batches(split, size, size=self.config.size, device=self.device, **how)

    def _require_finite(self, epoch: int, phase: Phase, *values: float) -> None:
        if all(abs(value) < float("inf") for value in values):  # also false for not-a-number
            return
        set_training(self.model, Phase.NEURON, self.config.thaw)
        self.model.load_state_dict(self.best["state"] if self.best else self.start)
        kept = "the weights of the start"
        if self.best:
            kept = f"the weights of epoch {self.best['record']['epoch']}"
        reason = f"the loss was not finite in epoch {epoch} ({phase} phase); {kept} were kept"
        self._event("stop", reason, phase)
        if self.folder:
            self.run.save(self.folder / "run.jsonl")
        raise NonFiniteLossError(f"{reason}; a lower learning rate usually helps (lr is {self.config.lr:g})")

    # ------------------------------------------------------------------ small things

    def _event(self, event: str, reason: str, phase: Phase) -> None:
        record = {"epoch": len(self.run.epochs), "event": event, "reason": reason, "phase": phase.value}
        self.run.events.append(record)
        self._tell("on_event", record)

    def _warn(self, text: str) -> None:
        self._event("warning", text, self.machine.phase)
        warnings.warn(f"run {self.run.name!r}: {text}", stacklevel=4)

    def _tell(self, method: str, *what: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(self, *what)

    def _seed(self, epoch: int) -> int:
        return self.config.seed * 1_000_003 + epoch

    def _seeded(self, epoch: int, salt: int = 0) -> AbstractContextManager[None]:
        return seeded(self._seed(epoch) * 2 + salt, self.device)

    # ------------------------------------------------------------------ on disk

    def save(self) -> None:
        """Write the record and a checkpoint to the folder, if the trainer has one; each replaces the old as a whole."""
        if not self.folder:
            return
        self.run.save(self.folder / "run.jsonl")
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "machine": self.machine.state_dict(),
            "best": self.best,
            "phase_best": self.phase_best,
            "layer_best": self.layer_best,
            "average": self.average.state_dict() if self.average else None,
            "run": self.run.lines(),
        }
        part = self.folder / "checkpoint.pt.part"
        torch.save(state, part)
        os.replace(part, self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt" if self.folder else None
        if not path or not path.is_file() or self.run.epochs:
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        run = Run.of(state["run"])
        for what in ("config", "data", "rule", "layers", "model"):
            old, new = run.header.get(what), self.run.header[what]
            if old != new:
                both = isinstance(old, dict) and isinstance(new, dict)
                changed = ", ".join(k for k in new if (old or {}).get(k) != new[k]) if both else what
                raise ConfigError(
                    f"{self.folder} holds a run with another {what} ({changed}); use another folder, or delete that one"
                )
        self.run = run
        self.machine.load_state_dict(state["machine"])
        self.model.load_state_dict(state["model"])
        if self.run.finished:
            self.model.eval()
            return
        self._begin_phase()
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule and state["schedule"]:
            self.schedule.load_state_dict(state["schedule"])
        if self.average and state["average"]:
            self.average.load_state_dict(state["average"])
        self.best, self.phase_best, self.layer_best = state["best"], state["phase_best"], state["layer_best"]
        self._event("resume", "continued from the checkpoint", self.machine.phase)


def snapshot(module: nn.Module) -> State:
    """A deep copy of the state: `state_dict()` alone would go on changing with the module."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block with torch's global random state seeded, and put the caller's state back afterwards."""
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0
