"""Photographs side by side, one column for each class."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from perfteach.course.progress import Page

if TYPE_CHECKING:
    from perfteach.data import ImageData

SCALE = 2  # pixels on the page for one of the image


def photographs(images: ImageData, rows: int = 4, split: str = "test") -> Page:
    """The first `rows` images of every class, with the classes' names above them.

    Args:
        images: the data set.
        rows: images of each class.
        split: where they are taken from.
    """
    import torch
    from PIL import Image

    part, cells = images.split(split), []
    for label, name in enumerate(images.classes):
        chosen = part.images[part.labels == label][:rows]  # [rows, 3, H, W]
        column = torch.cat([image.permute(1, 2, 0) for image in chosen]).contiguous().numpy()
        picture, file = Image.fromarray(column), io.BytesIO()
        size = (SCALE * picture.width, SCALE * picture.height)
        picture.resize(size, Image.Resampling.NEAREST).save(file, "PNG")
        source = base64.b64encode(file.getvalue()).decode("ascii")
        alt = html.escape(f"{len(chosen)} images of the class {name}, one below the other")
        cells.append(
            f'<figure style="margin:0"><figcaption>{html.escape(name)}</figcaption>'
            f'<img alt="{alt}" width="{size[0]}" height="{size[1]}" src="data:image/png;base64,{source}"></figure>'
        )
    title = f"{images.title()}: {rows} of {len(part) // len(images.classes):,} {split} images of each class"
    sheet = f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(cells)}</div>'
    return Page(f"<p>{html.escape(title)}</p>{sheet}", f"{title}: {', '.join(images.classes)}")
