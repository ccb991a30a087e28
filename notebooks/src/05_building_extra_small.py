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
# A dendrite is not free: it has about as many weights as the neuron it helps. So the question of this notebook is not
# "do dendrites help" but "do they help more than the same parameters would, spent on something else".
#
# | | |
# |---|---|
# | **You will** | count honestly · trade width, head, dendrites · choose where dendrites grow · read a Pareto front |
# | **Minutes** | 30 |
# | **You need** | [04 · Perforated fine-tuning](04_perforated_fine_tuning.ipynb) |
#
# ## Where the parameters are
#
# `width` multiplies every channel count. The *head* is the classifier at the end: with 1000 outputs, as for ImageNet,
# or with the 10 that the task has.

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
# This course prints the fourth number, always. And since with ten outputs the original itself has fewer than 1.66 M,
# "35 % fewer parameters" can only be meant against *that*: an Extra-Small has at most **993,000, everything counted**.
#
# ### Exercise 1 · Two ways to count · easy · 5 minutes
#
# Write a function of a perforated model that returns both: the network plus the links `w` only, and everything.
# `dendritic_layers(model)` yields (name, layer) pairs; a layer has `.dendrites` (modules), `.weights` (the `w`, one
# tensor a dendrite) and `.cascade` (from older dendrites to newer ones).


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
# ### Exercise 2 · The widest that fits · medium · 6 minutes
#
# Every neuron gets `dendrites` dendrites, and all of it may have at most `limit` parameters. Which width is the largest
# that fits, among 0.3, 0.4, …, 1.0? **Predict first:** with one dendrite a neuron, will it be half of what fits
# without? `size(width, dendrites)` builds such a network and counts everything.

# %%
from functools import lru_cache


@lru_cache
def size(width, dendrites):
    with torch.device("meta"):
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
# Not half: parameters grow with the *square* of the width, since each layer's inputs and outputs both get wider.
# Doubling the parameters costs only about a factor $\sqrt 2$ in width. That cuts both ways: dendrites everywhere cost a
# factor of about 1.4 in width, and a plain network of the same size may be 1.4 times as wide. This is what the `wider`
# control is for.
#
# ## Design within a budget
#
# Change width, head, layers and dendrites, and see what it costs. The line marks the published 1.66 M, which you can
# beat easily; find designs with at most 993,000. Points are recorded networks on real images, each the mean of its
# seeds with its 95 % interval; a design that was never trained has a size, but no accuracy. *Recorded network* takes
# over the settings of one that was.

# %%
from perfteach import course, runs
from perfteach.widgets import BudgetDesigner

records = [run for name in runs.studies() for run in runs.recorded(name)]
BudgetDesigner(records)

# %% [markdown]
# Try it: dendrites on the *depthwise* convolutions only. They cost almost nothing, since a depthwise neuron sees a
# single channel. Then on the *head* only. Which of the two would you expect to help more? And the head itself: how many
# parameters does its *hidden layer* take, which was made for a thousand classes?
#
# ## Place a bet
#
# Dendrites everywhere cost too much. Before anything is measured, choose.

# %%
from perfteach.course import quiz

quiz.ask("05.1")

# %% [markdown]
# ## Ask the dendrites
#
# You need not guess. In a dendrite phase every layer's dendrites report how well they follow their neurons' error: the
# mean |r| of notebook 03. Let one dendrite grow everywhere in a small network for a short time, look where the error
# *can* be followed, and keep only those. The runs here are live, on the tier's images. (To save time the scout trains
# only a few epochs, at the live width; a real one trains the network that is to be built, until it has settled.)

# %%
from perfteach import FixedSwitch, PerforatedTrainer, TrainConfig
from perfteach.widgets import PhaseBar

tier = course.tier()
images = tier.load()
scout = perforate(mobilenet_small(10, tier.width, seed=0))
phases = FixedSwitch((tier.neuron[0] - 2, tier.neuron[1]), tier.dendrite)
config = TrainConfig(
    switch=phases,
    roll_back=False,
    batch_size=2 * tier.batch_size,
    lr=4e-3,
    dendrite_lr=4e-3,
)
trainer = PerforatedTrainer(
    scout, images, config, name="live/scout", callbacks=[PhaseBar()]
)
scouting = trainer.fit(progress=False)
# layer -> mean |r| in the last dendrite epoch
scores = scouting.scores.iloc[-1].to_dict()

# %%
from perfteach import plots

plots.score_heatmap(scouting)

