# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402

# %% [markdown]
# # 02 · One neuron, one dendrite
#
# **What is the least that bends a straight border?**
#
# One [neuron](../docs/glossary.md#neuron), four clouds of points, and no way to separate them with one straight line.
# You find the [error](../docs/glossary.md#error) that is left, let one [dendrite](../docs/glossary.md#dendrite) learn
# to follow it, and watch the border bend. Everything is done in plain PyTorch first; then the library gives the same
# numbers.
#
# | | |
# |---|---|
# | **You will** | write the error, the correlation and one step of ascent · compare with autograd · play in the lab |
# | **Minutes** | 30 |
# | **You need** | [00 · Start here](00_start_here.ipynb); the chain rule |

# %%
import copy

import torch
from torch import nn

from perfteach import plots
from perfteach.course import checks
from perfteach.data.points import xor

data = xor(200)
x, y = data.train.inputs, data.train.labels  # [200, 2] and [200], classes 0 and 1

# %% [markdown]
# ## 1. What one neuron can do
#
# A single neuron computes `h = n·x + b` and says "second class" with probability `σ(h) = 1 / (1 + exp(−h))`. Its
# border is where `h = 0`: a straight line.
#
# The problem is **XOR**: opposite corners belong together. **Predict first:** how many of the points can a straight
# line get right, at best?


# %%
class OneNeuron(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):  # [P, 2] → two logits [P, 2], so that argmax gives the class
        h = self.layer(x)
        return torch.cat([torch.zeros_like(h), h], dim=1)


def train(model, parameters, steps=300):
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


_ = torch.manual_seed(0)
neuron = nn.Linear(2, 1)
alone = OneNeuron(neuron)
train(alone, neuron.parameters())
plots.decision_boundary(alone, data)

# %% [markdown]
# The best a line can do is cut one corner off and get three quarters right. Yet training does not even aim at that:
# the cross-entropy is lowest where the neuron answers "about one half" everywhere, and then it is chance on which
# side of one half a point falls. This is already the minimum of the loss; more training would not help.
#
# ## 2. The error that is left
#
# What does the neuron *want to change*? For each point p that is the derivative of the loss with respect to its own
# sum h:
#
# $$E_p = \frac{\partial L_p}{\partial h_p} = \sigma(h_p) - y_p$$
#
# E is positive where h is too high, negative where it is too low, and backpropagation delivers it to every neuron of
# every network. It is the whole message a dendrite will listen to.
#
# ### Exercise 1 · The neuron's error · easy · 3 minutes
#
# `h` and `y` have one entry for each point. Return E of each point.


# %% tags=["exercise"]
def neuron_error(h, y):
    ### BEGIN SOLUTION
    return torch.sigmoid(h) - y
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_neuron_error(neuron_error)

# %% [markdown]
# Autograd agrees. (The loss of a whole batch is a *mean*, so its derivative is divided by the number of points.)

# %%
# NBVAL_CHECK_OUTPUT
h = neuron(x)[:, 0].detach().requires_grad_()
loss = nn.functional.binary_cross_entropy_with_logits(h, y.float())
(slope,) = torch.autograd.grad(loss, h)
error = torch.sigmoid(h.detach()) - y  # [200]
same = torch.allclose(slope * len(y), error, atol=1e-6)
print("E from autograd equals σ(h) − y:", same)

# %% [markdown]
# ## 3. A dendrite that follows the error
#
# A dendrite is a small neuron beside the neuron. It sees the same input and has weights of its own:
#
# $$V_p = \tanh(a \cdot x_p + c) \qquad\qquad h'_p = h_p + w V_p$$
#
# If V went up and down with the error from point to point, the neuron could use it to cancel a part of the error. How
# well two things go up and down together is their **[covariance](../docs/glossary.md#covariance-rule)**, and without
# their scales the **[correlation](../docs/glossary.md#correlation-r)**:
#
# $$\text{cov} = \frac1P \sum_p (V_p - \bar V)(E_p - \bar E) \qquad\qquad r = \frac{\text{cov}}{\sigma_V\,\sigma_E}$$
#
# ($\sigma_V$ and $\sigma_E$ are standard deviations over the points, with the divisor P as in the covariance, and not
# the sigmoid σ. Once a dendrite counts, the neuron's sum is h′ and its error E = ∂L/∂h′; with w = 0 the two are the
# same.)
#
# ### Exercise 2 · Correlation · medium · 6 minutes
#
# Write r for many neurons at once: `v` and `e` are `[P, C]`, points by neurons, and each *column* is a neuron with
# its own dendrite. Return `[C]`.


