"""Images for training: one `load(name_or_path)`, three explicit splits held as uint8 tensors, batches from
memory.

Everything random derives from a seed. The split into train and validation has a seed of its own, so that runs
with different training seeds are compared on the same images.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import synthetic
from .archives import read_images
from .batches import Batches, Split
from .cache import Arrays, cache_folder, read_arrays, write_arrays
from .cifar10 import download_cifar10, read_cifar10
from .errors import DataError

Labels = npt.NDArray[np.int64]

__all__ = ["SPLITS", "Batches", "ImageData", "Split", "cache_folder", "download_cifar10", "load", "pack"]

SPLITS = ("train", "validation", "test")
_FOLDER_SUFFIXES = (".tar", ".gz", ".bz2", ".xz", ".tgz", ".txz", ".tbz2", ".zip", ".npz")
_DRAWING_SEED = 0  # synthetic10 is one fixed data set; the seed of `load` only splits it


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set in three splits; see `load`.

    Attributes:
        name: what figures and records call it.
        classes: class names; a label is an index into them.
        train, validation, test: the splits. Validation drives decisions, test is read once, at the end.
        mean, std: of the training split, by channel, in 0..1 units.
        checksum: sha256 over the images and labels of all splits; the identity of the data in records.
        synthetic: drawn by this package, not photographed.
        fresh: images that `hold_out` took from the training split, for a second test that no choice has seen.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    checksum: str
    synthetic: bool
    fresh: Split | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(self.split(name)):,}" for name in self.splits())
        height, width = self.train.images.shape[2:]
        return f"ImageData({self.title()!r}, {len(self.classes)} classes, {width}x{height}, {counts})"

    def title(self) -> str:
        """The name for figure titles; says "synthetic" where the images are."""
        return f"{self.name} (synthetic images)" if self.synthetic else self.name

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that are there."""
        return SPLITS if self.fresh is None else (*SPLITS, "fresh")

    def split(self, name: str) -> Split:
        """The split called "train", "validation", "test", or "fresh" where images were held out.

        Raises:
            DataError: for any other name.
        """
        if name not in self.splits():
            raise DataError(f"there is no split {name!r}; choose one of {', '.join(self.splits())}")
        found: Split = getattr(self, name)
        return found

    def batches(
        self,
        split: str,
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: bool = False,
        cutout: int = 0,
        seed: int = 0,
        size: int | None = None,
        device: str | torch.device = "cpu",
        drop_last: bool = False,
        channels_last: bool = True,
    ) -> Batches:
        """Batches of normalised images, drawn from memory.

        Args:
            split: "train", "validation" or "test".
            batch_size: images in a batch; the last batch may be smaller.
            shuffle: take the images in random order.
            augment: crop (after padding with 4 black pixels at 32x32, an eighth of the side elsewhere) and
                mirror each image at random. For the training split only.
            cutout: edge in pixels of a square that is blanked out at a random place of each augmented image; 0: none.
            seed: everything random derives from it; the same seed gives the same batches every time they are
                read.
            size: side in pixels to resize to (bilinear, no antialiasing), after augmentation.
            device: where the batches are wanted.
            drop_last: leave out a last, smaller batch.
            channels_last: memory format of the images; several times faster for MobileNets on a CPU.

        Raises:
            DataError: for an unknown split, a batch size below 1 or above the split's, a size below 1, or
                augmentation of validation or test images.
        """
        images = self.split(split)
        if not 1 <= batch_size <= len(images):
            raise DataError(f"batch_size is {batch_size}; {split} has {len(images):,} images, so choose 1 to that many")
        if augment and split != "train":
            raise DataError(f"the {split} split is never augmented; use augment=True with 'train' only")
        if cutout < 0:
            raise DataError(f"cutout is {cutout}; it must be 0 or more pixels")
        if size is not None and size < 1:
            raise DataError(f"size is {size}; it must be at least 1 pixel")
        return Batches(
            images, batch_size, self.mean, self.std, shuffle, augment, seed, size, torch.device(device),
            drop_last, channels_last, cutout if augment else 0,
        )  # fmt: skip

    def subset(self, train: int, validation: int | None = None, test: int | None = None, seed: int = 0) -> ImageData:
        """A smaller version with the classes in equal numbers (they differ by one at most), in the original
        order.

        Args:
            train, validation, test: images to keep of each split; None keeps the split as it is.
            seed: chooses the images.

        Raises:
            DataError: if there are fewer than one image a class to keep, or a class has too few.
        """
        counts = {"train": train, "validation": validation, "test": test}
        splits = []
        for key, name in enumerate(SPLITS):
            whole, count = self.split(name), counts[name]
            splits.append(whole if count is None else _balanced(whole, name, count, self.classes, (seed, key)))
        return _assemble(self.name, self.classes, *splits, synthetic=self.synthetic)

    def hold_out(self, count: int, seed: int = 0) -> ImageData:
        """The same data with `count` training images, the classes in equal numbers, set apart as the split "fresh".

        They serve as test images that no earlier choice has seen, so the trainer reads them once, at the end.

        Raises:
            DataError: if images are held out already, or a class has too few.
        """
        if self.fresh is not None:
            raise DataError("images are held out already")
        rows = _balanced_rows(self.train, "train", count, self.classes, (seed, len(SPLITS)))
        images, labels = self.train.images.numpy(), self.train.labels.numpy()
        rest = np.setdiff1d(np.arange(len(labels)), rows)
        train, fresh = (_take(images, labels, chosen) for chosen in (rest, rows))
        return _assemble(
            self.name, self.classes, train, self.validation, self.test, synthetic=self.synthetic, fresh=fresh
        )


