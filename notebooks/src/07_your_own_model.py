# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, B018

# %% [markdown]
# # 07 · Your own model
#
# **Your network, your images: how much has to be rewritten?**
#
# Nothing in the *method* is about MobileNets in particular. [Dendrites](../docs/glossary.md#dendrite) grow on most
# `Conv1d/2d/3d` and `Linear` layers. In this notebook you take the method to a network and to images of your own, and
# put the result where others can check it.
#
# | | |
# |---|---|
# | **You will** | perforate another network in five lines · load your images · hand in a run that others can believe |
# | **Minutes** | 35, and 30 more for the last exercise if you like |
# | **You need** | [03 · Perforated backpropagation](03_perforated_backpropagation.ipynb); the controls of 04 |
#
# ## A picture of yours
#
# First, the network that you have followed through the course. Choose a picture, one you took, of something that it
# knows (an animal, a car, a ship, an aeroplane), and see what it takes it for. It stays on this machine. Until you
# choose one, a photograph of the [sample](../docs/glossary.md#sample) stands in.

# %%
import io

from torchvision.transforms.functional import to_pil_image

from perfteach import course
from perfteach.widgets import PictureReader

tier = course.tier()
images = tier.load()
stored = io.BytesIO()
to_pil_image(images.test.images[0]).save(stored, "PNG")
PictureReader(stored)

# %% [markdown]
# The small square is all that it gets: 32 × 32 pixels from the middle. It knows ten classes and has to choose one of
# them, so a picture of your lunch will be a frog or a truck. What would it need to say "none of these"?
#
# ## A network that has nothing to do with MobileNets
#
# A small residual network in plain PyTorch, as anybody might have it lying around. Its skip connections add the block's
# input to its output, and it has no `features` and no `classifier`.

# %%
# NBVAL_CHECK_OUTPUT
import torch
from torch import nn


def block(inputs, outputs, stride=1):
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class SmallResNet(nn.Module):
    def __init__(self, classes, width=12):
        super().__init__()
        self.stem, self.body = block(3, width, stride=2), block(width, width)
        self.down = block(width, 2 * width, stride=2)
        self.deep = block(2 * width, 2 * width)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        x = self.stem(x)
        x = self.down(x + self.body(x))
        return self.head((x + self.deep(x)).mean((2, 3)))


print(f"{sum(p.numel() for p in SmallResNet(10).parameters()):,} parameters")

# %% [markdown]
# ## Five lines
#
# **Predict first:** which of its layers will get dendrites, and what happens to the norms?

# %%
from perfteach import (
    FixedSwitch,
    PerforatedTrainer,
    TrainConfig,
    add_dendrites,
    perforate,
)
from perfteach.widgets import PhaseBar, PhaseExplorer, PhaseMonitor, Watch

torch.manual_seed(0)

model = SmallResNet(len(images.classes))
perforate(model)
config = TrainConfig(FixedSwitch((4, 3), 1), roll_back=False, lr=5e-3)
watch = Watch()  # keeps each neuron's score for the explorer below
trainer = PerforatedTrainer(
    model, images, config, name="live/resnet", callbacks=[PhaseMonitor(), watch]
)
run = trainer.fit(progress=False)

# %% [markdown]
# Five steps are all there is: build, [perforate](../docs/glossary.md#perforate), choose
# [phases](../docs/glossary.md#phase), make the trainer, train. The `PhaseMonitor` is optional. It shows a run while it
# grows, and its buttons work while the cell is still running: switch the phase now, pause, stop and keep the best. The
# table says what was wrapped. A norm right behind a convolution belongs to its neuron, so a dendrite gets a norm of its
# own too.

# %%
# NBVAL_CHECK_OUTPUT
model.perforation

# %%
PhaseExplorer(run, watch)

