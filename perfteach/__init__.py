"""perfteach: artificial dendrites for compact networks, trained by Perforated Backpropagation.

The public names are loaded on first use, so `import perfteach` stays light and `perfteach.course.env` can say
what is wrong with a broken installation even where PyTorch itself does not import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfteach import data, metrics, runs
    from perfteach.config import TrainConfig
    from perfteach.counting import count_macs, count_parameters
    from perfteach.cycle import DendriteCycle
    from perfteach.dendrites import add_dendrites, correlate, fold, set_phase
    from perfteach.layer import DendriticLayer
    from perfteach.models import mobilenet_extra_small, mobilenet_small
    from perfteach.phases import FixedSwitch, ManualSwitch, Phase, PlateauSwitch
    from perfteach.runs import Run
    from perfteach.selection import perforate
    from perfteach.trainer import Callback, PerforatedTrainer

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "DendriteCycle",
    "DendriticLayer",
    "FixedSwitch",
    "ManualSwitch",
    "PerforatedTrainer",
    "Phase",
    "PlateauSwitch",
    "Run",
    "TrainConfig",
    "add_dendrites",
    "correlate",
    "count_macs",
    "count_parameters",
    "data",
    "fold",
    "metrics",
    "mobilenet_extra_small",
    "mobilenet_small",
    "perforate",
    "runs",
    "set_phase",
]

_MODULES = {"data", "metrics", "runs"}
_HOME = {
    "config": ("TrainConfig",),
    "cycle": ("DendriteCycle",),
    "dendrites": ("add_dendrites", "correlate", "fold", "set_phase"),
    "layer": ("DendriticLayer",),
    "counting": ("count_macs", "count_parameters"),
    "models": ("mobilenet_extra_small", "mobilenet_small"),
    "phases": ("FixedSwitch", "ManualSwitch", "Phase", "PlateauSwitch"),
    "runs": ("Run",),
    "selection": ("perforate",),
    "trainer": ("Callback", "PerforatedTrainer"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"perfteach.{name}")
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"perfteach.{module}"), name)
    raise AttributeError(f"module 'perfteach' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
