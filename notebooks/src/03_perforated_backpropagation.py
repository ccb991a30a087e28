# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402

# %% [markdown]
# # 03 · Perforated backpropagation
#
# **How does a whole network learn in two phases, when no error may flow through a dendrite?**
#
# One neuron with one [dendrite](../docs/glossary.md#dendrite) is a trick. Now every neuron of a network has one. You
# check with autograd where the error flows and where it is blocked, follow the loop of
# [phases](../docs/glossary.md#phase) built by hand, and find that the course's trainer gives the same numbers to the
# last epoch.
#
# | | |
# |---|---|
# | **You will** | write a perforated layer · a switch rule · complete the phase loop · walk through a recorded run |
# | **Minutes** | 45, and 30 more for the last exercise if you like |
# | **You need** | [02 · One neuron, one dendrite](02_one_neuron_one_dendrite.ipynb) |

# %%
import copy

import torch
from torch.nn import functional as F

from perfteach import add_dendrites, correlate, perforate, plots, set_phase
from perfteach.course import checks
from perfteach.data.points import small_network, two_spirals

data = two_spirals(1000, turns=1.4)
x, y = data.train.inputs, data.train.labels

# %% [markdown]
# ## 1. A dendrite for every neuron
#
# `perforate` looks through a model for layers whose neurons can have dendrites, wraps them in place, and says what it
# did.

# %%
# NBVAL_CHECK_OUTPUT
model = perforate(small_network(hidden=5, seed=0))
print(model.perforation)

# %% [markdown]
# In a convolution a *channel* is a neuron, and each position of each image is one of the P points of notebook 02: E and
# V are maps, and means, covariance and r go over images and positions together. The
# *[score](../docs/glossary.md#correlation-r)* of a layer is the mean of |r| over its neurons.
#
# A neuron may grow several dendrites, one after the other. The k-th also hears its elders,
# $V_k = \varphi\bigl(D_k(x) + \sum_{j<k} u_{kj} V_j\bigr)$, with one number $u_{kj}$ per neuron, the *[cascade
# weight](../docs/glossary.md#cascade-weight-u)*. φ is the dendrite's bend: tanh, unless
# another is chosen.
#
# Growing dendrites must not change the network: whatever follows is then due to learning. A new dendrite enters with
# `w = 0`, and `h + 0 · V` is `h`, bit for bit.

# %%
# NBVAL_CHECK_OUTPUT
with torch.no_grad():
    before = model(x)
    add_dendrites(model)
    print("same logits, bit for bit:", torch.equal(model(x), before))
print(model[0])

# %% [markdown]
# ## 2. Who learns when
#
# There are two phases, and they never overlap.
#
# | | neuron phase | dendrite phase |
# |---|---|---|
# | learns | neurons, and every `w` | the newest dendrites, with their u |
# | frozen | all dendrites | everything else, BatchNorm's running statistics included |
# | goal | the task's loss | correlation with the neuron's error |
# | seen from outside | loss and accuracy move | the function does not change at all |
#
# **Predict first:** in which phase are more parameters trained? Then look at the first layer:

# %%
# NBVAL_CHECK_OUTPUT
for phase in ("neuron", "dendrite"):
    set_phase(model, phase)
    learning = {
        name: p.numel() for name, p in model[0].named_parameters() if p.requires_grad
    }
    print(f"{phase} phase, {sum(learning.values())} parameters:", ", ".join(learning))

# %% [markdown]
# ## 3. The holes in the backward pass
#
# In the [neuron phase](../docs/glossary.md#neuron-phase) the loss flows back through the network as always, and at each
# layer it meets the neuron and its dendrites. Through the neuron it goes on to the layer below. Through the dendrites
# it does not: they see `x.detach()`, the same numbers without a way back. Seen from behind, the backward pass has
# holes. It is **[perforated](../docs/glossary.md#perforation)**.
#
# ### Exercise 1 · A perforated layer · easy · 4 minutes
#
# Write the layer: `h = neuron(x) + w · tanh(dendrite(x))`, such that no error reaches `x` through the dendrite, while
# the dendrite's own weights could still learn.


