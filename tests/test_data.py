"""perfteach.data: the drawn images, folders and archives, splits, batches, packed files, the CIFAR-10 download."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import pickle
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from perfteach import data
from perfteach.data import augment, cifar10, images, synthetic
from perfteach.data import folder as folders
from perfteach.errors import DataError

TRAIN, TEST = 12, 4  # images of each class in the small folder
# sha256 of the first 60 drawn images. It may only change with a new name for the data set.
PINNED = "b52f8d275f5b5757debc4b6a89e40aa32f0abfa98e2442a3743debb910f4f7b5"


def _picture(number: int, size: tuple[int, int] = (10, 8), kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _files() -> dict[str, bytes]:
    """A small data set as path → bytes."""
    files = {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        for label, name in enumerate(("cat", "ant", "bee")):
            for k in range(count):
                files[f"{split}/{name}/{k:02}.png"] = _picture(1000 * label + k + 100 * (split == "test"))
    return files


def _folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def _tar(path: Path, files: dict[str, bytes], mode: str = "w:gz", top: str = "") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., data.ImageData]:
    """`data.load` with a cache folder of the test's own."""

    def loader(name: str | Path, **settings: object) -> data.ImageData:
        return data.load(name, cache=tmp_path / "cache", progress=False, **settings)

    return loader


@pytest.fixture(scope="module")
def drawn() -> data.ImageData:
    return data.load("synthetic10")


def _first(of: data.ImageData, split: str = "train", **settings: object) -> torch.Tensor:
    return next(iter(of.batches(split, 32, **settings)))[0]


# --- synthetic10 --------------------------------------------------------------------------------------------


def test_drawn_images_are_the_same_bytes_on_every_machine() -> None:
    images, labels = synthetic.draw(60)
    assert hashlib.sha256(images.tobytes()).hexdigest() == PINNED
    assert labels.tolist() == list(range(10)) * 6


def test_first_images_do_not_depend_on_the_count_and_seeds_and_streams_differ() -> None:
    few, many = synthetic.draw(7)[0], synthetic.draw(501)[0]
    assert np.array_equal(few, many[:7])
    assert not np.array_equal(few, synthetic.draw(7, seed=1)[0])
    assert not np.array_equal(few, synthetic.draw(7, stream="test")[0])
    assert synthetic.draw(0)[0].shape == (0, 3, 32, 32)


def test_synthetic10_is_whole_balanced_and_says_what_it_is(drawn: data.ImageData) -> None:
    assert [len(drawn.split(s)) for s in data.SPLITS] == [9000, 1000, 2000]
    for split, each in zip(data.SPLITS, (900, 100, 200), strict=True):
        assert drawn.split(split).labels.bincount().tolist() == [each] * 10
    assert drawn.synthetic and "synthetic" in drawn.title() and "synthetic" in repr(drawn)
    assert drawn.classes == tuple(sorted(drawn.classes)) and drawn.train.images.dtype == torch.uint8
    pixels = drawn.train.images.double() / 255
    assert torch.tensor(drawn.mean).double().allclose(pixels.mean((0, 2, 3)), atol=1e-6)
    assert torch.tensor(drawn.std).double().allclose(pixels.std((0, 2, 3)), atol=1e-4)


# --- splits and identity ------------------------------------------------------------------------------------


def test_validation_is_apart_from_train_and_chosen_by_the_seed(drawn: data.ImageData) -> None:
    def fingerprints(of: data.ImageData) -> tuple[set[bytes], set[bytes]]:
        return tuple({x.tobytes() for x in s.images.numpy()} for s in (of.train, of.validation))

    train, validation = fingerprints(drawn)
    assert len(train) == 9000 and len(validation) == 1000 and not train & validation
    other = data.load("synthetic10", seed=1)
    assert fingerprints(other)[1] != validation and other.checksum != drawn.checksum
    assert torch.equal(other.test.images, drawn.test.images)
    assert data.load("synthetic10").checksum == drawn.checksum


@pytest.mark.parametrize("part", ["pixel", "label"])
@pytest.mark.parametrize("split", data.SPLITS)
def test_checksum_sees_every_pixel_and_label(tiny_data: data.ImageData, split: str, part: str) -> None:
    changed = images.Split(tiny_data.split(split).images.clone(), tiny_data.split(split).labels.clone())
    if part == "pixel":
        changed.images[-1, 2, 31, 31] ^= 1
    else:
        changed.labels[-1] = (changed.labels[-1] + 1) % 10
    splits = [changed if name == split else tiny_data.split(name) for name in data.SPLITS]
    again = images.assemble(tiny_data.name, tiny_data.classes, *splits, synthetic=True)
    assert again.checksum != tiny_data.checksum


