"""Learners against a hub: `python tools/workshop_load.py 12` starts one of its own, `--hub ADDRESS` asks another.

Each learner logs in, starts a server, and runs notebooks cell by cell through the kernel's websocket, with pauses to
read. Reports times to start and of cells, memory a learner, and what failed; ends with 1 where something did. A hub of
its own needs JupyterHub (pip) and configurable-http-proxy (npm), and gives every learner a plain process here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import httpx
import nbformat
import psutil
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ("00", "03", "04")
PASSWORD = "workshop"
PROXY = "configurable-http-proxy"
LONGEST = 600.0  # seconds for a server to start or a cell to run
# What binder/start sets; a hub has to set it too.
LEARNER = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PERFTEACH_TIER": "quick"}


@dataclass
class Learner:
    """What one learner saw: seconds, failures, and the memory of server and kernel at its highest."""

    name: str
    password: str = PASSWORD
    started: float = 0.0
    cells: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    memory: int = 0


# --- a hub of our own -------------------------------------------------------------------------------------------------

CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = {password!r}
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.Spawner.args = ["--allow-root"]
c.Spawner.environment = {environment!r}
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
c.JupyterHub.concurrent_spawn_limit = 20
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.db_url = "sqlite:///{base}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{base}/cookie"
"""


def proxy_command() -> str | None:
    """Where configurable-http-proxy is: on the path, or in the folder that PERFTEACH_PROXY names."""
    return shutil.which(PROXY, path=os.pathsep.join([os.environ.get("PERFTEACH_PROXY", ""), os.environ["PATH"]]))


