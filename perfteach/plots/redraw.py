"""Redrawing quickly: what the pictures of a series have in common is drawn once and kept as pixels."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from PIL import Image

from perfteach.plots.style import DPI, Picture


class Series:
    """Turns pictures that follow one another, such as those of a widget, into PNGs.

    Pictures with an equal `still` differ in nothing but their `moving` parts. From the second of them on only these are
    drawn, over the pixels of the rest. Most of a picture's time goes into words, and most words stay.
    """

    def __init__(self) -> None:
        self._renderer: Any = None  # one for all pictures of a size: it remembers how wide its words are
        self._still: Any = None
        self._ground: Any = None  # the pixels of what stays

    def png(self, figure: Picture) -> bytes:
        """The picture as a PNG of `DPI` dots per inch, the same as `plots.png` gives, without transparency."""
        wide, high = (round(side * DPI) for side in figure.get_size_inches())
        if self._renderer is None or (self._renderer.width, self._renderer.height) != (wide, high):
            self._renderer, self._still = RendererAgg(wide, high, DPI), None
        moving = [] if figure.still is None else figure.moving
        if figure.still is None or figure.still != self._still:
            self._draw_still(figure, moving)
        self._renderer.restore_region(self._ground)
        for part in moving:
            part.draw(self._renderer)
        image = Image.frombuffer("RGBA", (wide, high), self._renderer.buffer_rgba(), "raw", "RGBA", 0, 1)
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "png", compress_level=1)  # higher levels take longer and save little
        return buffer.getvalue()

    def _draw_still(self, figure: Picture, moving: list[Artist]) -> None:
        for part in moving:
            part.set_visible(False)
        self._renderer.clear()
        figure.draw(self._renderer)
        for part in moving:
            part.set_visible(True)
        self._ground = self._renderer.copy_from_bbox(figure.bbox)
        self._still = figure.still
