"""What all figures share: size, type, colours, the picture that carries its own alternative text, and HTML.

Everything is set on the artists themselves, never in matplotlib's global settings, so a learner's own figures stay
as they are and a dark theme of theirs does not reach these.
"""

from __future__ import annotations

import base64
import html as escaping
import io
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import ScalarFormatter

from perfteach.arms import EVERY_ARM

WIDTH = 800  # pixels at DPI, which the text sizes below are made for
DPI = 100

# Seaborn's "colorblind" palette, written out because importing seaborn takes seconds; a slider's figures do without it.
BLUE, ORANGE, GREEN, RED, PINK, BROWN, ROSE, GREY, YELLOW, SKY = PALETTE = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
)  # fmt: skip
INK, SOFT, LINE, PAPER = "#1f2933", "#5b6673", "#d9dee4", "#ffffff"
NEURON, DENDRITE = BLUE, ORANGE  # the two phases, in every figure
SCALE = "viridis"  # for |r|: perceptually even and readable without red and green

GRID: dict[str, Any] = {"color": LINE, "lw": 0.6, "ls": "-", "alpha": 1.0}

TITLE, TEXT, SMALL, TINY = 11.5, 9.0, 8.0, 7.0  # points

NAMED = {  # the colours of the table of arms
    "blue": BLUE, "orange": ORANGE, "green": GREEN, "red": RED, "pink": PINK, "brown": BROWN, "grey": GREY, "sky": SKY,
    "ink": INK,
}  # fmt: skip


class Picture(Figure):
    """A matplotlib figure that knows its alternative text and shows itself with it in a notebook.

    It is not registered with pyplot, so there is nothing to close.

    Attributes:
        alt: the picture in words.
    """

    alt: str = ""

    def draw(self, renderer: Any) -> None:
        """Draw it; a name with a dollar sign is no formula."""
        _as_written(self)
        super().draw(renderer)

    def _repr_html_(self) -> str:
        return html(self)

    def _repr_png_(self) -> bytes:
        return png(self)


def _as_written(part: Artist) -> None:
    for words in part.findobj(Text):
        if isinstance(words, Text):
            words.set_parse_math(False)


def frame(height: int, title: str, note: str = "", alt: str = "") -> Picture:
    """An empty picture of 800 × `height` pixels with its heading."""
    figure = Picture(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    figure.alt = alt
    title = textwrap.shorten(title, 88, placeholder=" …")
    figure.text(16 / WIDTH, 1 - 16 / height, title, size=TITLE, weight="bold", color=INK, va="top", gid="title")
    if note:
        add_note(figure, note)
    return figure


def add_note(figure: Figure, note: str) -> None:
    """A line in small letters below the heading."""
    high = figure.get_size_inches()[1] * DPI
    note = textwrap.shorten(note, 118, placeholder=" …")
    figure.text(16 / WIDTH, 1 - 40 / high, note, size=TEXT, color=SOFT, va="top", gid="note")


def panel(figure: Figure, left: int, top: int, width: int, height: int, **how: Any) -> Axes:
    """Axes at a place given in pixels from the figure's upper left corner, with a quiet frame."""
    wide, high = figure.get_size_inches() * DPI
    axes = figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high), **how)
    quiet(axes)
    return axes


def quiet(axes: Axes) -> None:
    """Two thin spines, small grey numbers without marks, white ground; no grid or other ticks of a learner's own."""
    axes.set_facecolor(PAPER)
    axes.set_axisbelow(True)
    axes.grid(False, which="both")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    axes.tick_params(length=0, pad=5, labelsize=SMALL, labelcolor=SOFT)
    axes.tick_params(labelbottom=True, labelleft=True, labeltop=False, labelright=False)
    axes.minorticks_off()
    axes.locator_params(nbins=6)
    axes.xaxis.set_major_formatter(whole_numbers())
    axes.yaxis.set_major_formatter(whole_numbers())


def whole_numbers() -> ScalarFormatter:
    """Numbers at an axis written out: no offset, no power of ten beside the axis, no formula."""
    formatter = ScalarFormatter(useOffset=False, useMathText=False)
    formatter.set_scientific(False)
    return formatter


def name_axes(axes: Axes, x: str = "", y: str = "") -> None:
    """Axis labels, with their units."""
    axes.set_xlabel(x, labelpad=4, size=TEXT, color=SOFT)
    axes.set_ylabel(y, labelpad=4, size=TEXT, color=SOFT)


def gain_axis(axes: Axes, values: Sequence[float], room: float) -> None:
    """The axis of gains: zero and these values with `room`, a share of their span; signed numbers, lines, zero."""
    reach = [0.0, *(value for value in values if math.isfinite(value))]
    span = max(reach) - min(reach) or 1.0
    axes.set_xlim(min(reach) - room * span, max(reach) + room * span)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    axes.grid(axis="x", **GRID)
    axes.axvline(0, color=INK, lw=1.1, gid="zero", zorder=1)


def key(figure: Figure, entries: Sequence[tuple[str, dict[str, Any]]], top: float, right: int = 16) -> None:
    """A row of swatches with their words, ending at the right edge, `top` pixels below the upper one."""
    wide, high = figure.get_size_inches() * DPI
    x = wide - right
    for word, look in reversed(entries):
        x -= text_width(word, SMALL)
        figure.text(x / wide, 1 - (top + 5) / high, word, size=SMALL, color=SOFT, va="center")
        x -= 20
        figure.add_artist(Rectangle((x / wide, 1 - (top + 10) / high), 14 / wide, 10 / high, **{"lw": 0, **look}))
        x -= 14


