"""Checkpoints: one folder with the tensors as safetensors and everything else as JSON. Nothing is unpickled.

    checkpoint-000012/
        model.safetensors   the model's weights and buffers
        state.safetensors   every other tensor: optimiser, running average, best weights
        checkpoint.json     version, dendrites by layer, phase machine, record, and the checksums of the two

A checkpoint is written under a temporary name, flushed to disk and renamed as one. The one before stays until the next
but one, and is used, with a warning, where the newest is damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as unpack
from safetensors.torch import save_file
from torch import Tensor, nn

from perfteach.dendrites import dendrite_counts, dendritic_layers
from perfteach.errors import CheckpointError, ConfigError
from perfteach.files import cannot_write, flush, make_folder
from perfteach.runs import Run

VERSION = 1
NAME = re.compile(r"checkpoint-(\d{6})")
JSON, MODEL, STATE = "checkpoint.json", "model.safetensors", "state.safetensors"
_TENSOR, _ITEMS = "$tensor", "$items"  # how a tensor, and a dictionary whose keys are no strings, read in the JSON


@dataclass(frozen=True)
class Checkpoint:
    """What `load` found: the record, the weights, the number of dendrites by layer, and the rest of the state."""

    run: Run
    weights: dict[str, Tensor]
    growth: dict[str, int]
    state: dict[str, Any]

    def refuse_other(self, run: Run) -> None:
        """Refuse to be continued as a run with other settings, on other data or with another network.

        Raises:
            ConfigError: naming what differs.
        """
        for what in ("config", "data", "rule", "layers", "model"):
            old, new = self.run.header.get(what), run.header[what]
            if old != new:
                changed = what
                if isinstance(old, dict) and isinstance(new, dict):
                    changed = ", ".join(key for key in {**old, **new} if old.get(key) != new.get(key))
                raise ConfigError(
                    f"the folder holds run {self.run.name!r} with another {what} ({changed}); use another folder, or "
                    "delete that one"
                )

    def restore(self, model: nn.Module) -> None:
        """Grow the model's layers to their dendrites, and load the weights.

        Raises:
            CheckpointError: when the weights belong to another network.
        """
        for name, layer in dendritic_layers(model):
            while len(layer.dendrites) < self.growth.get(name, 0):
                layer.add_dendrite()
        try:
            model.load_state_dict(self.weights, strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint belongs to another network: {error}") from error


def save(folder: Path, run: Run, model: nn.Module, state: dict[str, Any]) -> Path:
    """Write the next checkpoint of a run; returns its folder.

    Args:
        folder: the run's folder, made where it is missing.
        state: nested dictionaries and lists of plain values and tensors.

    Raises:
        CheckpointError: when it cannot be written; the earlier ones are as they were.
    """
    found = _numbered(folder)
    target = folder / f"checkpoint-{(max(found, default=0) + 1):06d}"
    try:
        with _whole(target) as part:
            _write(part, run, model, state)
    except (OSError, ValueError, SafetensorError) as error:
        raise cannot_write(folder, error) from error
    for number in sorted(found)[:-1]:
        shutil.rmtree(found[number], ignore_errors=True)
    for left in folder.glob("checkpoint-*.part*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    return target


def load(folder: Path, device: torch.device | str = "cpu") -> Checkpoint | None:
    """The newest whole checkpoint of a run; None where there is none. Warns when the newest is damaged.

    Raises:
        CheckpointError: when every checkpoint is damaged, or was written by another version of perfteach.
    """
    found = _numbered(folder)
    problems = []
    for number in sorted(found, reverse=True):
        try:
            checkpoint = _read(found[number], device)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            problems.append(f"{found[number].name} is damaged ({error})")
            continue
        if problems:
            warnings.warn(f"{'; '.join(problems)}; {found[number].name} before it is used", stacklevel=2)
        return checkpoint
    if problems:
        raise CheckpointError(
            f"no checkpoint in {folder} can be used: {'; '.join(problems)}; delete them to start again"
        )
    return None


def record(folder: Path) -> Run | None:
    """The record in the newest whole checkpoint of a folder, without its tensors; None where there is none."""
    for _, path in sorted(_numbered(folder).items(), reverse=True):
        try:
            return Run.of(_content(path)["run"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def files(folder: Path) -> dict[str, bytes]:
    """The files of a folder's newest checkpoint, by name, to be sent elsewhere; empty where there is none."""
    found = _numbered(folder)
    newest = found[max(found)] if found else None
    return {f"{newest.name}/{path.name}": path.read_bytes() for path in newest.iterdir()} if newest else {}


