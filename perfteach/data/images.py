"""Images in memory: the three splits, the batches drawn from them, and augmentation, vectorised over the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from perfteach import settings
from perfteach.data import augment
from perfteach.errors import DataError

Labels = npt.NDArray[np.int64]
Colour = tuple[float, float, float]  # by channel

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N,3,H,W] and their labels int64 [N], on the CPU."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Labels) -> Split:
        """Copies of the images and labels in these rows."""
        chosen = torch.from_numpy(rows)
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Batches:
    """Iterable of (x float32 [B,3,S,S] normalised, y int64 [B]), from `ImageData.batches`; readable again."""

    split: Split
    batch_size: int
    mean: Colour
    std: Colour
    shuffle: bool
    augment: bool
    seed: int
    size: int | None
    device: torch.device
    drop_last: bool
    channels_last: bool
    cutout: int = 0

    def __len__(self) -> int:
        """Number of batches."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Random numbers always come from the CPU, so that a GPU sees the same batches, and go over in one piece.
        generator = torch.Generator().manual_seed(self.seed)
        count = len(self.split)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        draws = self._draws(generator).to(self.device) if self.augment else None
        images, labels, order = (t.to(self.device) for t in (self.split.images, self.split.labels, order))
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        # (x / 255 - mean) / std as one multiplication and one addition
        mean, std = torch.tensor((self.mean, self.std), device=self.device)[..., None, None]
        scale, shift = 1 / (255 * std), -mean / std
        for k in range(len(self)):
            places = slice(k * self.batch_size, (k + 1) * self.batch_size)
            index = order[places]
            x = images[index]
            if draws is not None:
                x = augment.crop_and_mirror(x, *draws[:3, places])
            x = x.to(dtype=torch.float32, memory_format=layout).mul_(scale).add_(shift)
            if draws is not None and self.cutout:
                x = augment.cut_out(x, self.cutout, *draws[3:, places])
            if self.size is not None and x.shape[2:] != (self.size, self.size):
                x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=False)
            yield x.contiguous(memory_format=layout), labels[index]

    def _draws(self, generator: torch.Generator) -> Tensor:
        """What augmentation draws for each image, int64 [3 or 5, N]: offsets, whether it is mirrored, and the hole.

        Drawn batch by batch, so that the last batch of an epoch changes nothing in those before it.
        """
        height, width = self.split.images.shape[2:]
        parts = []
        for k in range(len(self)):
            count = min(self.batch_size, len(self.split) - k * self.batch_size)
            parts.append(list(torch.randint(0, 2 * augment.pad(height, width) + 1, (2, count), generator=generator)))
            parts[-1].append((torch.rand(count, generator=generator) < 0.5).long())
            if self.cutout:
                parts[-1] += [torch.randint(0, side, (count, 1), generator=generator)[:, 0] for side in (height, width)]
        return torch.stack([torch.cat(rows) for rows in zip(*parts, strict=True)])


