"""Torch, tried in a process of its own, so that a crash stays there. Only the standard library is imported here."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

TORCH_SECONDS = 120.0

_PROBE = """
import json
answer = {}
import torch
answer["torch"] = torch.__version__
a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
answer["product"] = (a @ a).tolist()
answer["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
if not answer["gpu"] and torch.backends.mps.is_available():
    answer["gpu"] = "none that perfteach can use (Apple's have no double precision)"
try:
    import torchvision
    answer["torchvision"] = torchvision.__version__
except Exception as problem:
    answer["problem"] = f"{type(problem).__name__}: {problem}"
print("PERFTEACH " + json.dumps(answer))
"""


def probe_torch(code: str = _PROBE, seconds: float = TORCH_SECONDS) -> dict[str, Any]:
    """Import torch and torchvision and multiply two matrices in another process, so that a crash stays there.

    Returns:
        `torch`, `product`, `gpu`, and `torchvision` or `problem` (why torchvision failed); only `error`
        (why torch failed) when the process did not get that far.
    """
    try:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"did not answer within {seconds:g} s"}
    except OSError as problem:
        return {"error": f"could not be tried: {problem}"}
    for line in done.stdout.splitlines():
        if line.startswith("PERFTEACH "):
            return dict(json.loads(line.removeprefix("PERFTEACH ")))
    last = (done.stderr.strip().splitlines() or [f"stopped with exit code {done.returncode}"])[-1]
    return {"error": last[:200]}