def write_files(folder: Path, content: dict[str, bytes]) -> None:
    """Put what `files` gave into a folder, where it is not there yet: the whole checkpoint, or nothing.

    Checkpoints of another run are removed: they are numbered in the same way.

    Raises:
        CheckpointError: when it cannot be written.
    """
    for target in {folder / Path(name).parent for name in content}:
        if target.is_dir() and files(folder) == content:
            continue
        try:
            for path in _numbered(folder).values():
                shutil.rmtree(path)
            with _whole(target) as part:
                for name, data in content.items():
                    path = part / Path(name).name
                    path.write_bytes(data)
                    flush(path)
        except OSError as error:
            raise cannot_write(folder, error) from error


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder to write into that gets its name at the end of the block, or is gone where that fails."""
    part = target.with_name(f"{target.name}.part{os.getpid()}")
    try:
        make_folder(part)
        yield part
        flush(part)
        os.replace(part, target)
        flush(target.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _numbered(folder: Path) -> dict[int, Path]:
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError:  # what writes there says why
        return {}
    return {int(match[1]): path for path in paths if (match := NAME.fullmatch(path.name))}


def _write(part: Path, run: Run, model: nn.Module, state: dict[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(state, tensors, "", {})
    save_file(_separate(model.state_dict()), part / MODEL)
    save_file(_separate(tensors), part / STATE)
    content = {
        "version": VERSION,
        "growth": dendrite_counts(model),
        "checksums": {name: _sha256((part / name).read_bytes()) for name in (MODEL, STATE)},
        "state": plain,
        "run": run.lines(),
    }
    text = json.dumps(content)
    (part / JSON).write_text(f"{_sha256(text.encode())}\n{text}\n", encoding="utf-8")
    for name in (MODEL, STATE, JSON):
        flush(part / name)


def _read(path: Path, device: torch.device | str) -> Checkpoint:
    content = _content(path)
    if content["version"] != VERSION:
        raise CheckpointError(
            f"{path} is a checkpoint of version {content['version']}, and this perfteach reads {VERSION}; "
            "delete it to train again, or use another folder"
        )
    weights, tensors = (_tensors(path / name, content["checksums"][name], device) for name in (MODEL, STATE))
    return Checkpoint(Run.of(content["run"]), weights, content["growth"], _with_tensors(content["state"], tensors))


def _tensors(path: Path, checksum: str, device: torch.device | str) -> dict[str, Tensor]:
    content = path.read_bytes()
    if _sha256(content) != checksum:
        raise ValueError(f"the checksum of {path.name} differs")
    return {name: tensor.to(device) for name, tensor in unpack(content).items()}


def _content(path: Path) -> dict[str, Any]:
    checksum, _, text = (path / JSON).read_text(encoding="utf-8").partition("\n")
    if _sha256(text.rstrip("\n").encode()) != checksum:
        raise ValueError(f"the checksum of {JSON} differs")
    content: dict[str, Any] = json.loads(text)
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors wants them: each with memory of its own, without gaps."""
    if odd := [name for name, value in tensors.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"a checkpoint holds tensors alone, and the model's state has more: {', '.join(odd)}")
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _without_tensors(value: Any, tensors: dict[str, Tensor], path: str, seen: dict[int, str]) -> Any:
    """The value with a name in place of each tensor, which goes into `tensors`, once where it is met twice."""
    if isinstance(value, Tensor):
        name = seen.setdefault(id(value), path)
        tensors[name] = value
        layout = value.dim() == 4 and not value.is_contiguous()  # safetensors keeps the values, not how they lie
        return {_TENSOR: name, "channels_last": True} if layout else {_TENSOR: name}
    if isinstance(value, dict):
        items = [(key, _without_tensors(item, tensors, f"{path}/{key}", seen)) for key, item in value.items()]
        return dict(items) if all(isinstance(key, str) for key in value) else {_ITEMS: [list(pair) for pair in items]}
    if isinstance(value, list | tuple):
        return [_without_tensors(item, tensors, f"{path}/{number}", seen) for number, item in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_without_tensors`, but that tuples have become lists."""
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        found = tensors[value[_TENSOR]]
        return found.contiguous(memory_format=torch.channels_last) if "channels_last" in value else found
    if _ITEMS in value:
        return {key: _with_tensors(item, tensors) for key, item in value[_ITEMS]}
    return {key: _with_tensors(item, tensors) for key, item in value.items()}
