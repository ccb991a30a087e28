# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402

# %% [markdown]
# # 01 · MobileNet basics
#
# **What makes a MobileNet small, and where do its parameters sit?**
#
# Before anything is added to a network one should know what it is made of. Four ideas make a MobileNet. You count the
# first by hand, write the others in plain PyTorch, and find that the trained network gives the same numbers.
#
# | | |
# |---|---|
# | **You will** | meet a trained network · count convolutions · write squeeze-and-excite · rebuild one of its blocks |
# | **Minutes** | 30 |
# | **You need** | [00 · Start here](00_start_here.ipynb); to know what a convolution does |

# %% [markdown]
# ## What it has to see
#
# Photographs of 32 × 32 pixels, ten kinds of things: a [sample](../docs/glossary.md#sample) of CIFAR-10 that comes with
# the course, 500 images of each class to learn from and 100 to test on. Some are hard for people, too. And here is a
# network that has learned to tell them apart: a MobileNetV3-Small that was trained for this course, on 40,000 images of
# CIFAR-10, and comes along as a file. These are some of its answers to test images, which it has never seen.

# %%
from perfteach import course, metrics, mobilenet_small, plots

tier = course.tier()
images = tier.load()
network = mobilenet_small(weights="cifar10")
answers = metrics.predictions(network, images, "test")
title = f"Example predictions: {images.title()}"
some = images.test.images[:20], images.test.labels[:20], answers[:20]
plots.example_predictions(*some, images.classes, title)

# %%
from IPython.display import Markdown

right = 100 * (answers == images.test.labels).float().mean()
chance = 100 / len(images.classes)
Markdown(
    f"It gets **{right:.1f} %** of {len(answers):,} test images right, where guessing "
    f"gives {chance:.0f} %, and it would fit into a phone. How?"
)

# %% [markdown]
# This network goes with you. Here you take it apart. In [04](04_perforated_fine_tuning.ipynb) it goes on learning, with
# [dendrites](../docs/glossary.md#dendrite); in [05](05_building_extra_small.ipynb) it shrinks to less than a sixth; in
# [06](06_shipping_it.ipynb) it leaves PyTorch; and in [07](07_your_own_model.ipynb) it looks at a picture of yours.

# %%
import torch
from torch import nn
from torch.nn import functional as F

from perfteach import count_macs, count_parameters
from perfteach.course import checks

_ = torch.manual_seed(0)

# %% [markdown]
# ## 1. An ordinary convolution, counted
#
# A convolution with kernel `k` from `c_in` to `c_out` channels looks, for each output channel, at a `k × k` window in
# *every* input channel. So it has
#
# $$\text{weights} = c_\text{out} \cdot c_\text{in} \cdot k^2, \qquad
# \text{MACs} = \text{weights} \cdot H_\text{out} \cdot W_\text{out}.$$
#
# A **[MAC](../docs/glossary.md#multiply-accumulate)** is one multiplication with its addition. Weights cost memory,
# MACs cost time; they are not the same thing.

# %%
# NBVAL_CHECK_OUTPUT
ordinary = nn.Conv2d(64, 128, kernel_size=3, padding=1, bias=False)
by_hand = 128 * 64 * 3 * 3
print("weights by hand:", by_hand, " in the layer:", ordinary.weight.numel())
counted = count_macs(ordinary, (64, 16, 16)).total
print("MACs by hand:", by_hand * 16 * 16, " counted:", counted)

# %% [markdown]
# ## 2. The same in two steps: depthwise, then pointwise
#
# A convolution does two jobs at once: it looks *around* in each channel, and it *mixes* channels. Do them one after
# the other instead:
#
# * **[depthwise](../docs/glossary.md#depthwise-convolution)**: each channel gets one `k × k` kernel of its own and
#   nothing is mixed (`groups=c_in` in PyTorch);
# * **[pointwise](../docs/glossary.md#pointwise-convolution)**: a `1 × 1` convolution mixes the channels and looks
#   nowhere.
#
# The two steps together are called a *depthwise-separable* convolution. First a check that `groups` does what was said:
# a loop over the channels gives the same numbers.

