"""The organiser's line on the board that needs no training: Extra-Small with the weights that come with the course."""

from __future__ import annotations

import tempfile
from pathlib import Path

from perfteach import data, models, shipped
from perfteach.counting import count_parameters
from perfteach.errors import ConfigError
from perfteach.hackathon.client import export
from perfteach.hackathon.event import Event
from perfteach.hackathon.submission import About, pack_run
from perfteach.runs import Result, Run


def extra_small(event: Event, name: str) -> tuple[bytes, About]:
    """A submission of the trained Extra-Small, with what its card says it does on images that it has never seen.

    Raises:
        ConfigError: the event has other classes than the weights.
    """
    images = data.load(event.folder / "pack" / "images.npz", progress=False)
    if len(event.classes) != 10 or images.synthetic:
        raise ConfigError("the trained Extra-Small knows the ten classes of CIFAR-10; this event has others")
    model = models.mobilenet_extra_small(weights="cifar10")
    result = Result(
        shipped.card("mobilenet-extra-small").accuracy["test"], parameters=count_parameters(model).as_dict()
    )
    about = About(name)
    with tempfile.TemporaryDirectory() as place:
        export(model, images, place)
        record = {"name": name, "data": {"name": images.name, "checksum": images.checksum}}
        Run(record, result=result).save(Path(place, "run.jsonl"))
        return pack_run(Path(place), about), about
