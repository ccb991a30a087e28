"""Read `train/<class>/*`, `test/<class>/*` image folders, tar and zip archives into arrays.

Nothing is ever extracted to disk. First every member is checked and the image sizes are learnt, then the
images are decoded (a large archive is read twice for that). The result is kept for the next load.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .cache import DAMAGE, Arrays, cache_folder, keep, recall
from .errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # the decoders that may be tried
_LAYOUT = "images must lie in train/<class>/ and test/<class>/"
_MAX_FILE = 64 * 2**20  # bytes of one encoded image
_MAX_PIXELS = 60_000_000  # of one image, so that a tiny file cannot fill the memory
_MAX_TOTAL = 4 * 2**30  # bytes of all decoded images
_HOLD = 128 * 2**20  # bytes of encoded images kept in memory between the two readings

Member = tuple[str, Callable[[], bytes]]  # a file's path inside the archive, and how to read its bytes


def read_images(
    path: Path, *, image_size: int | None = None, cache: Path | None = None, progress: bool = True
) -> Arrays:
    """Read an image folder or archive, from the cache where it was read before.

    Args:
        path: a folder, a tar (plain, gz, bz2, xz) or a zip, in `train/<class>/*`, `test/<class>/*` form, with
            or without one folder around the two.
        image_size: side in pixels that every image is resized to; by default the size most of them have.
        cache: cache folder, see `cache_folder`.
        progress: show a progress bar while decoding.

    Raises:
        DataError: if the path is missing, damaged or unsafe (links, members outside), an image cannot be
            decoded, there is no train or test folder, or fewer than two classes.
    """
    if not path.exists():
        raise DataError(f"there is no file or folder {str(path)!r}; check the path")
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size is {image_size}; it must be at least 1 pixel")
    folder = cache_folder(cache)
    kept = folder / f"images-{_identity(path, image_size)}"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there yet, or damaged: decode (again)
        return recall(kept)
    arrays = _decode(path, image_size, progress)
    keep(kept, arrays)
    return arrays


def _identity(path: Path, image_size: int | None) -> str:
    """Names what is at `path` without reading it, by the size and time of every file."""
    seen = [f"1 {image_size} {path.resolve()}"]
    for file in sorted(_walk(path)) if path.is_dir() else [path]:
        status = os.stat(file)
        seen.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(map(str, seen)).encode()).hexdigest()[:20]


# --- members ------------------------------------------------------------------------------------------------


def _members(path: Path) -> Iterator[Member]:
    """Every regular file, in the archive's own order.

    Raises:
        DataError: also from the reading functions, if the archive is damaged, or has a link or a member
            outside itself.
    """
    reader = _folder_members
    if not path.is_dir():
        with _damage(path), path.open("rb") as file:
            zipped = file.read(2) == b"PK" or path.suffix.lower() == ".zip"
        reader = _zip_members if zipped else _tar_members
    with _damage(path):
        for name, read in reader(path):
            yield name, partial(_guarded, path, read)


def _guarded(path: Path, read: Callable[[], bytes]) -> bytes:
    with _damage(path):
        return read()


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what the archive modules raise into one clear sentence."""
    try:
        yield
    except DAMAGE as error:
        raise DataError(
            f"{path.name} cannot be read to its end ({str(error) or type(error).__name__}): it is cut short, "
            "damaged or not an image folder, tar or zip archive; copy or download it again"
        ) from error
    except RuntimeError as error:  # how zipfile reports passwords and, by a subclass, unknown compressions
        raise DataError(f"{path.name} cannot be unpacked: {error}; make the archive again without it") from error


def _folder_members(path: Path) -> Iterator[Member]:
    for file in _walk(path):
        yield Path(file).relative_to(path).as_posix(), Path(file).read_bytes


def _walk(folder: Path) -> Iterator[str]:
    for where, _, files in os.walk(folder):
        for file in files:
            yield os.path.join(where, file)


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            _refuse_unsafe(path, info.orig_filename, stat.S_ISLNK(info.external_attr >> 16), info.file_size)
            if not info.is_dir():
                yield info.filename, partial(archive.read, info)


def _tar_members(path: Path) -> Iterator[Member]:
    with _decompressed(path) as file:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                _refuse_unsafe(path, info.name, not (info.isfile() or info.isdir()), info.size)
                if info.isfile():
                    yield info.name, partial(_read_tar, archive, info)
            end = archive.offset
        _require_end(file, end)


