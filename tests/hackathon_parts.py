"""Small events, graphs and submissions that the tests of the hackathon share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from perfteach.hackathon import event as events
from perfteach.hackathon.submission import About, Limits, pack
from perfteach.runs import Epoch, Result, Run

CLASSES = ("bright", "dark", "grey")
LEVELS = (190, 60, 125)  # by class
SIDE = 8


def make_event(folder: Path, **limits: int) -> events.Event:
    """Images of three brightnesses, 60 of each hidden."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 60)):
        for name, level in zip(CLASSES, LEVELS, strict=True):
            place = folder / "images" / split / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(level + rng.integers(-30, 30) + rng.integers(-9, 9, (SIDE, SIDE, 3)), 0, 255)
                Image.fromarray(pixels.astype("uint8")).save(place / f"{index}.png")
    made = Limits(**({"seconds": 30, "per_hour": 1000} | limits))
    return events.create(folder / "event", str(folder / "images"), title="Light", limits=made, progress=False)


def weights(seed: int = 0, scale: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A classifier by mean brightness, W [3, 1] and b [3], that knows the classes; spoiled by noise where scale > 0."""
    middle = np.array(LEVELS, np.float32) / 255
    rng = np.random.default_rng(seed)
    w = (2 * middle)[:, None] + scale * rng.normal(size=(3, 1))
    b = -(middle**2) + scale * rng.normal(size=3)
    return w.astype(np.float32), b.astype(np.float32)


def answers(images: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What `graph(w, b)` says of uint8 images, by numpy."""
    brightness = (images.astype(np.float32) / 255).mean((1, 2, 3))
    return (brightness[:, None] @ w.T + b).argmax(1)


def graph(
    nodes: list[onnx.NodeProto] | None = None,
    stored: dict[str, np.ndarray] | None = None,
    *,
    shape: tuple = (1, 3, SIDE, SIDE),
    output: tuple = (1, 3),
) -> onnx.ModelProto:
    """A model from "image" to "logits"; by default the classifier by brightness."""
    if nodes is None:
        w, b = weights()
        stored = {"axes": np.array([2, 3]), "w": np.repeat(w / 3, 3, 1), "b": b} | (stored or {})
        nodes = [
            helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
            helper.make_node("Gemm", ["mean", "w", "b"], ["logits"], transB=1),
        ]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (stored or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def brightness(seed: int = 0, scale: float = 0.0) -> bytes:
    """The classifier by brightness as a file."""
    w, b = weights(seed, scale)
    return graph(stored={"w": np.repeat(w / 3, 3, 1), "b": b}).SerializeToString()


def record(accuracy: float = 95.0, parameters: int = 12, checksum: str = "") -> bytes:
    """A finished run's record."""
    header = {"name": "live/first", "seed": 0, "data": {"name": "light", "checksum": checksum}}
    run = Run(header, [Epoch(1, train_accuracy=90.0)], [], Result(accuracy, parameters={"total": parameters}))
    return "".join(json.dumps(line) + "\n" for line in run.lines()).encode()


def submission(event: events.Event, name: str = "first", seed: int = 0, scale: float = 0.0, **claims) -> bytes:
    """A whole submission that can be scored."""
    words = About(name, note=f"seed {seed}")
    return pack(brightness(seed, scale), record(checksum=event.checksum, **claims), words)