# %%
# NBVAL_CHECK_OUTPUT
depthwise = nn.Conv2d(64, 64, kernel_size=3, padding=1, groups=64, bias=False)
pointwise = nn.Conv2d(64, 128, kernel_size=1, bias=False)
x = torch.randn(2, 64, 16, 16)
one_by_one = [
    F.conv2d(x[:, c : c + 1], depthwise.weight[c : c + 1], padding=1) for c in range(64)
]
same = torch.allclose(torch.cat(one_by_one, dim=1), depthwise(x), atol=1e-5)
print("loop over channels equals groups:", same)

# %% [markdown]
# **Predict first:** by which factor does the pair need fewer weights than the ordinary convolution? Closer to 2, to
# 8, or to 64?

# %%
# NBVAL_CHECK_OUTPUT
pair = depthwise.weight.numel() + pointwise.weight.numel()
print(f"{by_hand:,} against {pair:,}: {by_hand / pair:.1f} times fewer")
print(f"by the formula 1 / (1/c_out + 1/k²): {1 / (1 / 128 + 1 / 9):.1f}")

# %% [markdown]
# With a 3 × 3 kernel the gain can never exceed 9: with many channels nearly all that is left is the pointwise step.
# Remember this for section 6.
#
# ### Exercise 1 · Weights of a separable convolution · easy · 3 minutes
#
# Write the count for the pair, depthwise and pointwise, for any sizes. No biases: the norm that follows each
# convolution has its own.


# %% tags=["exercise"]
def separable_weights(c_in, c_out, k):
    ### BEGIN SOLUTION
    depthwise = k * k * c_in
    pointwise = c_in * c_out
    return depthwise + pointwise
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_separable_weights(separable_weights)

# %% [markdown]
# ### Exercise 2 · Multiply-accumulates of a convolution · medium · 6 minutes
#
# The map is square with `side` positions per edge, `k` is odd, the padding is `k // 2`, and a stride of 2 leaves every
# second position (rounded *up*: 15 positions become 8). No biases. How many MACs does an *ordinary* convolution spend
# on one image?


# %% tags=["exercise"]
def convolution_macs(c_in, c_out, k, side, stride):
    ### BEGIN SOLUTION
    outside = (side + stride - 1) // stride
    return c_in * c_out * k * k * outside * outside
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_convolution_macs(convolution_macs)

# %% [markdown]
# ## 3. The inverted residual
#
# The *bottleneck* block of a deep ResNet squeezes the channels, convolves, and widens again. A MobileNet does it the
# other way round, because its convolution is depthwise and therefore cheap: **expand** with a pointwise step, look
# around depthwise in the wide map, **project** back. The thin ends are what is carried from block to block, and what
# the shortcut joins (it adds the block's input to its output). After the projection there is no activation, so nothing
# is cut off in the thin map (a *linear bottleneck*).
#
# Here is block 3 of MobileNetV3-Small, in plain PyTorch.


