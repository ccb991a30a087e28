"""The trained networks that come along: one safetensors file each, and a card that says what it is and what it reaches.

A card is JSON beside the weights, written by tools/weights.py. It names the file's SHA-256, so that damage is noticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from perfteach import settings
from perfteach.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parent
FOLDERS = (ROOT / "trained", ROOT.parent / "data" / "weights")  # inside an installed package, or in a checkout


@dataclass(frozen=True)
class Card:
    """What is known about a trained network."""

    name: str  #: of the network, which is also that of its two files
    about: str  #: one sentence on what it is
    network: dict[str, Any]  #: arguments of `mobilenet_small` that build it
    dendrites: dict[str, Any] | None  #: arguments of `perforate`, and how many were `grown`; None without any
    classes: tuple[str, ...]  #: what the outputs mean, in their order
    mean: tuple[float, ...]  #: by channel, in 0..1 units: what training subtracted
    std: tuple[float, ...]  #: what it divided by
    size: int  #: edge of the images it was trained on, in pixels
    sha256: str  #: checksum of the file of weights
    accuracy: dict[str, float]  #: in percent, by split, with the weights as they are stored
    run: dict[str, Any]  #: name of the recorded run that trained it, with its "epochs" and "seed"
    data: dict[str, str]  #: name and checksum of the images it was trained on
    parameters: dict[str, int]  #: by part, every dendrite counted
    macs: dict[str, int]  #: the same, for one image of `size`
    latency: dict[str, Any]  #: ms an image on one core (median, "low" and "high" of the middle half), and the machine
    precision: str  #: "float16" or "float32", as stored; it is always loaded as float32


def networks() -> list[str]:
    """Names of the trained networks that are there."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.json")})


def card(name: str) -> Card:
    """The card of a trained network.

    Raises:
        ConfigError: when there is none of that name; the message lists what there is.
    """
    settings.text("name", name)
    read = json.loads(_file(f"{name}.json").read_text(encoding="utf-8"))
    lists = {key: tuple(read[key]) for key in ("classes", "mean", "std")}
    return Card(**{**read, **lists})


def weights(known: Card) -> dict[str, Tensor]:
    """The weights of a trained network by name, as float32 on the CPU.

    Raises:
        ConfigError: when the file is missing.
        CheckpointError: when its checksum is not the one on the card.
    """
    from safetensors.torch import load

    settings.a(Card, "known", known, "what perfteach.shipped.card returns")
    path = _file(f"{known.name}.safetensors")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != known.sha256:
        raise CheckpointError(f"{path} is damaged: its checksum is not the one on its card; fetch the file again")
    return {name: value.float() if value.is_floating_point() else value for name, value in load(content).items()}


def _file(name: str) -> Path:
    for folder in FOLDERS:
        if name in {path.name for path in folder.glob("*")}:  # no path leads out of it
            return folder / name
    raise ConfigError(f"there is no trained network {name!r}; there are: {', '.join(networks()) or 'none'}")
