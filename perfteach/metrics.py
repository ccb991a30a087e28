"""How good a model is, and how sure one can be that another is better.

One test of 10,000 images at 82 % has a standard error of 0.38 points, so a difference between models
is only reported as an interval: over paired seeds (`paired_interval`) or over the images of one test
(`paired_bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from perfteach import settings
from perfteach.errors import ConfigError, DataError

if TYPE_CHECKING:
    from perfteach.data import ImageData

Values = Sequence[float] | Sequence[bool] | NDArray[Any] | Tensor
_Floats = NDArray[np.float64]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` into eval mode, and give every submodule its own mode back at the end.

    `model.train()` afterwards would not do: it also wakes the norms of frozen dendrites.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


def predictions(
    model: nn.Module, data: ImageData, split: str, batch_size: int = 250, size: int | None = None
) -> Tensor:
    """The label with the highest logit for every image of a split, in the split's order.

    Args:
        model: any network from images [B, 3, S, S] to logits [B, outputs]. Its modes are restored afterwards.
        data: the images.
        split: "train", "validation" or "test"; never augmented, never shuffled.
        batch_size: images at a time, at least 1; a larger one than the split is cut to it.
        size: edge in pixels to resize to, None for the images' own.

    Returns:
        int64 [N] on the CPU. All outputs take part, so a 1000-way head can name a class that no image has.

    Raises:
        ConfigError: the model's output is not one tensor [B, outputs], or it cannot take such a batch.
        DataError: an unknown split, or batch_size below 1.
    """
    return _predict(model, data, split, batch_size, size)[0]


def accuracy(model: nn.Module, data: ImageData, split: str, batch_size: int = 250, size: int | None = None) -> float:
    """Correctly labelled images of a split, in percent (0 to 100). Arguments and errors as `predictions`."""
    predicted, labels = _predict(model, data, split, batch_size, size)
    return 100.0 * int((predicted == labels).sum()) / len(labels)


def _predict(model: nn.Module, data: ImageData, split: str, batch_size: int, size: int | None) -> tuple[Tensor, Tensor]:
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    settings.text("split", split)
    batch_size = settings.whole("batch_size", batch_size, 1, error=DataError)
    if not callable(getattr(data, "batches", None)):
        raise DataError(f"data is {settings.said(data)}; use what perfteach.data.load returns")
    first = next(model.parameters(), None)
    device = "cpu" if first is None else first.device
    # An unknown split, or a batch size below 1, is left for `batches` to refuse.
    images = getattr(data, split, None)
    if images is not None:
        batch_size = min(batch_size, max(len(images), 1))
    pairs = [
        (logits.argmax(1).cpu(), y.cpu())
        for logits, y in outputs(model, data.batches(split, batch_size, size=size, device=device))
    ]
    predicted, labels = zip(*pairs, strict=True)
    return torch.cat(predicted), torch.cat(labels)


def outputs(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits [B, outputs] and labels [B] of every batch, in eval mode and without gradients.

    Raises:
        ConfigError: the model's output is not one tensor [B, outputs], or it cannot take such a batch.
    """
    with torch.no_grad(), eval_mode(model):
        for x, y in batches:
            try:
                logits = model(x)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # as of images that are smaller than a kernel
                reason = str(error).strip().partition("\n")[0]
                raise ConfigError(f"the model cannot take inputs of shape {list(x.shape)} ({reason})") from error
            require_logits(logits)
            yield logits, y


def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float]:
    """Mean loss, and accuracy in percent, over all batches; `loss` is a mean over a batch. Errors as `outputs`."""
    total, loss_sum, hits = 0, 0.0, 0.0
    for logits, y in outputs(model, batches):
        loss_sum += float(loss(logits, y)) * len(y)
        hits += float((logits.argmax(1) == y).sum())
        total += len(y)
    return loss_sum / total, 100 * hits / total


def require_logits(output: object, classes: int = 1) -> None:
    """Refuse outputs that are not logits [B, `classes` or more]; a loss would say it less clearly, or on a GPU crash.

    Raises:
        ConfigError: naming the shape that came and the one that is needed.
    """
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < classes:
        shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ConfigError(f"the model returned {shape}; data of {classes} classes need logits [B, {classes} or more]")


