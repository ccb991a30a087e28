# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402

# %% [markdown]
# # 05 · Building Extra-Small
#
# **You may spend 993,000 parameters, dendrites included. Where do they buy the most?**
#
# A [dendrite](../docs/glossary.md#dendrite) is not free: it has about as many weights as the neuron it helps. So the
# question of this notebook is not "do dendrites help" but "do they help more than the same parameters would, spent on
# something else".
#
# | | |
# |---|---|
# | **You will** | count honestly · trade width, head, dendrites · choose where dendrites grow · read a Pareto front |
# | **Minutes** | 55, with a place to pause after 35, and 35 more for the last exercise if you like |
# | **You need** | [04 · Perforated fine-tuning](04_perforated_fine_tuning.ipynb) |
#
# ## Where the parameters are
#
# [`width`](../docs/glossary.md#width) multiplies every channel count. The *[head](../docs/glossary.md#head)* is the
# classifier at the end: with 1000 outputs, as for ImageNet, or with the 10 that the task has.

# %%
# NBVAL_CHECK_OUTPUT
import torch

from perfteach import count_parameters, mobilenet_small


def plain(width, head):
    with torch.device("meta"):  # shapes without memory: enough to count
        return count_parameters(mobilenet_small(10, width, head=head))


for width in (1.0, 0.75, 0.5):
    imagenet, task = plain(width, "imagenet"), plain(width, "task")
    print(
        f"width {width:4}: {imagenet.total:9,} with 1000 outputs, {task.total:9,} with 10"
    )

# %% [markdown]
# Look at the first line. The plain MobileNet-Small with **ten** outputs has a million weights fewer: those told apart
# classes that CIFAR-10 does not have. Whoever compares network sizes has to say which head.
#
# ## Two ways to count
#
# The published Extra-Small goes "from 2.54 M to 1.66 M parameters". The first number is in the table above. Where does
# the second come from? Take width 0.75, and the 1000 outputs that the team's public script keeps, and grow one
# dendrite per neuron:

# %%
# NBVAL_CHECK_OUTPUT
from perfteach import add_dendrites, perforate
from perfteach.dendrites import dendritic_layers

with torch.device("meta"):
    grown = add_dendrites(perforate(mobilenet_small(10, 0.75, head="imagenet")))
links = sum(layer.neurons for _, layer in dendritic_layers(grown))
print(f"the network without dendrites:      {plain(0.75, 'imagenet').total:9,}")
print(f"one weight w from each dendrite:    {links:9,}")
print(f"these two together:                 {plain(0.75, 'imagenet').total + links:9,}")
print(f"with the dendrites' own weights:    {count_parameters(grown).total:9,}")

# %% [markdown]
# The third line is 1.66 M. So the published figure is *consistent with* counting each dendrite's link to its neuron,
# and not the dendrite itself; the fourth line is what has to be stored and multiplied. We cannot know what was meant.
# This course prints the fourth number, always. The published 35 % are meant against the original with a thousand
# outputs, 2.54 M. With ten outputs the original has 1,528,106 parameters, which is fewer than 1.66 M to begin with. So
# this course asks for 35 % fewer than *that*: an Extra-Small has at most **993,000, everything counted**.
#
# ### Exercise 1 · Two ways to count · easy · 8 minutes
#
# Write a function of a perforated model that returns both: the network plus the links `w` only, and everything. The
# model may have several dendrites a neuron. `dendritic_layers(model)` yields (name, layer) pairs, and a layer has three
# lists: `.dendrites` (modules), `.weights` (the `w`, one tensor for each dendrite of a neuron) and `.cascade` (tensors
# too, from older dendrites to newer ones: they belong to the dendrites, and are no links to the neuron).


# %% tags=["exercise"]
def two_counts(model):
    ### BEGIN SOLUTION
    everything = sum(p.numel() for p in model.parameters())
    layers = [layer for _, layer in dendritic_layers(model)]
    parts = [part for layer in layers for part in (layer.dendrites, layer.cascade)]
    hidden = sum(p.numel() for part in parts for p in part.parameters())
    return everything - hidden, everything
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
from perfteach.course import checks

checks.check_two_counts(two_counts)

