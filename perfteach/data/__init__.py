"""Images for training: one `load(name_or_path)`, three explicit splits held as uint8 tensors, batches from memory.

Everything random derives from a seed. The split into train and validation has a seed of its own, so that runs with
different training seeds are compared on the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perfteach.data import synthetic
from perfteach.data.cache import Arrays, cache_folder, read_arrays, write_arrays
from perfteach.data.cifar10 import download_cifar10, read_cifar10
from perfteach.data.folder import read_images
from perfteach.data.sample import load_sample
from perfteach.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from perfteach.data.images import SPLITS, Batches, ImageData, Split

__all__ = ["SPLITS", "Batches", "ImageData", "Split", "cache_folder", "download_cifar10", "load", "pack"]

_FOLDER_SUFFIXES = (".tar", ".gz", ".bz2", ".xz", ".tgz", ".txz", ".tbz2", ".zip", ".npz")
_NAMED = ("synthetic10", "cifar10-sample", "cifar10")
_DRAWING_SEED = 0  # synthetic10 is one fixed data set; the seed of `load` only splits it


class LabelledBatches(Protocol):
    """An iterable of (inputs, labels) that knows how many batches it has."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Data(Protocol):
    """What the trainer needs of a data set; `ImageData` and `points.PointData` have it.

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
        return getattr(import_module("perfteach.data.images"), name)
    raise AttributeError(f"module 'perfteach.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
        DataError: if the name or path is unknown, or the files are damaged, unsafe or laid out in another way.
    """
    if not 0 < validation < 1:
        raise DataError(f"validation is {validation}; it must be a fraction above 0 and below 1")
    if name in _NAMED and (label is not None or image_size is not None):
        raise DataError(f"label and image_size are for images read from a path, not for {name!r}")
    if name == "cifar10-sample":
        return load_sample()
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
                "'cifar10-sample', 'cifar10', or the path of an image folder or archive"
            )
        if path.suffix.lower() == ".npz":
            return _unpack(path, label, image_size)
        arrays = read_images(path, image_size=image_size, cache=cache, progress=progress)
    from perfteach.data.images import assemble, divide

    return assemble(title, arrays.classes, *divide(arrays, validation, seed), synthetic=name == "synthetic10")


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
    import torch

    from perfteach.data.images import SPLITS, Split, assemble

    if image_size is not None:
        raise DataError("image_size is for folders and archives; use the size argument of batches() instead")
    names = [(f"{split}_images", f"{split}_labels") for split in SPLITS]
    found = read_arrays(path, ["name", "classes", "synthetic", *(name for pair in names for name in pair)])
    splits = [Split(*(torch.from_numpy(found[name]) for name in pair)) for pair in names]
    return assemble(label or str(found["name"]), found["classes"], *splits, synthetic=bool(found["synthetic"]))


def _stem(path: Path) -> str:
    name = path.resolve().name
    while not path.is_dir() and name.lower().endswith(_FOLDER_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def _synthetic10() -> Arrays:
    train, test = ((10_000, "train"), (2_000, "test"))
    drawn = [synthetic.draw(count, seed=_DRAWING_SEED, stream=stream) for count, stream in (train, test)]
    return Arrays(synthetic.CLASSES, *drawn[0], *drawn[1])
