"""Predictions on images: which classes are taken for which, and what the images look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from perfteach.errors import ConfigError, DataError
from perfteach.plots import style
from perfteach.plots.style import Picture

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
    import pandas as pd
    import seaborn as sns

    counts, names = _confusion(labels, predicted, classes)
    title = style.with_data("Which class is taken for which", data)
    total = int(counts.sum())
    if not total:
        return style.message(title, "There are no predictions to show.", 560)
    few, step = len(classes) <= 20, -(-len(names) // 28)  # room for a number in every cell, and for every so many names
    note = f"{_confusion_error(counts):.2f} % error on {total:,} images" + "; numbers count images" * few
    figure = style.frame(600, title, note, alt=_in_words(counts, names, data))
    axes, scale = style.panel(figure, 128, 72, 560, 436), style.panel(figure, 712, 72, 12, 436)
    short = [name if len(name) <= 12 else name[:11] + "…" for name in names]
    shares = pd.DataFrame(100 * counts / np.maximum(counts.sum(1, keepdims=True), 1), short[: len(classes)], short)
    written = [[f"{count:,}" if count else "" for count in row] for row in counts]
    sns.heatmap(
        shares, vmin=0, vmax=100, cmap="Blues", annot=written if few else None, fmt="", linewidths=0.5 * few,
        annot_kws={"size": style.SMALL if len(classes) <= 12 else style.TINY - 1, "gid": "count"}, gid="shares",
        xticklabels=step, yticklabels=step, ax=axes, cbar_ax=scale, cbar_kws={"label": "share of the true class (%)"},
    )  # fmt: skip
    for word in axes.get_xticklabels():
        word.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(labelcolor=style.INK)
    axes.tick_params("y", labelrotation=0)
    scale.yaxis.label.set(size=style.SMALL, color=style.SOFT)
    style.name_axes(axes, "class that the network gives", "true class")
    return figure


def _in_words(counts: np.ndarray, names: list[str], data: str) -> str:
    """The error, and the most frequent mistake."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    most = f" The most frequent mistake: {wrong[row, column]} of {counts[row].sum()} images of {names[row]} are taken "
    most = most + f"for {names[column]}." if wrong.any() else ""
    place = f" on {data}" if data else ""
    return f"Confusion matrix of {counts.sum():,} images{place}: {_confusion_error(counts):.2f} % error.{most}"


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
        return style.message(title, "There are no images to show.", 300)
    shown = min(len(pixels), _MOST)
    columns = min(shown, 5 if shown <= 5 else 7 if shown <= 14 else 10)
    rows = -(-shown // columns)
    cell = (style.WIDTH - 32) / columns
    side = min(int(cell) - 8, 130)
    wrong = [f"{_name(t, classes)} taken for {_name(g, classes)}" for t, g in zip(true, given, strict=True) if t != g]
    alt = f"{title}: {len(true) - len(wrong)} of {len(true)} images are classified right."
    if wrong:
        alt += f" Wrong: {', '.join(wrong[:5])}{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}."
    note = f"{len(true) - len(wrong)} of {len(true)} right"
    note += f"; the first {shown} are shown" if shown < len(true) else ""
    figure = style.frame(80 + rows * (side + 46), title, note, alt=alt)
    for index in range(shown):
        row, column = divmod(index, columns)
        axes = style.panel(figure, round(16 + (column + 0.5) * cell - side / 2), 72 + row * (side + 46), side, side)
        axes.set_axis_off()
        axes.imshow(pixels[index], interpolation="nearest", aspect="auto", gid=f"image:{index}")
        good = true[index] == given[index]
        room = int(cell / 7)
        lines = [("✓ " if good else "✗ ") + _name(given[index], classes)]
        lines += [] if good else [f"is {_name(true[index], classes)}"]
        for line, text in enumerate(lines):
            axes.annotate(
                text if len(text) <= room else text[: room - 1] + "…", (0.5, 0), (0, -8 - 10 * line), ha="center",
                va="center", xycoords="axes fraction", textcoords="offset points", size=style.SMALL,
                gid="true" if line else "given", color=style.SOFT if line else style.INK if good else WRONG,
                weight="normal" if line else "bold",
            )  # fmt: skip
    return figure


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
