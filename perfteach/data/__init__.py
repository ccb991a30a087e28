"""Images for training: one `load(name_or_path)`, three explicit splits held as uint8 tensors, batches from memory.

Everything random derives from a seed. The split into train and validation has a seed of its own, so that runs with
different training seeds are compared on the same images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sized
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from perfteach import settings
from perfteach.data import synthetic
from perfteach.data.cache import MAX_TOTAL, Arrays, cache_folder, read_arrays, write_arrays
from perfteach.data.cifar10 import download_cifar10, read_cifar10
from perfteach.data.folder import read_images
from perfteach.data.sample import load_sample
from perfteach.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from perfteach.data.images import SPLITS, Batches, ImageData, Split
    from perfteach.data.loaders import from_loaders

__all__ = [
    "SPLITS",
    "Batches",
    "ImageData",
    "Split",
    "cache_folder",
    "download_cifar10",
    "from_loaders",
    "load",
    "pack",
]

_FOLDER_SUFFIXES = (".tar", ".gz", ".bz2", ".xz", ".tgz", ".txz", ".tbz2", ".zip", ".npz")
_NAMED = ("synthetic10", "cifar10-sample", "cifar10")
_DRAWING_SEED = 0  # synthetic10 is one fixed data set; the seed of `load` only splits it


class LabelledBatches(Protocol):
    """An iterable of (inputs, labels) that knows how many batches it has."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Data(Protocol):
    """What the trainer needs of a data set; `ImageData`, `points.PointData` and what `from_loaders` makes have it.

    `batches` takes a split and a batch size, and by name shuffle, augment, seed, size and device.
    """

    name: str
    classes: tuple[str, ...]
    checksum: str
    synthetic: bool
    train: Sized
    validation: Sized
    test: Sized
    batches: Callable[..., LabelledBatches]


def __getattr__(name: str) -> Any:
    # Splits are tensors; whoever asks only for a download must not wait for torch.
    if name in __all__:
        return getattr(import_module(f"perfteach.data.{'loaders' if name == 'from_loaders' else 'images'}"), name)
    raise AttributeError(f"module 'perfteach.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(
    name: str | Path = "synthetic10",
    *,
    seed: int = 0,
    validation: float = 0.1,
    cache: Path | str | None = None,
    download: bool = False,
    progress: bool = True,
    label: str | None = None,
    image_size: int | None = None,
) -> ImageData:
    """Load a data set by name or path.

    Args:
        name: "synthetic10" (drawn here: 10,000 images to train and validate, 2,000 to test, 32x32), "cifar10-sample"
            (the photographs that come with the course: 4,500, 500 and 1,000), "cifar10", the path of an image folder,
            tar or zip in `train/<class>/*`, `test/<class>/*` form, or of a file written by `pack`.
        seed: chooses the validation images, by class; independent of any training seed. The sample and a packed file
            keep their own split, so seed and validation have no effect on them.
        validation: fraction of the training images set apart for validation, above 0 and below 1.
        cache: folder for downloaded and decoded images; by default PERFTEACH_CACHE, else `~/.cache/perfteach`.
        download: fetch CIFAR-10 when it is not in the cache folder (170 MB).
        progress: show progress bars.
        label: what figures and records call data read from a path; by default the file's name without its ending.
        image_size: side in pixels for images read from a folder or archive; by default the size most of them have.

    Raises:
        DataError: if the name or path is unknown, the files are damaged, unsafe or laid out in another way, or a
            setting has another type or range.
    """
    validation = settings.number("validation", validation, 0, 1, above=True, below=True, error=DataError)
    seed = settings.seed("seed", seed, error=DataError)
    path = settings.path("name", name, error=DataError)
    download, progress = (
        settings.flag(key, value, error=DataError) for key, value in (("download", download), ("progress", progress))
    )
    if label is not None:
        settings.text("label", label, error=DataError)
    if image_size is not None:
        image_size = settings.whole("image_size", image_size, 1, 1 << 16, error=DataError)
    name = str(name)
    if name in _NAMED and (label is not None or image_size is not None):
        raise DataError(f"label and image_size are for images read from a path, not for {name!r}")
    if name == "cifar10-sample":
        return load_sample()
    if name == "synthetic10":
        arrays, title = _synthetic10(), "synthetic10"
    elif name == "cifar10":
        arrays, title = read_cifar10(cache_folder(cache), download, progress), "CIFAR-10"
    else:
        title = label or _stem(path)
        if not os.path.exists(path):
            raise DataError(
                f"there is no data set and no file or folder called {name!r}; use 'synthetic10', "
                "'cifar10-sample', 'cifar10', or the path of an image folder or archive"
            )
        if not (path.is_file() or path.is_dir()):
            raise DataError(f"{name!r} is neither a file nor a folder; use the path of an image folder or archive")
        if path.suffix.lower() == ".npz":
            return _unpack(path, label, image_size)
        arrays = read_images(path, image_size=image_size, cache=cache, progress=progress)
    from torch import from_numpy

    from perfteach.data.images import Split, assemble, divide

    every = Split(from_numpy(arrays.train_images), from_numpy(arrays.train_labels))
    test = Split(from_numpy(arrays.test_images), from_numpy(arrays.test_labels))
    parts = divide(every, arrays.classes, validation, seed)
    return assemble(title, arrays.classes, *parts, test, synthetic=name == "synthetic10")


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
    from perfteach.data.images import SPLITS

    path = settings.path("path", path, error=DataError)
    if path.suffix.lower() != ".npz":
        raise DataError(f"a packed file's name must end in .npz, not {path.name!r}")
    if not path.parent.is_dir():
        raise DataError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
    arrays: dict[str, Any] = {"name": data.name, "classes": data.classes, "synthetic": data.synthetic}
    for name in SPLITS:
        split = data.split(name)
        arrays |= {f"{name}_images": split.images.numpy(), f"{name}_labels": split.labels.numpy()}
    write_arrays(path, arrays)
    return path


