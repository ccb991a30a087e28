"""Where a run was made: the identity of its data, the versions, the machine, the source revision."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from perfteach import __version__, ranks
from perfteach.counting import count_parameters
from perfteach.dendrites import dendritic_layers
from perfteach.extras import installed_version

ROOT = Path(__file__).resolve().parent


def identity(data: Any) -> dict[str, Any]:
    """What a record says about the images or points it was made on."""
    sizes = {split: len(getattr(data, split)) for split in ("train", "validation", "test")}
    if getattr(data, "fresh", None) is not None:
        sizes["fresh"] = len(data.fresh)
    about = {"name": data.name, "checksum": data.checksum, "synthetic": data.synthetic}
    return about | {"classes": len(data.classes)} | sizes


def anatomy(model: nn.Module) -> dict[str, Any]:
    """What a record says about the network: its dendritic layers, its class and its parameters by part."""
    layers = [
        {"name": name, "neurons": layer.neurons, "activation": layer.activation}
        for name, layer in dendritic_layers(model)
    ]
    return {"layers": layers, "model": {"class": type(model).__name__, "parameters": count_parameters(model).as_dict()}}


def provenance() -> dict[str, Any]:
    """Package versions, machine kind, source revision and the time: what a recorded run must carry."""
    others = ("torch", "torchvision", "numpy")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"python": platform.python_version(), "perfteach": __version__}
        | {name: installed_version(name) for name in others},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": gpu,
            **({"processes": ranks.count()} if ranks.count() > 1 else {}),
        },
        "revision": _revision(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def code() -> str:
    """Version and revision of the perfteach that runs here, in words."""
    return f"perfteach {__version__}, revision {_revision() or 'unknown'}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _revision() -> str | None:
    """The checkout's commit, with "+changes" when library files differ from it; None outside a checkout."""
    git = ["git", "-C", str(ROOT)]
    try:
        # An environment that lies inside some other repository is not a checkout of this one.
        tracked = ["ls-files", "--error-unmatch", "runs.py"]
        subprocess.run([*git, *tracked], capture_output=True, check=True, timeout=10)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+changes" if dirty.returncode else "")
