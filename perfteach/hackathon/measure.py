"""Run one submission with limits: `python -m perfteach.hackathon.measure LIMITS SUBMISSION IMAGES CLASSES`.

This process sees the images and no labels. It prints one line of JSON: what it measured, or why it refused. It ends
with its parent, whose pipe it reads.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from perfteach.hackathon.submission import Limits, SubmissionError, read
from perfteach.runs import Run

WARM_UP = 5
ANSWER = 2_000_000  # bytes that may be printed


def main(arguments: list[str]) -> None:
    """Measure what the arguments name, and print the line."""
    limits = Limits(**json.loads(arguments[0]))
    _limit(limits)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import numpy as np

    # What is missing here is the scorer's fault, and ends the process with an error.
    packed, pixels = Path(arguments[1]).read_bytes(), np.load(arguments[2], mmap_mode="r")
    try:
        said = _measured(packed, pixels, int(arguments[3]), limits)
    except SubmissionError as error:
        said = {"refused": str(error)}
    except Exception as error:  # whatever onnxruntime raises for somebody's graph is the graph's fault
        reason = str(error).strip().split("\n")[0][:200]
        short = isinstance(error, MemoryError) or any(word in str(error).lower() for word in ("alloc", "arena"))
        much = f"it needed more than the {limits.memory / 1e9:g} GB of memory that are allowed"
        said = {"refused": much if short else f"onnxruntime cannot run it ({reason})"}
    print(json.dumps(said))


def _limit(limits: Limits) -> None:
    """No more memory, processor time, files and cores than this; Linux keeps all of it, macOS not the memory."""
    try:
        import resource
    except ImportError:  # Windows has none of these; there the clock alone stops a submission
        return
    for what, most in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_FSIZE, ANSWER),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 128),
    ):
        hard = most + 5 if what == resource.RLIMIT_CPU else most  # the first is a signal with a name of its own
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (most, hard))


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the other end is closed, which nothing is written to
    os._exit(1)


def _measured(packed: bytes, pixels: Any, classes: int, limits: Limits) -> dict[str, Any]:
    from perfteach.hackathon.graph import examine

    _, record, model = read(packed, limits)
    claimed = _claims(record)
    cost = examine(model, pixels.shape[1:], classes)
    if cost.parameters > limits.parameters:
        raise SubmissionError(f"it has {cost.parameters:,} parameters; {limits.parameters:,} are allowed")
    predicted, latency = _run(cost.graph, cost.input_name, pixels, classes)
    return {
        "predicted": predicted,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "bytes": len(model),
        "latency_ms": latency,
        "claimed": claimed,
    }


def _claims(record: bytes) -> dict[str, Any]:
    """What the record says of its result; it is shown beside what was measured, and decides nothing."""
    try:
        run = Run.of(json.loads(line) for line in record.decode("utf-8").splitlines())
        result = run.ended
        accuracy, parameters = float(result.test_accuracy), int(result.total)
        if not 0 <= accuracy <= 100 or not 0 <= parameters < 2**53:
            raise ValueError("a result out of range")
        data = str(run.data.get("checksum", ""))[:64].encode("ascii", "replace").decode()
    except Exception as error:  # anything may be in there
        reason = str(error).strip().split("\n")[0][:100]
        raise SubmissionError(f"run.jsonl is not the record of a finished run ({reason})") from error
    return {"accuracy": accuracy, "parameters": parameters, "epochs": len(run.epochs), "data": data}


def _run(model: bytes, name: str, pixels: Any, classes: int) -> tuple[list[int], float]:
    """The class of every image of uint8 [N, 3, H, W], one image at a time as on a device, and the median of the times.

    One at a time, because a graph that sees many images could use what it knows of their order or number.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # and not its own, should both be in there
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    predicted, seconds = [], []
    warm_up = min(WARM_UP, len(pixels))
    for number in [*range(warm_up), *range(len(pixels))]:
        image = pixels[number : number + 1].astype(np.float32) / 255
        start = time.perf_counter()
        (logits,) = session.run(None, {name: image})
        seconds.append(time.perf_counter() - start)
        if logits.shape != (1, classes) or not np.isfinite(logits).all():
            raise SubmissionError("an answer has another shape, or numbers that are infinite or not a number")
        predicted.append(int(logits[0].argmax()))
    return predicted[warm_up:], round(1000 * statistics.median(seconds[warm_up:]), 3)


if __name__ == "__main__":
    main(sys.argv[1:])
