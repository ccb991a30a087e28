"""The organiser's lines on the board that need no training: Extra-Small with the weights that come with the course."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch.nn.functional as F

from perfteach import data, models
from perfteach.counting import count_parameters
from perfteach.errors import ConfigError
from perfteach.hackathon.client import export
from perfteach.hackathon.event import Event
from perfteach.hackathon.submission import About, pack_run
from perfteach.metrics import evaluate
from perfteach.runs import Result, Run


def extra_small(event: Event, name: str) -> tuple[bytes, About]:
    """A submission of the trained Extra-Small, with a record of what it does on the participants' own test images.

    Raises:
        ConfigError: the event has other classes than the weights.
    """
    images = data.load(event.folder / "pack" / "images.npz", progress=False)
    if len(event.classes) != 10 or images.synthetic:
        raise ConfigError("the trained Extra-Small knows the ten classes of CIFAR-10; this event has others")
    model = models.mobilenet_extra_small(weights="cifar10")
    _, accuracy = evaluate(model, images.batches("test", min(250, len(images.test))), F.cross_entropy)
    result = Result(accuracy, parameters=count_parameters(model).as_dict())
    about = About(name)
    with tempfile.TemporaryDirectory() as place:
        export(model, images, place)
        record = {"name": name, "data": {"name": images.name, "checksum": images.checksum}}
        Run(record, result=result).save(Path(place, "run.jsonl"))
        return pack_run(Path(place), about), about
