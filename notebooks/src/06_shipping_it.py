# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402

# %% [markdown]
# # 06 · Shipping it
#
# **A small network on paper: is it also small and fast where it runs?**
#
# Parameters are counted in a notebook. A device stores bytes and spends milliseconds, and neither follows from the
# parameter count alone. Here Extra-Small leaves PyTorch, with its [dendrites](../docs/glossary.md#dendrite), and is
# measured beside the same network without dendrites and beside MobileNet-Small.
#
# | | |
# |---|---|
# | **You will** | fold norms away · export to ONNX · check for equal answers · measure size, latency · round to int8 |
# | **Minutes** | 25 |
# | **You need** | [05 · Building Extra-Small](05_building_extra_small.ipynb) |
#
# ## What is shipped
#
# Three networks that were trained by one recipe, for as many epochs, on the same images, and that came with the course:
# the original, Extra-Small, and Extra-Small's network without dendrites. The last shows what the dendrites cost where
# the network runs, and what they bring.

# %%
# NBVAL_CHECK_OUTPUT
from perfteach import (
    count_macs,
    count_parameters,
    course,
    mobilenet_extra_small,
    mobilenet_small,
)

images = course.tier().load()
networks = {
    "MobileNet-Small": mobilenet_small(weights="cifar10"),
    "Extra-Small, no dendrites": mobilenet_extra_small(weights="cifar10-plain"),
    "Extra-Small": mobilenet_extra_small(weights="cifar10"),
}
for name, network in networks.items():
    size = count_parameters(network.eval()).total
    macs = count_macs(network, (3, 32, 32)).total
    print(f"{name:25} {size:9,} parameters, {macs / 1e6:.2f} million MACs an image")
model = networks["Extra-Small"]

# %% [markdown]
# Every dendrite is counted. The network with the fewest parameters does not have the fewest multiply-accumulates: the
# Extra-Small ones keep their maps larger.
#
# ## Folding
#
# In evaluation a BatchNorm is a multiplication and an addition per channel, with numbers that no longer change. The
# convolution before it is linear, so the two can be [folded](../docs/glossary.md#fold) into *one* convolution:
#
# $$\gamma\,\frac{(W * x) - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta
# \;=\; \underbrace{\frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}\,W}_{\text{new weight}} * x
# \;+\; \underbrace{\beta - \frac{\gamma\,\mu}{\sqrt{\sigma^2 + \varepsilon}}}_{\text{new bias}}$$
#
# ### Exercise 1 · Fold a BatchNorm · medium · 6 minutes
#
# `weight` is [out, in, k, k]; `gamma`, `beta`, `mean` and `variance` are tensors [out], one number for each output
# channel; `eps` is a number. Return the new weight and the new bias. (No module is needed. The convolutions of a
# MobileNet have no bias of their own; one that has b adds γb/√(σ² + ε) to the new bias.)


# %% tags=["exercise"]
def fold_norm(weight, gamma, beta, mean, variance, eps):
    ### BEGIN SOLUTION
    scale = gamma / (variance + eps).sqrt()  # [out]
    return weight * scale[:, None, None, None], beta - mean * scale
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
from perfteach.course import checks

checks.check_fold(fold_norm)

# %% [markdown]
# `perfteach.fold(model)` does this for the [neurons](../docs/glossary.md#neuron) *and* for the dendrites of every
# [dendritic layer](../docs/glossary.md#dendritic-layer), in a copy. A dendrite keeps its own
# [φ](../docs/glossary.md#phi), here a ReLU, so it cannot be folded into its neuron (why not? See the quiz). (The
# norms of the other layers stay; the exporter folds those, see `norms left` below.)

# %%
# NBVAL_CHECK_OUTPUT
import torch

from perfteach import fold
from perfteach.dendrites import dendritic_layers

folded = fold(model)
layer = dict(dendritic_layers(model))["features.4.block.0.0"]
print("before:", [type(part).__name__ for part in layer.neuron])
print(
    "after: ",
    type(dict(dendritic_layers(folded))["features.4.block.0.0"].neuron).__name__,
)
x, y = next(iter(images.batches("test", 100)))
with torch.inference_mode():
    gap = (model(x) - folded(x)).abs().max()
print("largest difference of a logit is below 0.0001:", bool(gap < 1e-4))

