"""The photographs that come with the course: whole, the same everywhere, and honest towards trained networks."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
from conftest import load_tool

from perfteach import course, data
from perfteach.data import sample
from perfteach.errors import DataError

CARD = Path(__file__).resolve().parent.parent / "data" / "README.md"


@pytest.fixture(scope="module")
def loaded() -> data.ImageData:
    return data.load("cifar10-sample")


def _fingerprints(split: data.Split) -> list[bytes]:
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in split.images]


def test_it_is_whole_balanced_and_no_drawing(loaded: data.ImageData) -> None:
    for name, each in (("train", 450), ("validation", 50), ("test", 100)):
        assert loaded.split(name).labels.bincount().tolist() == [each] * 10
    assert not loaded.synthetic and loaded.title() == "CIFAR-10 sample (JPEG q75)"
    assert set(loaded.test.labels[:10].tolist()) == set(range(10)), "the first images show every class"
    seen = [mark for name in data.SPLITS for mark in _fingerprints(loaded.split(name))]
    assert len(set(seen)) == len(seen) == 6000


def test_file_and_images_have_the_checksums_of_the_data_card(loaded: data.ImageData) -> None:
    card = CARD.read_text(encoding="utf-8")
    assert sample.SAMPLE.stat().st_size < 2_000_000
    assert hashlib.sha256(sample.SAMPLE.read_bytes()).hexdigest() in card
    assert loaded.checksum in card


def test_the_seed_of_load_does_not_move_its_split(loaded: data.ImageData) -> None:
    assert data.load("cifar10-sample", seed=3, validation=0.4).checksum == loaded.checksum
    with pytest.raises(DataError, match="for images read from a path"):
        data.load("cifar10-sample", image_size=64)


def test_the_quick_tier_trains_on_it() -> None:
    images = course.tier("quick").load()
    assert len(images.train) == 2000 and len(images.test) == 1000 and not images.synthetic


@pytest.mark.timeout(1800)  # as in `test_real_images`
def test_its_images_are_where_the_whole_set_has_them(loaded: data.ImageData, real_images: Path) -> None:
    """A network trained on the whole set, with its usual split, has not learned from the sample's held-out images."""
    whole = data.load(real_images, progress=False)
    for name in data.SPLITS:
        assert set(_fingerprints(loaded.split(name))) <= set(_fingerprints(whole.split(name))), name


def test_the_script_chooses_the_same_files_again(loaded: data.ImageData) -> None:
    names = [f"train/{kind}/{n:04}.jpg" for kind in ("cat", "dog") for n in range(600)]
    names += [f"test/{kind}/{n:04}.jpg" for kind in ("cat", "dog") for n in range(100)]
    chosen = load_tool("make_sample").choose(names)
    assert chosen == load_tool("make_sample").choose(names[::-1])
    assert {split: len(of["cat"]) for split, of in chosen.items()} == {"train": 450, "validation": 50, "test": 100}
    assert not set(chosen["train"]["dog"]) & set(chosen["validation"]["dog"])


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"no archive"])
def test_a_damaged_archive_is_one_sentence(monkeypatch, tmp_path: Path, damage) -> None:
    broken = tmp_path / "sample.tar.xz"
    broken.write_bytes(damage(sample.SAMPLE.read_bytes()))
    monkeypatch.setattr(sample, "PLACES", (broken,))
    with pytest.raises(DataError, match="is damaged"):
        data.load("cifar10-sample")


def test_without_it_the_message_says_where_to_get_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample, "PLACES", (tmp_path / "nowhere",))
    with pytest.raises(DataError, match=re.escape("data/cifar10-sample/cifar10-sample.tar.xz")):
        data.load("cifar10-sample")


def test_batches_of_it_are_normalised_photographs(loaded: data.ImageData) -> None:
    inputs, _ = next(iter(loaded.batches("train", 4500)))
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-3)