def _known_device(device: object) -> torch.device:
    try:
        place = torch.device(device)  # type: ignore[call-overload]
        torch.empty(0, device=place)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise DataError(f"device is {settings.said(device)}; use 'cpu', or 'cuda' where there is a GPU") from error
    if place.type == "meta":
        raise DataError("device 'meta' holds shapes without numbers; use 'cpu', or 'cuda' where there is a GPU")
    return place


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
    mean: Colour
    std: Colour
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
        if not isinstance(name, str) or name not in self.splits():
            raise DataError(f"there is no split {settings.said(name)}; choose one of {', '.join(self.splits())}")
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
            split: "train", "validation", "test" or "fresh".
            batch_size: images in a batch; the last batch may be smaller.
            shuffle: take the images in random order.
            augment: crop (after padding with 4 black pixels at 32x32, an eighth of the side elsewhere) and mirror each
                image at random. For the training split only.
            cutout: edge in pixels of a square that is blanked out at a random place of each augmented image; 0: none.
            seed: everything random derives from it; the same seed gives the same batches every time they are read.
            size: side in pixels to resize to (bilinear, no antialiasing), after augmentation.
            device: where the batches are wanted.
            drop_last: leave out a last, smaller batch.
            channels_last: memory format of the images; several times faster for MobileNets on a CPU.

        Raises:
            DataError: for an unknown split, a batch size below 1 or above the split's, a size below 1, a cutout below
                0, or augmentation of other than training images.
        """
        images = self.split(split)
        batch_size = settings.whole("batch_size", batch_size, -settings.MOST, error=DataError)
        cutout = settings.whole("cutout", cutout, error=DataError)
        seed = settings.whole("seed", seed, 0, 2**63 - 1, error=DataError)
        if size is not None:
            size = settings.whole("size", size, 1, 1 << 14, error=DataError)
        place = _known_device(device)
        if not 1 <= batch_size <= len(images):
            raise DataError(f"batch_size is {batch_size}; {split} has {len(images):,} images, so choose 1 to that many")
        if augment and split != "train":
            raise DataError(f"the {split} split is never augmented; use augment=True with 'train' only")
        return Batches(
            images, batch_size, self.mean, self.std, bool(shuffle), bool(augment), seed, size, place,
            bool(drop_last), bool(channels_last) and place.type == "cpu", cutout if augment else 0,
        )  # fmt: skip

    def subset(self, train: int, validation: int | None = None, test: int | None = None, seed: int = 0) -> ImageData:
        """A smaller version with the classes in equal numbers (they differ by one at most), in the original order.

        Args:
            train, validation, test: images to keep of each split; None keeps the split as it is.
            seed: chooses the images.

        Raises:
            DataError: if there are fewer than one image a class to keep, or a class has too few.
        """
        splits = [self.split(name) for name in SPLITS]
        for key, count in enumerate((train, validation, test)):
            if count is not None:
                splits[key] = splits[key].take(self._balanced_rows(SPLITS[key], count, seed, key))
        return assemble(self.name, self.classes, *splits, synthetic=self.synthetic)

    def hold_out(self, count: int, seed: int = 0) -> ImageData:
        """The same data with `count` training images, the classes in equal numbers, set apart as the split "fresh".

        They serve as test images that no earlier choice has seen, so the trainer reads them once, at the end.

        Raises:
            DataError: if images are held out already, or a class has too few.
        """
        if self.fresh is not None:
            raise DataError("images are held out already")
        rows = self._balanced_rows("train", count, seed, len(SPLITS))
        rest = np.setdiff1d(np.arange(len(self.train)), rows)
        train, fresh = self.train.take(rest), self.train.take(rows)
        return assemble(
            self.name, self.classes, train, self.validation, self.test, synthetic=self.synthetic, fresh=fresh
        )

    def _balanced_rows(self, name: str, count: int, *seed: int) -> Labels:
        count = settings.whole(f"the number of {name} images", count, -settings.MOST, error=DataError)
        seed = tuple(settings.seed("seed", part, error=DataError) for part in seed)
        if count < len(self.classes):
            raise DataError(f"{count} {name} images are too few: there are {len(self.classes)} classes")
        each, rest = divmod(count, len(self.classes))
        rows = []
        for number, members in enumerate(_by_class(self.split(name).labels.numpy(), len(self.classes), *seed)):
            wanted = each + (number < rest)
            if len(members) < wanted:
                raise DataError(
                    f"class {self.classes[number]!r} has {len(members)} {name} images, {wanted} were asked for; "
                    f"ask for {len(members) * len(self.classes)} at most"
                )
            rows.append(members[:wanted])
        return np.sort(np.concatenate(rows))


def divide(images: Split, classes: tuple[str, ...], share: float, seed: int) -> tuple[Split, Split]:
    """The images without, and those with, the same share of every class, chosen by the seed; the order stays.

    Raises:
        DataError: if a class has one image only, or the seed is negative.
    """
    chosen = np.zeros(len(images), dtype=bool)
    for members, name in zip(_by_class(images.labels.numpy(), len(classes), seed), classes, strict=True):
        if len(members) < 2:
            raise DataError(f"class {name!r} has one training image; at least two are needed, one to validate")
        chosen[members[: min(max(1, round(len(members) * share)), len(members) - 1)]] = True
    return images.take(np.flatnonzero(~chosen)), images.take(np.flatnonzero(chosen))


def assemble(
    name: str,
    classes: tuple[str, ...],
    train: Split,
    validation: Split,
    test: Split,
    *,
    synthetic: bool,
    fresh: Split | None = None,
) -> ImageData:
    """The data set made of these splits, with its checksum and the moments of the training images."""
    digest = hashlib.sha256()
    for split in (train, validation, test, *([] if fresh is None else [fresh])):
        digest.update(str(tuple(split.images.shape)).encode())
        digest.update(split.images.numpy().data)
        digest.update(split.labels.numpy().astype("<i8").data)
    mean, std = _moments(train.images)
    return ImageData(name, classes, train, validation, test, mean, std, digest.hexdigest(), synthetic, fresh)


def _by_class(labels: Labels, count: int, *seed: int) -> list[Labels]:
    """For each of `count` classes the rows of its images, in random order.

    The sort keys come from numpy's raw PCG64 stream, which is the same in every version.
    """
    order = np.argsort(np.random.PCG64(np.random.SeedSequence(seed)).random_raw(len(labels)), kind="stable")
    return [order[labels[order] == number] for number in range(count)]


def _moments(images: Tensor) -> tuple[Colour, Colour]:
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
