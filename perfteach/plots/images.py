"""Predictions on images: which classes are taken for which, and what the images look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from perfteach.errors import ConfigError, DataError
from perfteach.plots.style import (
    INK,
    PAPER,
    SMALL,
    SOFT,
    TINY,
    WIDTH,
    Picture,
    frame,
    message,
    name_axes,
    panel,
    with_data,
)

Labels = Sequence[int] | np.ndarray | Tensor
WRONG = "#a84300"
_MOST = 20  # example images at most


def confusion(labels: Labels, predicted: Labels, classes: Sequence[str], *, data: str = "") -> Picture:
    """How many images of each class were given which class.

    Args:
        labels: true classes, [N].
        predicted: the network's classes, [N]. Outputs beyond the classes (of a 1000-way head) share a column "other".
        classes: their names.
        data: name of the data, for the title.

    Raises:
        ConfigError: different lengths, or a label without a name.
    """
    counts, names = _confusion(labels, predicted, classes)
    title = with_data("Which class is taken for which", data)
    total = int(counts.sum())
    if not total:
        return message(title, "There are no predictions to show.", 560)
    note = f"{_confusion_error(counts):.2f} % error on {total:,} images; numbers count images"
    figure = frame(600, title, note, alt=describe_confusion(labels, predicted, classes, data=data))
    axes = panel(figure, 128, 72, 560, 436)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto", gid="shares")
    if len(classes) <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            dark = shares[row, column] > 55
            axes.text(
                column, row, f"{counts[row, column]:,}", ha="center", va="center_baseline", gid="count",
                size=SMALL if len(classes) <= 12 else TINY - 1, color=PAPER if dark else INK,
            )  # fmt: skip
    step = max(1, -(-len(names) // 40))
    short = [name if len(name) <= 15 else name[:14] + "…" for name in names]
    axes.set_xticks(range(0, len(names), step), short[::step], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(0, len(classes), step), short[: len(classes) : step])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    name_axes(axes, "class that the network gives", "true class")
    scale = figure.colorbar(picture, cax=panel(figure, 712, 72, 12, 436))
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=SOFT, labelsize=SMALL, length=0)
    scale.set_label("share of the true class (%)", size=SMALL, color=SOFT)
    return figure


def describe_confusion(labels: Labels, predicted: Labels, classes: Sequence[str], *, data: str = "") -> str:
    """The numbers of `confusion` in words."""
    counts, names = _confusion(labels, predicted, classes)
    total = int(counts.sum())
    if not total:
        return "There are no predictions to show."
    wrong = counts.copy()
    wrong[range(len(classes)), range(len(classes))] = 0
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    most = f" The most frequent mistake: {wrong[row, column]} of {counts[row].sum()} images of {names[row]} are taken "
    most = most + f"for {names[column]}." if wrong.any() else ""
    place = f" on {data}" if data else ""
    return f"Confusion matrix of {total:,} images{place}: {_confusion_error(counts):.2f} % error.{most}"


def _confusion(labels: Labels, predicted: Labels, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    true, given = _integers(labels), _integers(predicted)
    if len(true) != len(given):
        raise ConfigError(f"there are {len(true)} labels and {len(given)} predictions; there must be as many of each")
    if len(true) and not 0 <= true.min() <= true.max() < len(classes):
        raise ConfigError(f"a label lies outside the {len(classes)} classes")
    outside = (given < 0) | (given >= len(classes))
    names = [*classes, "other"] if outside.any() else list(classes)
    counts = np.zeros((len(classes), len(names)), dtype=np.int64)
    np.add.at(counts, (true, np.where(outside, len(classes), given)), 1)
    return counts, names


def _confusion_error(counts: np.ndarray) -> float:
    return float(100 * (1 - counts.diagonal().sum() / counts.sum()))


def example_predictions(
    images: Any, labels: Labels, predicted: Labels, classes: Sequence[str], title: str = "Example predictions"
) -> Picture:
    """Images with the class the network gives them; where it is wrong, the true one too, and a cross.

    Args:
        images: uint8 [N, 3, H, W] or floats from 0 to 1; the first 20 are shown.
        labels, predicted: [N].
        classes: names.
        title: include the data's name, such as `f"Example predictions: {data.title()}"`.

    Raises:
        DataError: when the images have another shape, or floats outside 0 to 1 (normalised ones).
        ConfigError: as `confusion`.
    """
    pixels, (true, given) = _pixels(images), (_integers(labels), _integers(predicted))
    _confusion(true, given, classes)
    if len(pixels) != len(true):
        raise ConfigError(f"there are {len(pixels)} images and {len(true)} labels; there must be as many of each")
    if not len(pixels):
        return message(title, "There are no images to show.", 300)
    shown = min(len(pixels), _MOST)
    columns = min(shown, 5 if shown <= 5 else 7 if shown <= 14 else 10)
    rows = -(-shown // columns)
    side = min((WIDTH - 32) // columns - 8, 130)
    cell_wide, cell_high = (WIDTH - 32) / columns, side + 46
    right = int((true == given).sum())
    height = int(80 + rows * cell_high)
    note = f"{right} of {len(true)} right" + (f"; the first {shown} are shown" if shown < len(true) else "")
    figure = frame(height, title, note, alt=describe_example_predictions(images, labels, predicted, classes, title))
    axes = panel(figure, 16, 72, WIDTH - 32, int(rows * cell_high))
    axes.set(xlim=(0, WIDTH - 32), ylim=(rows * cell_high, 0))
    axes.set_axis_off()
    for index in range(shown):
        x = (index % columns) * cell_wide + (cell_wide - side) / 2
        y = (index // columns) * cell_high
        place = (x, x + side, y + side, y)
        axes.imshow(pixels[index], extent=place, interpolation="nearest", aspect="auto", gid=f"image:{index}")
        good = true[index] == given[index]
        room = int(cell_wide / 6.6)
        lines = [("✓ " if good else "✗ ") + _name(given[index], classes)]
        lines += [] if good else [f"is {_name(true[index], classes)}"]
        for line, text in enumerate(lines):
            words = text if len(text) <= room else text[: room - 1] + "…"
            axes.text(
                x + side / 2, y + side + 11 + 14 * line, words, size=SMALL, ha="center", va="center",
                gid="true" if line else "given", color=SOFT if line else INK if good else WRONG,
                weight="normal" if line else "bold",
            )  # fmt: skip
    axes.set(xlim=(0, WIDTH - 32), ylim=(rows * cell_high, 0))
    return figure


def describe_example_predictions(
    images: Any, labels: Labels, predicted: Labels, classes: Sequence[str], title: str = "Example predictions"
) -> str:
    """The predictions of `example_predictions` in words."""
    true, given = _integers(labels), _integers(predicted)
    wrong = [f"{_name(t, classes)} taken for {_name(g, classes)}" for t, g in zip(true, given, strict=True) if t != g]
    said = f" Wrong: {', '.join(wrong[:5])}{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}." if wrong else ""
    return f"{title}: {len(true) - len(wrong)} of {len(true)} images are classified right.{said}"


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if 0 <= label < len(classes) else "other"


def _integers(values: Labels) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=np.int64)
    return array.reshape(-1).astype(np.int64)


def _pixels(images: Any) -> np.ndarray:
    """[N, H, W, 3], uint8."""
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if array.ndim != 4 or array.shape[1] != 3:
        raise DataError(f"images have shape {list(array.shape)}; they must be [N, 3, height, width]")
    if array.dtype != np.uint8:
        if array.size and not (array.min() >= 0 and array.max() <= 1):
            raise DataError("the images hold values outside 0 to 1; give the uint8 images, not normalised batches")
        array = (255 * array).round().astype(np.uint8)
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