# %% [markdown]
# *How to read it:* error by epoch on the tier's images, live; in the hatched dendrite phase (here one epoch) the
# validation error stands still. Click on a layer, or choose it: its bars are its neurons, each with its own
# [|r|](../docs/glossary.md#correlation-r). A single curve shows that everything works. It does not show that dendrites
# helped: that needs a [control](../docs/glossary.md#control), below.
#
# ## Only some layers
#
# `perforate` makes room for dendrites and `add_dendrites`, of notebook 03, grows them; above the trainer called it.
# Which layers get any is said by `perforate(model, select=…)`: `select` takes a type, a name pattern such as
# `"deep.*"`, a list of these, or a function of (name, module). A layer that cannot carry dendrites (shared, lazy,
# inside an attention module) is left alone, and the table says why.
#
# ### Exercise 1 · Dendrites on the convolutions only · easy · 6 minutes
#
# Take a network that is not perforated yet, give every **`Conv2d`** one dendrite per neuron, and nothing to the
# `Linear` head. Return the network. The output must not change by a single bit.


# %% tags=["exercise"]
def perforate_convolutions(model):
    ### BEGIN SOLUTION
    perforate(model, select=nn.Conv2d)
    return add_dendrites(model)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
from perfteach.course import checks

checks.check_perforate_convolutions(perforate_convolutions)

# %% [markdown]
# It need not be images either. Two numbers in, two classes out, and the same trainer:

# %%
from perfteach import metrics, plots
from perfteach.data.points import two_spirals

torch.manual_seed(0)
mlp = perforate(nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)))
spirals = two_spirals(600, turns=1.2)
recipe = TrainConfig(
    FixedSwitch((80, 120), 40),
    batch_size=200,
    lr=0.03,
    dendrite_lr=0.05,
    weight_decay=0.0,
)
trainer = PerforatedTrainer(mlp, spirals, recipe, name="live/mlp", callbacks=[PhaseBar()])
trainer.fit(progress=False)
plots.decision_boundary(mlp, spirals)

# %% [markdown]
# *How to read it:* the points are the two spirals, the background shows what the network answers at each place.
#
# ## Your own images
#
# One folder per class, in a `train` and a `test` folder; or a zip or tar of it:
#
#     my-images/train/cat/0001.jpg      my-images/test/cat/0001.jpg
#     my-images/train/dog/0001.jpg      my-images/test/dog/0001.jpg
#
# Here a stand-in for your folder: 250 photographs of each of three classes of the sample, written out as PNG files.

# %%
# NBVAL_CHECK_OUTPUT
import tempfile
from pathlib import Path

from torchvision.io import write_png

from perfteach import data

work = Path(tempfile.mkdtemp(prefix="perfteach-07-"))
source = data.load("cifar10-sample")
for split in ("train", "test"):
    part = source.split(split)
    for label, name in enumerate(source.classes[:3]):
        folder = work / "my-images" / split / name
        folder.mkdir(parents=True)
        chosen = part.images[part.labels == label][: 150 if split == "train" else 100]
        for number, image in enumerate(chosen):
            write_png(image, str(folder / f"{number:04}.png"))
mine = data.load(
    work / "my-images",
    label="my images",
    cache=work / "cache",
    progress=False,
)
print(mine)

# %% [markdown]
# `load` sets a tenth of the training images apart for validation, by class. Images of other sizes are scaled to the
# size that most of them have (`image_size=64` asks for another one), and a damaged file is named rather than skipped in
# silence.
#
# With your own pictures: put the path in place of `work / "my-images"`, run the cells again, and that is all. The same
# lines train on them:

# %%
torch.manual_seed(0)
on_mine = perforate(SmallResNet(len(mine.classes)))
settings = TrainConfig(FixedSwitch((10, 5), 2), roll_back=False, batch_size=45, lr=5e-3)
trainer = PerforatedTrainer(
    on_mine, mine, settings, name="live/my-images", callbacks=[PhaseBar()]
)
my_run = trainer.fit(progress=False)
predicted = metrics.predictions(on_mine, mine, "test")
plots.confusion(mine.test.labels, predicted, mine.classes, data=mine.title())

