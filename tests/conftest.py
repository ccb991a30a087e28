"""What all tests share: one torch thread, one cache folder, small data, and the way to the real images."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from perfteach.data import ImageData


NO_IMAGES = "PERFTEACH_TEST_IMAGES does not name an image folder or archive to test with."


def load_tool(name: str) -> ModuleType:
    """A script of tools/ as a module; the folder is no package."""
    path = Path(__file__).resolve().parent.parent / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where data classes and pickle look for it
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(
    command: list[str] | str, address: str, log: Path, seconds: float = 180, **settings: Any
) -> Iterator[bytes]:
    """Start a server and wait for its first answer at the address, which is handed over; ends it with its children."""
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **settings)
    try:
        yield _first_answer(server, address, log, seconds)
    finally:
        if server.poll() is None:
            for process in [*psutil.Process(server.pid).children(recursive=True), server]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            server.wait(30)


def _first_answer(server: subprocess.Popen[bytes], address: str, log: Path, seconds: float) -> bytes:
    end = time.monotonic() + seconds  # for a busy machine; alone it takes a few
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.read()
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"there was no answer:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}")


def _session_cache() -> Path:
    """The user's cache folder where it can be written, so that real images are decoded only once."""
    usual = Path(os.path.expanduser("~"), ".cache", "perfteach")
    try:
        usual.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=usual):
            return usual
    except OSError:
        return Path(tempfile.mkdtemp(prefix="perfteach-cache-"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_one_cache() -> None:
    import torch

    # Two workers with two threads each would fight over two cores, and sums depend on the thread count.
    torch.set_num_threads(1)
    if not os.environ.get("PERFTEACH_CACHE"):
        os.environ["PERFTEACH_CACHE"] = str(_session_cache())


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """A run in the background, or under nohup, inherits that interrupts are ignored, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The archive or folder of real images that PERFTEACH_TEST_IMAGES names."""
    named = os.environ.get("PERFTEACH_TEST_IMAGES", "")
    required = os.environ.get("PERFTEACH_REQUIRE_IMAGES") == "1"
    if named and Path(named).exists():
        return Path(named)
    sentence = f"PERFTEACH_TEST_IMAGES names {named}, and there is nothing there." if named else NO_IMAGES
    if required or named:
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture(scope="session")
def tiny_data() -> ImageData:
    """A class-balanced piece of the embedded images: 200 to train on, 100 each to validate and to test."""
    from perfteach import data

    return data.load("synthetic10").subset(200, validation=100, test=100)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says above pytest's closing line how many tests were skipped because there are no real images."""
    reports = terminalreporter.stats.get("skipped", [])
    count = sum(NO_IMAGES in str(report.longrepr) for report in reports)
    if count:
        tests = "1 test was" if count == 1 else f"{count} tests were"
        terminalreporter.write_line(f"{tests} skipped for want of real images: {NO_IMAGES}")
