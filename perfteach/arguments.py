"""What the trainer takes, looked at before anything is changed."""

from __future__ import annotations

import torch
from torch import nn

from perfteach import settings
from perfteach.config import TrainConfig
from perfteach.errors import ConfigError


def check_arguments(model: object, data: object, config: object, name: object) -> None:
    """Refuse a model, data, settings or a name that cannot be trained with.

    Raises:
        ConfigError: naming what was given and what to use.
    """
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    assert isinstance(model, nn.Module)
    if config is not None:
        settings.a(TrainConfig, "config", config, "a TrainConfig, or None for its defaults")
    settings.text("name", name)
    needed = ("name", "classes", "checksum", "synthetic", "train", "validation", "test", "batches")
    missing = [member for member in needed if not hasattr(data, member)]
    if missing:
        raise ConfigError(
            f"data is {settings.said(data)} without {missing[0]}; use what perfteach.data.load returns, or "
            "perfteach.data.from_loaders for DataLoaders of your own"
        )
    for part, tensor in model.named_parameters():
        if nn.parameter.is_lazy(tensor):
            raise ConfigError(f"{part} is lazy, its shape is not known yet; run one batch through the model first")
        if tensor.device.type == "meta":
            raise ConfigError(f"{part} is on the meta device, without numbers; build the model on the CPU")
        if tensor.dtype != torch.float32:
            raise ConfigError(f"{part} is {tensor.dtype}, and batches are torch.float32; call model.float() first")