def test_a_test_label_changes_nothing_else(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    files = _files()
    before = load(_folder(tmp_path / "before", files))
    files["test/bee/moved.png"] = files.pop("test/cat/00.png")
    after = load(_folder(tmp_path / "after", files))
    assert after.checksum != before.checksum
    for split in ("train", "validation"):
        assert torch.equal(after.split(split).images, before.split(split).images)
        assert torch.equal(after.split(split).labels, before.split(split).labels)
    assert (after.mean, after.std) == (before.mean, before.std)
    pairs = zip(*(d.batches("train", 5, shuffle=True, augment=True) for d in (before, after)), strict=True)
    assert all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in pairs)


def test_subset_is_balanced_seeded_and_smaller(drawn: data.ImageData) -> None:
    small = drawn.subset(105, validation=20, test=10)
    counts = small.train.labels.bincount()
    assert counts.sum() == 105 and counts.max() - counts.min() == 1
    assert (len(small.validation), len(small.test)) == (20, 10)
    assert drawn.subset(105, 20, 10).checksum == small.checksum != drawn.subset(105, 20, 10, seed=1).checksum
    assert len(drawn.subset(100).test) == 2000
    with pytest.raises(DataError, match="too few: there are 10 classes"):
        drawn.subset(9)
    with pytest.raises(DataError, match=r"has 900 train images, 1000 were asked for; ask for 9000 at most"):
        drawn.subset(10_000)


# --- batches ------------------------------------------------------------------------------------------------


def test_plain_batches_are_the_normalised_images_in_order(tiny_data: data.ImageData) -> None:
    found = list(tiny_data.batches("validation", 32))
    assert [len(y) for _, y in found] == [32, 32, 32, 4] and len(tiny_data.batches("validation", 32)) == 4
    assert len(tiny_data.batches("validation", 32, drop_last=True)) == 3
    x, y = torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])
    mean, std = (torch.tensor(v)[:, None, None] for v in (tiny_data.mean, tiny_data.std))
    assert torch.equal(y, tiny_data.validation.labels)
    assert x.allclose((tiny_data.validation.images / 255 - mean) / std, atol=1e-5)
    assert found[0][0].is_contiguous(memory_format=torch.channels_last)
    assert _first(tiny_data, channels_last=False).is_contiguous()


def test_training_images_are_normalised_to_zero_and_one(drawn: data.ImageData) -> None:
    x = torch.cat([x for x, _ in drawn.batches("train", 1000)])
    assert x.mean((0, 2, 3)).abs().max() < 1e-3 and (x.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_same_seed_same_batches_and_different_seed_different_ones(tiny_data: data.ImageData) -> None:
    made = tiny_data.batches("train", 64, shuffle=True, augment=True, seed=3)
    for again in (made, tiny_data.batches("train", 64, shuffle=True, augment=True, seed=3)):
        torch.manual_seed(99)  # the global generator has no say
        assert all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(made, again, strict=True))
    other = tiny_data.batches("train", 64, shuffle=True, augment=True, seed=4)
    assert not torch.equal(next(iter(made))[1], next(iter(other))[1])
    assert sorted(torch.cat([y for _, y in other]).tolist()) == sorted(tiny_data.train.labels.tolist())
    fixed = [_first(tiny_data, augment=True, seed=seed) for seed in (0, 1)]
    assert not torch.equal(*fixed)


def test_every_image_gets_its_own_crop_and_mirror() -> None:
    image = torch.arange(3 * 32 * 32, dtype=torch.int64).remainder(251).add(1).to(torch.uint8).view(1, 3, 32, 32)
    generator = torch.Generator().manual_seed(0)
    down, right, mirrored = (torch.randint(0, most, (400,), generator=generator) for most in (9, 9, 2))
    out = augment.crop_and_mirror(image.expand(400, -1, -1, -1), down, right, mirrored)
    padded = torch.nn.functional.pad(image[0], [4] * 4)
    seen = set()
    for one in out:
        matches = {
            (dy, dx, flip)
            for dy in range(9)
            for dx in range(9)
            for flip in (False, True)
            if torch.equal(one.flip(2) if flip else one, padded[:, dy : dy + 32, dx : dx + 32])
        }
        assert len(matches) == 1  # a shifted and perhaps mirrored copy, and nothing else
        seen |= matches
    assert len({(dy, dx) for dy, dx, _ in seen}) > 75  # of 81
    mirrored = len([1 for *_, flip in seen if flip])
    assert 0.4 < mirrored / len(seen) < 0.6


