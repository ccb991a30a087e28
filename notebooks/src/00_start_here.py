# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402

# %% [markdown]
# # 00 · Start here
#
# **Can a network that is too small for its task be helped without making it wider?**
#
# You see it happen once here, on a problem small enough to look at as a whole. The other notebooks take the same idea
# to a MobileNet that recognises images.
#
# | | |
# |---|---|
# | **You will** | check your set-up · watch one run in two phases · read its record · learn where everything is |
# | **Minutes** | 25 |
# | **You need** | to have written a PyTorch training loop once |
#
# Cells run with Shift + Enter, from the top. Nothing has to be downloaded.
#
# ## The map
#
# One question leads to the next. A circle is an exercise, and it is filled when its check has passed. What you have
# done is kept in a file beside the notebooks, `perfteach-progress.json`, on your machine only.

# %%
from perfteach.course import progress

progress.show()

# %% [markdown]
# A shorter way for people in a hurry: 00, 02, 03, the first half of 04, 07. Words that are new are in the
# [glossary](../docs/glossary.md). The minutes at the top of a notebook are for reading it, at 150 words a minute, and
# for its exercises; games, widgets and waiting come on top; a *very hard* exercise, at the end of 03, 05 and 07, is
# counted by itself. How long the live runs train is set by the environment variable `PERFTEACH_TIER`: `quick` (the
# default), `laptop` or `full`.

# %% [markdown]
# ## Is everything here?
#
# The table shows what needs your attention, and its last column says what to do. What is *ok* is folded away.

# %%
from IPython.display import HTML

from perfteach.course import env

setup = env.check_environment()
HTML(env.as_html(setup))

# %% [markdown]
# A *fail* has to be repaired first, a *warn* can wait. This cell says `True` when nothing stands in the way:

# %%
# NBVAL_CHECK_OUTPUT
print("ready for the course:", env.ready(setup))

# %% [markdown]
# ## A neuron is one straight line
#
# An artificial neuron adds up its weighted inputs and applies one bend, `tanh(n·x + b)`. In the plane that is one
# straight edge between "low" and "high". Real nerve cells do more before they fire: their input arrives on
# **dendrites**, and each branch already combines what reaches it.
#
# Here is a task for very few neurons: two spirals, wound around each other. Which spiral does a point belong to?

# %%
# NBVAL_CHECK_OUTPUT
from perfteach.data.points import small_network, two_spirals

points = two_spirals(1000, turns=1.4)
network = small_network(hidden=5, seed=0)
print(network)
print(
    f"{len(points.train)} points to train on, "
    f"{sum(p.numel() for p in network.parameters())} parameters"
)

# %% [markdown]
# **Predict first.** Five neurons in the hidden layer give five straight edges to build a border from. Will that do for
# spirals that go round 1.4 times? Have an answer ready, then train. `PerforatedTrainer` is the course's training loop,
# which notebook 03 builds by hand. With `grow=False` it grows no dendrites: this is ordinary training with AdamW, and
# its learning rate is restarted three times. (`roll_back=False` goes on after a cycle that brought no gain, where the
# default would undo it and stop; notebook 03 explains it.)

# %%
from perfteach import FixedSwitch, PerforatedTrainer, TrainConfig, plots
from perfteach.widgets import PhaseBar, Watch

common = {
    "lr": 0.05,
    "dendrite_lr": 0.05,
    "weight_decay": 0.0,
    "batch_size": 250,
    "roll_back": False,
}
plain = TrainConfig(
    switch=FixedSwitch((120, 160, 160, 160), 0), cycles=3, grow=False, **common
)
trainer = PerforatedTrainer(
    network, points, plain, name="spirals, no dendrites", callbacks=[PhaseBar()]
)
control = trainer.fit(progress=False)
plots.decision_boundary(network, points)

# %% [markdown]
# *How to read it:* the points are what was to be learned, the tint of the background is the network's answer at each
# place. Where point and background disagree, the network is wrong. Five edges, rounded where they meet, do not go round
# far enough.
#
# ## The same five neurons, with dendrites
#
# Now each neuron may grow three dendrites, one after the other. Training alternates between two phases:
#
# * in a **neuron phase** the neurons learn, as always, from the loss;
# * in a **dendrite phase** the neurons are frozen, and each new dendrite learns to *follow the error its neuron still
#   makes*. Once it does, the neuron can use it to cancel that error.
#
# **Predict first:** the network trains for as many epochs as before, dendrite phases included. Where will the error
# go?