# %%
# NBVAL_CHECK_OUTPUT
def conv_norm(c_in, c_out, k=1, groups=1):
    convolution = nn.Conv2d(c_in, c_out, k, padding=k // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out, eps=0.001))


class PlainBlock(nn.Module):
    def __init__(self, thin, wide, k):
        super().__init__()
        self.expand = conv_norm(thin, wide)
        self.depthwise = conv_norm(wide, wide, k, groups=wide)
        self.project = conv_norm(wide, thin)

    def forward(self, x):  # [B, thin, H, W]
        h = F.relu(self.expand(x))  # [B, wide, H, W]
        h = F.relu(self.depthwise(h))
        return x + self.project(h)  # the shortcut joins the thin ends


for name, part in PlainBlock(24, 88, 3).named_children():
    print(f"{name:10} {sum(p.numel() for p in part.parameters()):6,} parameters")

# %% [markdown]
# Is that the real block? Copy the trained network's weights into ours, in order, and compare the outputs.


# %%
# NBVAL_CHECK_OUTPUT
def take_weights(mine, theirs):
    names, values = list(mine.state_dict()), list(theirs.state_dict().values())
    mine.load_state_dict(dict(zip(names, values, strict=True)))
    return mine.eval(), theirs.eval()


mine, theirs = take_weights(PlainBlock(24, 88, 3), network.features[3])
x = torch.randn(2, 24, 8, 8)
with torch.no_grad():
    same = torch.allclose(mine(x), theirs(x), atol=1e-4)
print("same output as the network's block 3:", same)

# %% [markdown]
# ## 4. Hard-swish
#
# The early blocks use ReLU, the later ones **[hard-swish](../docs/glossary.md#hard-swish)**, a cheap form of
# *swish*, x · σ(x): its gate is made from pieces of straight lines, so that a phone needs no exponential:
#
# $$\text{hardswish}(x) = x \cdot \frac{\min(\max(x + 3,\, 0),\, 6)}{6}$$
#
# The factor is a gate that opens from 0 to 1 between −3 and 3.
#
# ### Exercise 3 · Hard-swish · easy · 3 minutes
#
# Write it for a tensor `x` of any shape. The formula's min and max go element by element, which Python's own do not.


# %% tags=["exercise"]
def hard_swish(x):
    ### BEGIN SOLUTION
    gate = torch.clamp(x + 3, 0, 6) / 6
    return x * gate
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_hard_swish(hard_swish)

# %% [markdown]
# ## 5. Squeeze and excite
#
# A convolution sees a small window. **[Squeeze-and-excite](../docs/glossary.md#squeeze-excite)** gives every channel a
# look at the whole map, for very little arithmetic (but many weights, see section 6):
#
# 1. *squeeze*: the mean of each channel over all positions, `[B, C, H, W] → [B, C, 1, 1]`;
# 2. two small layers, `fc1` (to fewer channels, then ReLU) and `fc2` (back), then *hardsigmoid*, the gate of
# hard-swish;
# 3. *excite*: multiply each channel of the map by its number between 0 and 1.
#
# ### Exercise 4 · Squeeze and excite · medium · 6 minutes
#
# `fc1` and `fc2` are given, as 1 × 1 convolutions. `F.hardsigmoid` exists.


# %% tags=["exercise"]
def squeeze_excite(x, fc1, fc2):
    ### BEGIN SOLUTION
    squeezed = x.mean(dim=(2, 3), keepdim=True)  # [B, C, 1, 1]
    scale = F.hardsigmoid(fc2(F.relu(fc1(squeezed))))
    return x * scale
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_squeeze_excite(squeeze_excite)

# %% [markdown]
# With these two, ours becomes block 5, one of the later blocks. (The class writes squeeze-and-excite out once more,
# so that it works whether or not you have done the exercise.)


# %%
# NBVAL_CHECK_OUTPUT
class LateBlock(PlainBlock):
    def __init__(self, thin, wide, k, squeezed):
        super().__init__(thin, wide, k)
        self.fc1, self.fc2 = nn.Conv2d(wide, squeezed, 1), nn.Conv2d(squeezed, wide, 1)
        # torchvision's order: squeeze-and-excite, then project
        self.project = self._modules.pop("project")

    def forward(self, x):
        h = F.hardswish(self.depthwise(F.hardswish(self.expand(x))))
        h = h * F.hardsigmoid(self.fc2(F.relu(self.fc1(h.mean((2, 3), keepdim=True)))))
        return x + self.project(h)


mine, theirs = take_weights(LateBlock(40, 240, 5, 64), network.features[5])
x = torch.randn(2, 40, 8, 8)
with torch.no_grad():
    same = torch.allclose(mine(x), theirs(x), atol=1e-4)
print("same output as the network's block 5:", same)

# %% [markdown]
# ## 6. Where parameters and arithmetic sit
#
# The whole network is a stem (one ordinary convolution), eleven blocks of this kind (the first does not expand, the
# five that change stride or channels have no shortcut, and two have no squeeze-and-excite), one last pointwise
# convolution, and a [head](../docs/glossary.md#head) (two fully connected layers).
#
# **Predict first:** which of the three has the most parameters?

# %%
# NBVAL_CHECK_OUTPUT
count_parameters(mobilenet_small(head="imagenet"))

# %% [markdown]
# The head, with nearly two thirds! It has 1,000 outputs, for the 1,000 classes of ImageNet. Many experiments with ten
# classes leave it that way, and then 990 outputs learn nothing but to stay silent. With a head for the task:

# %%
# NBVAL_CHECK_OUTPUT
count_parameters(network)

# %%
networks = {
    "width 1.0, 1000 outputs": mobilenet_small(head="imagenet"),
    "width 1.0, 10 outputs": mobilenet_small(),
    "width 0.75, 10 outputs": mobilenet_small(width=0.75),
    "width 0.5, 10 outputs": mobilenet_small(width=0.5),
}
plots.parameter_bars(
    {name: count_parameters(one).as_dict() for name, one in networks.items()}
)

# %% [markdown]
# *How to read it:* each bar is one network, cut into its parts. The **[width](../docs/glossary.md#width)** multiplies
# every channel count, so the blocks shrink about with its square, because a pointwise convolution has `c_in · c_out`
# weights.
#
# And inside the blocks? Squeeze-and-excite, which is hardly any arithmetic, holds as many weights as everything else in
# them together:

# %%
# NBVAL_CHECK_OUTPUT
kinds = dict.fromkeys(("squeeze-and-excite", "pointwise", "depthwise"), 0)
for name, part in network.features[1:].named_modules():
    if isinstance(part, nn.Conv2d):
        squeeze = "squeeze-and-excite" if name.endswith(("fc1", "fc2")) else ""
        kind = squeeze or ("depthwise" if part.groups > 1 else "pointwise")
        kinds[kind] += sum(p.numel() for p in part.parameters())
print(*(f"{kind}: {size:,}" for kind, size in kinds.items()), sep="\n")

# %% [markdown]
# The arithmetic has another shape, and it depends on the size of the images:

# %%
# NBVAL_CHECK_OUTPUT
for side in (32, 64, 224):
    macs = count_macs(mobilenet_small(), (3, side, side)).as_dict()
    total = macs["total"]
    parts = [
        f"{part} {100 * macs[part] / total:.0f} %" for part in ("stem", "blocks", "head")
    ]
    print(f"{side:3} pixels: {total / 1e6:5.2f} million MACs ({', '.join(parts)})")
own = count_macs(network, (3, 32, 32)).total
print(f"the trained network, 32 pixels: {own / 1e6:.2f} million MACs")

# %% [markdown]
# The published strides leave a photograph of 32 × 32 pixels a single position at the end. The trained network of the
# first picture therefore keeps its stem at stride 1: the same parameters, and at 32 pixels as much arithmetic as the
# published one at 64.
#
# Choose width and outputs yourself, with the two menus that the next cell shows when it is run. Which of the two saves
# more when you begin with the published network, the one with 1000 outputs?

# %%
from ipywidgets import interact


def beside_published(width, outputs):
    chosen = mobilenet_small(head="imagenet" if outputs == 1000 else "task", width=width)
    both = {"published": networks["width 1.0, 1000 outputs"], "yours": chosen}
    return plots.parameter_bars(
        {name: count_parameters(one).as_dict() for name, one in both.items()}
    )


_ = interact(beside_published, width=[0.25, 0.35, 0.5, 0.75, 1.0], outputs=[10, 1000])

# %% [markdown]
# It depends on how far you go: ten outputs save 1.01 million parameters. Width 0.75 alone saves 0.89 million, width 0.5
# alone 1.63 million.
#
# ## 7. A baseline
#
# Last, train one yourself, from the start. In the quick and the laptop tier it is a narrow MobileNetV3-Small, on the
# photographs of the beginning. They are a tenth of CIFAR-10, and the quick tier learns from fewer than half of those
# that are there to learn from. **Predict first:** how close will it come to the network of the first picture?

# %%
# NBVAL_CHECK_OUTPUT
print(images)
print("classes:", ", ".join(images.classes))

# %%
from perfteach import FixedSwitch, PerforatedTrainer, TrainConfig

baseline = mobilenet_small(num_classes=len(images.classes), width=tier.width, seed=0)
epochs = FixedSwitch((tier.epochs,), 0)
settings = TrainConfig(switch=epochs, cycles=0, lr=3e-3, batch_size=tier.batch_size)
run = PerforatedTrainer(baseline, images, settings, name="baseline").fit()
plots.training_curves(run)

# %%
accuracy, parameters = run.result["test_accuracy"], run.result["parameters"]["total"]
Markdown(
    f"After {len(run.epochs)} epochs on {len(images.train):,} images yours gets "
    f"**{accuracy:.1f} %** of the test images right, with {parameters:,} parameters; "
    f"the one of the first picture {right:.1f} %, with {count_parameters(network).total:,}."
)

# %% [markdown]
# Yours has seen few images, and its training stopped early so that it takes seconds. (The picture shows the error on
# the *validation* images, epoch by epoch; the sentence below it gives the accuracy on the *test* images, which are read
# once.) What counts here is that there *is* a number. Every result of the later notebooks is read against a
# *[control](../docs/glossary.md#control)* that had the same data and as many epochs.

# %%
# NBVAL_CHECK_OUTPUT
print("better than guessing:", accuracy > chance)
print("parameters:", f"{parameters:,}")

# %% [markdown]
# ## Quiz
#
# Choose an answer: it is checked at once. (Where no buttons appear, the answer is folded below its question.)

# %%
from perfteach.course import quiz

quiz.ask("01.1")

# %%
quiz.ask("01.2")

# %% [markdown]
# > **What could go wrong**
# >
# > * *The training accuracy rises and the validation accuracy stays at 10 %.* torchvision builds MobileNetV3 with a
# >   BatchNorm momentum of 0.01. After a short run the running statistics are still those of the start, and
# >   evaluation uses them. `mobilenet_small` sets 0.1; with torchvision's own function set it yourself.
# > * *Someone's "MobileNet-Small" has 2.5 million parameters and yours 1.5.* Ask which head. Always say it with the
# >   number.
# > * *The training is slow on a CPU.* Keep the images in `channels_last` order, as this course's batches are. In a
# >   prototype of this course that made a step three times faster.
#
# **Take away.** A MobileNet separates looking around from mixing. What is left is mixing: the pointwise convolutions,
# squeeze-and-excite and the head hold nearly all the parameters, and that is where a smaller network saves, or loses.
#
# **Next:** [02 · One neuron, one dendrite](02_one_neuron_one_dendrite.ipynb)
#
# **References**
#
# * A. Howard et al., *MobileNets* (2017), [arXiv 1704.04861](https://arxiv.org/abs/1704.04861): depthwise-separable
#   convolutions and the width multiplier
# * M. Sandler et al., *MobileNetV2* (2018), [arXiv 1801.04381](https://arxiv.org/abs/1801.04381): inverted residuals
# * J. Hu et al., *Squeeze-and-Excitation Networks* (2018), [arXiv 1709.01507](https://arxiv.org/abs/1709.01507)
# * A. Howard et al., *Searching for MobileNetV3* (2019), [arXiv 1905.02244](https://arxiv.org/abs/1905.02244)

# %% [markdown]
# ## How far you are
#
# A filled circle is an exercise whose check has passed. This is kept in `perfteach-progress.json` beside the notebooks,
# on your machine only.

# %%
from perfteach.course import progress

progress.show()
