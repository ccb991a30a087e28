"""The network as a strip: one box a layer, its dendrites above it, and who is learning."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from perfteach.errors import ConfigError
from perfteach.plots import style
from perfteach.plots.style import Picture
from perfteach.runs import Epoch, Run

Layers = Mapping[str, Mapping[str, Any]]
LEARNERS = ("neurons", "newest dendrites", "dendrites")
_LEFT, _TOP, _RIGHT = 168, 48, 24
_ROW, _BODY, _SCORES = 20, 40, 56  # pixels of a row of dendrites, of the layers' own boxes, of the score bars
_NO_LAYERS = "The record names its layers once a dendrite phase has begun."
_FROZEN: dict[str, Any] = {"facecolor": "#eef0f3", "edgecolor": "#a8b0ba", "hatch": "\\\\\\\\", "linewidth": 0.6}


def state_at(run: Run, epoch: int) -> dict[str, Any]:
    """What `architecture_strip` needs to show a run's network in an epoch: `architecture_strip(**state_at(run, 12))`.

    Every layer has as many dendrites as cycles had begun, as the trainer grows them; the record names the layers.

    Raises:
        ConfigError: when the run has no such epoch.
    """
    record = run.at(epoch)
    learning = {"newest dendrites"} if record.dendritic else {"neurons"}
    if run.learns_together and not record.dendritic:
        learning.add("dendrites")
    planned = Epoch(0, cycle=0 if run.finished else run.config.get("cycles", 0))  # what may come while it trains
    return {
        "layers": {name: {"dendrites": run.dendrites_at(record)} for name in run.layers},
        "learning": learning,
        "scores": record.scores,
        "data": f"{run.data_title}, epoch {epoch}",
        "room": max(map(run.dendrites_at, [planned, *run.epochs])),
        "highest": max((max(line.scores.values()) for line in run.epochs if line.scores), default=None),
    }


def architecture_strip(
    layers: Layers,
    learning: Collection[str] | str,
    scores: Mapping[str, float] | None = None,
    *,
    data: str = "",
    room: int = 1,
    highest: float | None = None,
) -> Picture:
    """One box for each layer from input to output, a smaller one above it for each dendrite its neurons have.

    What learns is in colour, what is frozen is grey and dotted; the words at the left say the same.

    Args:
        layers: name → {"dendrites": per neuron}, in the network's order.
        learning: any of "neurons", "newest dendrites" and "dendrites" (all of them).
        scores: mean |r| by layer, drawn as bars beneath; None leaves the bars out, {} leaves their place empty.
        data: name of the data, for the title.
        room: rows of dendrites to keep free, so that a picture that grows does not jump.
        highest: end of the bars' axis, for the same reason.

    Raises:
        ConfigError: for an unknown learner or a negative number of dendrites.
    """
    learners = _learners(learning)
    title = style.with_data("Who is learning", data)
    many = _most(layers)
    rows = max(many, room)
    height = _TOP + 12 + _ROW * rows + _BODY + 44 + (78 if scores is not None else 0)
    if not layers:
        return style.message(title, _NO_LAYERS, height)
    alt = describe_architecture_strip(layers, learning, scores, data=data)
    figure = style.frame(height, title, alt=alt)
    tall = height - _TOP - 44
    axes = style.panel(figure, _LEFT, _TOP, style.WIDTH - _LEFT - _RIGHT, tall)
    axes.set_axis_off()
    axes.set(xlim=(-0.5, max(len(layers), 4) - 0.5), ylim=(0, tall))  # x counts layers, y counts pixels
    _draw_rows(axes, layers, learners, many, tall - _ROW * rows - _BODY)
    top = highest or max((scores or {}).values(), default=0) or 1.0
    _layer_names(axes, list(layers))
    if scores is not None:
        _score_axis(axes, layers, top)
    figure.keep(title, [(name, layer.get("dendrites", 0)) for name, layer in layers.items()], learners, rows, top)
    if scores is not None:
        _draw_scores(axes, layers, scores, _SCORES / top)
    return figure


def describe_architecture_strip(
    layers: Layers,
    learning: Collection[str] | str,
    scores: Mapping[str, float] | None = None,
    *,
    data: str = "",
    room: int = 1,
    highest: float | None = None,
) -> str:
    """The state that `architecture_strip` shows, in words."""
    learners = _learners(learning)
    if not layers:
        return f"{style.with_data('Who is learning', data)}. {_NO_LAYERS}"
    many = [int(layer.get("dendrites", 0)) for layer in layers.values()]
    counts = f"{many[0]}" if len(set(many)) == 1 else f"{min(many)} to {max(many)}"
    state = f"{len(layers)} layers with {counts} dendrite{'' if counts == '1' else 's'} per neuron"
    who = " and the ".join(word for word in LEARNERS if word in learners) or "nobody"
    rest = [word for word in ("neurons", "dendrites") if word not in learners and (word == "neurons" or any(many))]
    if rest == ["dendrites"] and "newest dendrites" in learners:
        rest = ["older dendrites"] if max(many) > 1 else []
    elif "newest dendrites" in learners and "dendrites" in rest:
        rest = ["neurons", "older dendrites"] if max(many) > 1 else ["neurons"]
    frozen = f"; the {' and the '.join(rest)} are frozen" if rest else ""
    said = f" Mean |r| over the layers is {sum(scores.values()) / len(scores):.4f}." if scores else ""
    return f"{style.with_data('Network', data)}: {state}. The {who} learn{frozen}.{said}"


def layer_groups(layers: Sequence[str]) -> list[tuple[str, int, int]]:
    """Neighbouring layers with the same first two name parts: (name, first index, last index)."""
    groups: list[tuple[str, int, int]] = []
    for index, layer in enumerate(layers):
        name = ".".join(layer.split(".")[:2])
        first = groups.pop()[1] if groups and groups[-1][0] == name else index
        groups.append((name, first, index))
    return groups


def _learners(learning: Collection[str] | str) -> set[str]:
    learners = {learning} if isinstance(learning, str) else set(learning)
    unknown = learners - set(LEARNERS)
    if unknown:
        raise ConfigError(f"unknown learner {sorted(unknown)[0]!r}; choose from {', '.join(LEARNERS)}")
    return learners


def _most(layers: Layers) -> int:
    many = [int(layer.get("dendrites", 0)) for layer in layers.values()]
    if min(many, default=0) < 0:
        raise ConfigError("a layer cannot have fewer than 0 dendrites")
    return max(many, default=0)


def _draw_rows(axes: Axes, layers: Layers, learners: set[str], many: int, base: float) -> None:
    """The layers' own boxes, and a row of smaller ones for the first, second, … dendrite."""
    counts = [int(layer.get("dendrites", 0)) for layer in layers.values()]
    _draw_row(axes, "neurons", range(len(counts)), (base, _BODY - 6, 0.8), style.NEURON, "neurons" in learners)
    for k in range(many):
        own = [i for i, count in enumerate(counts) if count > k]
        low = base + _BODY + _ROW * k
        axes.vlines(own, low - 6, low, color=_FROZEN["edgecolor"], lw=1.2, zorder=0)
        newest = "newest dendrites" in learners and k == many - 1
        word = "dendrite" if many == 1 else f"dendrite {k + 1}"
        _draw_row(axes, word, own, (low, _ROW - 6, 0.56), style.DENDRITE, newest or "dendrites" in learners)