# %%
from perfteach import perforate

grown = perforate(small_network(hidden=5, seed=0))
phases = TrainConfig(switch=FixedSwitch((120, 120, 120, 120), 40), cycles=3, **common)
watch = Watch(points)  # films the border
trainer = PerforatedTrainer(
    grown,
    points,
    phases,
    name="spirals, three dendrites",
    callbacks=[PhaseBar(), watch],
)
run = trainer.fit(progress=False)
plots.decision_boundary(grown, points)

# %%
# NBVAL_CHECK_OUTPUT
print("epochs of the two runs:", len(control.epochs), len(run.epochs))
hidden, output = run.result["dendrites"].values()
print(f"dendrites per neuron: hidden layer {hidden}, output layer {output}")
better = run.result["test_accuracy"] > control.result["test_accuracy"]
print("fewer errors with dendrites:", better)

# %% [markdown]
# (The two output neurons grow dendrites as well.)

# %%
from IPython.display import Markdown

errors = [100 - record.result["test_accuracy"] for record in (control, run)]
sizes = [record.result["parameters"]["total"] for record in (control, run)]
Markdown(
    f"On 1,000 fresh points the five neurons are wrong on **{errors[0]:.1f} %**, "
    f"and with three dendrites each on **{errors[1]:.1f} %**. "
    f"The price: {sizes[0]} parameters became {sizes[1]}."
)

# %% [markdown]
# (These are **test** points, which were looked at once, at the end. The explorer below shows the errors on the
# **validation** points, which were looked at after every epoch; so its numbers are a little different.)
#
# Do not believe this too fast. It is *one* run on a toy problem, and a wider network with as many parameters does as
# well: `make demo` trains one of 30 neurons. What a fair comparison needs is the subject of [notebook
# 04](04_perforated_fine_tuning.ipynb).
#
# ## Watch the border move
#
# The explorer shows any epoch of a run: who is learning, the error so far, how well each layer's dendrites follow the
# error, and the border that the network draws between the spirals. It opens where the first dendrites begin to learn.
# Press **Play**, move the slider, or click on the curve; **Next switch** goes to the next phase. (A still picture
# without a slider means that the notebook has not been run yet, or that widgets do not work: see *What could go wrong*
# below.)
#
# **Predict first:** what will the border do while dendrites learn?

# %%
from perfteach.widgets import PhaseExplorer

PhaseExplorer(run, watch)

# %% [markdown]
# *How to read it:* error in percent by epoch, lower is better. In the hatched bands, the dendrite phases, neither the
# error nor the border moves at all. When the next neuron phase begins, the neurons learn to use the new dendrites, and
# the border bends. The dashed line is the border as the dendrite phase left it. (The small step where a band begins is
# the return to the best weights of the neuron phase that has just ended.)
#
# Look twice at the first steep fall, though. What does the control do in the same epochs?

# %%
for epoch in (120, 280, 440, 600):
    best = [min(record["validation_error"][:epoch]) for record in (control, run)]
    print(
        f"epoch {epoch}: best so far {best[0]:4.1f} % without, {best[1]:4.1f} % with them"
    )

# %% [markdown]
# The control falls at its first restart, too, and nearly as far: that is the restarted learning rate. What the
# dendrites bring shows later, where the control stands still and this run goes on falling.
#
# ## Play the switch
#
# In the runs above the phases had lengths that were fixed beforehand. Now you decide. The game trains the same five
# neurons on the same spirals, live, for 300 epochs, which takes 75 seconds. Press **Start**, and press **Switch** when
# you think that the phase on the banner has given what it can. You have six switches, enough for three dendrites a
# neuron; you need not use them all. Your opponent is the **plateau rule**: it switches when nothing has been gained
# for a few epochs. It plays after you, from the same random start and for as many epochs.
#
# *What to look for:* while neurons learn, the border moves and the green curve tells whether it still gets better.
# While dendrites learn, neither can move, so look at the mean |r| below: how well the dendrites follow the error.
# (Let the other cells rest while you play.)

# %%
from perfteach.widgets import SwitchGame

SwitchGame(seed=0)