# %% [markdown]
# Not *zero*: the same sum in another order is rounded differently. "Equal up to rounding" is what to ask for, with a
# number beside it.
#
# ## Leaving PyTorch
#
# [ONNX](https://onnx.ai) is a file format for networks that many runtimes read. `torch.onnx.export(..., dynamo=True)`
# follows one input through the network and writes down every operation. The batch size becomes part of the file; a
# device sees one image at a time, so it is 1 here. The exporter also notes for each operation where its line of code
# lay on your machine. Nobody else needs that, and in a small network's file it takes much room, so `export` below
# removes it. All three networks go the same way.

# %%
import logging
import tempfile
import warnings
from pathlib import Path

from perfteach.extras import need

need("export", "onnx", "onnxscript", "onnxruntime")  # or says what to install
logging.getLogger("torch.onnx").setLevel(logging.ERROR)
# These come from the exporter's own parts.
warnings.filterwarnings("ignore", category=DeprecationWarning)

# %%
folder = Path(tempfile.mkdtemp(prefix="perfteach-06-"))
one_image = x[:1].contiguous()


def export(network, name):
    path = folder / f"{name}.onnx"
    names = {"input_names": ["image"], "output_names": ["logits"]}
    options = {"dynamo": True, "verbose": False}
    program = torch.onnx.export(network.eval(), (one_image,), **names, **options)
    file = program.model_proto
    for node in file.graph.node:
        node.ClearField("metadata_props")
    path.write_bytes(file.SerializeToString())
    return path


files = {
    name: export(fold(network), f"network-{number}")
    for number, (name, network) in enumerate(networks.items())
}

# %%
# NBVAL_CHECK_OUTPUT
import onnx

graphs = {name: onnx.load(path).graph for name, path in files.items()}
kinds = {name: [node.op_type for node in graph.node] for name, graph in graphs.items()}
graph = graphs["Extra-Small"]
print("input:", [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim])
print("norms left:", kinds["Extra-Small"].count("BatchNormalization"))
more = {
    kind: kinds["Extra-Small"].count(kind)
    - kinds["Extra-Small, no dendrites"].count(kind)
    for kind in ("Conv", "Relu")
}
print("layers with dendrites:", len(dict(dendritic_layers(model))), "more nodes:", more)

# %% [markdown]
# A convolution and a ReLU more for each layer with dendrites, besides the multiplication by w and an addition: the
# dendrites are in the file, as ordinary operations. Whoever runs it needs neither this course nor PyTorch.
#
# ## The same answers?
#
# A converted network that answers *something* is not a converted network. Compare all logits on images it has never
# seen, and then the labels.
#
# ### Exercise 2 · Does it still give the same answers? · easy · 4 minutes
#
# Return the largest absolute difference of two tensors of logits [N, classes], and the share of images with the same
# label, in percent.


# %% tags=["exercise"]
def same_answers(reference, shipped):
    ### BEGIN SOLUTION
    difference = (reference - shipped).abs().max()
    return difference, 100 * (reference.argmax(1) == shipped.argmax(1)).float().mean()
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_same_answers(same_answers)

# %%
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # one core: comparable, and what a small device has


def session(path):
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def logits_of(path):
    opened = session(path)
    rows = [opened.run(None, {"image": row[None].numpy()})[0] for row in test_images]
    return torch.from_numpy(np.concatenate(rows))


# %%
test_images = torch.cat([batch for batch, _ in images.batches("test", 250)]).contiguous()


def logits_in_torch(network):
    with torch.inference_mode():
        return torch.cat([network(some) for some in test_images.split(250)])


reference = logits_in_torch(model)
shipped = {name: logits_of(path) for name, path in files.items()}

# %%
# NBVAL_CHECK_OUTPUT
answers = shipped["Extra-Small"]
agree = (reference.argmax(1) == answers.argmax(1)).float().mean()
print(f"{len(reference)} test images")
gap = float((reference - answers).abs().max())
print("largest difference of a logit is below 0.001:", gap < 1e-3)
print("the same label for at least 99.5 % of them:", bool(agree >= 0.995))

# %% [markdown]
# ## How fast?
#
# **Predict first:** Extra-Small has less than a sixth of MobileNet-Small's parameters, larger maps, and dendrites in
# its stem and first four blocks. Will one image take it less time, as much, or more? And how much of its time do the
# dendrites take?
#
# The time for one image is the network's [latency](../docs/glossary.md#latency). The first runs of a session pay for
# memory and caches, and now and then another program takes the core away. So measure often, drop the first runs, and
# take the median.
#
# ### Exercise 3 · Measure a latency · easy · 3 minutes
#
# `seconds` is a list of the measured times, `warm_up` is how many of the first to drop. Return the median
# (`statistics.median`) in **milliseconds**.