# %% tags=["exercise"]
def correlation(v, e):
    ### BEGIN SOLUTION
    dv, de = v - v.mean(0), e - e.mean(0)
    return (dv * de).mean(0) / (dv.square().mean(0) * de.square().mean(0)).sqrt()
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_correlation(correlation)

# %% [markdown]
# A dendrite with random weights has *some* correlation with the error, and it is usually small:

# %%
# NBVAL_CHECK_OUTPUT
from perfteach.correlation import Moments

_ = torch.manual_seed(1)
random, biases = torch.randn(2, 1000), torch.randn(1000)
v = torch.tanh(x @ random + biases)  # a thousand dendrites at once, [200, 1000]
sizes = Moments.of(v, error[:, None].expand_as(v)).r.abs()
print(
    f"mean |r| of a thousand random dendrites: {sizes.mean():.2f}, "
    f"of the best: {sizes.max():.2f}"
)

# %% [markdown]
# ## 4. Going up
#
# Do not wait for luck. The size of the covariance, summed over the points, is a hill over the dendrite's weights:
#
# $$S = \Bigl|\sum_p (V_p - \bar V)(E_p - \bar E)\Bigr| \qquad\qquad
# \frac{\partial S}{\partial V_p} = \operatorname{sign}(\text{cov})\,(E_p - \bar E)$$
#
# (The means move with V, too, but that part adds up to zero.) By the chain rule through tanh, whose slope is
# $1 - V_p^2$, the gradient with respect to the dendrite's weights is
#
# $$\frac{\partial S}{\partial a} = \operatorname{sign}(\text{cov}) \sum_p (E_p - \bar E)\,(1 - V_p^2)\; x_p.$$
#
# Only the dendrite's own input, its own output, and its own neuron's error occur. Nothing else in a network has to
# know.
#
# ### Exercise 3 · Direction of ascent · medium · 6 minutes
#
# `x` is `[P, D]`, points by inputs; `v` and `e` are `[P]`. Return `∂S/∂a`, of shape `[D]`. Your function climbs the
# hill in the cell after the check.


# %% tags=["exercise"]
def ascent(x, v, e):
    ### BEGIN SOLUTION
    dv, de = v - v.mean(), e - e.mean()
    sign = torch.sign((dv * de).sum())
    by_sum = sign * de * (1 - v.square())  # ∂S/∂(a·x + c) of each point
    return by_sum @ x
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
checks.check_ascent(ascent)

# %% [markdown]
# Now climb, with *your* function. A third input that is always 1 turns the dendrite's bias c into one more weight, so
# that it climbs, too. Each step goes along the mean over the points rather than the sum, so that its size does not
# depend on how many there are.

# %%
from perfteach.course.checks.helpers import ascent as library_ascent

climb = ascent
if not checks.check_ascent(ascent):
    climb = library_ascent
    print("Exercise 3 is open: the course's own function climbs in its place.")

with_one = torch.cat([x, torch.ones(len(x), 1)], dim=1)  # [200, 3]
weights, path = torch.tensor([0.3, -0.2, 0.1]), []
for _ in range(150):
    v = torch.tanh(with_one @ weights)  # [200]
    path.append(float(Moments.of(v[:, None], error[:, None]).r.abs()))
    weights = weights + 2 * climb(with_one, v, error) / len(x)
a, c = weights[:2], weights[2]

# %%
from matplotlib.figure import Figure

figure = Figure(figsize=(7, 2.8), layout="constrained")
axes = figure.subplots()
axes.plot(range(1, len(path) + 1), path)
axes.set(
    xlabel="step of ascent",
    ylabel="|r|, from 0 to 1",
    ylim=(0, 1),
    title="A dendrite learns to follow the error",
)
words = f"The size of r rises from {path[0]:.2f} to {path[-1]:.2f} in {len(path)} steps."

from IPython.display import HTML

HTML(plots.html(figure, words) + f"<p>{words}</p>")

