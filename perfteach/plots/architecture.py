"""The network as a strip: one box a layer, its dendrites above it, and who is learning."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from perfteach.errors import ConfigError
from perfteach.plots.record import data_title, epochs_until, layer_groups, layer_names, mean_score
from perfteach.plots.style import (
    DENDRITE,
    INK,
    LINE,
    NEURON,
    SMALL,
    SOFT,
    TINY,
    WIDTH,
    Picture,
    boxes,
    frame,
    message,
    panel,
    text_width,
    with_data,
)
from perfteach.runs import Run

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
    record = next((line for line in epochs_until(run) if line["epoch"] == epoch), None)
    if record is None:
        raise ConfigError(f"the run has no epoch {epoch}; it has {len(run.epochs)} epochs")
    config = run.header.get("config") or {}
    grows = config.get("grow", True)
    learning = {"newest dendrites"} if record["phase"] == "dendrite" else {"neurons"}
    if record["phase"] != "dendrite" and (config.get("thaw") or run.header.get("rule") == "gradient"):
        learning.add("dendrites")
    planned = 0 if run.finished else config.get("max_dendrites", 0)  # room for what may come while it trains
    highest = [max(line["scores"].values()) for line in run.epochs if line.get("scores")]
    return {
        "layers": {name: {"dendrites": record.get("cycle", 0) if grows else 0} for name in layer_names(run)},
        "learning": learning,
        "scores": record.get("scores") or {},
        "data": f"{data_title(run)}, epoch {epoch}",
        "room": max(planned, *(line.get("cycle", 0) for line in run.epochs)) if grows else 0,
        "highest": max(highest, default=None),
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
    title = with_data("Who is learning", data)
    many = _most(layers)
    rows = max(many, room)
    height = _TOP + 12 + _ROW * rows + _BODY + 44 + (78 if scores is not None else 0)
    if not layers:
        return message(title, _NO_LAYERS, height)
    alt = describe_architecture_strip(layers, learning, scores, data=data)
    figure = frame(height, title, alt=alt)
    tall = height - _TOP - 44
    axes = panel(figure, _LEFT, _TOP, WIDTH - _LEFT - _RIGHT, tall)
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
        return f"{with_data('Who is learning', data)}. {_NO_LAYERS}"
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
    mean = mean_score({"scores": scores}) if scores else None
    said = f" Mean |r| over the layers is {mean:.4f}." if mean is not None else ""
    return f"{with_data('Network', data)}: {state}. The {who} learn{frozen}.{said}"


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
    _draw_row(axes, "neurons", range(len(counts)), (base, _BODY - 6, 0.8), NEURON, "neurons" in learners)
    for k in range(many):
        own = [i for i, count in enumerate(counts) if count > k]
        low = base + _BODY + _ROW * k
        axes.vlines(own, low - 6, low, color=_FROZEN["edgecolor"], lw=1.2, zorder=0)
        newest = "newest dendrites" in learners and k == many - 1
        word = "dendrite" if many == 1 else f"dendrite {k + 1}"
        _draw_row(axes, word, own, (low, _ROW - 6, 0.56), DENDRITE, newest or "dendrites" in learners)


def _draw_row(
    axes: Axes, word: str, own: Iterable[int], size: tuple[float, float, float], color: str, learns: bool
) -> None:
    """Boxes of one kind for the layers `own`; `size` is the lower edge, the height and the width."""
    low, high, wide = size
    state = "learning" if learns else "frozen"
    look = {"facecolor": color} if learns else _FROZEN
    boxes(axes, [(i - wide / 2, low, wide, high) for i in own], gid=f"{word}:{state}", **look)
    _left_words(axes, low + high / 2, f"{word}: {state}", learns)


def _score_axis(axes: Axes, layers: Layers, top: float) -> None:
    """Two lines, their numbers and the name of what the bars show; y is in pixels."""
    axes.hlines([0, _SCORES], -0.5, len(layers) - 0.5, color=LINE, lw=0.7, zorder=0)
    for value, y in (("0", 0.0), (f"{top:.2g}", float(_SCORES))):
        _left_words(axes, y, value, False, room=8, size=TINY)
    _left_words(axes, _SCORES / 2, "mean |r| (0 to 1)", False, room=30)


def _draw_scores(axes: Axes, layers: Layers, scores: Mapping[str, float], unit: float) -> None:
    """Bars beneath the layers, `unit` pixels for a score of 1."""
    places = [(i - 0.4, 0.0, 0.8, unit * scores[name]) for i, name in enumerate(layers) if name in scores]
    if places:
        boxes(axes, places, facecolor=DENDRITE, gid="scores")
        return
    axes.text(
        max(len(layers) - 1, 1) / 2, _SCORES / 2, "measured in dendrite phases only", ha="center", va="center",
        size=SMALL, color=SOFT, gid="no-scores",
    )  # fmt: skip


def _left_words(axes: Axes, y: float, words: str, strong: bool, room: float = 11, size: float = SMALL) -> None:
    low, high = axes.get_xlim()
    x = low - room * (high - low) / (WIDTH - _LEFT - _RIGHT)
    weight = "bold" if strong else "normal"
    axes.text(
        x, y, words, ha="right", va="center", size=size, color=INK if strong else SOFT, weight=weight, gid="state"
    )


def _layer_names(axes: Axes, layers: list[str]) -> None:
    """Block numbers beneath the layers and the words before them, such as "features", beneath these."""
    right = axes.get_xlim()[1]
    pixel = (WIDTH - _LEFT - _RIGHT) / (right + 0.5)
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": SOFT, "gid": "layer"}
    outer: list[tuple[str, int, int]] = []
    free = -1.0  # where the next number may begin, in layers
    for name, first, last in layer_groups(layers):
        word, _, number = name.partition(".")
        if outer and outer[-1][0] == word:
            outer[-1] = (word, outer[-1][1], last)
        else:
            outer.append((word, first, last))
        half = text_width(number, TINY) / 2 / pixel
        if number and half <= (last - first + 1) / 2 + 2 / pixel and (first + last) / 2 - half >= free:
            axes.text((first + last) / 2, -9, number, size=TINY, **look)
            free = (first + last) / 2 + half + 4 / pixel
    lines = [[(first - 0.35, -18), (last + 0.35, -18)] for _, first, last in outer]
    axes.add_collection(LineCollection(lines, colors=LINE, linewidths=1.4, clip_on=False), autolim=False)
    end = -0.5
    for word, first, last in outer:
        half = text_width(word, SMALL) / 2 / pixel
        middle = min((first + last) / 2, right + 16 / pixel - half)  # may reach a little beyond the last layer
        if middle - half >= end:
            axes.text(middle, -26, word, size=SMALL, **look)
            end = middle + half + 8 / pixel
    _left_words(axes, -26, "layers, input → output", False, room=14)
