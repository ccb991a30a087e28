"""Serve the board with scorers beside it. A scorer that ends is started again, and ends with the server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import uvicorn

from perfteach.errors import ConfigError
from perfteach.hackathon.app import application
from perfteach.hackathon.commands import DATABASE
from perfteach.hackathon.event import Event
from perfteach.hackathon.store import Store

PAUSE = 1.0  # seconds between two looks at the scorers


def serve(store: Store, event: Event, host: str, port: int, workers: int) -> None:
    """Serve until interrupted.

    Raises:
        ConfigError: the port is taken.
    """
    ended = threading.Event()
    keeper = threading.Thread(target=_keep_working, args=(store, event, workers, ended), daemon=True)
    keeper.start()
    print(f"The board is at http://{host}:{port}/ with {workers} scorers; Ctrl-C ends it.", flush=True)
    settings = uvicorn.Config(application(store, event), host, port, log_level="warning", timeout_graceful_shutdown=5)
    try:
        uvicorn.Server(settings).run()
    except SystemExit:  # uvicorn has said why
        raise ConfigError(f"the board could not be served at {host}:{port}; choose another --port") from None
    finally:
        ended.set()
        keeper.join(10)


def _keep_working(store: Store, event: Event, workers: int, ended: threading.Event) -> None:
    command = [sys.executable, "-m", "perfteach.cli", "hackathon", "work", str(event.folder)]
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