# %% [markdown]
# *How to read it:* both errors are measured on the test points, with the weights that did best on the validation
# points, and lower is better. A switch too early leaves dendrites that follow nothing much; a switch too late leaves no
# time to use them. Do not take a win, or a defeat, to heart: one run is luck. Press **New start** a few times, which
# begins with other random weights, and see how far both errors scatter before you say which of you switches better.
#
# ## Your turn
#
# Every exercise has a cell with `...` for your answer and a check right after it. The check says what it got, what it
# expected, and gives one hint. An exercise that you leave out stops nothing.
#
# ### Exercise 1 · Read the record · easy · 4 minutes
#
# `run.epochs` is a list of epochs, and each epoch gives its values by name, as `epoch["phase"]`. Here are the first
# and a later one:

# %%
# NBVAL_CHECK_OUTPUT
for entry in (run.epochs[0], run.epochs[300]):
    print({key: entry[key] for key in ("epoch", "phase", "cycle")})

# %% [markdown]
# A *cycle* is a dendrite phase with the neuron phase after it; the epochs before the first cycle have the number 0.
# Write a function that returns the number of the first epoch in which dendrites learned.


# %% tags=["exercise"]
def first_dendrite_epoch(run):
    ### BEGIN SOLUTION
    return next(entry["epoch"] for entry in run.epochs if entry["phase"] == "dendrite")
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
from perfteach.course import checks

checks.check_first_dendrite_epoch(first_dendrite_epoch)

# %% [markdown]
# ### Exercise 2 · Count the dendrites' parameters · medium · 5 minutes
#
# A dendrite of a fully connected neuron is a small neuron of its own, `V = tanh(a·x + c)`. The neuron adds it to its
# own sum with one more number, `w`:
#
# $$h' = n \cdot x + b + w\,V$$
#
# A layer has `neurons` neurons that each see the same `inputs` numbers. How many parameters does *one dendrite per
# neuron* add to the layer?
#
# (Three dendrites per neuron make 27 + 3 · 34 = 129 parameters here: 34 is the answer for one dendrite per neuron,
# added up over both layers, from 2 inputs to 5 neurons and from 5 inputs to 2 neurons. The other 21 of the run's 150
# are links from older dendrites to newer ones, 1 + 2 for each of the 7 neurons.)


# %% tags=["exercise"]
def dendrite_parameters(inputs, neurons):
    ### BEGIN SOLUTION
    weights, biases, w = inputs * neurons, neurons, neurons
    return weights + biases + w
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_dendrite_parameters(dendrite_parameters)

# %% [markdown]
# ### Exercise 3 · Error reduction · easy · 3 minutes
#
# When accuracies are high, a gain is often given as a share of the *error* that is left. A **relative error reduction**
# is the part of the control's error that has gone, in percent. (The *[control](../docs/glossary.md#control)* is the run
# that it is compared with, here the one without dendrites.) Write it, from two accuracies in percent.


# %% tags=["exercise"]
def error_reduction(control_accuracy, accuracy):
    ### BEGIN SOLUTION
    return 100 * (accuracy - control_accuracy) / (100 - control_accuracy)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_error_reduction(error_reduction)

# %% [markdown]
# ## Quiz
#
# Choose an answer: it is checked at once. (Where no buttons appear, the answer is folded below its question.)

# %%
from perfteach.course import quiz

quiz.ask("00.1")

# %%
quiz.ask("00.2")

# %% [markdown]
# > **What could go wrong**
# >
# > * *A "fail" in the first table.* Do what the remedy says, then Kernel → Restart, and run from the top.
# > * *No slider above.* Widgets need JupyterLab's page; a preview in an editor or on a code host shows the still
# >   edition.
# > * *"The kernel appears to have died."* Usually memory. Close the kernels of other notebooks: the list is in the
# >   left side bar, second symbol.
# > * *An exercise changed nothing.* Run its cell again, then the check's.
# >
# > More in [troubleshooting](../docs/troubleshooting.md).
#
# **Take away.** A dendrite gives a neuron one more bend. It learns in a phase of its own, from the error that its
# neuron still makes, and the network's function stands still meanwhile. So yes: this network was helped without more
# neurons, at more than five times the parameters.
#
# **Next:** [01 · MobileNet basics](01_mobilenet_basics.ipynb)
#
# **References**
#
# * S. E. Fahlman and C. Lebiere, *The Cascade-Correlation Learning Architecture*,
#   [NeurIPS 1989](https://proceedings.neurips.cc/paper/1989/hash/69adc1e107f7f7d035d7baf04342e1ca-Abstract.html)
# * R. Brenner and L. Itti, *Perforated Backpropagation*, [arXiv 2501.18018](https://arxiv.org/abs/2501.18018)
# * K. Lang and M. Witbrock, *Learning to tell two spirals apart*, Connectionist Models Summer School 1988