# %% tags=["exercise"]
def latency(seconds, warm_up):
    ### BEGIN SOLUTION
    from statistics import median

    return 1000 * median(seconds[warm_up:])
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_latency(latency)

# %%
import time
from statistics import quantiles


def times(answer, repeats=200, warm_up=20):
    seconds = []
    for _ in range(repeats + warm_up):
        start = time.perf_counter()
        answer()
        seconds.append(time.perf_counter() - start)
    # Deciles in ms; the fifth is the median.
    return quantiles([1000 * s for s in seconds[warm_up:]], n=10)


def onnx_times(path):
    opened, feed = session(path), {"image": one_image.numpy()}
    return times(lambda: opened.run(None, feed))


measured = {name: onnx_times(path) for name, path in files.items()}
torch.set_num_threads(1)
with torch.inference_mode():
    measured["Extra-Small, in PyTorch"] = times(lambda: model(one_image), repeats=50)

# %%
for name, tenths in measured.items():
    print(
        f"{name:30} {tenths[4]:.2f} ms (four in five: {tenths[0]:.2f} to {tenths[8]:.2f})"
    )

# %% [markdown]
# ## Eight bits
#
# A weight has 32 bits and does not need them. Symmetric rounding keeps one *scale* per tensor and a whole number
# from −127 to 127 per weight: $w \approx s\,q$ with $s = \max|w| / 127$.
#
# ### Exercise 4 · Round to eight bits · medium · 4 minutes
#
# Return the [int8](../docs/glossary.md#int8) tensor and the scale. (Some weight is not zero.)


# %% tags=["exercise"]
def to_int8(weight):
    ### BEGIN SOLUTION
    scale = weight.abs().max() / 127
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_quantize(to_int8)

# %% [markdown]
# How far can one go? Round *all* parameters of the network, biases and remaining norms included, to fewer and fewer
# bits and count the labels that stay as they were. **Predict first:** at which number of bits does it break?

# %%
import copy


def labels_kept(bits):
    network, levels = copy.deepcopy(folded), 2 ** (bits - 1) - 1
    with torch.no_grad():
        for weight in network.parameters():
            scale = weight.abs().max().clamp_min(1e-12) / levels
            weight.copy_((weight / scale).round() * scale)
    same = logits_in_torch(network).argmax(1) == reference.argmax(1)
    return 100 * float(same.float().mean())


# %%
from perfteach.widgets.base import Number, Panel, Said


class BitsLab(Panel):
    def __init__(self):
        super().__init__("How many bits does a weight need?")
        self.bits = Number(
            "Bits per weight", 8, 2, 8, 1, self.on_change, continuous=False
        )
        self.words = Said(lines=2)
        self.fill(self.bits.widget, self.words)
        self.on_change(None)

    def on_change(self, _):
        bits = self.bits.value
        self.said = (
            f"With {bits} bits per weight ({bits / 32:.0%} of 32), "
            f"{labels_kept(bits):.1f} % of {len(reference):,} test images keep their label."
        )
        self.words.sentences = [self.said]

    def summary(self):
        return self.said


# %%
BitsLab()

# %% [markdown]
# onnxruntime does the same for a whole file. *Static* quantization also rounds what flows between the layers; for the
# range of those it needs some images, and gets training images, never the test's. `per_channel=True` keeps one scale
# for each output channel instead of one per tensor.

# %%
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)


class SomeImages(CalibrationDataReader):
    def __init__(self, count=64):
        batch, _ = next(iter(images.batches("train", count)))
        self.rows = iter(batch.contiguous())

    def get_next(self):
        row = next(self.rows, None)
        return None if row is None else {"image": row[None].numpy()}


# %%
# The quantizer advises on steps that `fold` and the exporter have done already.
logging.getLogger().setLevel(logging.ERROR)
files["Extra-Small, int8"] = folder / "int8.onnx"
quantize_static(
    files["Extra-Small"],
    files["Extra-Small, int8"],
    SomeImages(),
    QuantFormat.QDQ,
    per_channel=True,
    activation_type=QuantType.QUInt8,
)
measured["Extra-Small, int8"] = onnx_times(files["Extra-Small, int8"])
rounded = logits_of(files["Extra-Small, int8"])

# %%
from IPython.display import Markdown

labels = images.test.labels
shipped["Extra-Small, int8"] = rounded
lines = []
for name, path in files.items():
    low, middle, high = (measured[name][decile] for decile in (0, 4, 8))
    hits = f"{100 * (shipped[name].argmax(1) == labels).float().mean():.1f}"
    size, spread = path.stat().st_size / 1e6, f"{low:.2f} to {high:.2f}"
    lines.append(f"| {name} | {size:.2f} | {middle:.2f} ({spread}) | {hits} |")