@pytest.mark.parametrize("size", [48, 20])
def test_resize_gives_the_size(tiny_data: data.ImageData, size: int) -> None:
    x = _first(tiny_data, augment=True, shuffle=True, size=size)
    assert x.shape == (32, 3, size, size) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_validation_and_test_are_never_augmented(tiny_data: data.ImageData, split: str) -> None:
    with pytest.raises(DataError, match=f"the {split} split is never augmented"):
        tiny_data.batches(split, 10, augment=True)


@pytest.mark.parametrize("size", [0, -1, 201])
def test_a_batch_must_fit_the_split(tiny_data: data.ImageData, size: int) -> None:
    with pytest.raises(DataError, match=f"batch_size is {size}; train has 200 images"):
        tiny_data.batches("train", size)


def test_unknown_split_and_size_are_named(tiny_data: data.ImageData) -> None:
    with pytest.raises(DataError, match="there is no split 'val'"):
        tiny_data.batches("val", 1)
    with pytest.raises(DataError, match="size is 0"):
        tiny_data.batches("test", 1, size=0)


class _OneByOne(Dataset):
    """The same augmentation with torchvision's transforms, image by image."""

    def __init__(self, images: data.ImageData) -> None:
        self.images = images
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return 1280

    def __getitem__(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images.train.images[k]), self.images.train.labels[k]


def test_batches_are_five_times_faster_than_a_data_loader(drawn: data.ImageData) -> None:
    def seconds(made: Iterable[Any]) -> float:
        start = time.process_time()
        count = sum(1 for _ in made)
        return (time.process_time() - start) / count

    loader = DataLoader(_OneByOne(drawn), 128, shuffle=True)
    # By turns: a machine's speed changes from one minute to the next.
    ratios = [seconds(loader) / seconds(drawn.batches("train", 128, shuffle=True, augment=True)) for _ in range(3)]
    assert max(ratios) > 5


# --- folders and archives -----------------------------------------------------------------------------------