def text_width(text: str, size: float) -> float:
    """About how many pixels a text takes; measuring it exactly would cost a drawing."""
    return len(text) * size * DPI / 72 * 0.56


def fitting(words: Sequence[str], pixels: float, size: float) -> str:
    """The first of the words that fits into a width; nothing where none does."""
    return next((word for word in words if text_width(word, size) <= pixels), "")


def arm_look(arm: str, among: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of an arm: its own for the studies' arms, else by its place among those drawn."""
    if arm in EVERY_ARM:
        return NAMED[EVERY_ARM[arm].color], EVERY_ARM[arm].marker
    place = list(among).index(arm) if arm in among else 0
    return PALETTE[place % len(PALETTE)], "osD^vPX"[place % 7]


DASHES = ("solid", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1.5, 1, 1.5, 1, 1.5)))


def arm_dash(arm: str, among: Sequence[str]) -> Any:
    """The dash of an arm's lines, by its place in the table of arms, else among those drawn."""
    table = list(EVERY_ARM) if arm in EVERY_ARM else list(among)
    return DASHES[table.index(arm) % len(DASHES) if arm in table else 0]


def arm_legend(axes: Axes, names: Sequence[str], handle: float = 2.4) -> None:
    """A legend above the axes, which takes `legend_rows(names)` pixels; `handle` is a sample's size."""
    look = {"frameon": False, "fontsize": SMALL, "labelcolor": INK, "ncols": _legend_columns(names)}
    spaces = {"columnspacing": 1.2, "borderaxespad": 0.2, "borderpad": 0.2, "handlelength": handle, "labelspacing": 0.3}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), **look, **spaces)


def legend_rows(names: Sequence[str]) -> int:
    """Height of a legend of these names in pixels."""
    return 6 + 16 * -(-len(names) // _legend_columns(names))


def _legend_columns(names: Sequence[str]) -> int:
    widest = max((text_width(name, SMALL) for name in names), default=0)
    return max(1, min(len(names), int((WIDTH - 80) / (widest + 52))))


def listed(items: Sequence[str], most: int = 5) -> str:
    """The items as a phrase; those beyond `most` are counted."""
    if len(items) > most:
        return ", ".join(items[:most]) + f" and {len(items) - most} more"
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def short(count: float) -> str:
    """A number of parameters as people say it: 1,662,488 is "1.66 M"."""
    if count >= 999_500:
        return f"{count / 1e6:.2f} M"
    return f"{count / 1e3:.0f} k" if count >= 10_000 else f"{count:,.0f}"


def with_data(title: str, data: str) -> str:
    """A title with the data's name behind it."""
    return f"{title}: {data}" if data else title


def message(title: str, text: str, height: int = 380) -> Picture:
    """A picture of the usual size that says why there is nothing to draw."""
    figure = frame(height, title, alt=f"{title}. {text}")
    lines = textwrap.fill(text, 80)
    figure.text(0.5, 0.46, lines, size=TITLE, color=SOFT, ha="center", va="center", gid="message", linespacing=1.5)
    return figure


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as a PNG; `dpi` of 160 makes an 800-pixel figure 1280 pixels wide."""
    buffer = io.BytesIO()
    # Level 1 is a third faster than the default and a few kB larger.
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=PAPER, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def html(figure: Figure, alt: str | None = None) -> str:
    """The figure as an `<img>` with alternative text and a fixed shape, which shrinks where the page is narrow.

    Args:
        figure: any matplotlib figure.
        alt: what a screen reader says; None takes the picture's own description.
    """
    words = escaping.escape(getattr(figure, "alt", "") if alt is None else alt, quote=True)
    wide, high = (round(side * DPI) for side in figure.get_size_inches())
    data = base64.b64encode(png(figure)).decode()
    return (
        f'<img alt="{words}" width="{wide}" height="{high}" style="max-width:100%;height:auto;background:{PAPER}" '
        f'src="data:image/png;base64,{data}">'
    )


# What stands for these colours in a page that has a theme.
THEMED = {
    INK: f"var(--jp-content-font-color1, {INK})",
    SOFT: f"var(--jp-content-font-color2, {SOFT})",
    LINE: f"var(--jp-border-color2, {LINE})",
    PAPER: f"var(--jp-layout-color0, {PAPER})",
}


def svg(figure: Figure, least: int = 0) -> str:
    """The figure as SVG for a page: crisp at any zoom, in the colours of the page's theme, with its description.

    Args:
        figure: any matplotlib figure.
        least: pixels below which it does not shrink on a narrow page.
    """
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", dpi=DPI, facecolor=PAPER, metadata={"Date": None})
    drawn = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue()[buffer.getvalue().index("<svg") :], flags=re.S)
    for color, themed in THEMED.items():
        drawn = drawn.replace(color, themed)
    words = escaping.escape(getattr(figure, "alt", ""), quote=True)
    look = f'style="max-width:max(100%,{least}px);height:auto;display:block;white-space:pre"'
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{words}" {look} ', 1)