def _draw_row(
    axes: Axes, word: str, own: Iterable[int], size: tuple[float, float, float], color: str, learns: bool
) -> None:
    """Boxes of one kind for the layers `own`; `size` is the lower edge, the height and the width."""
    low, high, wide = size
    state = "learning" if learns else "frozen"
    look = {"facecolor": color} if learns else _FROZEN
    style.boxes(axes, [(i - wide / 2, low, wide, high) for i in own], gid=f"{word}:{state}", **look)
    _left_words(axes, low + high / 2, f"{word}: {state}", learns)


def _score_axis(axes: Axes, layers: Layers, top: float) -> None:
    """Two lines, their numbers and the name of what the bars show; y is in pixels."""
    axes.hlines([0, _SCORES], -0.5, len(layers) - 0.5, color=style.LINE, lw=0.7, zorder=0)
    for value, y in (("0", 0.0), (f"{top:.2g}", float(_SCORES))):
        _left_words(axes, y, value, False, room=8, size=style.TINY)
    _left_words(axes, _SCORES / 2, "mean |r| (0 to 1)", False, room=30)


def _draw_scores(axes: Axes, layers: Layers, scores: Mapping[str, float], unit: float) -> None:
    """Bars beneath the layers, `unit` pixels for a score of 1."""
    places = [(i - 0.4, 0.0, 0.8, unit * scores[name]) for i, name in enumerate(layers) if name in scores]
    if places:
        style.boxes(axes, places, facecolor=style.DENDRITE, gid="scores")
        return
    axes.text(
        max(len(layers) - 1, 1) / 2, _SCORES / 2, "measured in dendrite phases only", ha="center", va="center",
        size=style.SMALL, color=style.SOFT, gid="no-scores",
    )  # fmt: skip


def _left_words(axes: Axes, y: float, words: str, strong: bool, room: float = 11, size: float = style.SMALL) -> None:
    low, high = axes.get_xlim()
    x = low - room * (high - low) / (style.WIDTH - _LEFT - _RIGHT)
    look: dict[str, Any] = {"color": style.INK, "weight": "bold"} if strong else {"color": style.SOFT}
    axes.text(x, y, words, ha="right", va="center", size=size, gid="state", **look)


def _layer_names(axes: Axes, layers: list[str]) -> None:
    """Block numbers beneath the layers and the words before them, such as "features", beneath these."""
    right = axes.get_xlim()[1]
    pixel = (style.WIDTH - _LEFT - _RIGHT) / (right + 0.5)
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": style.SOFT, "gid": "layer"}
    outer: list[tuple[str, int, int]] = []
    free = -1.0  # where the next number may begin, in layers
    for name, first, last in layer_groups(layers):
        word, _, number = name.partition(".")
        if outer and outer[-1][0] == word:
            outer[-1] = (word, outer[-1][1], last)
        else:
            outer.append((word, first, last))
        half = style.text_width(number, style.TINY) / 2 / pixel
        if number and half <= (last - first + 1) / 2 + 2 / pixel and (first + last) / 2 - half >= free:
            axes.text((first + last) / 2, -9, number, size=style.TINY, **look)
            free = (first + last) / 2 + half + 4 / pixel
    lines = [[(first - 0.35, -18), (last + 0.35, -18)] for _, first, last in outer]
    axes.add_collection(LineCollection(lines, colors=style.LINE, linewidths=1.4, clip_on=False), autolim=False)
    end = -0.5
    for word, first, last in outer:
        half = style.text_width(word, style.SMALL) / 2 / pixel
        middle = min((first + last) / 2, right + 16 / pixel - half)  # may reach a little beyond the last layer
        if middle - half >= end:
            axes.text(middle, -26, word, size=style.SMALL, **look)
            end = middle + half + 8 / pixel
    _left_words(axes, -26, "layers, input → output", False, room=14)