def test_folder_tar_and_zip_give_the_same_data(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    files = _files()
    backwards = dict(reversed(files.items()))
    found = [
        load(_folder(tmp_path / "pets", files)),
        load(_folder(tmp_path / "around", {f"pets/{k}": v for k, v in files.items()}) / "pets"),
        load(_folder(tmp_path / "around", {})),
        load(_tar(tmp_path / "pets.tar", backwards, "w")),
        load(_tar(tmp_path / "pets.tar.gz", files, top="./")),
        load(_tar(tmp_path / "pets.tar.bz2", files, "w:bz2", top="pets/")),
        load(_tar(tmp_path / "pets.tar.xz", backwards, "w:xz", top="./pets/")),
        load(_zip(tmp_path / "pets.zip", files)),
    ]
    assert len({d.checksum for d in found}) == 1
    assert {d.name for d in found} == {"pets", "around"}
    first = found[0]
    assert first.classes == ("ant", "bee", "cat") and not first.synthetic and first.title() == "pets"
    assert (len(first.train), len(first.validation), len(first.test)) == (33, 3, 12)
    assert first.validation.labels.tolist() == [0, 1, 2]
    expected = np.asarray(Image.open(io.BytesIO(files["test/ant/00.png"]))).transpose(2, 0, 1)
    assert np.array_equal(first.test.images[0].numpy(), expected)
    assert load(tmp_path / "pets.zip", label="My pets").title() == "My pets"


def test_stray_files_are_passed_over(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    stray = {
        "README.md": b"text", ".DS_Store": b"", "__MACOSX/train/cat/._00.png": b"junk",
        "train/cat/._00.png": b"junk", "train/cat/notes.txt": b"text", "train/loose.png": _picture(0),
    }  # fmt: skip
    plain = load(_zip(tmp_path / "a.zip", _files()))
    assert load(_zip(tmp_path / "b.zip", stray | _files())).checksum == plain.checksum


def test_images_come_in_one_size(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    files = _files() | {
        "train/ant/big.jpg": _picture(5, (40, 30), "JPEG"),
        "train/bee/x.gif": _picture(6, (9, 9), "GIF"),
    }
    grey = io.BytesIO()
    Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(grey, "PNG")
    path = _tar(tmp_path / "mixed.tgz", files | {"test/cat/grey.png": grey.getvalue()})
    mixed = load(path)
    assert mixed.train.images.shape[2:] == (8, 10)  # the commonest
    assert torch.equal(mixed.test.images[-1][0], mixed.test.images[-1][1])
    square = load(path, image_size=16)
    assert square.train.images.shape[2:] == (16, 16) and square.test.images.shape[2:] == (16, 16)
    assert _first(square.subset(32), augment=True).shape == (32, 3, 16, 16)


def test_a_second_load_decodes_nothing(
    load: Callable[..., data.ImageData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _tar(tmp_path / "pets.tar.gz", _files())
    first = load(path)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "_decode", lambda *_: pytest.fail("decoded again"))
        assert load(path).checksum == first.checksum
    _tar(path, _files() | {"test/ant/99.png": _picture(77)})
    assert len(load(path).test) == len(first.test) + 1  # the archive changed, so it is read again
    for kept in (tmp_path / "cache").glob("images-*.npz"):
        kept.write_bytes(kept.read_bytes()[:100])
    assert len(load(path).test) == len(first.test) + 1  # a damaged cache is made again


@pytest.mark.skipif(os.name == "nt", reason="its clock of changes is that of creation")
def test_images_that_change_behind_the_same_size_and_time_are_read_again(
    load: Callable[..., data.ImageData], tmp_path: Path
) -> None:
    """As those that an archive with fixed times brings, or a copy that keeps them."""
    found = []
    for colour in (7, 8):
        for name, content in _files().items():
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_bitmap(colour) if name.endswith(".png") else content)
            os.utime(path, (0, 0))
        found.append(load(tmp_path / "set").checksum)
    assert found[0] != found[1]


def _bitmap(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(buffer, "BMP")
    return buffer.getvalue()


def test_archives_are_unpacked_in_the_cache_folder_and_the_files_deleted(
    load: Callable[..., data.ImageData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load(_tar(tmp_path / "a.tar.gz", _files()))
    seen = []
    decode = folders._decode
    monkeypatch.setattr(folders, "_decode", lambda root, *rest: (seen.append(root), decode(root, *rest))[1])
    assert load(_tar(tmp_path / "b.tar.gz", _files())).checksum == plain.checksum
    assert load(_zip(tmp_path / "b.zip", _files()), image_size=8).train.images.shape[2:] == (8, 8)
    assert [root.parent for root in seen] == [tmp_path / "cache"] * 2 and not any(root.exists() for root in seen)
    assert all(kept.name.startswith("images-") for kept in (tmp_path / "cache").iterdir())


@pytest.mark.parametrize("make", [_tar, _zip])
def test_an_archive_that_would_fill_the_disk(
    load: Callable[..., data.ImageData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Path]
) -> None:
    path = make(tmp_path / "bomb.bin", _files() | {"notes.txt": b"x" * 100_000})
    size = sum(map(len, _files().values()))
    monkeypatch.setattr(folders, "_MAX_UNPACKED", size - 1)
    with pytest.raises(DataError, match=r"bomb\.bin is too large to unpack"):
        load(path)
    monkeypatch.setattr(folders, "_MAX_FILE", 100)
    with pytest.raises(DataError, match=r"\.png' in bomb\.bin is over"):
        load(path)
    assert not list((tmp_path / "cache").iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(folders, "_MAX_UNPACKED", size)  # what is not an image is not unpacked
    assert len(load(path).test) == 12


def test_images_in_folders_inside_a_class_come_in_the_order_of_their_paths(
    load: Callable[..., data.ImageData], tmp_path: Path
) -> None:
    flat = _files()
    deep = {name.replace("/05.png", "/04.png.more/05.png"): content for name, content in flat.items()}
    assert load(_folder(tmp_path / "deep", deep)).checksum == load(_folder(tmp_path / "flat", flat)).checksum
    (tmp_path / "flat" / "train" / ".hidden").mkdir()
    (tmp_path / "flat" / "test" / "empty").mkdir()
    again = load(tmp_path / "flat", image_size=8)
    assert again.classes == ("ant", "bee", "cat") and len(again.test) == 12


# --- bad input ----------------------------------------------------------------------------------------------


def test_missing_path(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder called .*nowhere.*; use 'synthetic10'"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no data set and no file or folder called 'cifar11'"):
        load("cifar11")


@pytest.mark.parametrize("split", ["train", "test"])
def test_folder_without_train_or_test(load: Callable[..., data.ImageData], tmp_path: Path, split: str) -> None:
    files = {k: v for k, v in _files().items() if not k.startswith(split)}
    with pytest.raises(DataError, match=f"has no images in {split}/<class>/"):
        load(_folder(tmp_path / "half", files))


def test_empty_folder_and_several_data_sets(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images in train/<class>/"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match="has several train or test folders"):
        load(_folder(tmp_path / "two", {f"{top}/{k}": v for k, v in _files().items() for top in "ab"}))


def test_one_class_only(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    files = {k: v for k, v in _files().items() if "/cat/" in k}
    with pytest.raises(DataError, match="has one class only, 'cat'"):
        load(_folder(tmp_path / "cats", files))


def test_unknown_test_class_and_single_image(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test images of 'dog', a class with no training images"):
        load(_folder(tmp_path / "dogs", _files() | {"test/dog/0.png": _picture(0)}))
    with pytest.raises(DataError, match="class 'dog' has one training image"):
        load(_folder(tmp_path / "dog", _files() | {"train/dog/0.png": _picture(0)}))


@pytest.mark.parametrize("content", [b"not an image", _picture(1)[:60], _picture(1, (64, 64), "JPEG")[:900], b""])
@pytest.mark.parametrize("image_size", [None, 12])
def test_corrupt_image(
    load: Callable[..., data.ImageData], tmp_path: Path, content: bytes, image_size: int | None
) -> None:
    files = _files() | {"train/bee/03.png": content}
    with pytest.raises(DataError, match=r"'train/bee/03\.png' (is not a readable image|cannot be decoded)"):
        load(_tar(tmp_path / "bad.tar", files, "w"), image_size=image_size)
    assert not list((tmp_path / "cache").glob("*"))  # nothing half done is kept


def test_sixteen_bit_images_are_refused_not_clipped(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    deep = io.BytesIO()
    Image.fromarray(np.full((8, 10), 40_000, dtype=np.uint16)).save(deep, "PNG")
    with pytest.raises(DataError, match="more than 8 bits a channel"):
        load(_folder(tmp_path / "deep", _files() | {"train/bee/03.png": deep.getvalue()}))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_truncated_archive(load: Callable[..., data.ImageData], tmp_path: Path, ending: str, share: float) -> None:
    whole = tmp_path / f"pets.{ending}"
    if ending == "zip":
        _zip(whole, _files())
    else:
        _tar(whole, _files(), "w:" + ending[4:])
    content = whole.read_bytes()
    if ending == "tar":  # so that the cut is in the members, not in the padding after them
        content = content.rstrip(b"\0")
    whole.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"pets.{ending} cannot be read to its end"):
        load(whole)


def test_tar_cut_between_two_members(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    path = _tar(tmp_path / "pets.tar", _files(), "w")
    with tarfile.open(path) as archive:
        cut = archive.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="cut short"):
        load(path)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_a_flipped_bit_in_an_archive_is_noticed(
    load: Callable[..., data.ImageData], tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"pets.{ending}"
    _zip(path, _files()) if ending == "zip" else _tar(path, _files())
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(DataError):
        load(path)


@pytest.mark.parametrize(
    "name", ["../evil.png", "train/../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png"]
)
@pytest.mark.parametrize("make", [_tar, _zip])
def test_archive_with_a_path_outside(
    load: Callable[..., data.ImageData], tmp_path: Path, make: Callable[..., Path], name: str
) -> None:
    (tmp_path / "deep").mkdir()
    path = make(tmp_path / "deep" / "evil.bin", _files() | {name: _picture(0)})
    with pytest.raises(DataError, match="has a member outside itself"):
        load(path)
    assert not list(tmp_path.rglob("evil.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_archive_with_a_link(load: Callable[..., data.ImageData], tmp_path: Path, kind: bytes) -> None:
    path = _tar(tmp_path / "links.tar", _files(), "w")
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("train/bee/zz.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match=r"has a link or special file: 'train/bee/zz\.png'"):
        load(path)


def test_zip_with_a_link(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    path = _zip(tmp_path / "links.zip", _files())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("train/bee/zz.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="has a link or special file"):
        load(path)


def test_a_file_that_is_no_archive(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello" * 500)
    with pytest.raises(DataError, match="not an image folder, tar or zip archive"):
        load(tmp_path / "notes.txt")


def test_too_many_pixels(load: Callable[..., data.ImageData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "pets", _files())
    monkeypatch.setattr(folders, "_MAX_TOTAL", 10_000)
    with pytest.raises(DataError, match="give a smaller image_size"):
        load(folder)
    monkeypatch.setattr(folders, "_MAX_PIXELS", 79)
    with pytest.raises(DataError, match="has 10x8 pixels, too many"):
        load(folder)


def test_settings_without_a_meaning(load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    for share in (0.0, 1.0, -0.1):
        with pytest.raises(DataError, match="validation is"):
            load("synthetic10", validation=share)
    with pytest.raises(DataError, match="label and image_size are for images read from a path"):
        load("synthetic10", image_size=64)
    with pytest.raises(DataError, match="image_size is 0"):
        load(_folder(tmp_path / "pets", _files()), image_size=0)
    with pytest.raises(DataError, match="seed is -1; use a whole number"):
        load(tmp_path / "pets", seed=-1)


def test_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERFTEACH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="set PERFTEACH_CACHE to a folder you can write to"):
        data.load(_folder(tmp_path / "pets", _files()), progress=False)
    monkeypatch.setenv("PERFTEACH_CACHE", str(tmp_path / "good"))
    assert data.cache_folder() == tmp_path / "good"


# --- packed files -------------------------------------------------------------------------------------------


def test_pack_and_load_again(tiny_data: data.ImageData, load: Callable[..., data.ImageData], tmp_path: Path) -> None:
    path = data.pack(tiny_data, tmp_path / "packed.npz")
    again = load(path)
    assert (again.checksum, again.name, again.classes) == (tiny_data.checksum, tiny_data.name, tiny_data.classes)
    assert again.synthetic and (again.mean, again.std) == (tiny_data.mean, tiny_data.std)
    assert load(path, label="ours").name == "ours"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["packed.npz"]
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"packed\.npz is not a whole file of packed images"):
        load(path)
    with pytest.raises(DataError, match=r"must end in \.npz"):
        data.pack(tiny_data, tmp_path / "packed.zip")
    with pytest.raises(DataError, match="cannot be written"):
        data.pack(tiny_data, tmp_path / "nowhere" / "packed.npz")


# --- CIFAR-10 -----------------------------------------------------------------------------------------------


class _Server(http.server.ThreadingHTTPServer):
    content = b""
    resumes = True
    stops_at: int | None = None  # hangs up before this byte
    requests: list[str | None]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.server.resumes else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        self.wfile.write(self.server.content[start : self.server.stops_at])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def small_cifar(server: _Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server offers an archive in CIFAR-10's form with 20 and 10 images; its md5 sums are the expected ones."""
    from torchvision.datasets import CIFAR10

    monkeypatch.delenv("PERFTEACH_CIFAR10_MIRROR", raising=False)  # a developer's own would be asked first
    names = [f"class{k}" for k in range(10)]
    files = {"batches.meta": pickle.dumps({"label_names": names})}
    for seed, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        pixels = np.random.default_rng(seed).integers(0, 256, (10, 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": pixels, "labels": list(range(10))})
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    server.content = buffer.getvalue()
    whole = hashlib.md5(server.content).hexdigest()
    monkeypatch.setattr(CIFAR10, "tgz_md5", whole)
    monkeypatch.setattr(cifar10, "MD5", whole)
    monkeypatch.setattr(CIFAR10, "train_list", [[n, sums[n]] for n in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(cifar10, "MIRRORS", (f"{address}/{CIFAR10.filename}",))
    return address


def test_the_address_and_checksum_are_those_of_the_reader() -> None:
    from torchvision.datasets import CIFAR10

    ours = (cifar10.MIRRORS[-1], cifar10.FILENAME, cifar10.MD5, cifar10.FOLDER)
    assert ours == (CIFAR10.url, CIFAR10.filename, CIFAR10.tgz_md5, CIFAR10.base_folder)


def test_cifar10_is_downloaded_checked_and_read(
    small_cifar: str, server: _Server, load: Callable[..., data.ImageData], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="perfteach data download cifar10"):
        load("cifar10")
    assert not server.requests  # nothing is fetched unasked
    found = load("cifar10", download=True)
    assert (len(found.train), len(found.validation), len(found.test)) == (10, 10, 10)
    assert found.name == "CIFAR-10" and found.classes[3] == "class3" and found.train.images.shape[1:] == (3, 32, 32)
    assert load("cifar10").checksum == found.checksum and len(server.requests) == 1
    data.download_cifar10(tmp_path / "cache", progress=False)
    assert len(server.requests) == 1  # it is there already


@pytest.mark.parametrize("resumes", [True, False])
def test_an_interrupted_download_goes_on(small_cifar: str, server: _Server, tmp_path: Path, resumes: bool) -> None:
    server.resumes, server.stops_at = resumes, 5000
    with pytest.raises(DataError, match="run the same command again to go on"):
        data.download_cifar10(tmp_path, small_cifar, progress=False)
    assert (tmp_path / "cifar-10-python.tar.gz.part").stat().st_size == 5000
    server.stops_at = None
    assert (data.download_cifar10(tmp_path, small_cifar, progress=False) / "test_batch").exists()
    assert server.requests == [None, "bytes=5000-"]


def test_a_wrong_file_is_deleted(small_cifar: str, server: _Server, tmp_path: Path) -> None:
    server.content = b"something else"
    with pytest.raises(DataError, match="wrong md5"):
        data.download_cifar10(tmp_path, small_cifar, progress=False)
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(b"x" * 50)  # longer than what the server has
    with pytest.raises(DataError, match="wrong md5"):
        data.download_cifar10(tmp_path, small_cifar, progress=False)
    assert not list(tmp_path.glob("cifar*"))


@pytest.mark.usefixtures("small_cifar")
def test_mirrors_that_fail_are_passed_over_with_a_line_each(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    answer = _Handler.do_GET

    def do_get(handler: _Handler) -> None:
        asked.append(handler.path)
        if "broken" in handler.path:
            handler.send_error(503)
        elif "portal" in handler.path:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b"<html>please log in</html>")
        else:
            answer(handler)

    monkeypatch.setattr(_Handler, "do_GET", do_get)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(cifar10, "CONNECT_SECONDS", 1.0)
    monkeypatch.setenv("PERFTEACH_CIFAR10_MIRROR", f"{address}/portal/")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, and nobody answers
        mirrors = (f"http://127.0.0.1:{silent.getsockname()[1]}/x.gz", "http://127.0.0.1:9/y.gz", f"{address}/z.gz?a=1")
        monkeypatch.setattr(cifar10, "MIRRORS", (*mirrors, f"{address}/never.gz"))
        data.download_cifar10(tmp_path, mirror=f"{address}/broken")
    archive = cifar10.FILENAME
    assert asked == [f"/broken/{archive}", f"/portal/{archive}", "/z.gz?a=1"]  # --mirror, the variable, our own
    said = capsys.readouterr()
    lines = [line.rpartition("\r")[2].strip() for line in said.out.splitlines()]
    for line, reason in zip(lines, ("answered 503", "wrong md5", "no answer", "cannot be reached"), strict=True):
        assert reason in line and line.endswith("; trying the next server")
    assert "B/s" in said.err and "CIFAR-10 from 127.0.0.1" in said.err  # the rate


def test_another_mirror_goes_on_where_the_first_stopped(
    small_cifar: str, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "MIRRORS", (f"{small_cifar}/one.gz", f"{small_cifar}/two.gz"))
    ends = iter([5000, None])
    monkeypatch.setattr(_Server, "stops_at", property(lambda _: next(ends)))
    data.download_cifar10(tmp_path, progress=False)
    assert server.requests == [None, "bytes=5000-"]


def test_several_downloads_at_once_leave_each_other_whole(
    small_cifar: str, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = cifar10._fetch
    monkeypatch.setattr(cifar10, "_fetch", lambda *how: (time.sleep(0.3), fetch(*how))[1])
    with ThreadPoolExecutor(3) as pool:
        how = {"progress": False}
        done = [pool.submit(data.download_cifar10, tmp_path, small_cifar, **how) for _ in range(3)]
        assert {each.result() for each in done} == {tmp_path / "cifar-10-batches-py"}
    assert server.requests == [None], "one has downloaded it, for all"


def test_wrong_bytes_that_another_server_left_do_not_discredit_a_good_one(
    small_cifar: str, server: _Server, tmp_path: Path
) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(b"x" * 50)
    data.download_cifar10(tmp_path, small_cifar, progress=False)
    assert server.requests == ["bytes=50-", None]


def test_when_no_mirror_is_left_every_reason_is_given(
    small_cifar: str, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "MIRRORS", ("http://127.0.0.1:9/x.gz", f"{small_cifar}/y.gz"))
    server.content = b"something else"
    with pytest.raises(DataError, match=r"cannot be reached \(.*wrong md5.*same command again.*without a network"):
        data.download_cifar10(tmp_path, progress=False)


def test_no_network_is_told_within_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With a network the real ones would answer, or a developer's own.
    monkeypatch.delenv("PERFTEACH_CIFAR10_MIRROR", raising=False)
    monkeypatch.setattr(cifar10, "MIRRORS", tuple(f"http://127.0.0.1:9/{k}.gz" for k in range(4)))
    start = time.monotonic()
    with pytest.raises(DataError, match=r"cannot be reached .*without a network"):
        data.download_cifar10(tmp_path, "http://127.0.0.1:9", progress=False)
    monkeypatch.setattr(cifar10, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(cifar10.urllib.request, "urlopen", lambda *_, **__: time.sleep(2))  # a look-up that hangs
    with pytest.raises(DataError, match=r"cannot be reached \(no answer\)"):
        data.download_cifar10(tmp_path, "http://example.invalid", progress=False)
    assert time.monotonic() - start < 10
    monkeypatch.undo()
    patience = [cifar10.CONNECT_SECONDS / 2**k for k in range(len(cifar10.MIRRORS) + 2)]
    assert sum(patience) < 9, "the longest wait, where every server says nothing"
    with pytest.raises(DataError, match="not an http or https address"):
        data.download_cifar10(tmp_path, "ftp://example.invalid")
    monkeypatch.setenv("PERFTEACH_CIFAR10_MIRROR", "example.invalid")
    with pytest.raises(DataError, match="not an http or https address"):
        data.download_cifar10(tmp_path)


# --- real images --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 60,000 files are written and deleted, on a disk that others use
def test_real_images(real_images: Path) -> None:
    first = data.load(real_images, label="CIFAR-10 (JPEG q75)", progress=False)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        again = data.load(real_images, label="CIFAR-10 (JPEG q75)", progress=False)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 2
    assert again.checksum == first.checksum and again.title() == "CIFAR-10 (JPEG q75)"
    assert len(again.train) + len(again.validation) == 50_000 and len(again.test) == 10_000
    assert len(again.classes) == 10 and again.classes[0] == "airplane"
    assert again.validation.labels.bincount().tolist() == [500] * 10
    prints = [{x.tobytes() for x in again.split(s).images.numpy()} for s in data.SPLITS]
    assert [len(p) for p in prints] == [45_000, 5_000, 10_000]
    assert not prints[0] & prints[1] and not (prints[0] | prints[1]) & prints[2]


def test_held_out_images_leave_the_training_split_and_nothing_else(tiny_data) -> None:
    held = tiny_data.hold_out(40)
    assert (len(held.train), len(held.fresh), held.splits()[-1]) == (160, 40, "fresh")
    assert torch.bincount(held.fresh.labels).tolist() == [4] * 10
    assert torch.equal(held.test.images, tiny_data.test.images) and held.checksum != tiny_data.checksum
    both = torch.cat([held.train.images, held.fresh.images]).flatten(1)
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, tiny_data.train.images.flatten(1).numpy()))
    assert torch.equal(held.fresh.images, tiny_data.hold_out(40).fresh.images)
    assert len(next(iter(held.batches("fresh", 40)))[1]) == 40
    with pytest.raises(DataError, match="held out already"):
        held.hold_out(10)
    with pytest.raises(DataError, match="no split 'fresh'"):
        tiny_data.split("fresh")


def test_cutout_blanks_a_square_of_each_augmented_image_with_the_mean(tiny_data) -> None:
    plain, cut = (next(iter(tiny_data.batches("train", 50, augment=True, seed=3, cutout=edge)))[0] for edge in (0, 8))
    changed = (plain != cut).any(1)
    assert bool((cut.movedim(1, -1)[changed] == 0).all()), "the mean is zero after normalisation"
    counts = changed.flatten(1).sum(1)
    assert int(counts.max()) <= 64 and int(counts.min()) >= 9 and float(counts.float().mean()) > 40
    whole = next(iter(tiny_data.batches("train", 50, seed=3, cutout=8)))[0]
    assert torch.equal(whole, next(iter(tiny_data.batches("train", 50, seed=3)))[0]), "only where images are augmented"
    with pytest.raises(DataError, match="cutout"):
        tiny_data.batches("train", 50, augment=True, cutout=-1)