# %% [markdown]
# ### Exercise 2 · The widest that fits · medium · 7 minutes
#
# Every neuron gets `dendrites` dendrites, and all of it may have at most `limit` parameters. Which width is the largest
# that fits, among 0.3, 0.4, …, 1.0? (One of them always does.) **Predict first:** with one dendrite a neuron, will it
# be half of what fits without? `size(width, dendrites)` builds such a network and counts everything; the check builds
# many, which takes some seconds.

# %%
from functools import lru_cache


@lru_cache
def size(width, dendrites):
    model = perforate(mobilenet_small(10, width))
    for _ in range(dendrites):
        add_dendrites(model)
    return count_parameters(model).total


# %% tags=["exercise"]
def widest(dendrites, limit):
    ### BEGIN SOLUTION
    widths = [step / 10 for step in range(3, 11)]
    return max(width for width in widths if size(width, dendrites) <= limit)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_widest(widest)

# %% [markdown]
# It is not half. Under 993,000 parameters a width of 0.7 fits without dendrites, and of 0.5 with one dendrite a neuron:
# parameters grow with the *square* of the width, since each layer's inputs and outputs both get wider. Doubling the
# parameters costs only about a factor $\sqrt 2$ in width. That cuts both ways: dendrites everywhere cost a factor of
# about 1.4 in width, and a plain network of the same size may be 1.4 times as wide. This is what the `wider` control is
# for.
#
# ## Design within a budget
#
# Change width, head, layers and dendrites, and see what it costs. The dashed line marks the 993,000 that you may spend.
# Points are recorded networks on real images, each the mean of its seeds with its 95 %
# [interval](../docs/glossary.md#interval); a design that was never trained has a size, but no accuracy. *Recorded
# network* takes over the settings of one that was.

# %%
from perfteach import course, runs
from perfteach.widgets import BudgetDesigner

records = [run for name in runs.studies() for run in runs.recorded(name)]
BudgetDesigner(records)

# %% [markdown]
# Try it: dendrites on the *[depthwise](../docs/glossary.md#depthwise-convolution)* convolutions only. They cost almost
# nothing, since a depthwise neuron sees a single channel. Then on the *head* only. Which of the two would you expect to
# help more? And the head itself: how many parameters does its *hidden layer* take, which was made for a thousand
# classes?
#
# ## Place a bet
#
# Dendrites everywhere cost too much. Before anything is measured, choose where they will gain most for their
# parameters: in the early layers, which are the stem and the first four blocks; in the late ones; in the head; or
# everywhere alike? Write your bet down. You will be asked when the records have spoken.
#
# ## Ask the dendrites
#
# You need not guess. In a [dendrite phase](../docs/glossary.md#dendrite-phase) every layer's dendrites report how well
# they follow their neurons' error: the [mean |r|](../docs/glossary.md#correlation-r) of notebook 03. Take the network
# that is to be built here, trained and still without dendrites, let one grow on every neuron, look
# where the error *can* be followed, and keep only those. This is one short dendrite phase, live, on the tier's images.

# %%
import pandas as pd

from perfteach import correlate, data, mobilenet_extra_small, set_phase
from perfteach.dendrites import scores as scores_of
from perfteach.dendrites import trainable

tier = course.tier()
images = tier.load()
epochs = 1 if tier.name == "quick" else tier.dendrite
followed = (
    images  # in the quick tier fewer of them, since every neuron has a dendrite here
)
if tier.name == "quick":
    followed = images.subset(600, validation=500, test=1_000)

# %%


