"""An image, and a batch of 64, through a plain network, the same with dendrites, folded, and as an ONNX file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.timing import Step, by_turns
from perfteach import mobilenet_small, perforate
from perfteach.dendrites import add_dendrites, fold


def inference(width: float = 0.5, size: int = 32, batch: int = 64, rounds: int = 15) -> dict[str, dict[str, float]]:
    """One dendrite a neuron in every layer, by turns with the plain network; ONNX where onnxruntime is there."""
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    plain = mobilenet_small(10, width, seed=0).eval().to(memory_format=torch.channels_last)
    grown = add_dendrites(perforate(mobilenet_small(10, width, seed=0)), weight=0.1).eval()
    grown = grown.to(memory_format=torch.channels_last)
    kinds: dict[str, Step] = {"plain": _run(plain, x), "one dendrite a neuron": _run(grown, x)}
    kinds["one dendrite a neuron, folded"] = _run(fold(grown), x)
    with tempfile.TemporaryDirectory() as folder:
        for name, model in (("plain, ONNX", plain), ("one dendrite a neuron, ONNX", fold(grown))):
            session = _session(model, x, Path(folder) / "model.onnx")
            if session is None:
                break
            kinds[name] = session
        return by_turns(kinds, rounds, least=0.05)


def _run(model: torch.nn.Module, x: torch.Tensor) -> Step:
    def step() -> None:
        with torch.inference_mode():
            model(x)

    return step


def _session(model: torch.nn.Module, x: torch.Tensor, path: Path) -> Step | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    torch.onnx.export(model, (x.contiguous(),), str(path), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.contiguous().numpy()}
    return lambda: session.run(None, feed)
