"""CIFAR-10 (Krizhevsky 2009): a resumable download, and torchvision's md5-checked reader."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from .cache import Arrays
from .errors import DataError

# As in torchvision's reader, said again because importing torchvision can take longer than finding out that there is
# no network.
ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
FOLDER = "cifar-10-batches-py"
CONNECT_SECONDS = 7.0  # until the first answer, name look-up included
_ALTERNATIVES = (
    "without a network, use load('synthetic10'), or load(PATH) with an image folder, an archive, or an .npz "
    "file that a colleague wrote with pack()"
)


def read_cifar10(root: Path, download: bool = False, progress: bool = True) -> Arrays:
    """CIFAR-10 from `root`, its files checked by torchvision against their md5 sums: 50,000 and 10,000 images
    of 32x32.

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
    """Download CIFAR-10 (170 MB), check its md5 and unpack it. Run again after an interruption, it goes on
    from there.

    Args:
        root: the folder to put it in, as a rule `cache_folder()`.
        mirror: http(s) address of `cifar-10-python.tar.gz`, or of the folder that holds it, to use in place
            of the authors' server, which is slow.
        progress: show a progress bar.

    Returns:
        The folder with the unpacked files.

    Raises:
        DataError: if the server cannot be reached within 10 seconds, stops answering, or sends another file.
    """
    root = Path(root).expanduser()
    filename = ADDRESS.rpartition("/")[2]
    whole, part = root / filename, root / f"{filename}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not (whole.exists() and _md5(whole) == MD5):
            _fetch(_address(mirror, filename), part, progress)
            if _md5(part) != MD5:
                part.unlink()
                raise DataError("the file that was downloaded is not CIFAR-10 (wrong md5); it was deleted, try again")
            part.replace(whole)
        from torchvision.datasets import CIFAR10

        CIFAR10(root, download=True)  # finds the file, checks it once more and unpacks it
    except OSError as error:
        raise DataError(f"CIFAR-10 cannot be stored in {str(root)!r}: {error}") from error
    return root / FOLDER


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _address(mirror: str | None, filename: str) -> str:
    address = mirror or ADDRESS
    if not address.startswith(("http://", "https://")):
        raise DataError(f"the mirror {address!r} is not an http or https address")
    return address if address.endswith(".gz") else f"{address.rstrip('/')}/{filename}"


def _fetch(address: str, part: Path, progress: bool) -> None:
    """Download to `part`, after the bytes that are there already."""
    from tqdm.auto import tqdm

    have = part.stat().st_size if part.exists() else 0
    try:
        answer = _connect(address, have)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send; the md5 check says whether the file is right
            return
        raise DataError(f"{address} answered {error.code} {error.reason}; try another mirror") from error
    with answer, contextlib.closing(answer):
        if answer.status != 206:  # the server does not resume: start again
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=not progress)
        with bar, part.open("ab" if have else "wb") as file:
            try:
                while chunk := answer.read(1 << 16):
                    file.write(chunk)
                    bar.update(len(chunk))
            except (TimeoutError, http.client.HTTPException, ConnectionError) as error:
                raise DataError(f"the connection was lost ({error}); run the same command again to go on") from error
            got = file.tell()
    if total is not None and got < total:
        raise DataError(f"only {got:,} of {total:,} bytes arrived; run the same command again to go on")


def _connect(address: str, start: int) -> Any:
    """Open the address from byte `start`; in a thread, because looking up a name obeys no time limit."""
    request = urllib.request.Request(address, headers={"User-Agent": "perfteach"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    outcome: list[Any] = []

    def attempt() -> None:
        try:
            outcome.append(urllib.request.urlopen(request, timeout=CONNECT_SECONDS))
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    result = outcome[0] if outcome else TimeoutError("no answer")
    if isinstance(result, urllib.error.HTTPError):
        raise result
    if isinstance(result, Exception):
        raise DataError(f"{address} cannot be reached ({result}); check the network, or {_ALTERNATIVES}") from result
    return result
