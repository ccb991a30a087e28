"""Files that are whole or not there: flushed to disk before they get their name, and one writer to a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from perfteach.errors import CheckpointError

LOCK, OWNER = ".lock", ".owner"
PARTIAL = ".partial"
ASKED = 20  # times, a tenth of a second apart
DAY = 86_400.0  # seconds after which a partial file of another machine counts as left behind


def flush(path: Path) -> None:
    """Ask the system to have a file or folder on disk before anything that follows."""
    if os.name == "nt" and path.is_dir():  # Windows flushes folders itself, and cannot open them
        return
    try:
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows flushes what it may write
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:  # some network disks cannot flush a folder
        if not path.is_dir() or error.errno in (errno.ENOSPC, errno.EIO):
            raise


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, and have their names on disk, so that a power cut does not take them away."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        flush(place.parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` at the end of the block; where that fails the old one stays.

    Raises:
        OSError: when it cannot be written, or is something that must not be replaced, such as /dev/null.
    """
    _refuse_devices(path)
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name[:100]}.{mine()}.", suffix=PARTIAL)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        flush(part)
        _replace(part, path)
        flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _replace(part: Path, path: Path) -> None:
    """Windows refuses while another process has the old file open, such as a virus scanner, so it is asked again."""
    for left in reversed(range(ASKED)):
        try:
            return os.replace(part, path)
        except PermissionError:
            if os.name != "nt" or not left:
                raise
            time.sleep(0.1)


def _refuse_devices(path: Path) -> None:
    """The administrator may replace a device by a file, and then the machine has lost it."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        kind = path.lstat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind) or stat.S_ISDIR(kind)):
            raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))


def mine() -> str:
    """What names the partial files and folders of this process: its number and its machine."""
    return f"{os.getpid()}-{re.sub(r'[^A-Za-z0-9]', '-', socket.gethostname())[:40]}"


def clean(folder: Path) -> None:
    """Remove the partial files and folders that dead processes left in a folder; never fails."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"*{PARTIAL}"):
            with contextlib.suppress(OSError):
                if not _left_behind(path):
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _left_behind(path: Path) -> bool:
    named = re.search(r"\.(\d+)-([A-Za-z0-9-]*)\.[^.]*$", path.name.removesuffix(PARTIAL))
    if named and os.name != "nt" and named[2] == mine().partition("-")[2]:
        try:
            os.kill(int(named[1]), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    return time.time() - path.stat().st_mtime > DAY


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one who writes to a run's folder. The system ends the claim with the process, however that ends.

    What dead processes left there half written is removed.

    Raises:
        CheckpointError: when another trainer writes there, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # takes a moment, which only a run with a folder needs

    try:
        make_folder(folder)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise CheckpointError(
            f"{str(folder)!r} is being written by {_owner(folder)}; wait until that has ended, or use another folder"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise cannot_write(folder, error) from error
    try:
        with contextlib.suppress(OSError):  # only read by people
            (folder / OWNER).write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        clean(folder)
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / OWNER).unlink()
        lock.release()


def _owner(folder: Path) -> str:
    try:
        return (folder / OWNER).read_text(encoding="utf-8")[:200] or "another process"
    except (OSError, ValueError):
        return "another process"


@contextlib.contextmanager
def kept(name: str) -> Iterator[Path]:
    """A folder among this machine's temporary ones that a later process finds again by its name.

    It stays until `forget(name)`. Where another process has it, or it cannot be had, it is a new one, for this block.
    """
    folder = _own_folder(name)
    with contextlib.ExitStack() as held:
        try:
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            if hasattr(os, "getuid") and folder.parent.lstat().st_uid != os.getuid():
                raise OSError(errno.EPERM, "it belongs to somebody else", str(folder.parent))
            held.enter_context(alone(folder))
        except (OSError, CheckpointError):
            folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        yield folder


def forget(name: str) -> None:
    """Remove what `kept(name)` left on this machine, unless a process is at work there."""
    folder = _own_folder(name)
    with contextlib.suppress(OSError, CheckpointError):
        if folder.is_dir():
            with alone(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _own_folder(name: str) -> Path:
    return Path(tempfile.gettempdir(), f"perfteach-{os.getuid()}" if hasattr(os, "getuid") else "perfteach", name)


def cannot_write(folder: Path, error: Exception) -> CheckpointError:
    """What to say where a run's folder cannot be written: the reason, that nothing earlier is lost, and what to do."""
    reason = getattr(error, "strerror", None) or str(error)
    return CheckpointError(
        f"the run cannot be saved in {str(folder)!r} ({reason}); what was saved before is whole: make room or choose a "
        "folder that can be written, and train again to go on"
    )