# %% [markdown]
# *How to read it:* a row is the true class, a column what the network says; what lies off the diagonal is wrong.
#
# ## A result that others can believe
#
# At a hackathon a [record](../docs/glossary.md#run-record) could be edited before it is handed in. So a **submission**
# is a network, as an ONNX file, with the record of its run. The organisers measure the network on images that nobody
# else has; what the record claims stands beside it.
#
# **Rules for a claim about dendrites**
#
# 1. Two submissions for each seed: a run with dendrites, and its `same-epochs` control. Both finished, and at least
#    three seeds.
# 2. Same data (equal checksums), seed, network and settings but for the dendrites; the same number of epochs in all;
#    both trained until validation stops improving.
# 3. At most 993,000 parameters, every dendrite counted.
# 4. Claims are compared by **[error reduction](../docs/glossary.md#error-reduction)** against *their own control*, the
#    mean over their seeds. Equal ones by fewer parameters.
# 5. Accuracy and parameters are those that the scorer measured. The record only says what was trained, and for how
#    long.
#
# A record is the file `run.jsonl` that the trainer writes: settings, seed, data checksum, versions, machine, every
# epoch.
#
# ### Exercise 2 · Is it a valid submission? · medium · 9 minutes
#
# `control` and `entry` are dictionaries with `finished` (True or False), `data` (the checksum), `epochs` and
# `parameters`. Return the list of broken rules, in any order, by these names: `"finished"`, `"same data"`,
# `"same epochs"`, `"within the limit"`. The limit is for the entry; an empty list means that all is well.


# %% tags=["exercise"]
def problems(control, entry):
    ### BEGIN SOLUTION
    kept = {
        "finished": control["finished"] and entry["finished"],
        "same data": control["data"] == entry["data"],
        "same epochs": control["epochs"] == entry["epochs"],
        "within the limit": entry["parameters"] <= 993_000,
    }
    return [rule for rule, holds in kept.items() if not holds]
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_problems(problems)

# %% [markdown]
# ### A board of your own
#
# The organisers make an event: its folder holds the hidden images, and a pack for the participants. Here the test
# images of the folder above are hidden; `perfteach hackathon init` does the same for a hall with a hundred people. The
# board runs in a process of its own and ends with this notebook.

# %%
from perfteach.hackathon import client, event, server

day = event.create(
    work / "event",
    str(work / "my-images"),
    title="Notebook 07",
    label="my images",
    progress=False,
)
board = server.Background(day).start()
tokens = {team: board.store.add_team(team) for team in ("slim", "wide")}
print(f"{len(day.labels())} hidden images; the board is at {board.address}")

# %% [markdown]
# ### Make a submission
#
# Two teams, two arms each, one seed. One team brings a network half as wide as the other one. The control keeps the
# restart and all epochs and grows nothing; `perfteach.course.demo.arm_config` writes both settings. `export` puts the
# ONNX file beside the record, `submit` packs both and hands them in.

# %%
import warnings

from perfteach.course.demo import arm_config

# A run this short may end at an epoch before its dendrites; the parameters tell.
warnings.filterwarnings("ignore", "run .* dendrites were asked for")
theirs = data.load(work / "event" / "pack" / "images.npz", progress=False)


def hand_in(team, arm, width):
    torch.manual_seed(0)
    network = SmallResNet(len(theirs.classes), width)
    if arm != "same-epochs":
        perforate(network)
    settings = arm_config(arm, (4, 2), 1, batch_size=45, lr=1e-2)
    folder = work / team / arm
    trainer = PerforatedTrainer(
        network, theirs, settings, name=f"{team}/{arm}", folder=folder
    )
    trainer.fit(progress=False)
    client.export(network, theirs, folder)
    return client.submit(folder, arm, to=board.address, token=tokens[team])


# %%
teams, arms = {"slim": 6, "wide": 12}, ("same-epochs", "perforated")
measured = {
    (team, arm): hand_in(team, arm, teams[team]) for team in teams for arm in arms
}

# %% [markdown]
# ### Edit a record
#
# **Predict first:** a team writes 99.99 % into its record and hands it in again. What will the board show?

# %%
import json
import shutil

forged = shutil.copytree(work / "slim" / "perforated", work / "forged")
lines = (forged / "run.jsonl").read_text(encoding="utf-8").splitlines()
lines[-1] = json.dumps(json.loads(lines[-1]) | {"test_accuracy": 99.99})
(forged / "run.jsonl").write_text("\n".join(lines), encoding="utf-8")
found = client.submit(forged, "too good", to=board.address, token=tokens["slim"])

