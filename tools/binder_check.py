"""Run Binder's files without Docker: its environment, postBuild and start, then the notebooks in 2 GB and on one CPU.

    python tools/binder_check.py --only 00 03 --no-network

Two things differ from Binder. pip's packages stand in for conda's, in the versions of constraints.txt. And the limit
holds for each process, where Binder's holds for the session: JupyterLab needs about 0.1 GB of it.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PIP_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}
DATA_LIMIT = 2 * 2**30
FIRST = "notebooks/00_start_here.ipynb"  # where the link to Binder lands
# What a shell, an editor or the caller's make may have set, and a fresh user has not.
CALLERS = (
    *("PERFTEACH_", "PYTHON", "PYTEST", "COV_", "JUPYTER", "IPYTHON", "MPL", "XDG_", "VIRTUAL_ENV", "OMP_", "MKL_"),
    *("MAKE", "MFLAGS", "VENV", "PORT", "LAB_ARGS", "DEMO_ARGS"),
)
# Brings the loopback device up, which a kernel needs to talk to its client, and becomes the given command.
LOOPBACK = (
    "import fcntl, os, socket, struct, sys;"
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1));"  # SIOCSIFFLAGS, IFF_UP
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def without_network(command: list[str]) -> list[str]:
    """The command in a network namespace of its own: no device but loopback, so there is a route to nowhere."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *as_root, sys.executable, "-c", LOOPBACK, *command]


def fresh_environment(home: Path) -> dict[str, str]:
    """The environment of somebody who has just logged in for the first time; downloads are shared to save time."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CALLERS)}
    caches = {f"{tool.upper()}_CACHE_DIR": str(Path.home() / ".cache" / tool) for tool in ("uv", "pip")}
    # Not the caller's virtual environment, but the Python that it was made with.
    search = [part for part in os.get_exec_path() if Path(part).resolve() != Path(sys.prefix, "bin").resolve()]
    path = os.pathsep.join([str(Path(sys.base_prefix, "bin")), *search])
    return caches | kept | {"HOME": str(home), "PATH": path}


def requirements(file: Path) -> list[str]:
    """The packages of a conda file under pip's names."""
    listed = yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"]
    pairs = [re.split(r"(?=[<>=])", item, maxsplit=1) for item in listed if item != "pip"]
    return [PIP_NAMES.get(name, name) + bound for name, bound in pairs if name != "python"]


def build(base: Path, python: str) -> tuple[Path, dict[str, str]]:
    """What Binder does once: environment, repository, postBuild. Returns the home folder and its environment."""
    home, venv = base / "home", base / "venv"
    environment = fresh_environment(home)
    environment["PATH"] = f"{venv / 'bin'}{os.pathsep}{environment['PATH']}"
    # As in the Makefile: wheels set up for other projects must not get in.
    for tool in ("UV", "PIP"):
        for setting in ("FIND_LINKS", "CONSTRAINT"):
            environment.pop(f"{tool}_{setting}", None)
    # Binder's home folder is the repository itself.
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(home)], check=True)
    subprocess.run([python, "-m", "venv", venv], check=True)
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
    packages = requirements(home / "binder" / "environment.yml")
    subprocess.run([*install, "-c", str(home / "constraints.txt"), *packages], check=True, env=environment)
    subprocess.run([str(home / "binder" / "postBuild")], check=True, cwd=home, env=environment)
    return home, environment


def limit() -> None:
    """One CPU, and 2 GB for data; inherited by everything the process starts."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT, DATA_LIMIT))


def check_lab(home: Path, environment: dict[str, str], log: Path) -> None:
    """Start JupyterLab as Binder does, and ask for the first notebook.

    Raises:
        RuntimeError: if it does not answer within a minute, or the notebook is not there.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--port={port}"]
    options += ["--ServerApp.port_retries=0", "--IdentityProvider.token="]
    command = [str(home / "binder" / "start"), "jupyter", "lab", *options]
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, cwd=home, env=environment, preexec_fn=limit, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/lab/tree/{FIRST}", timeout=30).close()
                break
            except OSError as error:
                if time.monotonic() > end or server.poll() is not None:
                    raise RuntimeError(f"JupyterLab does not answer ({error}):\n{tail(log)}") from error
                time.sleep(0.2)
        # The page above is the same for every address; only this one needs the file.
        urllib.request.urlopen(f"{address}/api/contents/{FIRST}?content=0", timeout=30).close()
    finally:
        server.terminate()
        server.wait(30)


def run_notebook(notebook: Path, environment: dict[str, str], log: Path, network: bool) -> tuple[bool, int]:
    """Execute a notebook as in a Binder session. Returns whether it went well, and the peak of its largest process."""
    home = notebook.parents[1]
    command = [str(home / "binder" / "start"), "jupyter", "nbconvert", "--to", "notebook", "--execute"]
    command += ["--ExecutePreprocessor.timeout=600", "--output-dir", str(log.parent), str(notebook)]
    if not network:
        command = without_network(command)
    with log.open("wb") as file:
        running = subprocess.Popen(
            command, cwd=home, env=environment, preexec_fn=limit, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(running.pid, 0)  # with the kernel, which is a child of this child
        running.returncode = os.waitstatus_to_exitcode(status)
    return running.returncode == 0, usage.ru_maxrss * 1024


def tail(log: Path) -> str:
    """The end of a log, for an error message."""
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]


def main() -> int:
    """Build, start, run; 0 when all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NN", help="numbers of the notebooks to run (default: all)")
    parser.add_argument("--no-network", action="store_true", help="run the notebooks with the network cut (Linux)")
    parser.add_argument("--python", default=str(Path(sys.base_prefix, "bin", "python3")), help="instead of %(default)s")
    arguments = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory(prefix="perfteach-binder-", ignore_cleanup_errors=True) as folder:
        base, start = Path(folder), time.monotonic()
        home, environment = build(base, arguments.python)
        print(f"environment and postBuild   {time.monotonic() - start:6.1f} s", flush=True)
        start = time.monotonic()
        check_lab(home, environment, base / "lab.log")
        print(f"JupyterLab, first notebook  {time.monotonic() - start:6.1f} s", flush=True)
        notebooks = sorted((home / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        chosen = [path for path in notebooks if arguments.only is None or path.name[:2] in arguments.only]
        if len(chosen) < len(arguments.only or [1]):
            parser.error(f"there are only {', '.join(path.name[:2] for path in notebooks)}")
        for notebook in chosen:
            start, log = time.monotonic(), base / f"{notebook.stem}.log"
            good, peak = run_notebook(notebook, environment, log, network=not arguments.no_network)
            result = "ok" if good else "FAILED"
            print(f"{notebook.stem:<28}{time.monotonic() - start:6.1f} s {peak / 2**20:6.0f} MiB  {result}", flush=True)
            if not good:
                failed.append(notebook.stem)
                print(tail(log), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