def follow(activation, rule="perforated"):
    torch.manual_seed(0)
    network = mobilenet_extra_small(weights="cifar10-plain")
    add_dendrites(perforate(network, rule=rule, activation=activation))
    for epoch in range(epochs):
        set_phase(network, "dendrite")  # the scores begin anew
        optimizer = torch.optim.Adam(trainable(network), lr=4e-3)
        for x, y in followed.batches("train", 32, shuffle=True, seed=epoch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            correlate(network)
            optimizer.step()
    return scores_of(network)


everywhere = follow("tanh")  # layer -> mean |r|

# %% [markdown]
# And what would a dendrite cost in each of these layers?

# %%
with torch.device("meta"):
    full = add_dendrites(perforate(mobilenet_extra_small()))
costs = {
    name: sum(
        p.numel() for part in (layer.dendrites, layer.weights) for p in part.parameters()
    )
    for name, layer in dendritic_layers(full)
}
scores = {name: everywhere[name] for name in costs}
best = sorted(scores, key=scores.get, reverse=True)
columns = {"mean |r|": scores, "parameters of its dendrites": costs}
table = pd.DataFrame(columns).loc[[*best[:6], *best[-6:]]]
table.style.format({"mean |r|": "{:.4f}", "parameters of its dendrites": "{:,.0f}"})

# %% [markdown]
# *How to read it:* the six layers whose dendrites follow their neurons' errors best, and the six worst. A layer with
# few positions scores high [by chance alone](../docs/glossary.md#chance-level): at least about 0.8/√P with P = images ×
# positions, so 0.033 for 600 images in a layer with one position. In the quick tier most differences between layers are
# of that size, so the choice below shows the procedure and is no finding. And a score is not yet a gain, while the
# layers differ in price by a factor of more than two hundred:

# %%
# NBVAL_CHECK_OUTPUT
cheapest, dearest = min(costs, key=costs.get), max(costs, key=costs.get)
print(
    f"{len(costs)} layers could carry dendrites, for {sum(costs.values()):,} parameters"
)
print(f"cheapest: {cheapest} with {costs[cheapest]:,}")
print(f"dearest:  {dearest} with {costs[dearest]:,}")

# %% [markdown]
# ### Exercise 3 · Choose layers for a budget · medium · 6 minutes
#
# `scores` and `costs` are dictionaries by layer name. Choose greedily: go through the layers by score *per parameter*,
# highest first; take a layer if it still fits into the budget, skip it if not, and go on. Return the names in the order
# they were taken.


# %% tags=["exercise"]
def choose_layers(scores, costs, budget):
    ### BEGIN SOLUTION
    chosen = []
    for name in sorted(scores, key=lambda name: scores[name] / costs[name], reverse=True):
        if costs[name] <= budget:
            chosen.append(name)
            budget -= costs[name]
    return chosen
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_choose_layers(choose_layers)

# %% [markdown]
# ## What a choice of layers brought
#
# Two recorded studies trained one choice. A very small MobileNet (width 0.15) trained for 20 epochs and then for 33
# more: without dendrites, with dendrites in the stem and the first four blocks only, and with dendrites in every layer.
# The dendrites were [thawed](../docs/glossary.md#thawed), and went on learning from a random start; the early ones once
# with tanh and once with ReLU as their φ. Beside each stands a plain network of about the same size, and beside the
# early ones also one that needs as many [multiply-accumulates](../docs/glossary.md#multiply-accumulate) (MACs).
# **Predict first:** the early layers hold a twentieth of the parameters. How much of the gain will they hold?

# %%
from IPython.display import Markdown

from perfteach import compare, metrics, plots

early, every_layer = runs.recorded("search-early"), runs.recorded("search-all-images")
Markdown(course.about(early + every_layer))

# %%
choices = {
    "no dendrites": (early, "same-epochs"),
    "early layers": (early, "thawed-random"),
    "early, ReLU": (early, "relu"),
    "plain, as large": (early, "wider"),
    "plain, as many MACs": (early, "wider-macs"),
    "every layer": (every_layer, "thawed-random"),
    "plain, that large": (every_layer, "wider"),
}
tests = {
    name: compare.accuracies(compare.results(study))[arm]
    for name, (study, arm) in choices.items()
}
plots.paired_differences(tests, "no dendrites", data=early[0].header["data"]["name"])

# %% [markdown]
# *How to read it:* one row a network; small marks are seeds, the large one is their mean with its 95 % interval; right
# of the line there are fewer errors than without dendrites. Now divide by the price:

# %%
# NBVAL_CHECK_OUTPUT
start = early[0].result["parameters"]["total"]
for name, (study, arm) in list(choices.items())[1:]:
    run = next(run for run in study if run.header["arm"] == arm)
    more = run.result["parameters"]["total"] - start
    gain = compare.gain(tests, name, "no dendrites").interval
    for_thousand = 1000 * gain.estimate / more
    print(
        f"{name:20} {more:+7,} parameters {gain.estimate:+.2f} points "
        f"[{gain.low:+.2f}, {gain.high:+.2f}]  {for_thousand:+.2f} per 1,000"
    )

# %% [markdown]
# The last column has no interval and falls as networks grow, so compare it between networks of about one size only:
# the two choices of early layers with the plain network beside them, and not with dendrites in every layer. And your
# bet?

# %%
from perfteach.course import quiz

quiz.ask("05.1")

# %% [markdown]
# **What it shows.** At the mean, dendrites in the stem and the first four blocks gained as much as dendrites in every
# layer, for a twentieth of the parameters. With ReLU they gained more; ReLU in every layer was not run on all images,
# so how much of that is the place and how much is φ stays open. A plain network of about that size did no better than
# the one without dendrites. Compare seed by seed:

# %%
# NBVAL_CHECK_OUTPUT
for control in ("plain, as large", "plain, as many MACs", "early layers"):
    gain = compare.gain(tests, "early, ReLU", control).interval
    print(
        f"early, ReLU, against {control:19} {gain.estimate:+.2f} points "
        f"[{gain.low:+.2f}, {gain.high:+.2f}]"
    )

# %% [markdown]
# So here is a place where dendrites are a good buy *by the parameter*: they beat a plain network of their size. From
# one that computes as much, and has more than twice their parameters, they cannot be told.
#
# **What it does not show.** Whether early is *better* than late: late layers alone, and the head alone, were never
# trained. And the idea was chosen by looking: what gained in its first seed was carried on, and that seed counts in the
# interval, so the gain of early ReLU dendrites is probably somewhat too large. Every interval rests on five seeds or,
# for *every layer*, three, and all read the same test images. At width 0.25 (study `search-early-wide`) early ReLU
# dendrites beat training longer again, but not clearly a plain network of their size. Where parameters may double,
# width did better than dendrites in every layer, here at the mean only, and it beat frozen and thawed ones in the study
# `mini` below. The correlation phase is not the reason for these gains: these dendrites began at random and learned
# from the loss.
#
# One rival is missing above: `wider-early`, a plain network with its additional width in the same early layers. It came
# later, by another recipe (study `early`). Of the eleven forms of early dendrites in that study, `early-together` did
# best on the validation images: it grows before the first epoch, with GELU for φ, `w` from 0.1, and errors that flow
# through the dendrites. It was then trained again with five fresh seeds:

# %%
# NBVAL_CHECK_OUTPUT
for study, arm, control in (
    ("early", "wider-early", "wider"),
    ("early", "wider-early-macs", "wider-macs"),
    ("early", "early-together", "wider-macs"),
    ("early", "early-together", "wider-early-macs"),
    ("early-control", "wider-early-macs", "wider-macs"),
    ("early-control", "early-start", "wider-early"),
    ("early-confirmed", "wider-early", "wider"),
    ("early-confirmed", "early-together", "same-epochs"),
    ("early-confirmed", "early-together", "wider"),
    ("early-confirmed", "early-together", "wider-early"),
):
    gain = compare.gain(
        compare.accuracies(compare.results(runs.recorded(study))), arm, control
    )
    print(f"{study:15}  {arm:16} against {control:11}  {gain}")

# %% [markdown]
# They beat a plain network of their size, and cannot be told from one that has its width in the same layers. A plain
# network seems to gain there, too: it did in three seeds, and in five others the interval holds zero. Is it the place,
# or the arithmetic that is spent there? At equal arithmetic the two plain networks cannot be told apart in these small
# networks; in somewhat larger ones, with larger maps (study `early-control`), the early place gains, and plain channels
# there make fewer errors than dendrites there. In the small networks, too, both are ahead of the dendrites at the mean,
# width everywhere by more than chance explains. Whether the dendrites beat training longer, five seeds cannot tell.
#
# And parameters are one price of several. Early layers look at the most positions:

# %%
# NBVAL_CHECK_OUTPUT
from perfteach import count_macs

with torch.device("meta"):
    shapes = {
        "no dendrites": mobilenet_small(10, 0.15),
        "early layers": perforate(mobilenet_small(10, 0.15), "features.[0-4].*"),
        "every layer": perforate(mobilenet_small(10, 0.15)),
    }
    for name, network in shapes.items():
        if name != "no dendrites":
            add_dendrites(network)
        print(f"{name:17}  {count_macs(network).total:9,} multiply-accumulates")

# %% [markdown]
# Per multiply-accumulate the early layers are dear: they do nearly two thirds of the network's arithmetic. Whether a
# network has to be small or fast decides which price counts.

# %% [markdown]
# ## Why a score is not a gain
#
# The stem and the first blocks score low, and they gained most for their price. How can that be? Take a dendrite whose
# φ is the **identity**: no bend at all. Whatever it computes, its neuron could compute by itself, with other weights.
# So it cannot help, by construction. If it scores as well as one with a bend, then the score does not measure what a
# *bend* could add.
#
# The same trained network again, and the same short dendrite phase, with straight dendrites this time:

# %%
straight = follow("identity")
by_chance = follow("tanh", rule="shuffled")  # errors of other images

# %%
columns = {"tanh": everywhere, "identity": straight, "chance": by_chance}
means = pd.DataFrame(columns).mean()
Markdown(
    f"**Live, {images.title()}.** Mean |r| over all {len(straight)} layers: "
    f"{means['tanh']:.4f} with tanh, {means['identity']:.4f} with the identity, "
    f"which cannot help, and {means['chance']:.4f} with tanh and errors of other images, "
    "where there is nothing to follow."
)

# %% [markdown]
# In the quick tier's few images most of each of the three numbers is chance. With 20,000 images, in one run when this
# course was designed, whose record was not kept, tanh had 0.0095 and the identity 0.0093.

# %% [markdown]
# Two facts are behind this. **At a trained optimum nothing linear is left:** the gradient of a neuron's weights is
# $\sum_p E_p\,x_p$ and that of its bias $\sum_p E_p$. Training ends where both are zero, and that *says* that the
# error is uncorrelated with every linear function of the neuron's input. What an identity dendrite still finds is
# what training has not finished, and chance. What a bent one finds on top of it is small. **And r² bounds the rest:**
# as long as nothing but w and the bias moves, a frozen dendrite that correlates with the error by r can remove at most
# the share r² of a squared error. With |r| = 0.01 that is a ten-thousandth. (Where the neuron learns, too, more can go.
# For other losses it is a rule of thumb for small steps.)
#
# So what gained in the recorded runs was not found by the score: those dendrites learned from the loss, together with
# their neurons. Why they paid most in the early layers, these runs do not say.
#
# > **A good place to pause.** You have counted, bet and measured where dendrites pay. The second part builds the
# > network. (To go on another day, run the cells up to here again: *Run → Run All Above Selected Cell*.)

# %% [markdown]
# ## Is it all needed?
#
# Before something is added, look at what is there. The later blocks hold most of the body's parameters. Some of them
# add what they compute to their input, so they can be taken out and the input goes on as it is. **Predict first:** what
# will the trained MobileNet-Small lose with each?


# %%
def right_by(network):
    # Not the test images: what is decided by them is no longer measured by them.
    return metrics.predictions(network, images, "validation") == images.validation.labels


# %%
lines = [
    (
        "(as it is)",
        plain(1.0, "task").total,
        right_by(mobilenet_small(weights="cifar10")),
    )
]
for gone in ([5], [6], [8], [10], [11], [10, 11]):
    cut = mobilenet_small(weights="cifar10")
    for block in gone:
        cut.features[block] = torch.nn.Identity()
    left = count_parameters(cut).total
    lines.append((f"without block {gone}", left, right_by(cut)))
share = [f"{100 * right.double().mean():.1f}" for _, _, right in lines]
rows = [
    f"| {line[0]} | {line[1]:,} | {right} |"
    for line, right in zip(lines, share, strict=True)
]
table = "\n".join(rows)
whole, less = (lines[which][2] for which in (0, -1))
loss = metrics.paired_bootstrap(100 * whole.double(), 100 * less.double())
Markdown(
    f"| MobileNet-Small | parameters | right (%), live |\n|---|---|---|\n{table}\n\n"
    f"Without the last two: {loss} points, by the bootstrap over {len(whole)} images."
)

# %% [markdown]
# The last two hold more than a third of all parameters, and on these images no loss can be seen without them; the
# interval says how much could hide there. A likely reason, which was not tested: on such small pictures their maps have
# 2 × 2 positions, and their 5 × 5 kernels look at what the block before has seen already.

# %% [markdown]
# ## Build it
#
# Put together what you have seen. The head's hidden layer was made for a thousand classes: it goes. So do the last two
# blocks. What is left keeps larger maps, 4 × 4 positions at the end, at three quarters of the width. And a little of
# what was saved buys dendrites where they paid in the smaller network, in the stem and the first four blocks, with
# ReLU, growing before the first epoch and learning beside their neurons. That is the course's **Extra-Small**. Beside
# it stands your own choice of layers, for no more parameters. Whether it would do better, only training could tell:
# exercise 4 of notebook 07 shows how to ask. (Where exercise 3 is not solved yet, the early layers stand in.)

# %%
early_layers = "features.[0-4].*"
with torch.device("meta"):
    extra_small = perforate(mobilenet_extra_small(), early_layers, activation="relu")
    add_dendrites(extra_small)
    budget = count_parameters(extra_small).as_dict()["dendrites"]
    solved = checks.check_choose_layers(choose_layers)
    chosen = choose_layers(scores, costs, budget) if solved else early_layers
    of_yours = add_dendrites(perforate(mobilenet_extra_small(), chosen))
    bare = count_parameters(mobilenet_extra_small())
    no_hidden = count_parameters(mobilenet_small(hidden=0))
sizes = {
    "MobileNet-Small, 1000 outputs": plain(1.0, "imagenet"),
    "MobileNet-Small, 10 outputs": plain(1.0, "task"),
    "without the hidden layer": no_hidden,
    "and narrower, with nine blocks": bare,
    "Extra-Small": count_parameters(extra_small),
    "your choice of layers": count_parameters(of_yours),
}
plots.parameter_bars(
    {name: count.as_dict() for name, count in sizes.items()}, limit=993_000
)

# %% [markdown]
# *How to read it:* each bar is a network, cut into its parts; the dashed line is the limit.

# %%
# NBVAL_CHECK_OUTPUT
total = count_parameters(extra_small).total
print("993,000 or less, every dendrite counted:", total <= 993_000)
print(f"Extra-Small: {total:,}, of which {budget:,} are dendrites'")

# %% [markdown]
# ## Its training, recorded
#
# This network, the same without its dendrites, and the original were trained by one recipe, for as many epochs, on the
# same images, three seeds each, on a GPU; on one core of a CPU such a run takes one to two hours. The networks of full
# width, and two seeds of `wider`, were trained later, on a CPU with a newer PyTorch: where they are compared with the
# original, that difference is in it, too. So the records came
# with the course, and so did the trained networks. **Predict first:** is Extra-Small better than the original, and is
# it the dendrites' doing?

# %%
trained = runs.recorded("extra-small")
Markdown(course.about(trained))

# %%
plots.training_curves(runs.recorded("extra-small", arm="early-start", seed=0)[0])

# %% [markdown]
# *How to read it:* errors by epoch of one of these runs, Extra-Small's first seed; there is no dendrite phase in it.

# %%
# NBVAL_CHECK_OUTPUT
by_arm = compare.results(trained)
reached = compare.accuracies(by_arm)
ours, original = reached["early-start"], reached["original"]
ahead = sum(ours[seed] > original[seed] for seed in ours)
Markdown(
    "| network | parameters | seeds | test error (%) |\n|---|---|---|---|\n"
    + "\n".join(
        f"| {row.arm} | {row.parameters:,.0f} | {len(row.runs)} | {row.error:.2f} |"
        for row in compare.rows(by_arm)
    )
    + f"\n\n{compare.answers('extra-small')}"
    + f"\n\nExtra-Small is ahead of the original in {ahead} of {len(ours)} seeds."
)

# %% [markdown]
# *How to read it:* `original` is MobileNet-Small; `early-start` is Extra-Small, with one early dendrite a neuron from
# the first epoch; `same-epochs` is the same network without any; `wider` is a plain network of about Extra-Small's
# size. `original-fine` is the original with maps as large as Extra-Small's. `full-width` has all the channels of the
# original in the nine blocks, and `full-width-early` has dendrites of the form `early-together` besides. Positive
# numbers are fewer errors, and the answer is "cannot tell" where the interval over the seeds holds zero. The case study
# reports 82.25 % for its Extra-Small, an error of 17.75 %; its images, its schedule and its way to count were others.
#
# Read two questions together: whether Extra-Small beats the original, and whether its network does so without its
# dendrites. On these test images the small network made fewer errors than one with more than six times its parameters
# in three seeds of three, though the interval just reaches zero, and so it did *without* its dendrites. Dendrites like
# these gained in the much smaller network above; in this one they bring nothing that three seeds could show.
#
# So it is the shape: fewer blocks, no hidden layer, fewer channels, larger maps. The row `original-fine` separates the
# last of these from the others: with larger maps the original makes fewer errors than before, and slightly fewer than
# Extra-Small. It needs more than six times its parameters and nearly twice its arithmetic for that. At full width,
# Extra-Small cannot be told from it, with a quarter of its parameters and less arithmetic, and without its dendrites it
# cannot either. So if the two last blocks and the hidden layer are missed at all, it is by less than half a point.
# Whether the dendrites have a part in what full width reaches, three seeds cannot
# tell.
#
# Nothing is free: its larger maps make Extra-Small do more arithmetic than the original, nearly half as much again, and
# full width twice as much. And that is the use of a control: without the arm `same-epochs` this page would have praised
# the dendrites for it.

# %% [markdown]
# ## Was it worth it? The Pareto front
#
# Size alone is no merit. Put each network where it belongs: parameters to the right, error upwards. A network is on the
# **[Pareto front](../docs/glossary.md#front)** if every other network is larger or makes more errors.
#
# ### Exercise 4 · The Pareto front · medium · 9 minutes
#
# `points` is a list of (name, parameters, accuracy). Return the names on the front, the smallest network first. Of two
# networks of equal size the more accurate one counts, and a larger one with the same accuracy is not on the front.


# %% tags=["exercise"]
def front(points):
    ### BEGIN SOLUTION
    names, best = [], float("-inf")
    for name, _, accuracy in sorted(points, key=lambda point: (point[1], -point[2])):
        if accuracy > best:
            names.append(name)
            best = accuracy
    return names
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_front(front)

# %% [markdown]
# Your function now says which arms of the recorded study `mini` are on the front: at the mean over five seeds each,
# never by the luckiest one. **Predict first:** will a network with dendrites be among them?

# %%
mini = runs.recorded("mini")
Markdown(course.about(mini))

# %%
# NBVAL_CHECK_OUTPUT
from statistics import mean

by_arm = compare.results(mini)
points = [
    (
        arm,
        next(iter(of_arm.values())).ended.total,
        mean(run.ended.test_accuracy for run in of_arm.values()),
    )
    for arm, of_arm in by_arm.items()
]
if checks.check_front(front):
    print("on your front:", ", ".join(front(points)))
else:
    print("Exercise 4 is open; the rings in the picture show the front.")

# %%
from perfteach.widgets.budget import recorded_points

plots.pareto(recorded_points(mini), data=mini[0].header["data"]["name"])

# %% [markdown]
# *How to read it:* left is smaller, down is better; large marks are means of seeds, and the ringed ones are on the
# front. Compare within a study only, and use the intervals of notebook 04 before you believe a distance.

# %% [markdown]
# ## Smaller still
#
# Extra-Small began with what a network for small images does not need. How much further down can you go, if the answers
# may be a little worse?
#
# ### Exercise 5 · Smaller by surgery · very hard · 35 minutes
#
# Make a network of at most **40,000 parameters**, every one counted, that gets at least **74 %** of the sample's test
# images right. Start from the trained MobileNet-Small, `mobilenet_small(weights="cifar10")`, cut, and let what is left
# learn on. Whole blocks can be left out as above, and the last convolution and the head must go, too: a new
# `torch.nn.Linear` from the last block's channels to the ten classes takes their place. A block fits wherever as many
# channels come in as it expects. But whole blocks alone do not get you there: what remains is either too large or too
# often wrong. Count what the blocks that you keep are made of, by kind, as in section 6 of notebook 01.
#
# Load all 4,500 training images with `sample = data.load("cifar10-sample")`; `images` holds fewer in the quick tier.
# Train with a loop of your own, or with
# `PerforatedTrainer(my_network, sample, TrainConfig(FixedSwitch((6,), 0), cycles=0, batch_size=64)).fit()`, all three
# from `perfteach`; six epochs take half a minute to a minute on one core. Choose among your attempts by the validation
# images, and run the check last: it reads the test images.

# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB my_network = ...  # your network, trained
from torch.nn import functional as F

sample = data.load("cifar10-sample", progress=False)
lessons = sample.batches("train", 40, shuffle=True)  # the same each time they are read
whole = mobilenet_small(weights="cifar10").eval().requires_grad_(False)  # the teacher
answers = [(whole(x) / 4).softmax(dim=1) for x, _ in lessons]
my_network = mobilenet_small(weights="cifar10")
my_network.features = my_network.features[:9]
for block in (5, 6, 8):
    my_network.features[block] = torch.nn.Identity()
for block in (1, 7):  # their squeeze-and-excite, before the last convolution
    my_network.features[block].block[-2] = torch.nn.Identity()
my_network.classifier = torch.nn.Linear(48, 10)
optimizer = torch.optim.AdamW(my_network.train().parameters())
rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, 4 * len(answers) + 1)
for epoch in range(4):
    for (x, y), soft in zip(lessons, answers, strict=True):
        logits = my_network(x.flip(3) if epoch % 2 else x)
        mine = torch.log_softmax(logits / 4, dim=1)
        far = F.kl_div(mine, soft, reduction="batchmean")  # from the teacher
        loss = F.cross_entropy(logits, y) + 9 * 4**2 * far  # 4² undoes the temperature
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
### END SOLUTION