# %% tags=["exercise"]
def perforated_forward(x, neuron, dendrite, w):
    ### BEGIN SOLUTION
    v = torch.tanh(dendrite(x.detach()))
    return neuron(x) + w * v
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_perforated_forward(perforated_forward)

# %% [markdown]
# Now the same check for the library's layer. The gradient of the loss with respect to the layer's *input* must be what
# it would be if V were a given constant, although V does change the loss:

# %%
# NBVAL_CHECK_OUTPUT
_ = torch.manual_seed(0)
layer = model[0]
set_phase(model, "neuron")
layer.weights[0].data.fill_(0.5)  # as if the neurons had begun to use their dendrites
inputs = x[:8].clone().requires_grad_()
with torch.no_grad():
    v = layer.dendrite_outputs(inputs)[0]

(perforated,) = torch.autograd.grad(model(inputs).square().sum(), inputs)
constant = model[2](torch.tanh(layer.neuron(inputs) + 0.5 * v))
(by_neuron,) = torch.autograd.grad(constant.square().sum(), inputs)
not_blocked = torch.tanh(layer.dendrites[0](inputs))
through = model[2](torch.tanh(layer.neuron(inputs) + 0.5 * not_blocked))
(everything,) = torch.autograd.grad(through.square().sum(), inputs)
print("same output as plain backpropagation:", torch.allclose(constant, through))
as_constant = torch.allclose(perforated, by_neuron, atol=1e-6)
print("gradient as if V were a constant:    ", as_constant)
as_usual = torch.allclose(perforated, everything, atol=1e-6)
print("gradient of plain backpropagation:   ", as_usual)

# %% [markdown]
# The values are the same on the way forward, and the gradient is another one on the way back. That has two consequences
# worth keeping in mind:
#
# * a [frozen](../docs/glossary.md#frozen) dendrite costs one forward pass and *no* backward pass;
# * the gradient below a dendrite is not the true gradient of the loss. The layer below does not know how its changes
#   move the dendrites above. There is no guarantee that this works; that is a question for experiments.
#
# ## 4. In the dendrite phase nothing moves, but dendrites learn
#
# Three steps in the [dendrite phase](../docs/glossary.md#dendrite-phase), on the same batch. The loss is computed, and
# its error is what the dendrites listen to:

# %%
# NBVAL_CHECK_OUTPUT
model = add_dendrites(perforate(small_network(5, seed=0)))
set_phase(model, "dendrite")
learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
start, logits = copy.deepcopy(learning), model(x).detach()
optimizer = torch.optim.Adam(learning, lr=0.05)
for _ in range(3):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()  # gives every neuron its error E …
    correlate(model)  # … and every dendrite the gradient of its correlation with it
    optimizer.step()
changed = [not torch.equal(a, b) for a, b in zip(start, learning, strict=True)]
print("dendrites changed:", all(changed))
print("logits changed:   ", not torch.equal(model(x), logits))

# %% [markdown]
# ## 5. When to switch
#
# A phase ends when it has nothing more to give: the **[plateau](../docs/glossary.md#switch-rule)** rule. Keep the best
# score so far. A score becomes the new best when it is higher than the best, and by at least `min_gain`: a gain of
# exactly `min_gain` counts, an equal score never does. After `patience` epochs in a row without a new best the phase is
# over. In a neuron phase the score is the validation accuracy, in a dendrite phase the mean |r|. `FixedSwitch` counts
# epochs instead, so that runs can be compared epoch by epoch, and `ManualSwitch` waits until somebody presses the
# button of a `PhaseMonitor` (notebook 07), or a program calls `trainer.request_switch()`.
#
# ### Exercise 2 · The plateau rule · medium · 9 minutes
#
# Write the rule of the paragraph above. `scores` are the phase's scores so far, oldest first, and may be negative.
# Return `True` when the phase is over. The very first score is always a new best.


# %% tags=["exercise"]
def plateau_ended(scores, patience, min_gain):
    ### BEGIN SOLUTION
    best, since = float("-inf"), 0
    for score in scores:
        if score > best and score >= best + min_gain:
            best, since = score, 0
        else:
            since += 1
    return since >= patience
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_plateau_ended(plateau_ended)

