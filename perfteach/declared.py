"""The declared studies, by name."""

from __future__ import annotations

from dataclasses import replace

from perfteach import settings as check
from perfteach.arms import EARLY, FROM_THE_START, RECIPE, Settings
from perfteach.grids import Study

FEW = ("baseline", "same-epochs", "wider", "thawed", "thawed-random", "gradient")
CONTROLS = ("baseline", "same-epochs", "wider", "perforated", "thawed", "gradient")
SEARCH = Study(
    about="Search for the gain: width 0.15, 20,000 training images, 30 epochs after growth",
    arms=(*FEW, "relu", "early"),
    seeds=(0, 1, 2),
    width=0.15,
    baseline=20,
    dendrite=3,
    neuron=30,
    train=20_000,
)
PUBLISHED = Study(
    about="MobileNet-Small at 64×64, as published",
    arms=CONTROLS,
    seeds=(0, 1, 2),
    width=1.0,
    baseline=30,
    dendrite=6,
    neuron=24,
    size=64,
)
# What the prototypes of the recipe had in common.
SGD: Settings = {"optimizer": "sgd", "lr": 0.2, "batch_size": 128, "weight_decay": 5e-4, "decay_norms": False}
EARLY_DENDRITES = Study(
    about="What early dendrites bring from the first epoch on, and what else would bring as much",
    arms=("same-epochs", "early-start", *FROM_THE_START),
    seeds=(0, 1, 2),
    width=0.15,
    baseline=20,
    dendrite=0,
    neuron=0,
    cycles=0,
    fresh=5_000,
    select=EARLY,
    activation="relu",
    claim="early-start",
    net={"output_stride": 16},
    settings=SGD,
)
EXTRA_SMALL = replace(
    EARLY_DENDRITES,
    about="Extra-Small, which has nine blocks, no hidden layer and early dendrites, against the original",
    arms=("original", "early-start", "same-epochs", "wider", "full-width-early", "full-width", "original-fine"),
    width=0.75,
    baseline=60,
    net={"output_stride": 8, "hidden": 0, "blocks": 9},
)
STUDIES = {
    "mini": Study(
        about="All eight arms on a MobileNetV3-Small of width 0.25 at 32×32",
        arms=("baseline", "same-epochs", "wider", "random", "shuffled", "thawed", "gradient", "perforated"),
        seeds=(0, 1, 2, 3, 4),
        width=0.25,
        baseline=60,
        dendrite=5,
        neuron=15,
    ),
    "case-study": PUBLISHED,
    "case-study-extra-small": replace(
        PUBLISHED, about="MobileNet-Extra-Small (width 0.5) at 64×64", arms=(*CONTROLS, "early-relu"), width=0.5
    ),
    "search": SEARCH,
    "search-all-images": replace(
        SEARCH, about="Search for the gain, as `search` but with all 45,000 training images", arms=FEW, train=None
    ),
    "search-early": replace(
        SEARCH,
        about="dendrites in the stem and blocks 1 to 4 only, which have few weights; all 45,000 training images",
        arms=("baseline", "same-epochs", "wider", "wider-macs", "thawed-random", "relu"),
        seeds=(0, 1, 2, 3, 4),
        select=EARLY,
        train=None,
    ),
    "search-early-wide": replace(
        SEARCH,
        about="the best of `search-early` in a network of width 0.25; all 45,000 training images",
        arms=("baseline", "same-epochs", "wider", "wider-macs", "relu"),
        seeds=(0, 1, 2, 3, 4),
        width=0.25,
        select=EARLY,
        train=None,
    ),
    "search-depthwise": replace(
        SEARCH,
        about="dendrites on ten of the eleven depthwise convolutions only, which have few weights",
        arms=FEW,
        select="features.*.block.1.0",
    ),
    "search-early-growth": replace(
        SEARCH,
        about="dendrites that grow after 2 epochs and have 51 left, instead of after 20 with 33 left",
        arms=("baseline", "same-epochs", "wider", "thawed-random", "gradient"),
        baseline=2,
        neuron=48,
    ),
    "recipe": Study(
        about="What a recipe is made of, one thing changed at a time, and where the resolution is kept",
        arms=("same-epochs", *RECIPE),
        seeds=(0,),
        width=0.35,
        baseline=12,
        dendrite=0,
        neuron=0,
        cycles=0,
        fresh=5_000,
        net={"output_stride": 16},
        settings=SGD,
    ),
    "early": EARLY_DENDRITES,
    "early-confirmed": replace(
        EARLY_DENDRITES,
        about="The form that did best in `early` on the validation images, with seeds that had no part in that choice",
        arms=("same-epochs", "early-together", "wider", "wider-early"),
        seeds=(3, 4, 5, 6, 7),
    ),
    "early-control": replace(
        EARLY_DENDRITES,
        about="Early dendrites against plain networks that spend as much, everywhere or in the same place",
        arms=("same-epochs", "early-start", "wider", "wider-macs", "wider-early", "wider-early-macs"),
        seeds=(0, 1, 2, 3, 4),
        width=0.25,
        net={"output_stride": 8},
    ),
    "error-signal": replace(
        EARLY_DENDRITES,
        about="Whether early dendrites are better for having learned from their neurons' errors first",
        arms=("baseline", "same-epochs", "thawed", "thawed-random", "thawed-best-of-8", "thawed-identity"),
        seeds=(0, 1, 2, 3, 4),
        dendrite=3,
        neuron=12,
        cycles=1,
        claim=None,
    ),
    "extra-small": EXTRA_SMALL,
    "extra-small-long": replace(
        EXTRA_SMALL,
        about="Twice the epochs, a square of 8 pixels blanked out, and twice Extra-Small's width: how far it goes",
        arms=("early-together", "same-epochs", "full-width-early", "original-fine", "original"),
        seeds=(0,),
        width=1.5,
        baseline=120,
        settings={**SGD, "cutout": 8},
        claim="early-together",
    ),
    "extra-small-first": replace(
        EXTRA_SMALL,
        about="Stride 1 in Extra-Small's first block, in place of block 4: larger maps, more arithmetic",
        arms=("original", "same-epochs", "early-start", "wider", "original-fine"),
        net={**EXTRA_SMALL.net, "output_stride": "8-first"},
    ),
    "extra-small-short": replace(
        EXTRA_SMALL,
        about="Extra-Small against the original, trained for 36 epochs on one core of a CPU",
        arms=("original", "early-start", "same-epochs"),
        seeds=(0,),
        baseline=36,
    ),
    "extra-small-eleven": replace(
        EARLY_DENDRITES,
        about="A first Extra-Small with all eleven blocks, at output stride 16; its last two turned out to do nothing",
        arms=("early-start",),
        seeds=(0,),
        width=1.0,
        baseline=36,
        net={"output_stride": 16, "hidden": 0},
    ),
    "search-two-cycles": replace(
        SEARCH, about="two cycles instead of one", arms=("baseline", "same-epochs", "wider", "thawed-random"), cycles=2
    ),
}


def find(name: str) -> Study:
    """The study of that name.

    Raises:
        ConfigError: when there is none; the message lists them.
    """
    return STUDIES[check.text("the study", name, STUDIES)]
