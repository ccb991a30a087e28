"""What every widget shares: the panel with its still edition, pictures with text, and controls with names."""

from __future__ import annotations

import base64
import functools
import html
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import traitlets

if TYPE_CHECKING:
    from perfteach.plots import Picture

HERE = Path(__file__).resolve().parent
IMPORT = re.compile(r'^import .*? from "\./(\w+)\.mjs";\n', re.M)
ANSWERING = threading.RLock()


def one_at_a_time(handler: Callable[..., None]) -> Callable[..., None]:
    """A widget's answer to a change, which waits until the answer to another change is finished.

    ipykernel from 7 on answers the controls of one page in several threads. Two answers at once would draw with
    matplotlib at once, which it does not bear, and the older answer could be the last to be shown.
    """

    @functools.wraps(handler)
    def alone(*args: Any) -> None:
        with ANSWERING:
            handler(*args)

    return alone


def module(name: str) -> str:
    """The JavaScript of a view as one module, with the files it imports: a page gets one text for each widget."""
    parts: dict[str, str] = {}

    def add(part: str) -> None:
        if part not in parts:
            text = (HERE / f"{part}.mjs").read_text(encoding="utf-8")
            for other in IMPORT.findall(text):
                add(other)
            parts[part] = IMPORT.sub("", text)

    add(name)
    *shared, last = parts.values()
    return "".join(text.replace("\nexport ", "\n") for text in shared) + last


class View(anywidget.AnyWidget):
    """What is drawn in the browser. Subclasses set `_esm = module(…)` and their traits; they need no build step."""

    _css = HERE / "view.css"


class Said(View):
    """Sentences that change; a screen reader reads them when they do.

    Attributes:
        sentences: a paragraph each.
        lines: for how many lines there is room from the start, so that nothing below moves.
    """

    _esm = module("said")
    sentences = traitlets.List(traitlets.Unicode()).tag(sync=True)
    lines = traitlets.Float(0.0).tag(sync=True)


