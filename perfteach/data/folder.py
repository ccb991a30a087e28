"""Read `train/<class>/*`, `test/<class>/*` image folders, tar and zip archives into arrays.

Pillow decodes them; torchvision's own reader would clip 16-bit images, leave photographs lying on their side, try any
format, and hang at a pipe. The images of an archive are unpacked into the cache folder, each member checked before, and
deleted when they have been read. The arrays are kept for the next load.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfteach.data import archives
from perfteach.data.cache import DAMAGE, MAX_TOTAL, Arrays, cache_folder, read_arrays, write_arrays
from perfteach.errors import DataError
from perfteach.files import PARTIAL, mine
from perfteach.settings import called

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # the decoders that may be tried
_HIDDEN = (".", "__MACOSX")  # how names begin that macOS and others add
_LAYOUT = "images must lie in train/<class>/ and test/<class>/"
_MAX_FILE = 64 * 2**20  # bytes of one encoded image
_MAX_PIXELS = 60_000_000  # of one image, so that a tiny file cannot fill the memory
_MAX_TOTAL = MAX_TOTAL  # bytes of all decoded images
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values for a photograph that lies on its side
_MAX_UNPACKED = 16 * 2**30  # bytes of an archive's images, so that a small archive cannot fill the disk

# What Pillow raises for files that are no images, beside its DecompressionBombError.
_UNREADABLE = (*DAMAGE, AttributeError, struct.error, RuntimeError)

Files = list[tuple[str, str]]  # image files of one split and their classes
Places = tuple[tuple[int, int], ...]  # folders by device and number


def read_images(
    path: Path, *, image_size: int | None = None, cache: Path | str | None = None, progress: bool = True
) -> Arrays:
    """Read an image folder or archive, from the cache where it was read before.

    Args:
        path: a folder, a tar (plain, gz, bz2, xz) or a zip, in `train/<class>/*`, `test/<class>/*` form, with or
            without one folder around the two.
        image_size: side in pixels that every image is resized to; by default the size most of them have.
        cache: cache folder, see `cache_folder`.
        progress: show a progress bar while decoding.

    Raises:
        DataError: if the path is missing, damaged or unsafe (links, members outside), an image cannot be decoded, there
            is no train or test folder, or fewer than two classes.
    """
    folder = cache_folder(cache)
    kept = folder / f"images-{_identity(path, image_size)}.npz"
    with contextlib.suppress(DataError):  # not there yet, or damaged: decode (again)
        return Arrays(**read_arrays(kept, [field.name for field in fields(Arrays)]))
    with contextlib.nullcontext(path) if path.is_dir() else _unpacked(path, folder) as root:
        arrays = _decode(root, called(path), image_size, progress)
    write_arrays(kept, vars(arrays))
    return arrays


def _identity(path: Path, image_size: int | None) -> str:
    """Names what is at `path` without reading it, by the size, place and times of every file.

    The time of the last change can be set, by archives and copies; that of the entry cannot.
    """
    seen = [f"1 {image_size} {path.resolve()}"]
    found = sorted(entry.path for entry in _entries(str(path))) if path.is_dir() else [str(path)]
    for file in found:
        status = os.lstat(file) if os.path.islink(file) and not os.path.exists(file) else os.stat(file)
        seen.append(f"{file} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}")
    return hashlib.sha256(os.fsencode("\n".join(seen))).hexdigest()[:20]


def _entries(folder: str, around: Places = ()) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder that is no folder itself; links are followed."""
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in around:
            raise DataError(f"{folder!r} is a link to a folder around it; remove it")
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield from _entries(entry.path, (*around, here))
                else:
                    yield entry
    except (OSError, RecursionError) as error:
        raise DataError(f"{folder!r} cannot be read: {error}") from error


@contextlib.contextmanager
def _unpacked(path: Path, place: Path) -> Iterator[Path]:
    """The images of an archive in a temporary folder at `place`."""
    with tempfile.TemporaryDirectory(dir=place, prefix=f"unpacked.{mine()}.", suffix=PARTIAL) as folder:
        room = min(_MAX_UNPACKED, shutil.disk_usage(folder).free)
        for name, size, unpack in archives.members(path, folder):
            if not _is_image(name.split("/")):
                continue
            if size > _MAX_FILE:
                raise DataError(
                    f"{name!r} in {called(path)} is over {_MAX_FILE >> 20} MB; that is not an image for this course"
                )
            room -= size
            if room < 0:
                raise DataError(f"{called(path)} is too large to unpack in {str(place)!r}; unpack it, load the folder")
            unpack()
        yield Path(folder)


