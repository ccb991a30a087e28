"""What a network costs: its parameters and its multiply-accumulates, by part.

Parts of a network with `features` and `classifier` (MobileNet, EfficientNet, VGG, ConvNeXt):

* stem: `features[0]`, the first convolution with its norm;
* blocks: the rest of `features`, the last 1x1 convolution included, which works on a map as the blocks do;
* head: `classifier` only;
* dendrites: everything dendrites brought along, in whichever part they grew;
* other: what fits none of these, which is the whole network when it has no `features` and `classifier`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perfteach import settings
from perfteach.errors import ConfigError
from perfteach.layer import DendriticLayer

PARTS = ("stem", "blocks", "head", "dendrites", "other")


@dataclass(frozen=True, repr=False)
class PartCount:
    """Parameters, or multiply-accumulates for one input, by part; shows itself as a table with each part's share.

    Parameters count trainable or frozen, each shared tensor once. Buffers are not parameters.
    """

    stem: int = 0
    blocks: int = 0
    head: int = 0
    dendrites: int = 0
    other: int = 0
    unit: str = "parameters"
    caption: str = "Parameters by part, every dendrite counted"

    @property
    def total(self) -> int:
        """Sum over all parts, dendrites included."""
        return sum(getattr(self, part) for part in PARTS)

    def as_dict(self) -> dict[str, int]:
        """Every part and the total, ready for JSON."""
        return {part: getattr(self, part) for part in PARTS} | {"total": self.total}

    def _rows(self) -> list[tuple[str, str, str]]:
        # Dendrites are shown even at 0, so that nobody has to guess whether they were counted.
        shown = {k: v for k, v in self.as_dict().items() if v or k in ("dendrites", "total")}
        return [(k, f"{v:,}", f"{100 * v / max(self.total, 1):.1f} %") for k, v in shown.items()]

    def __repr__(self) -> str:
        rows = [("part", self.unit, "share"), *self._rows()]
        wide = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}" for a, b, c in rows]
        return "\n".join([self.caption, *lines])

    def _repr_html_(self) -> str:
        cell = '<td style="text-align:right">{}</td>'
        body = "".join(
            f'<tr><th scope="row" style="text-align:left">{a}</th>{cell.format(b)}{cell.format(c)}</tr>'
            for a, b, c in self._rows()
        )
        head = "".join(f'<th scope="col">{name}</th>' for name in ("part", self.unit, "share"))
        return f"<table><caption>{self.caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def count_parameters(model: nn.Module) -> PartCount:
    """Count the parameters of `model` by part (see the module's docstring for what belongs where).

    Raises:
        ConfigError: the model has lazy layers whose size is not known yet.
    """
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    part_of = _part_finder(model)
    counts: dict[str, Any] = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        _refuse_lazy(name, parameter)
        counts[part_of(name)] += parameter.numel()
    return PartCount(**counts)


def count_macs(model: nn.Module, input_size: Sequence[int] = (3, 32, 32)) -> PartCount:
    """Count the multiply-accumulates `model` spends on one input of `input_size` (no batch axis), by part.

    Convolutions and matrix products (attention's too) are counted: half the floating-point operations that
    `torch.utils.flop_counter` reports. Norms, activations, pooling, additions and the per-neuron weights of the
    dendrites are not. A convolution of this package's MobileNets whose kernel can meet nothing but padding
    (`perfteach.trimmed`) is counted without those places. The count is made in eval mode on a copy without data, so
    nothing is computed and the caller's model is left as it is.

    Raises:
        ConfigError: lazy layers, no shape, or the model cannot run on an input of that size.
    """
    from torch.utils.flop_counter import FlopCounterMode

    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    if not isinstance(input_size, Sequence) or isinstance(input_size, (str, bytes)):
        raise ConfigError(
            f"input_size is {settings.said(input_size)}; give the shape of one input, such as (3, 32, 32)"
        )
    size = tuple(settings.whole("input_size", n, 0, 1 << 20) for n in input_size)
    ghost = _without_data(model).eval()
    dtype = next((p.dtype for p in ghost.parameters() if p.is_floating_point()), torch.float32)
    counter = FlopCounterMode(display=False)
    spent = _follow_parts(ghost, counter.get_total_flops)
    try:
        # The device context also moves what a forward creates for itself, such as a mask.
        with torch.no_grad(), torch.device("meta"), counter:
            ghost(torch.zeros(1, *size, dtype=dtype))
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"The model could not be run on one input of size {size}: {reason}") from error
    caption = f"Multiply-accumulates for one input of {' x '.join(map(str, size))}, every dendrite counted"
    return PartCount(**{part: flops // 2 for part, flops in spent().items()}, unit="MACs", caption=caption)


def _part_finder(model: nn.Module) -> Callable[[str], str]:
    """A function from the dotted name of a parameter or module to its part."""
    root = "_orig_mod." if hasattr(model, "_orig_mod") else ""  # what torch.compile puts around a model
    body: Any = getattr(model, "_orig_mod", model)
    known = isinstance(getattr(body, "features", None), nn.Sequential) and hasattr(body, "classifier")
    grown = tuple(
        f"{name}.{child}.".removeprefix(".")
        for name, module in model.named_modules()
        if isinstance(module, DendriticLayer)
        for child in ("dendrites", "weights", "cascade")
    )

    def part_of(name: str) -> str:
        path = f"{name}."
        if path.startswith(grown):
            return "dendrites"
        path = path.removeprefix(root)
        if not known:
            return "other"
        if path.startswith("features.0."):
            return "stem"
        if path.startswith("features."):
            return "blocks"
        return "head" if path.startswith("classifier.") else "other"

    return part_of


def _without_data(model: nn.Module) -> nn.Module:
    """A copy of `model` on the meta device, made without copying a single value."""
    memo: dict[int, Any] = {}
    for name, parameter in model.named_parameters():
        _refuse_lazy(name, parameter)
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(model, memo)


def _follow_parts(model: nn.Module, flops_so_far: Callable[[], int]) -> Callable[[], dict[str, int]]:
    """Hook every module of `model`, so that what is spent goes to the part of the innermost running module.

    Returns a function that reads the result, floating-point operations by part.
    """
    part_of = _part_finder(model)
    spent = dict.fromkeys(PARTS, 0)
    running = ["other"]
    booked = 0

    def book() -> None:
        nonlocal booked
        now = flops_so_far()
        spent[running[-1]] += now - booked
        booked = now

    for name, module in model.named_modules():

        def enter(_module: nn.Module, _inputs: Any, part: str = part_of(name)) -> None:
            book()
            running.append(part)

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            book()
            running.pop()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    return lambda: dict(spent)


def _refuse_lazy(name: str, parameter: Tensor) -> None:
    if isinstance(parameter, (nn.UninitializedParameter, nn.UninitializedBuffer)):
        raise ConfigError(f"{name} belongs to a lazy layer without a size yet; run one batch through the model first.")