# %%
# NBVAL_CHECK_OUTPUT
print("as before:", found["public"] == measured["slim", "perforated"]["public"])
print("flagged:", found["flags"])

# %% [markdown]
# ## The scoreboard
#
# The board has a page with ranks, a figure of errors against parameters, and this table. Until the event ends it shows
# one half of the hidden images, the *public part*; a team that tries often enough can be lucky there. So the last word
# has the other half, the *final part*, and a team stands there with what did best on the public one.

# %%
import pandas as pd

board.store.end_event()
shown = pd.read_csv(f"{board.address}/board.csv")
columns = [
    "rank",
    "team",
    "submission",
    "public_accuracy",
    "final_accuracy",
    "parameters",
]
ranked = shown[columns].dropna(subset=["rank"]).astype({"rank": int})
ranked.sort_values("rank")

# %%
# NBVAL_CHECK_OUTPUT
print("teams on the board:", *sorted(ranked["team"]))
print("with a final accuracy:", len(ranked["final_accuracy"].dropna()))


# %% [markdown]
# ### Exercise 3 · Rank the scoreboard · medium · 5 minutes
#
# The board ranks networks, by their accuracy. Claims about dendrites are ranked by rule 4, and the hall does that
# itself: the board does not know which submission is the control of which.
#
# `entries` is a list of (team, control accuracy, accuracy, parameters), accuracies in percent. Return the teams, best
# first, by rule 4: error reduction $100\,(a - a_0)\,/\,(100 - a_0)$, highest first; equal ones by fewer parameters.


# %% tags=["exercise"]
def rank(entries):
    ### BEGIN SOLUTION
    def key(entry):
        _, control, accuracy, parameters = entry
        return -metrics.error_reduction(control, accuracy), parameters

    return [entry[0] for entry in sorted(entries, key=key)]
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_rank(rank)


# %%
def summary(found):
    return {
        "finished": True,  # the scorer takes no other record
        "data": found["claimed"]["data"],
        "epochs": found["claimed"]["epochs"],
        "parameters": found["parameters"],
        "accuracy": found["public"],
    }


rules_known = checks.check_problems(problems)

# %%
rows, entries = {}, []
for team in teams:
    control, entry = (summary(measured[team, arm]) for arm in arms)
    gain = metrics.error_reduction(control["accuracy"], entry["accuracy"])
    broken = problems(control, entry) if rules_known else ["exercise 2 is open"]
    if entry["parameters"] == control["parameters"]:
        broken = [*broken, "no dendrites in it: no claim"]
    entries.append((team, control["accuracy"], entry["accuracy"], entry["parameters"]))
    rows[team] = {
        "error reduction (%)": round(gain, 1),
        "accuracy (%)": entry["accuracy"],
        "parameters": entry["parameters"],
        "rules broken": ", ".join(broken) or "none of these four",
    }
solved = checks.check_rank(rank)
print("ranked by your function" if solved else "exercise 3 is open: not ranked yet")
pd.DataFrame.from_dict(rows, orient="index").loc[list(rank(entries) if solved else teams)]

# %%
board.stop()

# %% [markdown]
# *How to read it:* **live, one seed, 150 images to decide on.** One of these images is two thirds of
# a point, so the order is chance; rule 1 asks for three seeds. Where the best epoch of a short run lies before its
# dendrites grew, the network that is handed in has none: it is a second control, and makes no claim.
#
# A serious entry has five seeds and the [interval](../docs/glossary.md#interval) of notebook 04 beside its mean. A
# well-measured "no gain" is a result too; hand it in.

# %% [markdown]
# ## What the records say: which φ, frozen or not, or more width?
#
# What this course's own records say, on MobileNets and photographs. Each line is one decision, with the recorded gain
# behind it: fewer errors in points, with the 95 % interval. Which layers are best is not among them: with dendrites in
# one place only, the early layers were trained, and no others (notebook 05).

# %%
from IPython.display import Markdown

from perfteach import compare, runs

