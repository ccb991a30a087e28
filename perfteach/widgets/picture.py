"""The picture reader: choose a picture file, and see what a trained network sees in it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import IO, Any

import ipywidgets

from perfteach import predict, shipped
from perfteach.errors import DataError
from perfteach.widgets.base import Panel, Said, one_at_a_time, row

SHOWN = 160  # pixels along the edge of the picture as it is shown


class PictureReader(Panel):
    """Choose a picture; see what is left of it at the network's size, and what the network takes it for.

    Args:
        picture: the file to begin with, before one is chosen.
        network: one of the trained networks, as `perfteach.predict.classify` names them.

    Raises:
        ConfigError, DataError: as `classify`, for the first picture. One that is chosen later and cannot be read is
            named in the panel.
    """

    def __init__(self, picture: str | Path | IO[bytes], network: str = "mobilenet-extra-small") -> None:
        super().__init__("What does the network see?")
        self.network, self.said = network, ""
        self.guesses: list[predict.Guess] = []
        self.upload = ipywidgets.FileUpload(accept="image/*", description="Choose a picture", layout={"width": "auto"})
        self.upload.observe(self.on_upload, names="value")
        self.picture, self.words = ipywidgets.HTML(), Said(lines=4)
        self.fill(self.upload, row(self.picture, self.words))
        self.look(picture)

    @one_at_a_time
    def on_upload(self, change: Any) -> None:
        if change["new"]:
            chosen = change["new"][0]
            content = io.BytesIO(chosen["content"])
            content.name = chosen["name"]
            try:
                self.look(content)
            except DataError as error:
                self.guesses, self.said, self.picture.value = [], str(error), ""
                self.words.sentences = [self.said]

    def look(self, picture: str | Path | IO[bytes]) -> None:
        """Show what the network sees in this picture; raises as the constructor does."""
        card = shipped.card(self.network)
        self.guesses = predict.classify(picture, self.network)
        if hasattr(picture, "seek"):
            picture.seek(0)
        first, *others = [f"{guess.name} ({guess.probability:.0%})" for guess in self.guesses]
        self.said = f"The network takes it for: {first}. Then come {' and '.join(others)}."
        knows = f"It knows {len(card.classes)} classes and nothing else, whatever a picture shows."
        self.words.sentences = [self.said, knows]
        self.picture.value = _image(predict.shrink(picture, card.size))

    def summary(self) -> str:
        return self.said


def _image(seen: Any) -> str:
    """A small picture as HTML, enlarged without smoothing."""
    png = io.BytesIO()
    seen.save(png, "PNG")
    source = base64.b64encode(png.getvalue()).decode("ascii")
    alt = f"The picture as the network sees it, {seen.width} by {seen.height} pixels"
    look = f"width:{SHOWN}px;height:{SHOWN}px;image-rendering:pixelated"
    return f'<img alt="{alt}" style="{look}" src="data:image/png;base64,{source}">'