def _decompressed(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(6)
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    opener = next((opener for magic, opener in openers.items() if start.startswith(magic)), open)
    return opener(path, "rb")


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    return file.read() if file is not None else b""


def _require_end(file: IO[bytes], end: int) -> None:
    """tarfile takes a missing or broken next header for the end; only a block of zeros is one."""
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("the end-of-archive mark is missing")
    while file.read(1 << 20):  # lets the decompressor compare its checksum
        pass


def _refuse_unsafe(path: Path, name: str, link: bool, size: int) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise DataError(f"{path.name} has a member outside itself: {name!r}; do not use this archive")
    if link:
        raise DataError(f"{path.name} has a link or special file: {name!r}; make the archive again with plain files")
    if size > _MAX_FILE and PurePosixPath(name).suffix.lower() in SUFFIXES:
        raise DataError(f"{name!r} in {path.name} is over {_MAX_FILE >> 20} MB; that is not an image for this course")


# --- layout and decoding ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Survey:
    """Which files are images of which split and class, in sorted order."""

    classes: tuple[str, ...]
    rows: dict[str, tuple[str, int]]  # file → split, row
    labels: dict[str, npt.NDArray[np.int64]]
    size: tuple[int, int]  # width, height
    held: dict[str, bytes]  # encoded images, or empty when they are too many to keep


def _decode(path: Path, image_size: int | None, progress: bool) -> Arrays:
    from tqdm.auto import tqdm

    survey = _survey(path, image_size)
    width, height = survey.size
    total = len(survey.rows) * 3 * width * height
    if total > _MAX_TOTAL:
        raise DataError(
            f"{len(survey.rows)} images of {width}x{height} pixels take {total / 2**30:.0f} GB of memory; "
            "give a smaller image_size, for example 64"
        )
    images = {s: np.empty((len(y), 3, height, width), np.uint8) for s, y in survey.labels.items()}
    with tqdm(total=len(survey.rows), unit=" images", desc=path.name, disable=not progress) as bar:
        for name, data in survey.held.items() or _contents(path, survey):
            if name not in survey.rows:  # the same path twice, spelt differently
                continue
            split, row = survey.rows[name]
            images[split][row] = _pixels(name, data, survey.size)
            bar.update()
    return Arrays(survey.classes, images["train"], survey.labels["train"], images["test"], survey.labels["test"])


def _contents(path: Path, survey: _Survey) -> Iterator[tuple[str, bytes]]:
    return ((name, read()) for name, read in _members(path) if name in survey.rows)


def _survey(path: Path, image_size: int | None) -> _Survey:
    sizes: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[str, ...], str] = {}  # path parts without the folder around train and test → name
    tops: set[tuple[str, ...]] = set()
    held: dict[str, bytes] = {}
    room = _HOLD
    for name, read in _members(path):
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        top = parts[:1] if parts[0] not in ("train", "test") else ()
        inner = parts[len(top) :]
        if not (_is_image(parts) and len(inner) >= 3 and inner[0] in ("train", "test")):
            continue
        tops.add(top)
        found[inner] = name
        data = read() if image_size is None or room > 0 else b""
        room -= len(data)
        if room > 0:
            held[name] = data
        else:
            held.clear()
        if image_size is None:
            sizes[_header(name, data)] += 1
    if len(tops) > 1:
        raise DataError(f"{path.name} has several train or test folders: {sorted(tops)}; {_LAYOUT} once")
    size = (image_size, image_size) if image_size else _most_common(sizes)
    return _arrange(path, found, size, held)


def _is_image(parts: tuple[str, ...]) -> bool:
    """False for anything hidden, such as the `._x.jpg` files and `__MACOSX` folder that macOS adds."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and PurePosixPath(parts[-1]).suffix.lower() in SUFFIXES


def _most_common(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """The commonest (width, height); among equals the smallest."""
    return min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size), default=(0, 0))


def _arrange(path: Path, found: dict[tuple[str, ...], str], size: tuple[int, int], held: dict[str, bytes]) -> _Survey:
    for split in ("train", "test"):
        if not any(parts[0] == split for parts in found):
            raise DataError(f"{path.name} has no images in {split}/<class>/; {_LAYOUT}")
    classes = tuple(sorted({parts[1] for parts in found if parts[0] == "train"}))
    if len(classes) < 2:
        raise DataError(f"{path.name} has one class only, {classes[0]!r}; at least two are needed")
    if unknown := sorted({parts[1] for parts in found} - set(classes)):
        raise DataError(f"{path.name} has test images of {unknown[0]!r}, a class with no training images")
    number = {name: k for k, name in enumerate(classes)}
    rows: dict[str, tuple[str, int]] = {}
    labels: dict[str, npt.NDArray[np.int64]] = {}
    for split in ("train", "test"):
        ordered = sorted(parts for parts in found if parts[0] == split)
        rows |= {found[parts]: (split, row) for row, parts in enumerate(ordered)}
        labels[split] = np.array([number[parts[1]] for parts in ordered], dtype=np.int64)
    return _Survey(classes, rows, labels, size, held)


def _open(name: str, data: bytes) -> Any:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name!r} is not a readable image ({error}); replace or remove it") from error
    if image.width * image.height > _MAX_PIXELS:
        raise DataError(f"{name!r} has {image.width}x{image.height} pixels, too many; make it smaller")
    return image


def _header(name: str, data: bytes) -> tuple[int, int]:
    size: tuple[int, int] = _open(name, data).size
    return size


def _pixels(name: str, data: bytes, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """One image as uint8 [3,H,W], upright, in RGB, resized where its size differs."""
    from PIL import Image, ImageOps

    image = _open(name, data)
    if image.mode[0] in "IF":
        raise DataError(f"{name!r} has more than 8 bits a channel; save it as 8-bit RGB or grey")
    try:
        if "exif" in image.info:
            image = ImageOps.exif_transpose(image)
        image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(f"{name!r} cannot be decoded ({error}); replace or remove it") from error
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
