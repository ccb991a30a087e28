"""Make the trained networks that come along, in data/weights, from the checkpoints of a study.

    python tools/weights.py --study extra-small --seed 0 --work runs/studies --data IMAGES --label "CIFAR-10"
    python tools/weights.py --cards    (only times the networks that are there, and writes their cards again)

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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.torch import save
from torch import nn

from perfteach import checkpoint, compare, data, metrics, runs, study
from perfteach.counting import count_macs, count_parameters
from perfteach.dendrites import dendrite_counts
from perfteach.models import TRAINED, TRAINED_EXTRA_SMALL, mobilenet_extra_small, mobilenet_small
from perfteach.provenance import provenance
from perfteach.runs import Run
from perfteach.shipped import FOLDERS, Card

ROOT = Path(__file__).resolve().parents[1]
TOLERATED = 0.1  # points of validation accuracy, a fifth of its standard error, for half the file
LOADED_BY = {name: weights for known in (TRAINED, TRAINED_EXTRA_SMALL) for weights, name in known.items()}
USES = {  # what each is for, as its card says it
    "mobilenet-small": "Notebooks 01, 03, 04 and 05 take it apart, let it grow dendrites, train it on and shorten it.",
    "mobilenet-extra-small": "Notebook 05 builds it, 06 exports it, and in 07 it is shown pictures.",
    "mobilenet-extra-small-plain": "It is Extra-Small's control: the same network without dendrites.",
    "mobilenet-extra-small-full-width": "It makes the fewest errors of the networks that come along.",
}
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
    parser.add_argument(
        "--cards", action="store_true", help="make no weights; time the networks, and write their cards"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.cards:
        make(arguments)
    write_cards()
    return 0


def make(arguments: argparse.Namespace) -> None:
    """Write the weights of every arm that was asked for."""
    declared = study.find(arguments.study)
    images = data.load(arguments.data, label=arguments.label)
    images = images.hold_out(declared.fresh) if declared.fresh else images
    for arm in arguments.arms:
        record = Run.load(study.record_path(arguments.study, arm, arguments.seed))
        made = ship(declared, arm, record, images, arguments.work / arguments.study)
        print(f"{made.name}: {made.precision}, {made.accuracy}")


def ship(declared: study.Study, arm: str, record: Run, images: data.ImageData, work: Path) -> Card:
    """Write the weights of one arm's network, whose record is this one, and its card without a latency."""
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
    return card


def write_cards() -> None:
    """Time all networks that are there by turns, and write each one's card, as JSON and to read."""
    cards = {name: Card(**json.loads((FOLDERS[1] / f"{name}.json").read_text(encoding="utf-8"))) for name in LOADED_BY}
    found = latencies({name: (trained(name), card.size) for name, card in cards.items()})
    pages = Environment(loader=FileSystemLoader(ROOT / "tools" / "templates"), undefined=StrictUndefined)
    for name, card in cards.items():
        card = replace(card, latency=found[name])
        file = FOLDERS[1] / name
        file.with_suffix(".json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
        of, arm = card.run["name"].rpartition("-seed")[0].split("/")
        (row,) = compare.rows({arm: compare.results(runs.recorded(of))[arm]})
        page = pages.get_template("model-card.md.jinja").render(
            card=card,
            megabytes=file.with_suffix(".safetensors").stat().st_size / 1e6,
            loaded_by=LOADED_BY[name],
            use=USES[name],
            row=row,
        )
        file.with_suffix(".md").write_text(page + "\n", encoding="utf-8")


def trained(name: str) -> nn.Module:
    """A network that came along, by its file's name."""
    build = mobilenet_small if name in TRAINED.values() else mobilenet_extra_small
    return build(weights=LOADED_BY[name]).eval()


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
        latency={},
        precision=precision,
    )


def latencies(networks: dict[str, tuple[nn.Module, int]], times: int = 60) -> dict[str, dict[str, Any]]:
    """Milliseconds for one image on one core: the median, and the middle half as low and high. All take turns."""
    taken: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for _ in range(times + 5):
            for name, (model, size) in networks.items():
                image = torch.zeros(1, 3, size, size)
                start = time.process_time()  # the processor's own time: other work on the machine counts little
                model(image)
                taken[name].append(1000 * (time.process_time() - start))
    machine = provenance()["machine"]["cpu"]
    parts = {name: statistics.quantiles(of_one[5:], n=4) for name, of_one in taken.items()}
    return {
        name: {"milliseconds": round(middle, 2), "low": round(low, 2), "high": round(high, 2), "machine": machine}
        for name, (low, middle, high) in parts.items()
    }


if __name__ == "__main__":
    sys.exit(main())