# %% [markdown]
# The luckiest of a thousand random dendrites was about as good. But luck needs a thousand tries, and more with more
# inputs.
#
# The covariance has a drawback: it grows with the size of the error and with the size of V, so the same step is long
# where the error is large, and short where little of it is left. The course therefore climbs |r| by default, which has
# no scale. Its slope follows from yours in two lines: $r = \text{cov}/(\sigma_V\sigma_E)$ is a quotient, with
# $\partial\,\text{cov}/\partial V_p = (E_p - \bar E)/P$ and
# $\partial\sigma_V/\partial V_p = (V_p - \bar V)/(P\,\sigma_V)$, so
#
# $$\frac{\partial |r|}{\partial V_p} = \operatorname{sign}(\text{cov})
# \left(\frac{\partial\,\text{cov}/\partial V_p}{\sigma_V\,\sigma_E}
# - r\,\frac{\partial\sigma_V/\partial V_p}{\sigma_V}\right)
# = \frac{\operatorname{sign}(\text{cov})}{P\,\sigma_V}
# \left(\frac{E_p - \bar E}{\sigma_E} - r\,\frac{V_p - \bar V}{\sigma_V}\right).$$
#
# Did we write the two formulas down correctly? Autograd differentiates |r| and S themselves, without any formula of
# ours, and the library's two rules give the same:

# %%
# NBVAL_CHECK_OUTPUT
from perfteach.correlation import correlation_gradient, covariance_gradient

e = error[:, None].double()
v = torch.tanh(x.double() @ torch.tensor([[0.3], [-0.2]]).double() + 0.1)
v.requires_grad_()
moments = Moments.of(v.detach(), e)
r_by_torch = torch.corrcoef(torch.cat([v, e], dim=1).T)[0, 1]
(by_r,) = torch.autograd.grad(r_by_torch.abs(), v)
(by_s,) = torch.autograd.grad(((v - v.mean()) * (e - e.mean())).sum().abs(), v)
v = v.detach()
print("correlation rule:", torch.allclose(correlation_gradient(v, e, moments), by_r))
print("covariance rule: ", torch.allclose(covariance_gradient(v, e, moments), by_s))

# %% [markdown]
# ## 5. The border bends
#
# The dendrite is [frozen](../docs/glossary.md#frozen) now, and the neuron learns again, with one new number `w`. It
# starts at zero, so at this moment the neuron still answers as before.
#
# ### Exercise 4 · The sign of w · easy · 3 minutes
#
# Suppose that the dendrite ended with a *positive* r. Will w become `"positive"` or `"negative"`? Decide before you
# run the next cells.

# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB sign_of_w = ...  # "positive" or "negative"
sign_of_w = "negative"
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
checks.check_sign_of_w(sign_of_w)


# %%
class WithDendrite(nn.Module):
    def __init__(self, neuron, a, c):
        super().__init__()
        self.neuron, self.a, self.c = neuron, a, c  # a and c are plain tensors: frozen
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x):  # [P, 2] → [P, 1]
        v = torch.tanh(x @ self.a + self.c)[:, None]
        return self.neuron(x) + self.w * v


layer = WithDendrite(copy.deepcopy(neuron), a, c)
bent = OneNeuron(layer)
with torch.no_grad():
    before = torch.equal(bent(x), alone(x))
train(bent, layer.parameters())

# %%
# NBVAL_CHECK_OUTPUT
r = float(Moments.of(torch.tanh(x @ a + c)[:, None], error[:, None]).r)
wrong = [float((model(x).argmax(1) != y).float().mean()) for model in (alone, bent)]
print("before training the function was unchanged, bit for bit:", before)
print("w and r have opposite signs:", r * float(layer.w.detach()) < 0)
print("more than a fifth of the points wrong before:", wrong[0] > 0.2)
print("at most one in twenty wrong after:", wrong[1] <= 0.05)

# %% [markdown]
# The library's layer for this is `DendriticLayer`. With our numbers in it, it computes the same:

# %%
from perfteach import DendriticLayer

library = DendriticLayer(layer.neuron)
library.add_dendrite()
with torch.no_grad():
    library.dendrites[0].weight.copy_(a[None])
    library.dendrites[0].bias.fill_(c)
    library.weights[0].copy_(layer.w)
    print("same output:", torch.allclose(library(x), layer(x), atol=1e-4))
plots.decision_boundary(OneNeuron(library), data)

# %% [markdown]
# *How to read it:* the background changes its tint where the neuron changes its answer. The first class has a band now,
# in a slant across the square, and a small corner at the upper left where no points lie. A line with a tanh added to it
# can turn twice, so h can cross zero up to three times, at parallel borders. One line cannot separate XOR; one line
# with one bend can.
#
# ## 6. The same with the library
#
# `perforate` wraps the neuron, `add_dendrites` grows a dendrite, `set_phase` says who learns. After `loss.backward()`
# a call of `correlate` puts the gradient of −|r| where the optimiser looks for it (minus, since optimisers go down).