@contextmanager
def own_hub(base: Path) -> Iterator[str]:
    """The address of a hub with the dummy authenticator and the simple spawner."""
    ports = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    (base / "homes").mkdir(parents=True)
    kept = {name: os.environ[name] for name in ("PERFTEACH_CACHE", "HOME") if name in os.environ}
    environment = LEARNER | kept | {"PYTHONPATH": str(ROOT)}
    text = CONFIG.format(
        password=PASSWORD, homes=str(base / "homes"), environment=environment, port=ports[0], hub=ports[1],
        api=ports[2], proxy=proxy_command(), base=base,
    )  # fmt: skip
    (base / "config.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "jupyterhub", "-f", str(base / "config.py")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (base / "hub.log").open("w") as log:
        hub = subprocess.Popen(command, cwd=base, env=os.environ | {"PATH": path}, stdout=log, stderr=log)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{ports[0]}/hub/login", hub, base / "hub.log")
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        everything = [*psutil.Process(hub.pid).children(recursive=True), psutil.Process(hub.pid)]
        for process in everything:
            process.kill()
        hub.wait(10)


def _wait_until_it_answers(address: str, hub: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and hub.poll() is None:
        try:
            if httpx.get(address, timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise RuntimeError(f"the hub did not start:\n{log.read_text()[-2000:]}")


# --- a learner --------------------------------------------------------------------------------------------------------


async def learn(hub: str, learner: Learner, work: list[list[str]], pause: float) -> None:
    """One learner's session; what goes wrong is written down, not raised."""
    try:
        async with httpx.AsyncClient(base_url=hub, follow_redirects=True, timeout=LONGEST) as web:
            await _start(web, learner)
            for cells in work:
                await _run_notebook(web, hub, learner, cells, pause)
    except (httpx.HTTPError, OSError, RuntimeError, TimeoutError) as error:
        learner.problems.append(f"{type(error).__name__}: {error}"[:200])


async def _start(web: httpx.AsyncClient, learner: Learner) -> None:
    begun = time.monotonic()
    await web.get("/hub/login")
    form = {"username": learner.name, "password": learner.password, "_xsrf": _cookie(web, "/hub/")}
    (await web.post("/hub/login", data=form)).raise_for_status()
    page = await web.get(f"/hub/spawn/{learner.name}")
    if 'id="spawn_form"' in page.text:  # a hub with a choice of servers: take the first
        choice = re.search(r'name="profile"[^>]*value="([^"]*)"', page.text)
        form = {"_xsrf": _cookie(web, "/hub/")} | ({"profile": choice[1]} if choice else {})
        (await web.post(f"/hub/spawn/{learner.name}", data=form)).raise_for_status()
    while time.monotonic() - begun < LONGEST:
        page = await web.get(f"/user/{learner.name}/lab")
        if page.status_code == 200 and page.url.path.startswith(f"/user/{learner.name}/"):
            learner.started = time.monotonic() - begun
            return
        await asyncio.sleep(0.5)
    raise RuntimeError("the server did not start")


def _cookie(web: httpx.AsyncClient, path: str) -> str:
    """The token against forged requests; hub and server have one each, for their own path."""
    return next(str(c.value) for c in web.cookies.jar if c.name == "_xsrf" and c.path == path)


async def _run_notebook(web: httpx.AsyncClient, hub: str, learner: Learner, cells: list[str], pause: float) -> None:
    base = f"/user/{learner.name}/"
    headers = {"X-XSRFToken": _cookie(web, base)}
    kernel = (await web.post(f"{base}api/kernels", headers=headers, json={"name": "python3"})).raise_for_status().json()
    cookies = "; ".join(f"{c.name}={c.value}" for c in web.cookies.jar if base.startswith(c.path))
    address = f"{hub.replace('http', 'ws', 1)}{base}api/kernels/{kernel['id']}/channels"
    socket_ = await websocket_connect(HTTPRequest(address, headers={"Cookie": cookies}), max_message_size=2**28)
    try:
        for source in cells:
            begun = time.monotonic()
            problem = await asyncio.wait_for(_run_cell(socket_, source), LONGEST)
            learner.cells.append(time.monotonic() - begun)
            if problem:
                learner.problems.append(problem)
            await asyncio.sleep(random.expovariate(1 / pause) if pause else 0)
    finally:
        socket_.close()
        await web.delete(f"{base}api/kernels/{kernel['id']}", headers=headers)


async def _run_cell(socket_, source: str) -> str:
    """Run a cell; returns what went wrong, empty where nothing did."""
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "session": number, "username": "", "version": "5.3"}
    content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    await socket_.write_message(json.dumps(message))
    problem, replied, idle = "", False, False
    while True:
        received = await socket_.read_message()
        if received is None:
            return "the kernel's connection was closed"
        if isinstance(received, bytes):
            continue  # what a widget sends
        said = json.loads(received)
        kind, state = said["header"]["msg_type"], said["content"].get("execution_state")
        if kind == "status" and state in ("restarting", "dead"):
            return "the kernel died"
        if said["parent_header"].get("msg_id") != number:
            continue
        if kind == "error":
            problem = f"{said['content']['ename']}: {said['content']['evalue']}"[:200]
        replied |= kind == "execute_reply"
        idle |= kind == "status" and state == "idle"
        if replied and idle:  # they come by two channels, in either order
            return problem


# --- everybody --------------------------------------------------------------------------------------------------------


def cells_of(number: str) -> list[str]:
    """The code of a notebook's worked edition."""
    (path,) = (ROOT / "notebooks" / "solutions").glob(f"{number}_*.ipynb")
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


async def _watch(learners: list[Learner], homes: Path) -> None:
    """Keep the highest memory of each learner's processes, shared pages in equal parts. Only where they run here."""
    while True:
        for learner in learners:
            learner.memory = max(learner.memory, memory_of(homes / learner.name))
        await asyncio.sleep(2)


def memory_of(home: Path) -> int:
    """Bytes of the processes that work in a learner's home."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(home)):
                total += process.memory_full_info().pss
        except (psutil.Error, OSError, AttributeError):
            continue
    return total


async def everybody(
    hub: str, learners: list[Learner], work: list[list[str]], pause: float, homes: Path | None = None
) -> None:
    """All learners at once; they come within a minute of each other, as people do."""
    watch = asyncio.ensure_future(_watch(learners, homes)) if homes else None

    async def come(learner: Learner) -> None:
        await asyncio.sleep(random.uniform(0, min(60.0, 5 * pause)))
        await learn(hub, learner, work, pause)

    await asyncio.gather(*(come(learner) for learner in learners))
    if watch:
        watch.cancel()


def report(learners: list[Learner]) -> str:
    """Times and memory: median and 95 %."""
    starts, cells = [each.started for each in learners], [time for each in learners for time in each.cells]
    lines = [f"{len(learners)} learners, {len(cells)} cells"]
    for name, values in (("start", starts), ("cell", cells)):
        high = quantiles(values, n=20)[-1] if len(values) > 1 else max(values, default=0)
        lines.append(f"{name:<8} median {median(values or [0]):6.1f} s, 95 % {high:6.1f} s")
    if memory := [each.memory / 2**20 for each in learners if each.memory]:
        lines.append(f"memory   median {median(memory):6.0f} MiB, most {max(memory):6.0f} MiB a learner")
    failed = [f"{each.name}: {problem}" for each in learners for problem in each.problems]
    return "\n".join([*lines, *(failed or ["nothing failed"])])


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("learners", type=int, help="how many at once")
    parser.add_argument("--hub", help="address of a hub with the dummy authenticator (default: one of its own)")
    parser.add_argument("--password", default=PASSWORD, help="that of the dummy authenticator (%(default)s)")
    parser.add_argument("--pause", type=float, default=10.0, help="mean seconds between two cells (%(default)s)")
    parser.add_argument("--notebooks", nargs="+", default=NOTEBOOKS, metavar="NN", help="which, such as 00 03")
    chosen = parser.parse_args()
    learners = [Learner(f"learner-{number:02}", chosen.password) for number in range(chosen.learners)]
    work = [cells_of(number) for number in chosen.notebooks]
    if chosen.hub:
        asyncio.run(everybody(chosen.hub, learners, work, chosen.pause))
    elif proxy_command() is None:
        sys.exit(f"{PROXY} is missing: `npm install -g {PROXY}`, or name the folder it is in with PERFTEACH_PROXY")
    else:
        with tempfile.TemporaryDirectory() as place, own_hub(Path(place)) as hub:
            asyncio.run(everybody(hub, learners, work, chosen.pause, Path(place, "homes")))
    print(report(learners))
    return int(any(learner.problems for learner in learners))


if __name__ == "__main__":
    sys.exit(main())
