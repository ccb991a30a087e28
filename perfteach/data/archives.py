"""The members of a tar or zip archive, each checked before it is unpacked. What an archive claims is not believed."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from perfteach.data.cache import DAMAGE
from perfteach.errors import DataError
from perfteach.settings import called

MAX_HEADER = 2**20  # bytes of one header of a tar: long names and the like, which tarfile takes into memory
MAX_DIRECTORY = 16 * 2**20  # bytes of the list of contents of a zip, which zipfile takes into memory
MAX_MEMBERS = 150_000  # some seconds of reading headers
MAX_STREAM = 32 * 2**30  # bytes of an unpacked tar, so that a small archive cannot keep one waiting
_COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"]\0\0": lzma.open,
}  # fmt: skip

Member = tuple[str, int, Callable[[], object]]  # name, bytes, how to unpack it


def members(path: Path, folder: str) -> Iterator[Member]:
    """Every file of an archive, with how to unpack it into a folder. Folders are made at once.

    Raises:
        DataError: if the archive is damaged or too large, or has a link or a member outside itself.
    """
    with _damage(path), path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        zipped = start.startswith(b"PK") or path.suffix.lower() == ".zip"
        found = _zip_members(file, folder) if zipped else _tar_members(file, start, folder)
        for count, (name, size, mode, unpack) in enumerate(found, start=1):
            if count > MAX_MEMBERS:
                raise DataError(f"{called(path)} has over {MAX_MEMBERS:,} members; unpack it, load the folder")
            _refuse_unsafe(path, name, mode)
            if mode == stat.S_IFREG:
                yield name, size, partial(_carefully, path, unpack)
            elif name.count("/") < 4:
                unpack()  # so that a class without images is noticed


def _carefully(path: Path, unpack: Callable[[], object]) -> None:
    with _damage(path):
        unpack()


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what the archive modules raise into one clear sentence."""
    try:
        yield
    except DataError:
        raise
    except DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise DataError(
            f"{called(path)} cannot be read to its end ({reason}): it is cut short, "
            "damaged or not an image folder, tar or zip archive; copy or download it again"
        ) from error
    except RuntimeError as error:  # how zipfile reports passwords and, by a subclass, unknown compressions
        raise DataError(f"{called(path)} cannot be unpacked: {error}; make the archive again without it") from error


class _Measured:
    """A stream that refuses to hand out more than so many bytes at a time: what a header claims beyond is a trap."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most = file, most
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(min(size, self._most + 1) if size >= 0 else self._most + 1)
        if len(content) > self._most:
            raise EOFError(f"a header of over {self._most >> 20} MB")
        return content


def _zip_members(file: IO[bytes], folder: str) -> Iterator[tuple[str, int, int, Callable[[], object]]]:
    measured: Any = _Measured(file, MAX_DIRECTORY)
    with zipfile.ZipFile(measured) as archive:
        for info in archive.infolist():
            # The other compressions unpack without a limit; images gain nothing by them.
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{info.filename!r} is compressed in a rare way; make the zip with the usual one")
            kind = stat.S_IFMT(info.external_attr >> 16)
            plain = stat.S_IFDIR if info.is_dir() else stat.S_IFREG
            mode = plain if kind in (0, stat.S_IFREG, stat.S_IFDIR) else kind
            yield info.orig_filename, info.file_size, mode, partial(archive.extract, info, folder)


def _tar_members(file: IO[bytes], start: bytes, folder: str) -> Iterator[tuple[str, int, int, Callable[[], object]]]:
    opener = next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), None)
    measured: Any = _Measured(opener(file) if opener else file, MAX_HEADER)
    with tarfile.open(fileobj=measured, mode="r:") as opened:
        archive: Any = opened
        # The same as filter="data", which Python 3.11 has from 3.11.4 only; members are checked in any case.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        while (info := archive.next()) is not None:
            archive.members = []  # else it keeps every member in memory
            if archive.offset > MAX_STREAM:
                raise DataError(f"an archive of over {MAX_STREAM >> 30} GB; unpack it, load the folder")
            mode = stat.S_IFREG if info.isfile() else stat.S_IFDIR if info.isdir() else stat.S_IFLNK
            yield info.name, info.size, mode, partial(archive.extract, info, folder)
        _require_end(archive)


def _require_end(archive: tarfile.TarFile) -> None:
    """tarfile takes a missing or broken next header for the end; only a block of zeros is one."""
    file: Any = archive.fileobj
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("the end-of-archive mark is missing")
    while file.read(1 << 20) and file.tell() < MAX_STREAM:  # lets the decompressor compare its checksum
        pass


def _refuse_unsafe(path: Path, name: str, mode: int) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise DataError(f"{called(path)} has a member outside itself: {name!r}; do not use this archive")
    if mode not in (stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{called(path)} has a link or special file: {name!r}; make the archive again with plain files")
    if len(os.fsencode(name)) > 1000:
        raise DataError(f"{called(path)} has a member with a name of {len(name)} characters; give it a shorter one")