torch_ms = measured["Extra-Small, in PyTorch"][4]
Markdown(
    "| file | MB | ms an image: median (10th to 90th percentile) | test accuracy (%) |\n"
    "|---|---|---|---|\n"
    + "\n".join(lines)
    + f"\n\nThe same network in PyTorch, one image at a time: {torch_ms:.1f} ms. "
    f"**Live, on this machine, one core, {images.title()}.**"
)

# %%
kept = 100 * (rounded.argmax(1) == answers.argmax(1)).float().mean()
right_of = {
    name: 100 * float((shipped[name].argmax(1) == labels).float().mean())
    for name in files
}
time_of = {name: measured[name][4] / measured["MobileNet-Small"][4] for name in files}
bytes_of = {name: path.stat().st_size for name, path in files.items()}
size_of = {name: size / bytes_of["MobileNet-Small"] for name, size in bytes_of.items()}
ours, plain, int8 = "Extra-Small", "Extra-Small, no dendrites", "Extra-Small, int8"
Markdown(
    f"Against MobileNet-Small, Extra-Small has {size_of[ours]:.0%} of the size, and an "
    f"image takes {time_of[ours]:.0%} of the time. Without its dendrites it takes "
    f"{time_of[plain]:.0%}: the difference is what dendrites cost where it runs. Rounded "
    f"to int8 it has {size_of[int8]:.0%} of the size and takes {time_of[int8]:.0%} of the "
    f"time; {kept:.0f} % of the labels stay as they were, and the test accuracy goes "
    f"from {right_of[ours]:.1f} to {right_of[int8]:.1f} %."
)

# %% [markdown]
# Was your prediction right? Three surprises are common here. **Time does not follow parameters:** larger maps mean more
# multiply-accumulates with the same weights, as the first cell of this notebook counted, and a network of this size
# also spends much of an image's time on starting operations. Dendrites add both. **Int8 can be slower:** where the
# processor has no instructions for it, or the layers are so small that converting back and forth costs more than it
# saves, only the file gets smaller. **And int8 can cost accuracy.** The widget rounded only what is stored in the file,
# and with 8 bits nearly all labels stayed. What is lost here is lost between the layers: one scale serves a whole map,
# and its few largest values decide that scale. Times depend on the machine. Measure on the one you ship to. And compare
# the accuracies with those of notebook 05: over three seeds the dendrites of this network brought nothing that could be
# shown, and here they cost time. Of these files, I would ship the one *without* them. The steps are the same for a
# network whose dendrites earn their place.
#
# ## Quiz
#
# Choose an answer: it is checked at once. (Where no buttons appear, the answer is folded below its question.)

# %%
from perfteach.course import quiz

quiz.ask("06.1")

# %%
quiz.ask("06.2")

# %% [markdown]
# > **What could go wrong**
# >
# > * *The model was in training mode.* Then dropout and batch statistics are exported too. `fold` and `.eval()` take
# >   care of it; the comparison above would have found it.
# > * *"Got invalid dimensions for input".* The file was exported for one image. Export with `dynamic_shapes` for a free
# >   batch size; it takes longer.
# > * *Accuracy collapses in int8.* Calibrate with normalised images, as the network saw them. Then keep the weights at
# >   8 bits and give the numbers between the layers 16 (`activation_type=QuantType.QUInt16,
# >   weight_type=QuantType.QInt8`): if that repairs it, they need a narrower range
# >   (`calibrate_method=CalibrationMethod.Percentile`) or more bits. More images do not always help, because by default
# >   the largest values that they meet set the range.
# > * *A latency of other people.* Clock, cores, runtime and input size all differ. Say them, or do not compare.
# >
# > More in [troubleshooting](../docs/troubleshooting.md).
#
# **Take away.** Fold, export, *check that the answers are the same*, and measure bytes and milliseconds where they
# count.
#
# **Next:** [07 · Your own model](07_your_own_model.ipynb)
#
# **References**
#
# * [torch.onnx](https://docs.pytorch.org/docs/stable/onnx.html) and [onnxruntime's quantization
#   guide](https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html)
# * B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   [arXiv 1712.05877](https://arxiv.org/abs/1712.05877)

# %% [markdown]
# ## How far you are
#
# A filled circle is an exercise whose check has passed. This is kept in `perfteach-progress.json` beside the notebooks,
# on your machine only.

# %%
from perfteach.course import progress

progress.show()