# %% [markdown]
# *How to read it:* one row per layer, from the stem at the top to the head at the bottom; one column per epoch of the
# dendrite phase; brighter means that the dendrites follow their neurons' errors better.
#
# Careful: a layer with few positions scores high by chance alone (0.8/√P with P = images × positions, so about 0.018
# for 2,000 images in a layer with one position). In the quick tier most differences between layers are of that size, so
# the choice below shows the procedure and is no finding. And a score is not yet a gain, while the layers differ in
# price by a factor of more than a thousand:

# %%
# NBVAL_CHECK_OUTPUT
with torch.device("meta"):
    full = add_dendrites(perforate(mobilenet_small(10, 0.5)))  # the width to build
costs = {
    name: sum(
        p.numel() for part in (layer.dendrites, layer.weights) for p in part.parameters()
    )
    for name, layer in dendritic_layers(full)
}
cheapest, dearest = min(costs, key=costs.get), max(costs, key=costs.get)
print(
    f"{len(costs)} layers could carry dendrites, for {sum(costs.values()):,} parameters"
)
print(f"cheapest: {cheapest} with {costs[cheapest]:,}")
print(f"dearest:  {dearest} with {costs[dearest]:,}")

# %% [markdown]
# ### Exercise 3 · Choose layers for a budget · medium · 7 minutes
#
# Choose greedily: go through the layers by score *per parameter*, highest first; take a layer if it still fits into the
# budget, skip it if not, and go on. Return the names in the order they were taken.


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
# The dendrites were thawed, and went on learning from a random start; the early ones once with tanh and once with ReLU
# as their φ. Beside each stands a plain network of about the same size, and beside the early ones also one that needs
# as many multiply-accumulates (MACs). **Predict first:** the early layers hold a twentieth of the parameters. How much
# of the gain will they hold?

# %%
from IPython.display import Markdown

from perfteach import compare

early, everywhere = runs.recorded("search-early"), runs.recorded("search-all-images")
Markdown(course.about(early + everywhere))

