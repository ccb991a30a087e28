"""What participants use: export a network to ONNX, pack it with its record, hand it in, wait for what was measured.

`extra_small` packs the organiser's own line.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfteach import settings
from perfteach.errors import ConfigError
from perfteach.extras import need
from perfteach.files import replacing
from perfteach.hackathon.submission import MODEL, NAME, NOTE, RECORD, About, Limits, SubmissionError, pack_run, plain

if TYPE_CHECKING:
    from torch import nn

    from perfteach.data import ImageData
    from perfteach.hackathon.event import Event

TOKEN = "PERFTEACH_TOKEN"  # the environment variable with the team's token
WAIT = 900.0  # seconds until a submission is measured
AWAY = "The board does not answer at the moment; what was handed in is kept there. Waiting …"


def export(model: nn.Module, images: ImageData, folder: str | Path, *, size: int | None = None) -> Path:
    """Write a network as `model.onnx`, which takes one image [1, 3, H, W] with values from 0 to 1 and gives logits.

    The data's mean and deviation, resizing, and folded norms are part of the file.

    Args:
        model: any network from images [B, 3, H, W] to logits [B, classes]; it is not changed.
        images: what it was trained on.
        folder: where to; usually the run's folder, beside `run.jsonl`.
        size: pixels that images were resized to in training (`TrainConfig.size`).

    Raises:
        MissingExtraError: ONNX is not installed.
        ConfigError: an argument has another type.
        SubmissionError: the network cannot be exported, or the file cannot be written.
    """
    need("export", "onnx", "onnxscript")
    import logging
    import warnings

    import torch

    from perfteach.data import ImageData
    from perfteach.dendrites import fold

    settings.a(torch.nn.Module, "model", model, "a torch.nn.Module")
    settings.a(ImageData, "images", images, "what perfteach.data.load returns")
    folder = settings.path("folder", folder)
    size = size if size is None else settings.whole("size", size, 1)
    height, width = images.train.images.shape[2:]
    whole = _with_normalisation(fold(model).to("cpu"), images, size)
    path = folder / MODEL
    options: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"], "dynamo": True, "verbose": False}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own parts warn
            program: Any = torch.onnx.export(whole, (torch.zeros(1, 3, height, width),), **options)
        write(path, _without_traces(program.model_proto).SerializeToString())
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise SubmissionError(f"the network cannot be written as ONNX ({reason})") from error
    finally:
        logger.setLevel(level)
    return path


def write(path: Path, content: bytes) -> None:
    """Write a zip; raises SubmissionError where it cannot be."""
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise SubmissionError(f"{str(path)!r} cannot be written ({error}); name another place") from error


def _without_traces(proto: Any) -> Any:
    """The exporter writes down where each line of code lay on this machine, which is nobody's business and large."""
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return proto


def _with_normalisation(model: nn.Module, images: ImageData, size: int | None) -> nn.Module:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    class Whole(nn.Module):
        """From values of 0 to 1 to logits."""

        scale: Tensor
        shift: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = model
            mean, std = torch.tensor((images.mean, images.std))[..., None, None]
            self.register_buffer("scale", 1 / std)
            self.register_buffer("shift", -mean / std)

        def forward(self, x: Tensor) -> Tensor:
            x = x * self.scale + self.shift
            if size is not None and x.shape[2:] != (size, size):
                x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=False)
            logits: Tensor = self.model(x)
            return logits

    return Whole().eval()


def extra_small(event: Event, name: str) -> tuple[bytes, About]:
    """The organiser's line that needs no training: a submission of Extra-Small with the weights that come along.

    Its record says what its card says that it does on images that it has never seen.

    Raises:
        ConfigError: the event has other classes than the weights.
    """
    from perfteach import data, models, shipped
    from perfteach.counting import count_parameters
    from perfteach.runs import Result, Run

    images = data.load(event.folder / "pack" / "images.npz", progress=False)
    if len(event.classes) != 10 or images.synthetic:
        raise ConfigError("the trained Extra-Small knows the ten classes of CIFAR-10; this event has others")
    model = models.mobilenet_extra_small(weights="cifar10")
    accuracy = shipped.card("mobilenet-extra-small").accuracy["test"]
    result = Result(accuracy, parameters=count_parameters(model).as_dict())
    about = About(name)
    with tempfile.TemporaryDirectory() as place:
        export(model, images, place)
        record = {"name": name, "data": {"name": images.name, "checksum": images.checksum}}
        Run(record, result=result).save(Path(place, RECORD))
        return pack_run(Path(place), about), about


