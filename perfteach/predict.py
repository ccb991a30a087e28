"""What a trained network sees in a picture file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn

from perfteach import settings, shipped
from perfteach.errors import DataError
from perfteach.models import TRAINED, TRAINED_EXTRA_SMALL, mobilenet_extra_small, mobilenet_small

NETWORKS = (TRAINED["cifar10"], *TRAINED_EXTRA_SMALL.values())


class Guess(NamedTuple):
    """A class, and the probability that the network gives it, 0 to 1."""

    name: str
    probability: float


def classify(picture: str | Path | IO[bytes], network: str = "mobilenet-extra-small", top: int = 3) -> list[Guess]:
    """What one of the trained networks sees in a picture, the most probable class first.

    The network knows ten classes and nothing else: whatever the picture shows, the ten probabilities add up to one.

    Args:
        picture: a file in any format that Pillow reads, or an open one. The largest square in its middle is used,
            turned upright as the camera noted, and shrunk to the size of the training images.
        network: one of `NETWORKS`: "mobilenet-small", or "mobilenet-extra-small" in one of its three forms.
        top: how many classes to name, 1 to 10.

    Raises:
        ConfigError: for an unknown network, or a `top` below 1.
        DataError: when the file is missing, or is not a picture that can be read.
        CheckpointError: when the file of weights is damaged.
    """
    top = settings.whole("top", top, 1)
    settings.text("network", network, NETWORKS)
    model, card = _load(network)
    with torch.inference_mode():
        probabilities = model(read_picture(picture, card))[0].softmax(0)
    best = probabilities.topk(min(top, len(card.classes)))
    return [Guess(card.classes[int(place)], float(value)) for value, place in zip(*best, strict=True)]


def read_picture(picture: str | Path | IO[bytes], card: shipped.Card) -> Tensor:
    """A picture as the network of this card takes it: float32 [1, 3, S, S], normalised. Errors as `classify`."""
    pixels = torch.frombuffer(bytearray(shrink(picture, card.size).tobytes()), dtype=torch.uint8)
    mean, std = torch.tensor(card.mean), torch.tensor(card.std)
    return ((pixels.view(card.size, card.size, 3) / 255 - mean) / std).permute(2, 0, 1)[None].contiguous()


def shrink(picture: str | Path | IO[bytes], edge: int) -> Image.Image:
    """The largest square in the middle of a picture, upright, as red, green and blue, with `edge` pixels a side.

    Raises:
        DataError: when the file is missing, or is not a picture that can be read.
    """
    if not hasattr(picture, "read"):
        picture = settings.path("the picture", picture, error=DataError)
    try:
        with Image.open(picture) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except FileNotFoundError as error:
        raise DataError(f"there is no file {picture}; is the name right?") from error
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        name = getattr(picture, "name", picture)
        raise DataError(f"{name} cannot be read as a picture ({error}); use a JPEG or PNG file") from error
    white = Image.new("RGBA", upright.size, "white")  # what is transparent shows paper, not black
    return ImageOps.fit(Image.alpha_composite(white, upright).convert("RGB"), (edge, edge), Image.Resampling.BOX)


@lru_cache
def _load(network: str) -> tuple[nn.Module, shipped.Card]:
    if network == TRAINED["cifar10"]:
        model = mobilenet_small(weights="cifar10")
    else:
        model = mobilenet_extra_small(weights=next(key for key, name in TRAINED_EXTRA_SMALL.items() if name == network))
    return model.eval(), shipped.card(network)