# %%
choices = {
    "no dendrites": (early, "same-epochs"),
    "early layers": (early, "thawed-random"),
    "early, ReLU": (early, "relu"),
    "plain, as large": (early, "wider"),
    "plain, as many MACs": (early, "wider-macs"),
    "every layer": (everywhere, "thawed-random"),
    "plain, that large": (everywhere, "wider"),
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
# The last column has no interval and falls as networks grow, so compare it between networks of about one size only.
#
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
# So here is a place where dendrites are a good buy *by the parameter*: they beat a plain network of their size, and no
# difference can be seen to one that computes as much and has more than twice their parameters.
#
# **What it does not show.** Every interval rests on five seeds or, for *every layer*, three, and all read the same test
# images. At width 0.25 (study `search-early-wide`) early ReLU dendrites beat training longer again, but not clearly a
# plain network of their size. Where parameters may double, width did better than dendrites in every layer, here at the
# mean, and it beat frozen and thawed ones in the study `mini` below. The correlation phase is not the reason for these
# gains: these dendrites began at random and learned from the loss. A plain network that is wider in its early layers
# only was not tried. And parameters are one price of several. Early layers look at the most positions:

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
# Late layers score highest, and early ones gained most for their price. How can that be? Take a dendrite whose φ is
# the **identity**: no bend at all. Whatever it computes, its neuron could compute by itself, with other weights. So
# it cannot help, by construction. If it scores as well as one with a bend, then the score does not measure what a
# *bend* could add.
#
# Train a small network without dendrites, grow one dendrite a neuron on two copies of it, one kind each, and let them
# learn to follow the error for a few epochs.

# %%
import copy

from perfteach import correlate, set_phase
from perfteach.dendrites import scores as scores_of
from perfteach.dendrites import trainable

trained = mobilenet_small(10, tier.width, seed=0)
alone = TrainConfig(
    switch=FixedSwitch((tier.neuron[0],)), cycles=0, batch_size=config.batch_size, lr=4e-3
)
_ = PerforatedTrainer(trained, images, alone, name="live/alone").fit(progress=False)


# %%
def follow(activation):
    network = perforate(copy.deepcopy(trained), activation=activation)
    torch.manual_seed(0)
    set_phase(add_dendrites(network), "dendrite")
    optimizer = torch.optim.Adam(trainable(network), lr=4e-3)
    for epoch in range(tier.dendrite):
        set_phase(network, "dendrite")  # the scores begin anew
        for x, y in images.batches("train", config.batch_size, shuffle=True, seed=epoch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            correlate(network)
            optimizer.step()
    return scores_of(network)


followed = {activation: follow(activation) for activation in ("tanh", "identity")}

# %%
means = {name: sum(found.values()) / len(found) for name, found in followed.items()}
Markdown(
    f"**Live, {images.title()}.** Mean |r| over all layers: "
    f"{means['tanh']:.4f} with tanh, {means['identity']:.4f} with the identity, "
    f"which cannot help: {means['identity'] / means['tanh']:.0%} of the other."
)

# %% [markdown]
# Two facts are behind this. **At a trained optimum nothing linear is left:** the gradient of a neuron's weights is
# $\sum_p E_p\,x_p$ and that of its bias $\sum_p E_p$. Training ends where both are zero, and that *says* that the
# error is uncorrelated with every linear function of the neuron's input. What an identity dendrite still finds is
# what training has not finished, and chance. What a bent one finds on top of it is small. **And r² bounds the rest:**
# a frozen dendrite that correlates with the error by r can remove at most the share r² of its square. With |r| = 0.01
# that is a ten-thousandth.
#
# So what gained in the recorded runs was not found by the score: those dendrites learned from the loss, together with
# their neurons. Why they paid most in the early layers, these runs do not say.

# %% [markdown]
# ## Build it
#
# Half the width, as in the team's public script, and a head with as many outputs as there are classes. With
# dendrites on every layer it stays below the line already, as exercise 2 says. Choosing makes it much smaller: here
# with at most 100,000 parameters for dendrites. This choice is counted, not trained; Extra-Small with dendrites
# everywhere is among the recorded runs below. (Where exercise 3 is not solved yet, the early layers get dendrites.)

# %%
from perfteach import mobilenet_small

chosen = choose_layers(scores, costs, 100_000) or "features.[0-4].*"
extra_small = mobilenet_small(10, 0.5, seed=0)
perforate(extra_small, chosen)
add_dendrites(extra_small)
sizes = {
    "MobileNet-Small, 1000 outputs": plain(1.0, "imagenet"),
    "MobileNet-Small, 10 outputs": plain(1.0, "task"),
    "Extra-Small, dendrites everywhere": count_parameters(full),
    "Extra-Small, dendrites on chosen layers": count_parameters(extra_small),
}
plots.parameter_bars(
    {name: count.as_dict() for name, count in sizes.items()}, limit=993_000
)

# %%
# NBVAL_CHECK_OUTPUT
fits = count_parameters(extra_small).total <= 993_000
print("993,000 or less, every dendrite counted:", fits)
print("dendrites everywhere:", f"{count_parameters(full).total:,}")

# %% [markdown]
# ## Was it worth it? The Pareto front
#
# Size alone is no merit. Put each network where it belongs: parameters to the right, error upwards. A network is on the
# **Pareto front** if every other network is larger or makes more errors.
#
# ### Exercise 4 · The Pareto front · medium · 6 minutes
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
# ## At 64 × 64 pixels, as published
#
# The team enlarged the images to 64 × 64 pixels, which gives the late layers more positions to look at. These runs do
# the same: the original MobileNet-Small, an Extra-Small of width 0.5 with and without dendrites, and a plain network
# about as large as Extra-Small with its dendrites. `baseline` ends after 30 epochs, the others after 60. **Predict
# first:** which of them will reach the 82.25 % that the case study reports?

# %%
published = runs.recorded("case-study") + runs.recorded("case-study-extra-small")
Markdown(course.about(published))

# %%
plots.pareto(recorded_points(published), data=published[0].header["data"]["name"])

# %%
best = max(published, key=lambda run: run.result["validation_accuracy"])
reached = best.result["test_accuracy"]
Markdown(
    f"The best on validation is `{best.name}`, with "
    f"{best.result['parameters']['total']:,} parameters, every dendrite counted. "
    f"Its test accuracy is {reached:.2f} %, and the case study reports 82.25 %: "
    f"a difference of {reached - 82.25:+.2f} points."
)

# %% [markdown]
# *How to read it:* one seed, so a distance of a point may be chance. The images, the schedule and the number of epochs
# differ from the team's, so the last sentence compares two recipes as much as two networks. What may be compared is
# what stands in the picture.
#
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
# > * *Scores of an untrained network.* At the start every error is large and easy to follow. Scout when training has
# >   settled.
# > * *The front moves with every seed.* Then the points are closer than the scatter. Draw intervals, or more seeds.
# >
# > More in [troubleshooting](../docs/troubleshooting.md).
#
# **Take away.** Count everything, and say which head. Size grows with the square of the width, so twice the size buys
# dendrites everywhere *or* 1.4 times the width. Which of them is better, no count can say; in the recorded runs it was
# width. Dendrites paid by the parameter where there are few of them, in the early layers. Only training could tell.
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