def submit(
    run: str | Path,
    name: str,
    *,
    note: str = "",
    team: str = "",
    model: str | Path | None = None,
    to: str | None = None,
    token: str | None = None,
    out: str | Path | None = None,
) -> dict[str, Any] | None:
    """Pack a run, hand it in, and wait for up to a quarter of an hour until it is measured.

    Args:
        run: the run's folder with `run.jsonl` and `model.onnx`, or a record.
        name, note: words for the board.
        team: the team's name; not needed where there is a token.
        model: the ONNX file, where it lies elsewhere.
        to: the board's address; without it the zip is only written.
        token: the team's token; by default the environment variable PERFTEACH_TOKEN.
        out: where to write the zip; by default beside the record.

    Returns:
        What the scorer measured; None without an address, or where it is not measured yet.

    Raises:
        SubmissionError: it is refused, or the zip cannot be written; the message says why.
        ConfigError: no token, no board answers at that address, or an argument has another type.
        DataError: there is no record, or what is there is none.
    """
    about = About(plain(name, "submission's name", NAME, least=1), plain(team, "team", NAME), plain(note, "note", NOTE))
    run = settings.path("run", run)
    model, out = (each if each is None else settings.path("a path", each) for each in (model, out))
    for key, value in (("to", to), ("token", token)):
        if value is not None:
            settings.text(key, value)
    packed = pack_run(run, about, model)
    path = out or (run if run.is_dir() else run.parent) / "submission.zip"
    write(path, packed)
    if to is None:
        print(f"{path} has {len(packed) / 1e6:.2f} MB.")
        print("Hand it in with --to ADDRESS and --token TOKEN, or in the browser on the board's page.")
        return None
    token = token or os.environ.get(TOKEN)
    if not token:
        raise ConfigError(f"a token is missing; give --token, or set {TOKEN}")
    address = to.rstrip("/")
    answer = _ask(f"{address}/api/submissions", packed, {"Authorization": f"Bearer {token}"})
    print(f"Handed in: {address}{answer['page']}")
    return _measured(f"{address}/api/submissions/{answer['number']}")


def _measured(address: str) -> dict[str, Any] | None:
    end, shown = time.monotonic() + WAIT, ""
    while True:
        try:
            found = _ask(address)
        except ConfigError:  # it has the submission already; a moment without a network is no reason to give up
            if time.monotonic() > end:
                raise
            if shown != AWAY:
                print(shown := AWAY)
            time.sleep(1)
            continue
        if found["state"] == "done":
            got: dict[str, Any] = found["result"]
            size, time_each = f"{got['parameters']:,} parameters", f"{got['latency_ms']:.2f} ms an image"
            print(f"Measured: {got['public']:.2f} % on the public part, {size}, {got['macs']:,} MACs, {time_each}")
            for flag in got["flags"]:
                print(f"Flagged: {flag}")
            return got
        if found["state"] in ("refused", "failed", "withdrawn"):
            raise SubmissionError(f"it was {found['state']}: {found['reason']}")
        state = f"Waiting, {found['ahead']} before it …"
        if found["ahead"] and state != shown:
            print(state)
            shown = state
        if time.monotonic() > end:
            print(f"It is not measured yet; look at {address.replace('/api', '')}")
            return None
        time.sleep(1)


def _ask(address: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{address!r} is not a board's address; it begins with http:// or https://")
    request = urllib.request.Request(address, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        with error:
            try:
                said = json.load(error)["error"]
            except (ValueError, KeyError, TypeError):
                said = f"the server answered {error.code}"
                if error.code == 404:
                    said = (
                        f"there is no board at {address}; give the address of its first page, as in http://board:8000"
                    )
        raise SubmissionError(str(said)) from None
    except http.client.HTTPException as error:
        said = f"the board at {address} broke off in the middle of its answer ({type(error).__name__})"
        raise ConfigError(f"{said}; run the command again: what has arrived already is not counted twice") from error
    except (OSError, ValueError) as error:
        broke = isinstance(getattr(error, "reason", error), (BrokenPipeError, ConnectionResetError))
        if broke and body is not None and len(body) > Limits().upload:
            most = f"boards usually take {Limits().upload / 1e6:g} MB"
            raise SubmissionError(f"the board broke off; the zip has {len(body) / 1e6:.1f} MB, and {most}") from error
        advice = "wait a minute, in which it may be started again, or ask the organisers for its address"
        raise ConfigError(f"no board answers at {address} ({error}); {advice}") from error
