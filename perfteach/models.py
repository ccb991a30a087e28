"""The two MobileNets of the course, thin over torchvision's; `perfteach.counting` says what they cost."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torchvision.models import MobileNet_V3_Small_Weights, MobileNetV3
from torchvision.models.mobilenetv3 import InvertedResidualConfig

from perfteach import settings, shipped
from perfteach.dendrites import add_dendrites
from perfteach.errors import ConfigError
from perfteach.selection import perforate
from perfteach.trimmed import trim

IMAGENET_CLASSES = 1000
EXTRA_SMALL = {"width": 0.75, "hidden": 0, "blocks": 9, "output_stride": 8}
# What `weights` may name of the networks in data/weights.
TRAINED = {"cifar10": "mobilenet-small"}
TRAINED_EXTRA_SMALL = {
    "cifar10": "mobilenet-extra-small",
    "cifar10-plain": "mobilenet-extra-small-plain",
    "cifar10-full-width": "mobilenet-extra-small-full-width",
}


# MobileNetV3-Small by block (Howard et al. 2019, table 2): kernel, expanded channels, output channels, whether it has
# squeeze-excite, activation (ReLU or hard-swish), stride.
STEM, HIDDEN = 16, 1024
BLOCKS = (
    (3, 16, 16, True, "RE", 2),
    (3, 72, 24, False, "RE", 2),
    (3, 88, 24, False, "RE", 1),
    (5, 96, 40, True, "HS", 2),
    (5, 240, 40, True, "HS", 1),
    (5, 240, 40, True, "HS", 1),
    (5, 120, 48, True, "HS", 1),
    (5, 144, 48, True, "HS", 1),
    (5, 288, 96, True, "HS", 2),
    (5, 576, 96, True, "HS", 1),
    (5, 576, 96, True, "HS", 1),
)
EARLY = 4  # blocks that count as early, with the stem: those in which dendrites paid
# By output stride, the parts of `features` that keep the resolution where the published network halves it.
UNREDUCED: dict[int | str, tuple[int, ...]] = {32: (), 16: (0,), 8: (0, 4), "8-first": (0, 1)}


def mobilenet_small(
    num_classes: int = 10,
    width: float = 1.0,
    *,
    head: Literal["task", "imagenet"] = "task",
    hidden: int | None = None,
    weights: str | None = None,
    output_stride: int | str | None = None,
    early_width: float | None = None,
    blocks: int | None = None,
    seed: int | None = None,
) -> nn.Module:
    """Build MobileNetV3-Small from torchvision's parts: images [B, 3, H, W] in, logits [B, outputs] out.

    Args:
        num_classes: how many classes the labels have (at least 2).
        width: multiplier on every channel count; 1.0 is MobileNet-Small.
        head: "task" has `num_classes` outputs; "imagenet" keeps the 1000 outputs that the published case
            study left in place, of which the labels then use the first `num_classes`.
        hidden: neurons of the hidden layer between the pooled channels and the outputs; None for the published 1,024
            times the width, which was made for a thousand classes; 0 for no such layer.
        weights: "cifar10" loads the network that this project trained on CIFAR-10 and that comes along, with its output
            stride; for other than its ten classes the last layer keeps its random start. "imagenet" loads torchvision's
            ImageNet weights (a 10 MB download, once). With head="task" the last layer keeps its random start, since its
            outputs mean other classes. Both are for width 1.0 and the published head only.
        output_stride: by how much the last feature map is smaller than the image along an edge. 32 as published, which
            leaves one position of a 32x32 image; 16 has stride 1 in the stem, and 8 in the stem and in block 4
            ("8-first": in the stem and the first block, which costs a quarter more arithmetic). Same parameters. None
            is 32, or that of the trained network with weights="cifar10".
        early_width: width of the stem and of the first four blocks, where it is another than `width`.
        blocks: how many of the eleven blocks the body has, from the first on, 4 to 11; None for all of them, or as many
            as the trained network has.
        seed: start weights drawn from this seed alone, on the CPU, the global generators left as they were.
            None draws from torch's global generator.

    Raises:
        ConfigError: a setting out of range, weights for another network, or weights that could not be fetched.
        CheckpointError: when the file of trained weights is damaged.

    Source: Howard et al. 2019, "Searching for MobileNetV3" (arXiv 1905.02244); the output stride as in Chen et al.
    2017, "Rethinking Atrous Convolution" (arXiv 1706.05587), by leaving strides out and not by dilation.
    """
    if isinstance(weights, str) and weights in TRAINED and head == "task":
        own = {"width": width, "hidden": hidden, "output_stride": output_stride, "early_width": early_width}
        return _trained(TRAINED[weights], num_classes, own | {"blocks": blocks}, seed)
    output_stride = 32 if output_stride is None else output_stride
    blocks = len(BLOCKS) if blocks is None else settings.whole("blocks", blocks, EARLY, len(BLOCKS))
    early = width if early_width is None else early_width
    settings.whole("num_classes", num_classes, 2, 100_000)
    for name, value in (("width", width), ("early_width", early)):
        settings.number(name, value, 0, 8, above=True)
    settings.text("head", head, ("task", "imagenet"))
    if head == "imagenet" and num_classes > IMAGENET_CLASSES:
        raise ConfigError(f"head='imagenet' has 1000 outputs, too few for {num_classes} classes; use head='task'.")
    if hidden is not None:
        settings.whole("hidden", hidden, 0, 100_000)
    if not isinstance(output_stride, (int, str)) or output_stride not in UNREDUCED:
        raise ConfigError(f"output_stride is {settings.said(output_stride)}; use 32 (as published), 16 or 8.")
    if seed is not None:
        seed = settings.seed("seed", seed)
    published = (width, early, hidden, blocks) == (1.0, 1.0, None, len(BLOCKS))
    if weights is not None:
        settings.text("weights", weights, ("cifar10", "imagenet"))
        if weights == "cifar10":
            raise ConfigError("the weights 'cifar10' have the task's outputs; use head='task', or weights='imagenet'.")
        if not published:
            raise ConfigError("ImageNet weights exist for width 1.0 only, with the published head; use weights=None.")
    outputs = IMAGENET_CLASSES if head == "imagenet" else num_classes
    with ExitStack() as stack:
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            # A default device set by the caller would draw from that device's generator instead.
            stack.enter_context(torch.device("cpu"))
            # Not torch.manual_seed, which also seeds the generator of every GPU.
            torch.default_generator.manual_seed(seed)
        model = _build(outputs, width, early, hidden, UNREDUCED[output_stride], blocks)
    if weights is not None:
        _load_imagenet(model, keep_last=head == "imagenet")
    return trim(model)  # same weights, same results, two to three times faster to train at 32x32 on a CPU


def mobilenet_extra_small(
    num_classes: int = 10,
    width: float = 0.75,
    *,
    hidden: int | None = 0,
    blocks: int | None = 9,
    output_stride: int | str | None = 8,
    weights: str | None = None,
    **settings: Any,
) -> nn.Module:
    """Build MobileNet-Extra-Small: a narrower MobileNet-Small without its last two blocks and its head's hidden layer.

    These two hold nearly four fifths of the original's parameters, and were made for a thousand classes and larger
    images. A little of what is saved goes to dendrites where they paid, in the stem and the first blocks; the smaller
    output stride keeps the maps of small images large. As it is built the network has no dendrites yet:
    `add_dendrites(perforate(model, "features.[0-4].*", activation="relu"))` grows them.

    Args:
        num_classes, width, hidden, blocks, output_stride, settings: as in `mobilenet_small`, with other defaults.
        weights: "cifar10" gives the trained network that comes along, its dendrites included. "cifar10-plain" gives the
            one without dendrites, which was trained by the same recipe for as long. "cifar10-full-width" gives the most
            accurate one: width 1.0, with early dendrites that learned by the gradient rule. For other than their ten
            classes the last layer keeps its random start.

    Raises:
        ConfigError: as `mobilenet_small`.
        CheckpointError: when the file of trained weights is damaged.
    """
    if isinstance(weights, str) and weights in TRAINED_EXTRA_SMALL:
        asked = {"width": width, "hidden": hidden, "blocks": blocks, "output_stride": output_stride}
        own = {key: value for key, value in asked.items() if value != EXTRA_SMALL[key]}
        return _trained(TRAINED_EXTRA_SMALL[weights], num_classes, own, **settings)
    if weights is not None:
        known = ", ".join(map(repr, TRAINED_EXTRA_SMALL))
        raise ConfigError(f"weights is {weights!r}; use {known} or None. ImageNet weights exist for the original only.")
    return mobilenet_small(num_classes, width, hidden=hidden, blocks=blocks, output_stride=output_stride, **settings)


def _trained(name: str, num_classes: int, own: dict[str, Any], seed: int | None = None, **other: Any) -> nn.Module:
    """A trained network, built as its card says. `own` is what the caller asked for, with None for no wish."""
    card = shipped.card(name)
    for key, value in (own | other).items():
        if value is not None and value != card.network.get(key):
            raise ConfigError(f"the trained {name} has {key}={card.network.get(key)}, not {value}; leave {key} out")
    model = mobilenet_small(num_classes, **card.network, seed=seed)
    if card.dendrites:
        how = dict(card.dendrites)
        grown = how.pop("grown")
        perforate(model, **how)
        for _ in range(grown):
            add_dendrites(model)
    state = shipped.weights(card)
    if num_classes != len(card.classes):
        last = list(model.state_dict())[-2:]  # weights and bias of the last layer, whose outputs mean other classes
        state |= {key: model.state_dict()[key] for key in last}
    model.load_state_dict(state)
    return model


def _build(
    outputs: int, width: float, early: float, hidden: int | None, unreduced: tuple[int, ...], many: int
) -> nn.Module:
    """torchvision's network with these widths and so many blocks, without strides in the named parts of `features`."""
    channels = InvertedResidualConfig.adjust_channels
    # torchvision's momentum is 0.01, so the running statistics still hold a third of their start values after
    # 100 steps. A short run then evaluates at chance while training well. With PyTorch's own 0.1 a third is
    # reached after 10 steps. eps stays torchvision's.
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)
    into = channels(STEM, early)
    blocks = []
    for number, (kernel, expanded, out, excite, activation, stride) in enumerate(BLOCKS[:many], start=1):
        own = early if number <= EARLY else width
        out = channels(out, own if number < EARLY else width)  # what leaves the early part is as wide as what follows
        step = 1 if number in unreduced else stride
        blocks.append(
            InvertedResidualConfig(into, kernel, channels(expanded, own), out, excite, activation, step, 1, 1.0)
        )
        into = out
    model = MobileNetV3(blocks, hidden or channels(HIDDEN, width), num_classes=outputs, norm_layer=norm)
    if hidden == 0:
        pooled: Any = model.classifier[0]
        model.classifier = nn.Sequential(nn.Linear(pooled.in_features, outputs))
        nn.init.normal_(model.classifier[0].weight, 0, 0.01)
        nn.init.zeros_(model.classifier[0].bias)
    if 0 in unreduced:
        model.get_submodule("features.0.0").stride = (1, 1)
    return model


def _load_imagenet(model: nn.Module, *, keep_last: bool) -> None:
    """Copy torchvision's ImageNet weights into `model`; without `keep_last` all but the last layer."""
    try:
        state = dict(MobileNet_V3_Small_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, unwritable cache; RuntimeError is the checksum
        raise ConfigError(
            f"The ImageNet weights could not be fetched ({error}); use weights=None, or connect once so that "
            "torchvision can cache them."
        ) from error
    last = {} if keep_last else {k: v for k, v in model.state_dict().items() if k.startswith("classifier.3.")}
    model.load_state_dict(state | last)