def _unpack(path: Path, label: str | None, image_size: int | None) -> ImageData:
    import torch

    from perfteach.data.images import SPLITS, Split, assemble

    if image_size is not None:
        raise DataError("image_size is for folders and archives; use the size argument of batches() instead")
    names = [(f"{split}_images", f"{split}_labels") for split in SPLITS]
    known = ["name", "classes", "synthetic", *(name for pair in names for name in pair)]
    found = read_arrays(path, known, sealed=False)
    if problem := _problem(found, names):
        raise DataError(f"{settings.called(path)} is not a file that pack() wrote: {problem}; pack the images again")
    splits = []
    for images, labels in names:
        numbers = torch.from_numpy(found[labels].astype("int64"))
        splits.append(Split(torch.from_numpy(np.ascontiguousarray(found[images])), numbers))
    return assemble(label or str(found["name"]), found["classes"], *splits, synthetic=bool(found["synthetic"]))


def _problem(found: dict[str, Any], names: list[tuple[str, str]]) -> str:
    """What is wrong with the arrays of a packed file; empty where nothing is."""
    classes, name, synthetic = (found[key] for key in ("classes", "name", "synthetic"))
    if len(classes) < 2 or len(set(classes)) < len(classes):
        return f"it has {len(classes)} classes, and needs two or more different ones"
    if name.shape or name.dtype.kind != "U" or synthetic.shape or synthetic.dtype.kind != "b":
        return "name is no text, or synthetic is neither True nor False"
    size = found[names[0][0]].shape[2:]
    for key, labels in names:
        images, numbers = found[key], found[labels]
        if images.dtype != "uint8" or images.ndim != 4 or images.shape[1] != 3 or images.shape[2:] != size:
            return f"{key} is {images.dtype} {list(images.shape)}, and must be uint8 [N, 3, H, W], alike in all splits"
        if not images.size or numbers.shape != images.shape[:1] or numbers.dtype.kind not in "iu":
            return f"{labels} is {numbers.dtype} {list(numbers.shape)} for {len(images)} images; one whole number each"
        if int(numbers.min()) < 0 or int(numbers.max()) >= len(classes):
            return f"{labels} has a label outside 0 to {len(classes) - 1}"
    return "" if sum(found[key].nbytes for key, _ in names) <= MAX_TOTAL else f"it holds over {MAX_TOTAL >> 30} GB"


def _stem(path: Path) -> str:
    name = os.fsencode(path.resolve().name).decode("utf-8", "backslashreplace")
    while not path.is_dir() and name.lower().endswith(_FOLDER_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def _synthetic10() -> Arrays:
    train, test = ((10_000, "train"), (2_000, "test"))
    drawn = [synthetic.draw(count, seed=_DRAWING_SEED, stream=stream) for count, stream in (train, test)]
    return Arrays(synthetic.CLASSES, *drawn[0], *drawn[1])