def paragraphs(*sentences: str) -> str:
    """HTML of one paragraph per sentence or group of sentences; empty ones are left out."""
    return "".join(f'<p style="margin:0 0 4px;line-height:1.5">{html.escape(text)}</p>' for text in sentences if text)


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table with a caption, column headings, and a heading for each row in its first column."""
    start, end = ('style="text-align:left;padding:1px 6px', 'style="text-align:right;padding:1px 6px')
    columns = "".join(
        f'<th scope="col" {end if i else start};white-space:nowrap">{html.escape(name)}</th>'
        for i, name in enumerate(head)
    )
    body = "".join(
        f'<tr><th scope="row" {start};white-space:nowrap">{html.escape(row[0])}</th>'
        + "".join(f'<td {end};white-space:nowrap">{html.escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div {scrolls(caption)}><table style="border-collapse:collapse;line-height:1.4;font-size:0.92em">'
        f'<caption {start}">{html.escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def scrolls(name: str) -> str:
    """Attributes of an element that scrolls where the page is too narrow for it, also from the keyboard.

    JupyterLab would take the arrow keys. Without a width of its own the element would widen the page instead.
    """
    keys = f'role="region" tabindex="0" data-lm-suppress-shortcuts="true" aria-label="{html.escape(name)}"'
    return f'{keys} style="overflow-x:auto;width:0;min-width:100%"'


def row(*children: Any) -> Any:
    """Controls next to each other, wrapping where the page is narrow."""
    layout = {"display": "flex", "flex_flow": "row wrap", "align_items": "center", "width": "auto"}
    return ipywidgets.Box(children, layout=ipywidgets.Layout(**layout, grid_gap="0 8px"))


def menu(name: str, options: Any, handler: Callable[[Any], None]) -> Any:
    """A menu with its name before it, no wider than the page; the handler hears of another choice."""
    layout = {"width": "auto", "max_width": "calc(100% - 4px)"}
    chosen = ipywidgets.Dropdown(
        options=options, description=name, style={"description_width": "initial"}, layout=layout
    )
    chosen.observe(handler, names="value")
    return chosen


class Number:
    """A slider and a named number box that always hold the same value.

    The slider is quick, the number box has the name (JupyterLab 4.6 gives a slider none) and takes exact values.

    Args:
        name: what the number is, with its unit; the box's label.
        value, low, high, step: whole numbers make a whole-number control.
        handler: called with the change (a dict with "new") when the value has changed.
        continuous: follow the slider while it is being dragged, rather than when it is let go.
    """

    def __init__(
        self,
        name: str,
        value: float,
        low: float,
        high: float,
        step: float,
        handler: Callable[[Any], None],
        *,
        continuous: bool = True,
    ) -> None:
        whole = all(isinstance(number, int) for number in (value, low, high, step))
        bounds = {"value": value, "min": low, "max": high, "step": step}
        make_box = ipywidgets.BoundedIntText if whole else ipywidgets.BoundedFloatText
        make_slider = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        self.box = make_box(
            **bounds,
            description=name,
            style={"description_width": "initial"},
            layout=ipywidgets.Layout(width="auto", min_width="11em"),
        )
        self.slider = make_slider(
            **bounds, readout=False, continuous_update=continuous, layout=ipywidgets.Layout(width="160px")
        )
        # The page's slider answers 1.0000000000000002 where 1 was meant.
        exact = (lambda number: number, (lambda number: number) if whole else lambda number: round(number, 6))
        self.link = ipywidgets.link((self.box, "value"), (self.slider, "value"), transform=exact)
        self.box.observe(handler, names="value")
        self.widget = row(self.slider, self.box)

    @property
    def value(self) -> Any:
        """The number shown."""
        return self.box.value

    @value.setter
    def value(self, value: float) -> None:
        self.box.value = value


class Choices:
    """Checkboxes with a name for the group, in the order that was offered; `kind` stands before each option."""

    def __init__(self, name: str, handler: Callable[[Any], None], kind: str = "") -> None:
        self.name, self.handler, self.kind = name, handler, kind
        self.boxes: dict[Any, Any] = {}
        self.widget = row()

    def offer(self, options: Sequence[Any]) -> None:
        """Show these options, all of them chosen."""
        old = self.widget.children
        narrow = {"indent": False, "layout": {"width": "auto", "margin": "0 10px 0 0"}}
        words = {option: f"{self.kind} {option}".strip() for option in options}
        self.boxes = {o: ipywidgets.Checkbox(value=True, description=word, **narrow) for o, word in words.items()}
        for box in self.boxes.values():
            box.observe(lambda change: self.handler(change), names="value")
        self.widget.children = (ipywidgets.HTML(f"<b>{html.escape(self.name)}</b>"), *self.boxes.values())
        for child in old:  # else kernel and page would keep those of every study that was looked at
            child.layout.close()
            child.style.close()
            child.close()

    @property
    def value(self) -> tuple[Any, ...]:
        """The options that are chosen."""
        return tuple(option for option, box in self.boxes.items() if box.value)

    @value.setter
    def value(self, chosen: Sequence[Any]) -> None:
        handler, self.handler = self.handler, lambda change: None  # one answer to all of them
        for option, box in self.boxes.items():
            box.value = option in chosen
        self.handler = handler
        handler(None)


class PictureBox:
    """A figure in the page's colours, with its description for a screen reader."""

    def __init__(self) -> None:
        self.image = ipywidgets.HTML(layout=ipywidgets.Layout(width="auto", min_height="20px"))
        self.summary = ""

    def show(self, figure: Picture) -> None:
        """Replace the picture."""
        from perfteach import plots

        self.summary = figure.alt
        # On a narrow page it scrolls: shrunk to half its size its words could not be read.
        self.image.value = f"<div {scrolls(figure.alt.partition('.')[0])}>{plots.svg(figure, least=640)}</div>"

    def say(self, sentence: str) -> None:
        """No picture, only a sentence that says why."""
        self.summary = sentence
        self.image.value = paragraphs(sentence)


class Panel:
    """Base of the widgets, with the still edition for where widgets cannot run.

    Args:
        title: the heading.
        widget: what is drawn in the browser; None makes a box for ipywidgets, to be filled with `fill`.
    """

    def __init__(self, title: str, widget: Any = None) -> None:
        self.title = title
        self.widget = widget or ipywidgets.VBox([], layout=ipywidgets.Layout(width="auto", overflow="visible"))

    def fill(self, *children: Any) -> None:
        """Put the title and these widgets into the box, from top to bottom."""
        heading = ipywidgets.HTML(f'<strong style="font-size:1.1em">{html.escape(self.title)}</strong>')
        self.widget.children = (heading, *children)

    def still(self) -> Picture | None:
        """The figure of the still edition; None where there is nothing to draw."""
        return None

    def summary(self) -> str:
        """What the widget shows, in words."""
        return self.title

    def _repr_html_(self) -> str:
        from perfteach import plots

        figure = self.still()
        picture = "" if figure is None else plots.html(figure)
        title = f'<strong style="display:block">{html.escape(self.title)}</strong>'
        return f"<div>{title}{picture}{paragraphs(self.summary())}</div>"

    def __repr__(self) -> str:
        return f"{self.title}: {self.summary()}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        # The page takes the richest form it can show: the widget, else the still picture, else words.
        from perfteach import plots

        shown = self.widget._repr_mimebundle_() or {}
        view, about = shown if isinstance(shown, tuple) else (shown, {})  # Colab's way to load widgets is in `about`
        bundle = {"text/plain": repr(self), "text/html": self._repr_html_()}
        figure = self.still()
        if figure is not None:  # paper editions take images, but no HTML
            bundle["image/png"] = base64.b64encode(plots.png(figure)).decode("ascii")
        return (view | bundle, about) if about else view | bundle