def _is_image(parts: list[str]) -> bool:
    hidden = any(part.startswith(_HIDDEN) and part != "." for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in SUFFIXES


def _survey(root: Path, name: str) -> tuple[tuple[str, ...], Files, Files]:
    """The classes, and the files of train and test in the order of their paths."""
    inner = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and entry.name not in ("train", "test")]
    around = [root, *(entry for entry in inner if not entry.name.startswith(_HIDDEN))]
    found = {top: (_files(top / "train"), _files(top / "test")) for top in around}
    tops = [top for top, splits in found.items() if any(splits)]
    if len(tops) > 1:
        names = [top.relative_to(root).as_posix() for top in tops]
        raise DataError(f"{name} has several train or test folders, in {names}; {_LAYOUT} once")
    train, test = found[tops[0]] if tops else ([], [])
    for split, files in (("train", train), ("test", test)):
        if not files:
            raise DataError(f"{name} has no images in {split}/<class>/; {_LAYOUT}")
    classes = tuple(sorted({label for _, label in train}))
    if len(classes) < 2:
        raise DataError(f"{name} has one class only, {classes[0]!r}; at least two are needed")
    if unknown := sorted({label for _, label in test} - set(classes)):
        raise DataError(f"{name} has test images of {unknown[0]!r}, a class with no training images")
    return classes, train, test


def _files(split: Path) -> Files:
    """Every image of a split with its class, in the order of the paths."""
    found: list[tuple[list[str], str]] = []
    if not split.is_dir():
        return []
    for one in sorted(split.iterdir()):
        if one.name.startswith(_HIDDEN):
            continue
        if one.is_symlink() and not one.exists():
            raise DataError(f"{_shown(one, split)} is a link to nothing; mend or remove it")
        if not one.is_dir():
            continue
        before = len(found)
        for entry in _entries(str(one)):
            inner = entry.path[len(str(split)) + 1 :].split(os.sep)  # without pathlib, which is slow for 60,000 names
            if _is_image(inner):
                if not entry.is_file():
                    what = "a link to nothing" if entry.is_symlink() else "no plain file"
                    raise DataError(f"{_shown(Path(entry.path), split)} is {what}; replace or remove it")
                found.append((inner, entry.path))
        if len(found) == before and split.name == "train":
            raise DataError(f"{_shown(one, split)} has no images; add some, or remove the folder")
    return [(file, os.fsencode(inner[0]).decode("utf-8", "backslashreplace")) for inner, file in sorted(found)]


def _shown(path: Path, split: Path) -> str:
    return repr(path.relative_to(split.parent).as_posix())


def _decode(root: Path, name: str, image_size: int | None, progress: bool) -> Arrays:
    from tqdm.auto import tqdm

    classes, *splits = _survey(root, name)
    width, height = (image_size, image_size) if image_size else _most_common(root, [*splits[0], *splits[1]])
    count = sum(map(len, splits))
    total = count * 3 * width * height
    if total > _MAX_TOTAL:
        raise DataError(
            f"{count} images of {width}x{height} pixels take {total / 2**30:.0f} GB of memory; "
            "give a smaller image_size, for example 64"
        )
    arrays: list[npt.NDArray[Any]] = []
    number = {label: place for place, label in enumerate(classes)}
    with tqdm(total=count, unit=" images", desc=name, disable=not progress) as bar:
        for files in splits:
            images = np.empty((len(files), 3, height, width), np.uint8)
            for row, (file, _) in enumerate(files):
                images[row] = _pixels(root, file, (width, height))
                bar.update()
            arrays += [images, np.array([number[label] for _, label in files], dtype=np.int64)]
    return Arrays(classes, *arrays)


def _most_common(root: Path, files: Files) -> tuple[int, int]:
    """The commonest (width, height); among equals the smallest."""
    sizes: Counter[tuple[int, int]] = Counter()
    for file, _ in files:
        with _opened(root, file) as image:
            width, height = image.size
            lies = "exif" in image.info and image.getexif().get(_ORIENTATION) in _LYING
            sizes[(height, width) if lies else (width, height)] += 1
    return min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size))


@contextlib.contextmanager
def _opened(root: Path, file: str) -> Iterator[Any]:
    """An image as Pillow opens it, not decoded yet; whatever Pillow raises until it is closed becomes a DataError."""
    from PIL import Image

    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise DataError(f"has {image.width}x{image.height} pixels, too many; make it smaller")
            if image.mode[0] in "IF":
                raise DataError("has more than 8 bits a channel; save it as 8-bit RGB or grey")
            yield image
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        name = Path(file).relative_to(root).as_posix()
        reason = str(error).replace(file, name)  # what was unpacked lies in a folder that nobody knows
        what = reason if isinstance(error, DataError) else f"is not a readable image ({reason}); replace or remove it"
        raise DataError(f"{name!r} {what}") from error


def _pixels(root: Path, file: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """One image as uint8 [3,H,W], upright, in RGB, resized where its size differs."""
    from PIL import Image, ImageOps

    with _opened(root, file) as image:
        upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
        colour = upright if upright.mode == "RGB" else upright.convert("RGB")
        colour.load()
    if colour.size != size:
        colour = colour.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(colour).transpose(2, 0, 1)