# %%
checks.check_surgery(my_network)

# %% [markdown]
# ## Quiz
#
# Choose an answer: it is checked at once. (Where no buttons appear, the answer is folded below its question.)

# %%
quiz.ask("05.2")

# %%
quiz.ask("05.3")

# %% [markdown]
# > **What could go wrong**
# >
# > * *The budget is met on paper only.* `count_parameters` counts every dendrite. Grow them before you count.
# > * *"No layer is called …"* Names depend on the network; `print(model.perforation)` lists them, and why a layer
# >   cannot carry dendrites.
# > * *Scores of an untrained network.* At the start every error is large and easy to follow. Measure the scores when
# >   training has settled.
# > * *The front moves with every seed.* Then the points are closer than the scatter. Draw intervals, or more seeds.
# >
# > More in [troubleshooting](../docs/troubleshooting.md).
#
# **Take away.** Count everything, and say which head. Size grows with the square of the width, so twice the size buys
# dendrites everywhere *or* 1.4 times the width. Which of them is better, no count can say; in the study `mini` it was
# width, and in a still smaller network nobody could tell. In a very small network, dendrites paid by the parameter in
# the early layers; in Extra-Small they showed no gain in three seeds. Only training could tell. (The published setting,
# images enlarged to 64 × 64 pixels, was recorded too: [docs/evidence.md](../docs/evidence.md).)
#
# **Next:** [06 · Shipping it](06_shipping_it.ipynb), on to the device.
#
# **References**
#
# * A. Howard et al., *Searching for MobileNetV3*, [arXiv 1905.02244](https://arxiv.org/abs/1905.02244)
# * R. Brenner and L. Itti, *Perforated Backpropagation*, [arXiv 2501.18018](https://arxiv.org/abs/2501.18018)
# * M. Tan and Q. Le, *EfficientNet*, [arXiv 1905.11946](https://arxiv.org/abs/1905.11946): width, depth and resolution
#   traded together

# %% [markdown]
# ## How far you are
#
# A filled circle is an exercise whose check has passed. This is kept in `perfteach-progress.json` beside the notebooks,
# on your machine only.

# %%
from perfteach.course import progress

progress.show()
