"""What a MobileNetV3-Small with dendrites costs, counted from the layers' sizes: quick enough for a slider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import nn

from perfteach import settings

BYTES = 4  # a parameter in single precision
Head = Literal["task", "imagenet"]


def _is_block(name: str) -> bool:
    return name.startswith("features.") and not name.startswith("features.0.")


def _is_squeeze(name: str) -> bool:
    return name.endswith((".fc1", ".fc2"))


def _is_convolution(name: str, module: nn.Module, depthwise: bool) -> bool:
    return isinstance(module, nn.Conv2d) and not _is_squeeze(name) and (module.groups > 1) is depthwise


LAYERS: dict[str, Callable[[str, nn.Module], bool]] = {
    "all layers": lambda name, module: True,
    "stem": lambda name, module: name.startswith("features.0."),
    "blocks": lambda name, module: _is_block(name),
    "stem and blocks 1 to 4": lambda name, module: name.startswith(tuple(f"features.{k}." for k in range(5))),
    "head": lambda name, module: name.startswith("classifier."),
    "squeeze-excite": lambda name, module: _is_squeeze(name),
    "depthwise": lambda name, module: _is_convolution(name, module, depthwise=True),
    "1×1 convolutions": lambda name, module: _is_block(name) and _is_convolution(name, module, depthwise=False),
}


_KNOWN: dict[tuple[str, ...], dict[str, Fraction]] = {}  # by the names of the layers


@dataclass(frozen=True)
class Design:
    """What a design costs: parameters by part, multiply-accumulates for one 32×32 image, layers with dendrites."""

    parameters: dict[str, int]
    macs: int
    layers: int

    @property
    def total(self) -> int:
        """Parameters, every dendrite counted."""
        return self.parameters["total"]

    @property
    def megabytes(self) -> float:
        """File size in MB (10⁶ bytes) at 4 bytes a parameter."""
        return self.total * BYTES / 1e6


@lru_cache(maxsize=64)
def _plain(width: float, head: Head, hidden: int | None) -> tuple[dict[str, Any], dict[str, int], dict[str, Fraction]]:
    """A network without dendrites: its layers, its parameters by part, and multiply-accumulates for every weight."""
    from perfteach.counting import count_parameters
    from perfteach.models import mobilenet_small

    with torch.device("meta"):
        model = mobilenet_small(10, width, head=head, hidden=hidden)
    every = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    return every, count_parameters(model).as_dict(), _macs_per_weight(model, every)


def design(width: float, head: Head, layers: str, dendrites: int, hidden: int | None = None) -> Design:
    """Count a MobileNetV3-Small of this width and head with `dendrites` on the chosen layers; nothing is allocated.

    Only the plain network is built. What dendrites add follows from the layers' sizes, which is several times quicker
    than growing them, and a slider waits for it. The tests compare both.

    Args:
        width: multiplier of the channels.
        head: "task" has 10 outputs, "imagenet" 1,000.
        layers: one of `LAYERS`.
        dendrites: for every neuron of these.
        hidden: neurons of the head's hidden layer: None for the published number, 0 for no such layer.

    Raises:
        ConfigError: for an unknown choice of layers, or settings that the model refuses.
    """
    settings.text("layers", layers, LAYERS)
    every, plain, spent = _plain(width, head, hidden)
    chosen = {name for name, layer in every.items() if dendrites and LAYERS[layers](name, layer)}
    macs = sum((1 + dendrites * (name in chosen)) * layer.weight.numel() * spent[name] for name, layer in every.items())
    grown = sum(_of_dendrites(every[name], dendrites) for name in chosen)
    return Design({**plain, "dendrites": grown, "total": plain["total"] + grown}, int(macs), len(chosen))


def _of_dendrites(layer: Any, many: int) -> int:
    """Parameters of a layer's dendrites: each has the layer's form, with its norm, and hears those before it."""
    neurons = layer.weight.shape[0]
    own = layer.weight.numel() + (2 * neurons if layer.bias is None else neurons)  # here a norm stands for a bias
    return int(many * (own + neurons) + neurons * many * (many - 1) // 2)  # `neurons`: a weight w for each


def _macs_per_weight(model: nn.Module, every: dict[str, Any]) -> dict[str, Fraction]:
    """Multiply-accumulates of each layer for every weight it has: the same at all widths with the same layers.

    They depend on the size of the maps only. A block drops its first convolution at some widths, which renames others.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if tuple(every) not in _KNOWN:
        with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros(1, 3, 32, 32))
        spent = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
        _KNOWN[tuple(every)] = {name: Fraction(spent[name], 2 * layer.weight.numel()) for name, layer in every.items()}
    return _KNOWN[tuple(every)]