# %% [markdown]
# Here is the library's rule on a made-up sequence of accuracies. **Predict first** where it stops, with a patience of 3
# and a gain of 0.1 points.

# %%
# NBVAL_CHECK_OUTPUT
from perfteach import Phase, PlateauSwitch

accuracies = [50.0, 58.0, 61.0, 61.05, 60.9, 61.2, 61.1, 61.25, 61.0]
rule = PlateauSwitch(patience=3, min_gain=0.1)
for epoch in range(1, len(accuracies) + 1):
    ended = rule.ended(Phase.NEURON, 0, accuracies[:epoch]) or ""
    print(f"epoch {epoch}: {accuracies[epoch - 1]:5.2f} %", ended)

# %% [markdown]
# ## 6. What is kept
#
# At each switch the best is brought back, not the last. After a neuron phase that is the whole network, from the
# epoch with the best validation accuracy. After a dendrite phase it is decided *layer by layer*, because each layer's
# dendrites have a score of their own.
#
# ### Exercise 3 · Which dendrites are restored · easy · 5 minutes
#
# A record of a dendrite phase looks like `{"epoch": 9, "scores": {"features.0": 0.10, "features.1": 0.40}}`. From a
# list of them, which all name the same layers, return a dictionary: the number of the best epoch for each layer. If
# the record of epoch 10 had the scores 0.30 and 0.20, it would be `{"features.0": 10, "features.1": 9}`. On a tie any
# of the best will do.


# %% tags=["exercise"]
def best_epochs(records):
    ### BEGIN SOLUTION
    layers = records[0]["scores"]
    return {
        layer: max(records, key=lambda record: record["scores"][layer])["epoch"]
        for layer in layers
    }
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_best_epochs(best_epochs)

# %% [markdown]
# ## 7. The phase loop, by hand
#
# Everything is there now. First one epoch, which is the training loop you know with one line more, and the accuracy on
# the validation points:

# %%
from perfteach.dendrites import scores, trainable


