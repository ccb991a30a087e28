"""Make the trained networks that come along, in data/weights, from the checkpoints of a study.

    python tools/weights.py --study extra-small --seed 0 --work runs/studies --data IMAGES --label "CIFAR-10"

Each gets a file of weights, in half precision where that costs at most one validation image in
a thousand, a card (JSON) for the library
and a model card (Markdown) to read. Every figure is measured here or comes from the run's record.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.torch import save
from torch import nn

from perfteach import checkpoint, data, metrics, study
from perfteach.counting import count_macs, count_parameters
from perfteach.dendrites import dendrite_counts
from perfteach.models import TRAINED, TRAINED_EXTRA_SMALL, mobilenet_small
from perfteach.provenance import provenance
from perfteach.runs import Run
from perfteach.shipped import FOLDERS, Card

ROOT = Path(__file__).resolve().parents[1]
TOLERATED = 0.1  # points of validation accuracy, a fifth of its standard error, for half the file
LOADED_BY = {name: weights for known in (TRAINED, TRAINED_EXTRA_SMALL) for weights, name in known.items()}
# By arm: the file's name, and what it is.
SHIPPED = {
    "original": ("mobilenet-small", "MobileNetV3-Small with ten outputs: the original."),
    "early-start": (
        "mobilenet-extra-small",
        "The first nine blocks of MobileNet-Small at three quarters of their width and larger maps, without the hidden "
        "layer of the head, with one ReLU dendrite for each neuron of the stem and the first four blocks.",
    ),
    "same-epochs": (
        "mobilenet-extra-small-plain",
        "The network of Extra-Small without dendrites, trained by the same recipe for as long.",
    ),
    "full-width-early": (
        "mobilenet-extra-small-full-width",
        "Extra-Small with all the channels of MobileNet-Small in its nine blocks, and one GELU dendrite for each "
        "neuron of the stem and the first four, trained jointly with the neurons by ordinary backpropagation.",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="extra-small", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--arms", nargs="+", choices=SHIPPED, default=list(SHIPPED), help="(all)")
    parser.add_argument("--work", type=Path, default=Path("runs/studies"), help="the study's checkpoints (%(default)s)")
    parser.add_argument("--data", default="cifar10", help="the images it was trained on (%(default)s)")
    parser.add_argument("--label", help="what the records call them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    declared = study.find(arguments.study)
    images = data.load(arguments.data, label=arguments.label)
    images = images.hold_out(declared.fresh) if declared.fresh else images
    for arm in arguments.arms:
        record = Run.load(study.record_path(arguments.study, arm, arguments.seed))
        made = ship(declared, arm, record, images, arguments.work / arguments.study)
        print(f"{made.name}: {made.precision}, {made.accuracy}")
    return 0


def ship(declared: study.Study, arm: str, record: Run, images: data.ImageData, work: Path) -> Card:
    """Write the weights and the cards of one arm's network, whose record is this one."""
    seed = record.header["seed"]
    saved = checkpoint.load(work / f"{arm}-seed{seed}")
    if saved is None or not saved.run.finished:
        sys.exit(f"the run {arm} with seed {seed} is not finished in {work}")
    if saved.run.result != record.result:
        sys.exit(f"{work} holds another run than the record {record.name}; train it again, or name the right folder")
    if record.data["checksum"] != images.checksum:
        sys.exit(f"{record.name} was trained on other images ({record.data['name']})")
    model = declared.model(arm, seed, len(images.classes)).eval()
    model.load_state_dict(saved.weights)
    if not any(dendrite_counts(model).values()):
        model = unwrapped(model, declared.network(arm, len(images.classes)), len(images.classes))
    precision, content = smallest(model, images)
    card = describe(model, arm, seed, declared, record, images, precision, content)
    folder = FOLDERS[1]
    folder.mkdir(exist_ok=True)
    (folder / f"{card.name}.safetensors").write_bytes(content)
    (folder / f"{card.name}.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    pages = Environment(
        loader=FileSystemLoader(ROOT / "tools" / "templates"), undefined=StrictUndefined, trim_blocks=False
    )
    page = pages.get_template("model-card.md.jinja").render(
        card=card, megabytes=len(content) / 1e6, loaded_by=LOADED_BY[card.name]
    )
    (folder / f"{card.name}.md").write_text(page + "\n", encoding="utf-8")
    return card


def unwrapped(model: nn.Module, network: dict[str, Any], classes: int) -> nn.Module:
    """The same network without the layers that could have grown dendrites, so that the usual names load it."""
    how = {key: value for key, value in network.items() if key not in ("select", "activation")}
    plain = mobilenet_small(classes, **how).eval()
    # Wrapping puts each norm behind its convolution, where it already was, so the order is the same.
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(plain(image), model(image))
    return plain


def smallest(model: nn.Module, images: data.ImageData) -> tuple[str, bytes]:
    """The weights as a file, in half precision where that costs at most TOLERATED; the model gets them."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    full = metrics.accuracy(model, images, "validation")
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    model.load_state_dict(half)
    if metrics.accuracy(model, images, "validation") >= full - TOLERATED:
        return "float16", save(half)
    model.load_state_dict(weights)
    return "float32", save(weights)


def describe(
    model: nn.Module,
    arm: str,
    seed: int,
    declared: study.Study,
    run: Run,
    images: data.ImageData,
    precision: str,
    content: bytes,
) -> Card:
    """The card, with what is measured here: accuracy of the weights as they are stored, and latency."""
    network = declared.network(arm, len(images.classes))
    select, activation, grown = network.pop("select"), network.pop("activation"), network.pop("grown", 0)
    network.pop("start_weight", None)
    size = declared.size or images.train.images.shape[-1]
    name, about = SHIPPED[arm]
    return Card(
        name=name,
        about=about,
        network={key: value for key, value in network.items() if value is not None},
        dendrites={"select": select, "rule": run.header["rule"], "activation": activation, "grown": grown}
        if grown
        else None,
        classes=images.classes,
        mean=images.mean,
        std=images.std,
        size=size,
        sha256=hashlib.sha256(content).hexdigest(),
        accuracy={part: metrics.accuracy(model, images, part) for part in images.splits() if part != "train"},
        run={"name": run.name, "seed": seed, "epochs": len(run.epochs), "test_accuracy": run.ended.test_accuracy},
        data={"name": images.name, "checksum": images.checksum},
        parameters=count_parameters(model).as_dict(),
        macs=count_macs(model, (3, size, size)).as_dict(),
        latency={"milliseconds": round(latency(model, size), 2), "machine": provenance()["machine"]["cpu"]},
        precision=precision,
    )


def latency(model: nn.Module, size: int, times: int = 50) -> float:
    """Milliseconds for one image on one core: the median."""
    image = torch.zeros(1, 3, size, size)
    taken = []
    with torch.inference_mode():
        for _ in range(times + 5):
            start = time.perf_counter()
            model(image)
            taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken[5:])


if __name__ == "__main__":
    sys.exit(main())