class Interval(NamedTuple):
    """An estimate with its confidence interval, in the unit of what was compared."""

    estimate: float
    low: float
    high: float
    level: float = 0.95  # as a fraction

    @property
    def excludes_zero(self) -> bool:
        """True when zero (no difference) lies outside the interval."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        # Two significant digits of the width, at least one decimal: more would be noise, fewer would hide it.
        scale = (self.high - self.low) or abs(self.estimate)
        usable = math.isfinite(scale) and scale > 0
        decimals = min(max(1, 1 - math.floor(math.log10(scale))), 6) if usable else 1
        # Adding 0.0 turns -0.0 into 0.0.
        estimate, low, high = (f"{round(v, decimals) + 0.0:.{decimals}f}" for v in self[:3])
        return f"{estimate} [{low}, {high}] ({100 * self.level:g} %)"


def error_reduction(control_accuracy: float, accuracy: float) -> float:
    """By how many percent of the control's error a model's error is smaller; negative when it is larger.

    Both accuracies are in percent: from 80 to 82 the error falls from 20 to 18 points, which is 10 %.

    Raises:
        ConfigError: an accuracy outside 0 to 100, or a control that makes no error to reduce.
    """
    control_accuracy = settings.number("control_accuracy", control_accuracy, 0, 100)
    accuracy = settings.number("accuracy", accuracy, 0, 100)
    if control_accuracy == 100:
        raise ConfigError("The control makes no error (100 %), so there is nothing to reduce relative to it.")
    return 100.0 * (accuracy - control_accuracy) / (100.0 - control_accuracy)


def paired_interval(control: Values, treated: Values, level: float = 0.95) -> Interval:
    """t interval of the mean paired difference, treated minus control: the one to use for a handful of seeds.

    Args:
        control: one value per seed, such as test accuracies in percent.
        treated: the same seeds in the same order, in the same unit.
        level: confidence level, between 0 and 1.

    Returns:
        The mean difference in the values' unit. Differences that are all equal give an interval of no width.

    Raises:
        ConfigError: different lengths, fewer than 2 pairs, values not finite, or a level outside 0 to 1.

    Source: Student's paired t, `scipy.stats.ttest_rel`. It assumes that the differences are roughly normal.
    """
    a, b = _pairs(control, treated, level)
    mean = float(np.mean(b - a))
    if _constant(b - a):
        return Interval(mean, mean, mean, level)
    from scipy.stats import ttest_rel

    bounds = ttest_rel(b, a).confidence_interval(level)
    return Interval(mean, float(bounds.low), float(bounds.high), level)


def paired_bootstrap(
    control: Values, treated: Values, *, level: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Interval:
    """Bootstrap interval of the mean difference, treated minus control, for the many images of one test.

    It resamples pairs, so what a pair has in common cancels. With fewer than about 20 pairs it comes out too narrow:
    use `paired_interval` for a handful of seeds.

    Args:
        control: one value per pair. Booleans (right or wrong per image) are read as 0 and 100 percent.
        treated: the same images in the same order.
        level: confidence level, between 0 and 1.
        resamples: how often to draw, at least 100.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        The mean difference in the values' unit (points for booleans).

    Raises:
        ConfigError: different lengths, fewer than 2 pairs, values not finite, or a level outside 0 to 1.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap"; the bias-corrected and accelerated
    (BCa) interval of `scipy.stats.bootstrap`.
    """
    a, b = _pairs(control, treated, level)
    resamples, seed = settings.whole("resamples", resamples, 100), settings.seed("seed", seed)
    mean = float(np.mean(b - a))
    if _constant(b - a):
        return Interval(mean, mean, mean, level)
    from scipy.stats import bootstrap

    result = bootstrap(
        (b - a,),  # the differences alone give the same answer as the pairs, with half the resampling
        np.mean,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // len(a)),  # keeps each block of resamples near 16 MB
        confidence_level=level,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = map(float, result.confidence_interval)
    return Interval(mean, low, high, level)


def _pairs(control: Values, treated: Values, level: float) -> tuple[_Floats, _Floats]:
    """Both as float64 [N], checked."""
    settings.number("level", level, 0, 1, above=True, below=True)
    a, b = _floats(control, "control"), _floats(treated, "treated")
    if len(a) != len(b):
        raise ConfigError(f"control has {len(a)} values and treated {len(b)}; pairs need the same number of each.")
    if len(a) < 2:
        raise ConfigError(f"There are {len(a)} pairs; an interval needs at least 2, better 3 to 5 seeds.")
    return a, b


def _floats(values: Values, name: str) -> _Floats:
    try:
        array = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values)
        kind = values.dtype == torch.bool if isinstance(values, Tensor) else array.dtype == np.bool_
        floats: _Floats = array.astype(np.float64) * (100.0 if kind else 1.0)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ConfigError(f"{name} is {settings.said(values)}; use one number per pair") from error
    if array.ndim != 1:
        raise ConfigError(f"{name} has shape {list(array.shape)}; use one value per pair, shape [N].")
    if not np.isfinite(floats).all():
        raise ConfigError(f"{name} has values that are infinite or not a number; leave failed runs out by name.")
    return floats


def _constant(values: _Floats) -> bool:
    """All equal up to rounding, where scipy's variances are zero and its bounds not a number."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))