decisions = [
    (
        "Early ReLU dendrites, learning on, rather than none",
        "search-early",
        "relu",
        "same-epochs",
    ),
    ("ReLU rather than tanh", "search-early", "relu", "thawed-random"),
    ("Frozen dendrites rather than none", "mini", "perforated", "same-epochs"),
    ("Learning on rather than frozen", "mini", "thawed", "perforated"),
    ("A correlation phase first", "mini", "perforated", "random"),
    ("Trained by plain backpropagation", "mini", "gradient", "same-epochs"),
    ("A wider network instead, of the same size", "search-early", "wider", "same-epochs"),
    ("A wider one, of the same arithmetic", "search-early", "wider-macs", "same-epochs"),
]


# %%
def line(what, study, arm, control):
    scores = compare.accuracies(compare.results(runs.recorded(study)))
    found = compare.gain(scores, arm, control)
    return f"| {what} | {found} | {found.verdict} | `{study}`: {arm} against {control} |"


Markdown(
    "| decision | fewer errors, points | better? | recorded in |\n|---|---|---|---|\n"
    + "\n".join(line(*decision) for decision in decisions)
)

# %% [markdown]
# So the recipe to begin with, on a network of your own, is the one that gained there. It is short, because it has no
# dendrite phase: the dendrites grow after 20 epochs, in the first few layers, and learn beside their neurons.
#
#     perforate(model, ["stem.*", "body.*"], activation="relu")
#     config = TrainConfig(FixedSwitch((20, 33), dendrite=0), thaw=True, roll_back=False)
#
# It gained in very small networks, by that recipe, and probably less than the table says: it was chosen among several
# because it gained, and the seed that showed it counts in the interval. By a later recipe, without the 20 epochs before
# growth, three seeds could not tell. In Extra-Small, which notebook 05 built, early dendrites grew before the first
# epoch and showed no gain in three seeds. So compare it with the same network without dendrites, and with a wider one.
# The perforated rule with its two phases is what this course is about, and what the records show no gain for; your
# network may be another case.

# %% [markdown]
# ### Exercise 4 · An experiment of your own · very hard · 30 minutes
#
# Do dendrites help *your* network on *your* images? (With this notebook's network and the images of `mine` it is done
# in twenty minutes.) Answer so that others can believe it: at least three seeds; for each a run with dendrites, and a
# control of the same network with the same seed, data, settings and number of epochs that grows none; and the mean gain
# in test accuracy with its 95 % interval. Hand over the two lists of runs and the interval, as
# `metrics.paired_interval(control, treated)` returns it, or as three numbers: mean, low, high.
#
# * The seed belongs in two places: `torch.manual_seed(seed)` before the network is built, and the settings, for the
#   order of the images.
# * A run's accuracy is `run.ended.test_accuracy`, in percent.
# * `arm_config(arm, neuron, dendrite, seed=…, lr=…)` writes the settings of both arms, for `"perforated"` and for
#   `"same-epochs"`. With the recipe above no arm is needed: the control has the same `TrainConfig` with `grow=False`.
#   Where dendrites grow before the first epoch, by `add_dendrites(perforate(…))`, and `cycles=0`, one `TrainConfig`
#   serves both.
#
# The check is content with any outcome. It asks whether the comparison is fair: whether the two arms differ in their
# dendrites and in nothing else, restarts included, and whether every network of the second list has dendrites where it
# was tested. What it cannot see is `torch.manual_seed`: that the two networks of a pair start from the same weights is
# up to you.


# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB controls, treated, interval = ..., ..., ...
def one(seed, grown):
    torch.manual_seed(seed)
    network = SmallResNet(len(mine.classes))
    if grown:
        perforate(network, ["stem.*", "body.*"], activation="relu")
        add_dendrites(network)
    recipe = {"cycles": 0, "thaw": True, "batch_size": 45, "lr": 5e-3, "seed": seed}
    name = f"mine/{'dendrites' if grown else 'control'}-seed{seed}"
    settings = TrainConfig(FixedSwitch((15,)), **recipe)  # validation has settled
    return PerforatedTrainer(network, mine, settings, name=name).fit(progress=False)


controls = [one(seed, grown=False) for seed in range(3)]
treated = [one(seed, grown=True) for seed in range(3)]
accuracies = [[run.ended.test_accuracy for run in arm] for arm in (controls, treated)]
interval = metrics.paired_interval(*accuracies)
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
checks.check_own_experiment((controls, treated, interval))

