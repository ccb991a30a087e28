"""The arms of the studies, in one table: what an arm rules out, how it is drawn, and what its training needs.

No tensors, so that figures and tables can ask without loading any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """How one arm differs from the claim, and its look.

    `color` names a colour of the figures' palette, `marker` is matplotlib's.
    `joint` arms have no dendrite phase and get its epochs as neuron epochs.
    `wider` names what the plain network of an arm has as much of as the dendritic one: "parameters" or "MACs".
    `select`, `activation`, `net` and `settings` take the place of the study's own where they are given. `early` puts a
    wider network's width into the stem and the first blocks only. `dendrites` are grown before the first epoch,
    and their weights w start from `weight`. Of so many random `candidates` a neuron keeps the one with the best score.
    `times` multiplies the study's epochs: only for an arm that costs less an epoch.
    """

    rules_out: str
    color: str = "grey"
    marker: str = "o"
    rule: str = "perforated"
    joint: bool = False
    grow: bool = True
    thaw: bool = False
    wider: str | None = None
    early: bool = False
    cycles: bool = True
    select: str | None = None
    activation: str | None = None
    dendrites: int = 0
    weight: float = 0.0
    candidates: int = 1
    times: int = 1
    net: Settings = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)


# The controls of every claim.
ARMS = {
    "baseline": Arm("–", "grey", "o", cycles=False),
    "same-epochs": Arm("it just trained longer", "ink", "s", joint=True, grow=False),
    "wider": Arm("any extra parameters would do", "brown", "D", joint=True, grow=False, wider="parameters"),
    "random": Arm("the correlation phase did nothing", "pink", "v", joint=True),
    "shuffled": Arm("the error signal did nothing", "red", "^", rule="shuffled"),
    "thawed": Arm("freezing is what helps", "green", "P", thaw=True),
    "thawed-random": Arm("thawing alone is what helps", "green", "p", joint=True, thaw=True),
    "gradient": Arm(
        "the perforated rule is no better than plain backpropagation", "blue", "X", rule="gradient", joint=True
    ),
    "perforated": Arm("(the claim)", "orange", "o"),
}
# What was tried in the search for a gain: thawed dendrites from a random start with one thing changed, and a control.
EARLY = "features.[0-4].*"
IDEAS = {
    "wider-macs": Arm("any extra multiply-accumulates would do", "brown", "d", joint=True, grow=False, wider="MACs"),
    "relu": Arm("φ is ReLU", "sky", "h", joint=True, thaw=True, activation="relu"),
    "early": Arm("only the stem and blocks 1 to 4", "pink", "<", joint=True, thaw=True, select=EARLY),
    "early-relu": Arm(
        "φ is ReLU, only the stem and blocks 1 to 4", "sky", ">", joint=True, thaw=True, select=EARLY, activation="relu"
    ),
}
# Whether the error signal matters to dendrites that go on learning afterwards.
SIGNAL = {
    "thawed-best-of-8": Arm(
        "a lucky start is as good: each neuron's best of eight random candidates",
        "orange",
        "v",
        joint=True,
        thaw=True,
        candidates=8,
    ),
    "thawed-identity": Arm(
        "the score means something: φ is the identity", "grey", "d", thaw=True, activation="identity"
    ),
}
# What a recipe is made of, one thing changed at a time. They are many, so they get their looks in turn.
_PARTS = {
    "rate-0.1": Arm("a peak rate of 0.1", settings={"lr": 0.1}),
    "rate-0.4": Arm("a peak rate of 0.4", settings={"lr": 0.4}),
    "batch-256": Arm("batches of 256, with a peak rate of 0.4", settings={"batch_size": 256, "lr": 0.4}),
    "batch-64": Arm("batches of 64, with a peak rate of 0.1", settings={"batch_size": 64, "lr": 0.1}),
    "decay-0.0001": Arm("a weight decay of 0.0001", settings={"weight_decay": 1e-4}),
    "decay-all": Arm("weight decay on norms and biases too", settings={"decay_norms": True}),
    "smoothing": Arm("targets smoothed by 0.1", settings={"label_smoothing": 0.1}),
    "average": Arm("a running average of the weights, 0.999 a step", settings={"average": 0.999}),
    "cutout": Arm("a square of 8 pixels blanked out", settings={"cutout": 8}),
    "adamw": Arm(
        "AdamW with a peak rate of 0.004 and decay 0.05",
        settings={"optimizer": "adamw", "lr": 4e-3, "weight_decay": 0.05},
    ),
    "stride-32": Arm("the published strides", net={"output_stride": 32}),
    "stride-8": Arm("stride 1 in the stem and block 4", net={"output_stride": 8}),
    "twice": Arm("twice the epochs, which cost about what stride 8 costs", times=2),
    "hidden-64": Arm("a hidden layer of 64 in the head", net={"hidden": 64}),
    "hidden-0": Arm("no hidden layer in the head", net={"hidden": 0}),
    "stride-8-first": Arm("stride 1 in the stem and the first block", net={"output_stride": "8-first"}),
}
COLORS = ("blue", "orange", "green", "red", "pink", "brown", "sky", "grey")
MARKERS = "o^DvPX<p>hd*H8"
RECIPE = {
    name: replace(arm, color=COLORS[place % len(COLORS)], marker=MARKERS[place % len(MARKERS)])
    for place, (name, arm) in enumerate(_PARTS.items())
}
# Early dendrites that grow before the first epoch and learn beside their neurons, one thing changed at a time, and the
# plain networks that cost as much.
START = Arm("one early ReLU dendrite a neuron, thawed, from the first epoch", "sky", "o", thaw=True, dendrites=1)
# Declared when each of these three alone had been seen to make the fewest validation errors.
TOGETHER = replace(
    START,
    rules_out="three changes at once: w from 0.1, errors flow through the dendrites, φ is GELU",
    rule="gradient",
    thaw=False,
    weight=0.1,
    activation="gelu",
    color="blue",
    marker="p",
)
PLAIN = Arm("", "brown", "D", grow=False)
SIZES = {  # of the networks beside Extra-Small
    "original": replace(
        PLAIN,
        rules_out="the original, with all its blocks and its hidden layer; maps as large as with its 64×64 images",
        color="grey",
        marker="o",
        net={"width": 1.0, "hidden": None, "blocks": None, "output_stride": 16},
    ),
    "original-fine": replace(
        PLAIN,
        rules_out="the original with Extra-Small's larger maps",
        color="grey",
        marker="s",
        net={"width": 1.0, "hidden": None, "blocks": None},
    ),
    "full-width": replace(PLAIN, rules_out="no dendrites, full width", color="green", marker="s", net={"width": 1.0}),
    "full-width-early": replace(
        TOGETHER, rules_out="full width, dendrites as in early-together", color="green", net={"width": 1.0}
    ),
}
FROM_THE_START = {
    "wider": ARMS["wider"],
    "wider-macs": IDEAS["wider-macs"],
    "wider-early": replace(
        PLAIN, rules_out="the place is what helps (equal parameters)", wider="parameters", early=True, marker="<"
    ),
    "wider-early-macs": replace(
        PLAIN, rules_out="the place is what helps (equal MACs)", wider="MACs", early=True, marker=">"
    ),
    "early-two": replace(START, rules_out="two dendrites a neuron", dendrites=2, marker="v"),
    "early-three": replace(START, rules_out="three dendrites a neuron", dendrites=3, marker="^"),
    "early-more": replace(START, rules_out="blocks 5 and 6 too", select="features.[0-6].*", marker="s"),
    "early-hardswish": replace(START, rules_out="φ is hard-swish", activation="hardswish", color="green", marker="P"),
    "early-gelu": replace(START, rules_out="φ is GELU", activation="gelu", color="green", marker="X"),
    "early-identity": replace(START, rules_out="φ matters", activation="identity", color="grey", marker="d"),
    "early-slow": replace(
        START, rules_out="dendrites learn at a third of the rate", color="pink", marker="p", settings={"thawed_lr": 0.3}
    ),
    "early-weight": replace(START, rules_out="w starts from 0.1", color="pink", marker="h", weight=0.1),
    "early-gradient": replace(
        START, rules_out="errors flow through the dendrites", rule="gradient", thaw=False, color="blue", marker="*"
    ),
    "early-together": TOGETHER,
}
EVERY_ARM = ARMS | IDEAS | SIGNAL | RECIPE | {"early-start": START} | SIZES | FROM_THE_START