# %%
# NBVAL_CHECK_OUTPUT
from perfteach import add_dendrites, correlate, perforate, set_phase

model = perforate(alone)
print(model.perforation)
_ = torch.manual_seed(2)
set_phase(add_dendrites(model), "dendrite")

nn.functional.cross_entropy(model(x), y).backward()
scores = correlate(model)
dendrite = model.layer.dendrites[0]

# %% [markdown]
# And the same gradient by hand, for the dendrite's weights, from nothing but x, V and E:

# %%
# NBVAL_CHECK_OUTPUT
with torch.no_grad():
    v = torch.tanh(dendrite(x))
    e = (torch.sigmoid(model.layer.neuron(x)) - y[:, None]) / len(y)  # of the mean loss
    by_sum = correlation_gradient(v, e, Moments.of(v, e)) * (1 - v.square())  # [200, 1]
    by_hand = by_sum.T @ x  # [1, 2]
    size = float(Moments.of(v, e).r.abs())
print("same gradient:", torch.allclose(dendrite.weight.grad, -by_hand, atol=1e-6))
print("same |r|:     ", abs(scores["layer"] - size) < 1e-6)

# %% [markdown]
# ## 7. The lab
#
# Set the dendrite's two weights and its bias by hand, or let it climb; then switch the
# [phase](../docs/glossary.md#phase). Things to try:
#
# * Find by hand a dendrite with |r| above 0.4. Which direction do its weights have, seen on the map?
# * Start over, and set both weights to 0. Why can it not climb from there?
# * Climb on the covariance, then on the correlation. Do they end at the same place?

# %%
from perfteach.widgets import CorrelationLab

CorrelationLab()

# %% [markdown]
# <details><summary>What you may have found</summary>
#
# The weights point along a diagonal of the square. With both weights 0, V is the same at every point, so the covariance
# is zero and r is not even defined. The covariance's slope there is $1 - V^2$ times the mean of $(E - \bar E)\,x$, and
# that is zero because the neuron has been trained: otherwise it would still have something to learn itself. A small
# step away the slope is no longer zero. And no, not quite: both drive the weights outwards until they meet the lab's
# limit of 5 (set the step size to 5; at 1 it takes many steps), because a sharper bend follows these four clouds
# better, and the bias ends at another place. The covariance also grows with the *size* of V; r does not.
#
# </details>
#
# ## Quiz
#
# Choose an answer: it is checked at once. (Where no buttons appear, the answer is folded below its question.)

# %%
from perfteach.course import quiz

quiz.ask("02.1")

# %%
quiz.ask("02.2")

# %% [markdown]
# > **What could go wrong**
# >
# > * *The correlation stays near zero.* Look at the inputs' scale first: where `a·x + c` is large everywhere, tanh is
# >   flat and has no slope to climb.
# > * *The border does not bend after the switch.* Check that the dendrite's w is among the optimiser's parameters. A
# >   new parameter does not get into an old optimiser by itself.
# > * *The score is high on one batch and gone on the next.* With few points per batch chance correlations are large.
# >   The library therefore pools all batches of an epoch.
#
# **Take away.** A dendrite is one more bend. It learns by making its output follow its neuron's error, and the neuron
# then takes away what it can. The rule needs only what is present at the neuron itself, and its averages over the
# points.
#
# **Next:** [03 · Perforated backpropagation](03_perforated_backpropagation.ipynb)
#
# **References**
#
# * S. E. Fahlman and C. Lebiere, *The Cascade-Correlation Learning Architecture*,
#   [NeurIPS 1989](https://proceedings.neurips.cc/paper/1989/hash/69adc1e107f7f7d035d7baf04342e1ca-Abstract.html):
#   the covariance rule
# * R. Brenner and L. Itti, *Perforated Backpropagation*, [arXiv 2501.18018](https://arxiv.org/abs/2501.18018)
# * P. Poirazi, T. Brannon and B. Mel, *Pyramidal neuron as two-layer neural network*,
#   [Neuron 2003](https://doi.org/10.1016/S0896-6273(03)00149-1): what dendrites do in nerve cells

# %% [markdown]
# ## How far you are
#
# A filled circle is an exercise whose check has passed. This is kept in `perfteach-progress.json` beside the notebooks,
# on your machine only.

# %%
from perfteach.course import progress

progress.show()