# %% [markdown]
# ## Your own loaders, and your own loop
#
# `perfteach.data.from_loaders(train, validation, test, classes)` hands `DataLoader`s of yours to the trainer. And where
# your training is no classification at all, keep your loop and add a `DendriteCycle` to it: `train` before an epoch,
# `follow` after each backward pass, `step` after the epoch, and a fresh optimiser when it says so. Here it fits a
# curve.

# %%
from torch.utils.data import DataLoader, TensorDataset

from perfteach import DendriteCycle, PlateauSwitch

torch.manual_seed(0)
x = torch.linspace(-3, 3, 512)[:, None]
loader = DataLoader(TensorDataset(x[::2], torch.sin(2 * x[::2])), 64, shuffle=True)
curve = perforate(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)))
cycle = DendriteCycle(curve, PlateauSwitch(patience=10, min_gain=1e-3))
optimizer = torch.optim.Adam(cycle.parameters(), lr=0.02)
while not cycle.finished:
    cycle.train()
    for inputs, wanted in loader:
        optimizer.zero_grad()
        nn.functional.mse_loss(curve(inputs), wanted).backward()
        cycle.follow()
        optimizer.step()
    with torch.no_grad():
        missed = nn.functional.mse_loss(curve.eval()(x[1::2]), torch.sin(2 * x[1::2]))
    if cycle.step(-missed.item()):  # a phase has ended: a fresh optimiser
        optimizer = torch.optim.Adam(cycle.parameters(), lr=0.02)
with torch.no_grad():
    kept = nn.functional.mse_loss(curve.eval()(x[1::2]), torch.sin(2 * x[1::2]))
print(f"mean squared error: {kept.item():.4f}, in the best epoch, whose weights are kept")

# %% [markdown]
# `cycle.step` returns what happened, and at the end the model has its best weights. [More on
# it](../docs/own-loop.md), with what belongs into a checkpoint.
#
# * **Compare with joint training:** `perforate(model, rule="gradient")` needs no dendrite phase.
# * **Long runs:** `PerforatedTrainer(…, folder="runs/mine")` writes a checkpoint every epoch, and the same line again
#   continues.
#
# ## Quiz
#
# Choose an answer: it is checked at once. (Where no buttons appear, the answer is folded below its question.)

# %%
from perfteach.course import quiz

quiz.ask("07.1")

# %%
quiz.ask("07.2")

# %% [markdown]
# > **What could go wrong**
# >
# > * *"… cannot carry dendrites".* The reason stands behind it. A layer that is used twice has two errors, and a
# >   dendrite cannot follow both.
# > * *"batch_size … is larger than the … training images".* Your folder is small; choose a smaller batch.
# > * *Your network returns a tuple or a dictionary.* The trainer wants logits [B, classes]; wrap it in a module that
# >   returns only these.
# > * *Out of memory.* Halve `batch_size`, or the `size` of the images. See
# >   [troubleshooting](../docs/troubleshooting.md).
#
# **Take away.** Five lines take dendrites to another network. Believing the result takes a control, a few seeds, and a
# record.
#
# **Next:** your own question. The words are in the [glossary](../docs/glossary.md); how to run this as a workshop is in
# the [instructor's guide](../docs/instructor-guide.md). Back to the [map](00_start_here.ipynb).
#
# **References**
#
# * K. He et al., *Deep Residual Learning for Image Recognition*, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385)
# * R. Brenner and L. Itti, *Perforated Backpropagation*, [arXiv 2501.18018](https://arxiv.org/abs/2501.18018)
# * X. Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks*,
#   [arXiv 2103.03098](https://arxiv.org/abs/2103.03098)

# %% [markdown]
# ## How far you are, and a page to print
#
# A filled circle is an exercise whose check has passed. Put your name in place of the words, and the run of which you
# are proudest in place of `my_run`: the last cell writes `certificate.html`, a page to print, beside this notebook.

# %%
from perfteach.course import progress

progress.show()

# %%
my_name = "Your name"
progress.certificate(my_name, my_run)
