"""The picture reader: what is chosen is read, shown and named; what cannot be read is said."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from perfteach import data, predict
from perfteach.errors import DataError
from perfteach.widgets import PictureReader


def picture(label: int, edge: int = 320) -> io.BytesIO:
    """A photograph of the sample's test images, enlarged, as a file."""
    images = data.load("cifar10-sample", progress=False).test
    chosen = images.images[images.labels == label][2]
    file = io.BytesIO()
    Image.fromarray(chosen.permute(1, 2, 0).numpy()).resize((edge, edge)).save(file, "PNG")
    file.seek(0)
    return file


def choose(reader: PictureReader, name: str, content: bytes) -> None:
    chosen = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    reader.on_upload({"new": (chosen,)})


def test_the_first_picture_is_read_and_shown_as_the_network_sees_it():
    reader = PictureReader(picture(8))
    assert reader.guesses == predict.classify(picture(8))
    assert reader.summary().startswith(f"The network takes it for: {reader.guesses[0].name} (")
    assert "32 by 32 pixels" in reader.picture.value


def test_a_picture_that_is_chosen_takes_its_place():
    reader = PictureReader(picture(8))
    before = reader.picture.value
    choose(reader, "mine.png", picture(1).getvalue())
    assert reader.guesses == predict.classify(picture(1)) != predict.classify(picture(8))
    assert reader.picture.value != before
    assert reader.guesses[0].name in " ".join(reader.words.sentences)


def test_a_file_that_is_no_picture_is_named_and_the_widget_lives_on():
    reader = PictureReader(picture(8))
    choose(reader, "notes <b>.txt", b"no picture")
    assert "notes <b>.txt cannot be read as a picture" in " ".join(reader.words.sentences)
    assert reader.picture.value == ""
    choose(reader, "mine.png", picture(8).getvalue())
    assert reader.guesses == predict.classify(picture(8))


def test_a_first_picture_that_is_missing_raises(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        PictureReader(tmp_path / "none.png")


def test_the_still_edition_says_the_same_in_words():
    reader = PictureReader(picture(8))
    assert reader.summary() in reader._repr_html_()