def train_epoch(model, phase, optimizer, epoch):
    set_phase(model, phase)
    total = 0.0
    for inputs, labels in data.batches("train", 250, shuffle=True, seed=epoch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        if phase == "dendrite":
            correlate(model)  # the one line more
        optimizer.step()
        total += float(loss.detach()) * len(labels)
    return total / len(data.train)


def validate(model):
    model.eval()
    with torch.no_grad():
        right = model(data.validation.inputs).argmax(1) == data.validation.labels
    return 100 * float(right.double().mean())


# %% [markdown]
# Then what a phase keeps of its best. In a neuron phase the whole network is rated, by its accuracy; in a dendrite
# phase every layer by itself, by its score. (The whole network is the part with the empty name.)


# %%
def keep_best(model, phase, best):
    rated = {"": validate(model)} if phase == "neuron" else scores(model)
    for name, score in rated.items():
        if name not in best or score > best[name][0]:
            # copied: a state_dict points to what goes on changing
            state = copy.deepcopy(model.get_submodule(name).state_dict())
            best[name] = (score, state)


# %% [markdown]
# ### Exercise 4 · The loop of phases · hard · 10 minutes
#
# A `plan` is a list of phases with their epochs, such as `[("neuron", 100), ("dendrite", 30), ("neuron", 100)]`. Fill
# in the four places that make it *perforated backpropagation*: before a dendrite phase every neuron grows a dendrite;
# the phase says who learns (the optimiser needs to know that before the first epoch); a fresh optimiser gets the
# parameters that have to learn now, which `trainable(model)` lists (it would skip the others, since they get no
# gradient); and at the end of a phase every part that was rated gets its best state back. Your loop trains in the cell
# after the check.


# %% tags=["exercise"]
def train_in_phases(model, plan):
    history = []  # of every epoch its loss and its validation accuracy
    for phase, epochs in plan:
        if phase == "dendrite":
            torch.manual_seed(2 * len(history) + 1)  # as the trainer does
            ### BEGIN SOLUTION
            ### STUB ...  # grow
            add_dendrites(model)
            ### END SOLUTION
        ### BEGIN SOLUTION
        ### STUB set_phase(model, ...)  # who learns?
        ### STUB optimizer = torch.optim.Adam(..., lr=0.05)  # which parameters?
        set_phase(model, phase)
        optimizer = torch.optim.Adam(trainable(model), lr=0.05)
        ### END SOLUTION
        best = {}
        for _ in range(epochs):
            loss = train_epoch(model, phase, optimizer, len(history) + 1)
            history.append((loss, validate(model)))
            keep_best(model, phase, best)
        for name, (_, state) in best.items():
            ### BEGIN SOLUTION
            ### STUB ...  # give this part of the model its best state back
            model.get_submodule(name).load_state_dict(state)
            ### END SOLUTION
    return history


# %%
# NBVAL_CHECK_OUTPUT
checks.check_train_in_phases(train_in_phases)

# %% [markdown]
# The trainer does the same, with a progress bar, a record, checkpoints, and a test at the end. Is it *really* the
# same?

# %%
from perfteach import FixedSwitch, PerforatedTrainer, TrainConfig
from perfteach.widgets import PhaseBar

settings = TrainConfig(
    switch=FixedSwitch(neuron=(100, 100), dendrite=30),
    cycles=1,
    roll_back=False,
    batch_size=250,
    optimizer=lambda parameters, phase: torch.optim.Adam(parameters, lr=0.05),
    schedule=lambda optimizer, phase, steps: None,
)
trained = perforate(small_network(5, seed=0))
trainer = PerforatedTrainer(
    trained, data, settings, name="spirals, one dendrite", callbacks=[PhaseBar()]
)
run = trainer.fit(progress=False)
theirs = [(epoch["train_loss"], epoch["validation_accuracy"]) for epoch in run.epochs]
plots.training_curves(run)

# %% [markdown]
# *How to read it:* errors by epoch, lower is better. In the hatched band the dendrites learn, and the error of the
# network stands still. The best epoch need not be the last one, which is why the best weights are kept.
#
# Now yours, on the same network.

# %%
# NBVAL_CHECK_OUTPUT
history = theirs
if checks.check_train_in_phases(train_in_phases):
    plan = [("neuron", 100), ("dendrite", 30), ("neuron", 100)]
    history = train_in_phases(perforate(small_network(5, seed=0)), plan)
    print("Your loop has trained for", len(history), "epochs.")
else:
    print("Exercise 4 is open: the trainer's own epochs stand in for your loop's.")

# %%
# NBVAL_CHECK_OUTPUT
gaps = [
    max(abs(a - b), abs(c - d)) for (a, c), (b, d) in zip(history, theirs, strict=True)
]
print("epochs:", len(history), len(theirs))
print("same losses and accuracies in every epoch:", max(gaps) < 1e-4)
measured = {accuracy for _, accuracy in history[100:130]}
print("the measured error stands still in the dendrite phase:", len(measured) == 1)

# %% [markdown]
# What happened at the switches is in the run's events, with the reason in words.

# %%
for event in run.events:
    print(
        f"after epoch {event['epoch']:3}, {event['phase']} phase: "
        f"{event['event']}: {event['reason']}"
    )

# %% [markdown]
# ### Exercise 5 · Two spirals in 300 epochs · very hard · 30 minutes
#
# An experiment of your own. The five neurons of notebook 00 needed 600 epochs. Train them, `small_network(5)`, on this
# notebook's `data` so that they get at least **98 %** of the test points right, within **300 epochs** in all and with
# at most **150 parameters**, every dendrite counted. Anything in `TrainConfig` may be changed, and `help(TrainConfig)`
# lists it: batch size, learning rates, the seed (`augment` is for images, and does nothing to points), and
#
# * the phases: `FixedSwitch(neuron=(100, 80), dendrite=30)` lists the epochs of the first neuron phase and of the one
#   after each [cycle](../docs/glossary.md#cycle); its last number is used again where there are more cycles;
# * `roll_back=False`, without which a cycle that does not raise the validation accuracy is undone and ends the run;
# * `thaw=True`, which lets dendrites go on learning in the neuron phases: they are
#   [thawed](../docs/glossary.md#thawed), of which notebook 04 has more.
#
# Hand over the run. Choose among your attempts by the validation accuracy, `max(my_run["validation_accuracy"])`; the
# test points are for the check. Counted is the network of the best validation epoch, since that is the one which is
# tested. (Before you try settings at random, look at a run's curves: which phase was still improving when it ended?)


# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB my_run = ...  # what your trainer's fit() returns
recipe = TrainConfig(
    switch=FixedSwitch((60, 50, 50, 50), 30),
    cycles=3,
    roll_back=False,
    batch_size=50,
    lr=0.03,
    dendrite_lr=0.05,
    weight_decay=0.0,
)
five = perforate(small_network(5, seed=0))
my_run = PerforatedTrainer(five, data, recipe, name="mine").fit(progress=False)
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
checks.check_spirals(my_run)

# %% [markdown]
# ## 8. On a trained network
#
# Five neurons are a model to think with. Now the same steps on the trained MobileNet of notebook 01. To keep it cheap,
# dendrites grow in the first layers only, the stem and the first four blocks, and ReLU is their φ.

# %%
# NBVAL_CHECK_OUTPUT
from perfteach import count_parameters, course, mobilenet_small

images = course.tier().load()
pictures, _ = next(iter(images.batches("test", 100)))
network = mobilenet_small(weights="cifar10").eval()
with torch.no_grad():
    trained = network(pictures)
    add_dendrites(perforate(network, "features.[0-4].*", activation="relu"))
    print("same logits for 100 photographs:", torch.equal(network(pictures), trained))
sizes = count_parameters(network).as_dict()
print(f"{sizes['dendrites']:,} of {sizes['total']:,} parameters are dendrites'")

# %% [markdown]
# One epoch of a dendrite phase: the loss, its error, and the dendrites that follow it.
#
# **Predict first:** the network has been trained to the end, and about nine in ten of these photographs were among
# those that it learned from. How well can a dendrite still follow its neuron's error, compared with those of the
# spirals?


# %%
def follow(network):
    set_phase(network, "dendrite")
    optimizer = torch.optim.Adam(trainable(network), lr=4e-3)
    for inputs, labels in images.batches("train", 64, shuffle=True, seed=0):
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        correlate(network)
        optimizer.step()
    return scores(network)


followed = follow(network)

# %%
# NBVAL_CHECK_OUTPUT
with torch.no_grad():
    still = torch.equal(network.eval()(pictures), trained)
print("same logits after the phase:", still)
print("layers with a score:", len(followed))

# %% [markdown]
# How much of such a score is chance? The rule `shuffled` deals the errors out to the wrong images, so that there is
# nothing to follow:

# %%
from IPython.display import Markdown

other = mobilenet_small(weights="cifar10").eval()
perforate(other, "features.[0-4].*", rule="shuffled", activation="relu")
by_chance = follow(add_dendrites(other))
highest = max(followed, key=followed.get)
Markdown(
    f"**Live, {images.title()}.** The layer whose dendrites follow best is `{highest}`, "
    f"with a mean |r| of {followed[highest]:.3f}. With errors of other images the best "
    f"layer reaches {max(by_chance.values()):.3f}. In the run on the spirals above the "
    f"best was {run.scores.to_numpy().max():.3f}."
)

# %% [markdown]
# The function stands still, as it should, and there is little left to follow: training has taken out of the error what
# the neurons could take out. On so few images the two best scores lie close together: much of both is chance, of which
# section 9 says more. What the dendrites do when the neurons learn again is the question of
# [notebook 04](04_perforated_fine_tuning.ipynb), and why a low score is no surprise that of
# [notebook 05](05_building_extra_small.ipynb).
#
# ## 9. A recorded run
#
# Last, a whole run: a MobileNetV3-Small of a quarter of the usual width, trained for 60 epochs on photographs before it
# grew one dendrite a neuron. Nothing trains here; the record came with the course. Walk through its epochs, and find
# out:
#
# * In which epoch does the dendrite phase begin, and what does the validation error do in it?
# * Which layers' dendrites follow their error best: early or late ones?
# * How much is gained after the dendrites have been installed? How much would you bet that it was the dendrites?

# %%
from perfteach import runs

(shown,) = runs.recorded("mini", arm="perforated", seed=0)
Markdown(course.about(shown))

# %%
from perfteach.widgets import PhaseExplorer

PhaseExplorer(shown)

# %% [markdown]
# *How to read it:* error by epoch on the left; move the slider through the epochs, and the dendritic layers show their
# mean |r| as it was then.

# %%
plots.score_heatmap(shown)

# %% [markdown]
# *How to read it:* one row for each layer, one column for each epoch of a dendrite phase; the lighter, the better the
# layer's dendrites follow the error.
#
# <details><summary>What the walk shows</summary>
#
# The dendrite phase begins in epoch 61, and the validation error stands still until epoch 65. The late layers score
# highest. But a layer with a map of one position reaches about 0.004 by chance, and an early one, which sees many
# positions, far less, so the ranking alone says little. After the dendrites have been installed the error falls, to
# 35.4 % on the test images; in notebook 04 a control without any dendrite falls as far in the same epochs. So bet on
# the epochs.
#
# </details>
#
# What is noise depends on the number of points P. A dendrite that has nothing to do with the error still reaches about
# 0.8/√P on average: 0.025 for 1,000 points, 0.004 for 45,000 images on a map of one position. On larger maps there are
# more points, so chance is smaller; but the positions of one image are not independent, so it does not shrink as much
# as 0.8/√P would. Compare a score with
# that. (The authors' rule of thumb, noise below 0.001 and learning above 0.005, belongs to the
# score of their own package.) Whether a dendrite that follows the error also *helps* is another matter. To tell, one
# has to run the same epochs without dendrites, and with random ones: [notebook 04](04_perforated_fine_tuning.ipynb).
#
# ## Quiz
#
# Choose an answer: it is checked at once. (Where no buttons appear, the answer is folded below its question.)

# %%
from perfteach.course import quiz

quiz.ask("03.1")

# %%
quiz.ask("03.2")

# %% [markdown]
# > **What could go wrong**
# >
# > * *The "best" weights turn out to be the last ones.* `state_dict()` hands out the tensors themselves. Copy them
# >   deeply.
# > * *Nothing is learned after a switch.* The old optimiser does not know the new parameters; build a new one.
# > * *The run ends with no dendrites.* A cycle that does not raise the validation accuracy is [rolled
# >   back](../docs/glossary.md#rollback), which is meant to happen. The record says so in an event, and the trainer
# >   warns.
# > * *The scores stay at the level of chance.* The dendrites hear nothing: is the learning rate of the dendrite phase
# >   far too small, or is the network's training error already near zero?
#
# **Take away.** Two phases that never overlap; an error that every neuron hears and no dendrite passes on; a rule
# that says when to switch; the best brought back each time. That is the algorithm as this course implements it; the
# authors' package may differ in detail.
#
# **Next:** [04 · Perforated fine-tuning](04_perforated_fine_tuning.ipynb)
#
# **References**
#
# * R. Brenner and L. Itti, *Perforated Backpropagation: A Neuroscience Inspired Extension to Artificial Neural
#   Networks*, [arXiv 2501.18018](https://arxiv.org/abs/2501.18018)
# * S. E. Fahlman and C. Lebiere, *The Cascade-Correlation Learning Architecture*,
#   [NeurIPS 1989](https://proceedings.neurips.cc/paper/1989/hash/69adc1e107f7f7d035d7baf04342e1ca-Abstract.html)
# * The loop in full: [`perfteach/trainer.py`](../perfteach/trainer.py), and the rules:
#   [`perfteach/phases.py`](../perfteach/phases.py)

# %% [markdown]
# ## How far you are
#
# A filled circle is an exercise whose check has passed. This is kept in `perfteach-progress.json` beside the notebooks,
# on your machine only.

# %%
from perfteach.course import progress

progress.show()
