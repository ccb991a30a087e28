"""Serve the board with scorers beside it. A scorer that ends is started again, and ends with the server."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress

from perfteach import settings
from perfteach.errors import ConfigError
from perfteach.extras import need
from perfteach.hackathon.commands import DATABASE, NEEDED
from perfteach.hackathon.event import Event

need("hackathon", *NEEDED)

import uvicorn

from perfteach.hackathon.app import application
from perfteach.hackathon.store import Store

FILES = 10_240  # open files; macOS allows no more
PAUSE = 1.0  # seconds between two looks at the scorers
START = 60.0  # seconds that a board may take to start


def serve(store: Store, event: Event, host: str, port: int, workers: int) -> None:
    """Serve until interrupted.

    Raises:
        ConfigError: the address or the port cannot be used, or a number is out of range.
    """
    port, workers = settings.whole("port", port, 1, 65_535), settings.whole("workers", workers, 0, 1_000)
    _more_files()
    ended = threading.Event()
    keeper = threading.Thread(target=_keep_working, args=(store, event, workers, ended), daemon=True)
    keeper.start()
    beside = "1 scorer" if workers == 1 else f"{workers} scorers"
    print(f"The board is at http://{_reached_at(host)}:{port}/ with {beside}; Ctrl-C ends it.", flush=True)
    config = uvicorn.Config(
        application(store, event), host, port, log_level="warning", timeout_graceful_shutdown=5, timeout_keep_alive=2
    )  # a page asks every four seconds: kept open between, its connections would use up the files
    try:
        uvicorn.Server(config).run()
    except SystemExit:  # uvicorn has said why
        raise ConfigError(
            f"the board could not be served at {host}:{port}; choose another --port, or a --host of this machine"
        ) from None
    finally:
        ended.set()
        keeper.join(10)


def _reached_at(host: str) -> str:
    """Where others in the room reach a server that listens at every address: this machine's own, as a guess."""
    if host not in ("0.0.0.0", "::"):
        return host
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("192.0.2.1", 9))  # sends nothing: it only picks the way out (an address of RFC 5737)
        return str(asked.getsockname()[0])
    return socket.gethostname()


def _more_files() -> None:
    """As many open files as the system lets this process have: every reader's connection is one."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _keep_working(store: Store, event: Event, workers: int, ended: threading.Event) -> None:
    command = [sys.executable, "-m", "perfteach", "hackathon", "work", str(event.folder)]
    command += ["--parent", str(os.getpid())]
    address = store.engine.url.render_as_string(hide_password=False)  # by the environment, which `ps` does not show
    running: list[subprocess.Popen[bytes]] = []
    while not ended.wait(PAUSE if running else 0):
        running = [worker for worker in running if worker.poll() is None]
        for _ in range(workers - len(running)):
            running.append(subprocess.Popen(command, env=os.environ | {DATABASE: address}))
    for worker in running:
        worker.kill()  # what it was measuring waits again
        worker.wait()


class Background:
    """A board in a process of its own on this machine, for a notebook or a test; it ends with the interpreter.

    Its database is by default the event's own file, whatever the environment says.
    """

    def __init__(self, event: Event, workers: int = 1, database: str | None = None) -> None:
        self.event, self.workers, self.store = event, workers, Store(database or event.database)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Background:
        """Start it, and return when it answers.

        Raises:
            ConfigError: it did not start.
        """
        command = [sys.executable, "-m", "perfteach", "hackathon", "serve", str(self.event.folder)]
        command += ["--port", str(self.port), "--workers", str(self.workers)]
        address = self.store.engine.url.render_as_string(hide_password=False)
        said = tempfile.TemporaryFile()  # noqa: SIM115  (what it says while it ends belongs in nobody's notebook)
        own = os.environ | {DATABASE: address}
        self.process = subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=said)
        atexit.register(self.stop)
        end = time.monotonic() + START
        while wait:
            try:
                with urllib.request.urlopen(f"{self.address}/submit", timeout=5):
                    break
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    said.seek(0)
                    last = (said.read().decode(errors="replace").strip().splitlines() or [str(error)])[-1]
                    raise ConfigError(f"the board did not start ({last})") from error
                time.sleep(0.2)
        return self

    def stop(self) -> None:
        """End it; a second time does nothing."""
        atexit.unregister(self.stop)
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.store.engine.dispose()