# --- loading ------------------------------------------------------------------------------------------------


def load(
    name: str | Path = "synthetic10",
    *,
    seed: int = 0,
    validation: float = 0.1,
    cache: Path | None = None,
    download: bool = False,
    progress: bool = True,
    label: str | None = None,
    image_size: int | None = None,
) -> ImageData:
    """Load a data set by name or path.

    Args:
        name: "synthetic10" (drawn here: 10,000 images to train and validate, 2,000 to test, 32x32),
            "cifar10", the path of an image folder, tar or zip in `train/<class>/*`, `test/<class>/*` form, or
            of a file written by `pack`.
        seed: chooses the validation images, by class; independent of any training seed. A packed file keeps
            its own split, so seed and validation have no effect on it.
        validation: fraction of the training images set apart for validation, above 0 and below 1.
        cache: folder for downloaded and decoded images; by default PERFTEACH_CACHE, else
            `~/.cache/perfteach`.
        download: fetch CIFAR-10 when it is not in the cache folder (170 MB).
        progress: show progress bars.
        label: what figures and records call data read from a path; by default the file's name without its
            ending.
        image_size: side in pixels for images read from a folder or archive; by default the size most of them
            have.

    Raises:
        DataError: if the name or path is unknown, or the files are damaged, unsafe or laid out in another
            way.
    """
    if not 0 < validation < 1:
        raise DataError(f"validation is {validation}; it must be a fraction above 0 and below 1")
    if name in ("synthetic10", "cifar10") and (label is not None or image_size is not None):
        raise DataError(f"label and image_size are for images read from a path, not for {name!r}")
    if name == "synthetic10":
        arrays, title = _synthetic10(), "synthetic10"
    elif name == "cifar10":
        arrays, title = read_cifar10(cache_folder(cache), download, progress), "CIFAR-10"
    else:
        path = Path(name).expanduser()
        title = label or _stem(path)
        if not path.exists():
            raise DataError(
                f"there is no data set and no file or folder called {str(name)!r}; use 'synthetic10', "
                "'cifar10', or the path of an image folder or archive"
            )
        if path.suffix.lower() == ".npz":
            return _unpack(path, label, image_size)
        arrays = read_images(path, image_size=image_size, cache=cache, progress=progress)
    kept, held_out = _held_out(arrays.train_labels, validation, seed, arrays.classes)
    train, check = (_take(arrays.train_images, arrays.train_labels, rows) for rows in (kept, held_out))
    test = _take(arrays.test_images, arrays.test_labels, np.arange(len(arrays.test_labels)))
    return _assemble(title, arrays.classes, train, check, test, synthetic=name == "synthetic10")


