"""The part of `make torture` that stops a real Jupyter kernel through its API, and runs the cell again."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Any

SETUP = """
import sys, time, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tools!r})
import torch
torch.set_num_threads(1)
from tortured import images, outcome, trainer
from perfteach.trainer import Callback

class Here(Callback):
    def __init__(self, place):
        self.place, self.told = place, False

    def tell(self, place):
        if place == self.place and not self.told:
            self.told = True
            print("here", flush=True)
            time.sleep(0.3)

    def on_batch_end(self, trainer, batch, batches):
        self.tell(f"{{trainer.cycle.phase}} {{trainer.cycle.cycle}}")

    def on_epoch_end(self, trainer, record):
        self.tell("epoch end")

    def on_event(self, trainer, event):
        self.tell(event.event)

data = images()
whole = trainer(data=data)
wanted = outcome(whole.fit(progress=False), whole.model)
"""
START = "one = trainer(data=data, callbacks=[Here({place!r})])"
FIT = "run = one.fit(progress=False)"
SAME = "print(outcome(run, one.model) == wanted)"
PLACES = ("neuron 0", "dendrite 1", "neuron 1", "dendrite 2", "neuron 2", "epoch end", "restore", "switch", "stop")


def kernel(draw: random.Random, times: int = 10, places: tuple[str, ...] = PLACES) -> list[str]:
    """Interrupt a cell in each phase, run it again, and compare with the run that was let be."""
    from jupyter_client.manager import KernelManager

    manager, wrong = KernelManager(kernel_name="python3"), []
    manager.start_kernel(stderr=subprocess.DEVNULL)  # it says that it is not encrypted
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        _cell(client, SETUP.format(tools=str(Path(__file__).parent)))
        for place in places:
            for number in range(times):
                _cell(client, START.format(place=place))
                wait = draw.uniform(0, 0.25)
                ended, said = _cell(client, FIT, lambda wait=wait: (time.sleep(wait), manager.interrupt_kernel()))
                again, _ = _cell(client, FIT)
                _, same = _cell(client, SAME)
                if (ended, again, same.strip()) != ("Interrupted", "", "True"):
                    wrong.append(f"{place}, {number}: {ended!r}, {said[-80:]!r}, again {again!r}, equal {same!r}")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    print(f"kernel: {len(places) * times - len(wrong)} of {len(places) * times} equal after the cell was run again")
    return wrong


def _cell(client: Any, code: str, when_here: Any = None) -> tuple[str, str]:
    """Run a cell; returns the name of the error that it ended with, and what it printed."""
    request, said, error = client.execute(code), "", ""
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            said += content["text"]
            if when_here and "here" in said:
                when_here()
                when_here = None
        elif kind == "error":
            error = content["ename"]
        elif kind == "status" and content["execution_state"] == "idle":
            return error, said
