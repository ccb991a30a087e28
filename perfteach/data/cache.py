"""Arrays of images on disk: the cache folder, and packed .npz files."""

from __future__ import annotations

import contextlib
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfteach.errors import DataError

# What the standard library and numpy raise for a file that is damaged or cut short.
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError)


@dataclass(frozen=True, eq=False)
class Arrays:
    """Decoded images: uint8 [N,3,H,W], labels int64 [N] (indices into `classes`), for train and test."""

    classes: tuple[str, ...]
    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]


def cache_folder(cache: Path | None = None) -> Path:
    """The folder for decoded and downloaded images, created when absent.

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
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"the cache folder cannot be written ({error}); set PERFTEACH_CACHE to a folder you can write to"
        ) from error
    return folder


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an uncompressed .npz in one step, so that a reader never meets half a file."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """The named arrays of an .npz written by `write_arrays`; `classes` becomes a tuple of strings.

    Raises:
        DataError: if the file is damaged or lacks one of them.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in names}
    except (*DAMAGE, KeyError, ValueError) as error:
        raise DataError(f"{path.name} is not a whole file of packed images: {error}; pack or copy it again") from error
    return found | {"classes": tuple(str(name) for name in found["classes"])}