def pack(data: ImageData, path: Path | str) -> Path:
    """Write all three splits to one .npz file that `load` reads back: same images, same split, same checksum.

    Args:
        data: the data set.
        path: file to write, ending in .npz.

    Returns:
        The path written.

    Raises:
        DataError: if the ending is another, or the file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".npz":
        raise DataError(f"a packed file's name must end in .npz, not {path.name!r}")
    arrays = {"name": data.name, "classes": data.classes, "synthetic": data.synthetic}
    for name in SPLITS:
        split = data.split(name)
        arrays |= {f"{name}_images": split.images.numpy(), f"{name}_labels": split.labels.numpy()}
    write_arrays(path, arrays)
    return path


def _unpack(path: Path, label: str | None, image_size: int | None) -> ImageData:
    if image_size is not None:
        raise DataError("image_size is for folders and archives; use the size argument of batches() instead")
    names = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]
    found = read_arrays(path, ["name", "classes", "synthetic", *names])
    tensors = [torch.from_numpy(found[name]) for name in names]
    splits = [Split(*tensors[k : k + 2]) for k in (0, 2, 4)]
    return _assemble(label or str(found["name"]), found["classes"], *splits, synthetic=bool(found["synthetic"]))


def _stem(path: Path) -> str:
    name = path.resolve().name
    while not path.is_dir() and name.lower().endswith(_FOLDER_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def _synthetic10() -> Arrays:
    drawn = (
        *synthetic.draw(10_000, seed=_DRAWING_SEED, stream="train"),
        *synthetic.draw(2_000, seed=_DRAWING_SEED, stream="test"),
    )
    return Arrays(synthetic.CLASSES, *drawn)


# --- splitting and identity ---------------------------------------------------------------------------------


def _keys(count: int, *seed: int) -> npt.NDArray[np.uint64]:
    """Random sort keys from numpy's raw PCG64 stream, which is the same in every version."""
    if min(seed) < 0:
        raise DataError(f"a seed must be 0 or more, not {min(seed)}")
    raw: npt.NDArray[np.uint64] = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return raw


def _by_class(labels: Labels, classes: tuple[str, ...], *seed: int) -> list[Labels]:
    """For each class the rows of its images, in random order."""
    order = np.argsort(_keys(len(labels), *seed), kind="stable")
    return [order[labels[order] == number] for number in range(len(classes))]


def _held_out(labels: Labels, validation: float, seed: int, classes: tuple[str, ...]) -> tuple[Labels, Labels]:
    """Rows to train on and rows to validate on, the same fraction of every class, in the original order."""
    chosen = np.zeros(len(labels), dtype=bool)
    for members, name in zip(_by_class(labels, classes, seed), classes, strict=True):
        if len(members) < 2:
            raise DataError(f"class {name!r} has one training image; at least two are needed, one to validate")
        chosen[members[: min(max(1, round(len(members) * validation)), len(members) - 1)]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _balanced(whole: Split, name: str, count: int, classes: tuple[str, ...], seed: tuple[int, int]) -> Split:
    return _take(whole.images.numpy(), whole.labels.numpy(), _balanced_rows(whole, name, count, classes, seed))


def _balanced_rows(whole: Split, name: str, count: int, classes: tuple[str, ...], seed: tuple[int, int]) -> Labels:
    if count < len(classes):
        raise DataError(f"{count} {name} images are too few: there are {len(classes)} classes")
    each, rest = divmod(count, len(classes))
    rows = []
    for number, members in enumerate(_by_class(whole.labels.numpy(), classes, *seed)):
        wanted = each + (number < rest)
        if len(members) < wanted:
            raise DataError(
                f"class {classes[number]!r} has {len(members)} {name} images, {wanted} were asked for; "
                f"ask for {len(members) * len(classes)} at most"
            )
        rows.append(members[:wanted])
    return np.sort(np.concatenate(rows))


def _take(images: npt.NDArray[np.uint8], labels: Labels, rows: Labels) -> Split:
    """Copies, so that nothing is shared with a mapped file or a larger set."""
    return Split(torch.from_numpy(images.take(rows, axis=0)), torch.from_numpy(labels.take(rows)))


def _assemble(
    name: str,
    classes: tuple[str, ...],
    train: Split,
    validation: Split,
    test: Split,
    *,
    synthetic: bool,
    fresh: Split | None = None,
) -> ImageData:
    digest = hashlib.sha256()
    for split in (train, validation, test, *([] if fresh is None else [fresh])):
        digest.update(str(tuple(split.images.shape)).encode())
        digest.update(split.images.numpy().data)
        digest.update(split.labels.numpy().astype("<i8").data)
    mean, std = _moments(train.images)
    return ImageData(name, classes, train, validation, test, mean, std, digest.hexdigest(), synthetic, fresh)


def _moments(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation by channel in 0..1 units, from exact counts of the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(3):
        share = torch.bincount(images[:, channel].reshape(-1), minlength=256).double()
        share /= share.sum()
        mean = float(values @ share)
        means.append(mean)
        # An even colour would have no deviation to divide by; one grey level is the least that matters.
        deviations.append(max(float((values - mean).square() @ share) ** 0.5, 1 / 255))
    return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])
