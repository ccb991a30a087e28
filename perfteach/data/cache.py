"""Arrays of images on disk: the cache folder, and packed .npz files.

What is written here ends with the sha256 of everything before it, as the comment of the zip archive that an .npz is.
Reading compares it, so that no flipped bit is served as an image.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from perfteach import files
from perfteach.errors import DataError
from perfteach.settings import called

# What the standard library and numpy raise for a file that is damaged or cut short, or claims what it has not.
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, KeyError,
    IndexError, OverflowError, MemoryError, NotImplementedError, SyntaxError, TypeError,
)  # fmt: skip
MAX_TOTAL = 4 * 2**30  # bytes of all images of a data set
_SEAL = 64  # characters of a sha256
_END = b"PK\x05\x06"  # how the last 22 bytes of an archive without a comment begin


@dataclass(frozen=True, eq=False)
class Arrays:
    """Decoded images: uint8 [N,3,H,W], labels int64 [N] (indices into `classes`), for train and test."""

    classes: tuple[str, ...]
    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]


def cache_folder(cache: Path | str | None = None) -> Path:
    """The folder for decoded and downloaded images, created when absent; what dead processes left there goes.

    Args:
        cache: folder to use; by default the variable PERFTEACH_CACHE, else `~/.cache/perfteach`.

    Raises:
        DataError: if the folder cannot be created or written to.
    """
    try:
        folder = Path(cache or os.environ.get("PERFTEACH_CACHE") or Path.home() / ".cache" / "perfteach").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(
            f"the cache folder cannot be written ({error}); set PERFTEACH_CACHE to a folder you can write to"
        ) from error
    files.clean(folder)
    return folder


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an uncompressed .npz in one step, so that a reader never meets half a file, with its checksum.

    Raises:
        DataError: if it cannot be written.
    """
    try:
        with files.replacing(path) as part:
            with part.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            with zipfile.ZipFile(part, "a") as archive:
                archive.comment = bytes(_SEAL)
            with part.open("r+b") as file:
                seal = _checksum(file)
                file.seek(-_SEAL, os.SEEK_END)
                file.write(seal)
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be written: {error}") from error


def read_arrays(path: Path, names: Iterable[str], *, sealed: bool = True) -> dict[str, Any]:
    """The named arrays of an .npz written by `write_arrays`; `classes` becomes a tuple of strings.

    Args:
        sealed: False also takes a file without a checksum, as numpy writes it.

    Raises:
        DataError: if the file is damaged or lacks one of them.
    """
    try:
        with path.open("rb") as file:
            _compare_checksum(file, sealed)
            with zipfile.ZipFile(file) as archive:
                if sum(info.file_size for info in archive.infolist()) > 2 * MAX_TOTAL:
                    raise ValueError(f"it holds more than {MAX_TOTAL >> 30} GB")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in names}
        return found | {"classes": tuple(str(name) for name in found["classes"])}
    except DAMAGE as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{called(path)} is not a whole file of packed images ({reason}); pack or copy it again"
        ) from error


def _checksum(file: IO[bytes]) -> bytes:
    """Of all but the place of the checksum itself."""
    left, digest = file.seek(0, os.SEEK_END) - _SEAL, hashlib.sha256()
    file.seek(0)
    while left > 0 and (part := file.read(min(left, 1 << 20))):
        digest.update(part)
        left -= len(part)
    return digest.hexdigest().encode()


def _compare_checksum(file: IO[bytes], needed: bool) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _SEAL))
    end = file.read()
    if not needed and end[-22:].startswith(_END):  # no single flipped bit makes this of a checksum
        return
    if _checksum(file) != end:
        raise ValueError("its checksum differs")
