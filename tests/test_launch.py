"""Launching anywhere: README's commands in a fresh clone, Binder's files, no network, a read-only home, two users."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import free_port, load_tool, running
from PIL import Image

if sys.platform == "win32":
    pytest.skip("make, permission bits and network namespaces are not there on Windows", allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the first set-up on a machine downloads 3 GB
ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLI = [sys.executable, "-m", "perfteach.cli"]
Cut = Callable[[list[str]], list[str]]
# What a command that needs CIFAR-10 says where it has none. The images cannot be faked: their md5 is checked.
NO_CIFAR10 = r"perfteach: .*(run `perfteach data download cifar10`|cannot be reached).*load\('synthetic10'\)"


tool = load_tool("binder_check")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder whose path has a space and letters outside ASCII."""
    folder = tmp_path / "Kurs für alle 学"
    folder.mkdir()
    return folder


@pytest.fixture
def fresh(place: Path) -> dict[str, str]:
    """The environment of somebody with a new home folder."""
    (place / "home").mkdir()
    # One thread, as in the other tests; the cache stays where a new user has it.
    return tool.fresh_environment(place / "home") | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def images(place: Path) -> Path:
    """A small image folder of two classes: dark and bright."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 8)):
        for name, level in (("bright", 180), ("dark", 60)):
            folder = place / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray((level + rng.integers(-40, 40, (32, 32, 3))).astype("uint8")).save(
                    folder / f"{index}.png"
                )
    return place / "images"


@pytest.fixture
def registry() -> None:
    """Skips where no package can be installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_FIND", "UV_CONSTR"))}
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--quiet", "--no-deps", "--refresh"]
    done = subprocess.run(command, input="packaging", capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        pytest.skip(f"no package registry can be reached: {done.stderr.strip()[-300:]}")
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("a fresh clone needs git, and this folder to be a clone itself")


@pytest.fixture
def cut() -> Cut:
    """Makes of a command one that runs without a network."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed (Linux: util-linux)")
    tried = subprocess.run(tool.without_network(["true"]), capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()[-300:]}")
    return tool.without_network


def run(command: list[str], **settings) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "text": True, "timeout": 600, **settings}
    return subprocess.run(command, **settings)


def succeed(command: list[str], **settings) -> str:
    """What a command that goes well says."""
    done = run(command, **settings)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


# --- README, copied ---------------------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def served(command: list[str], port: int, seconds: float, **settings) -> bytes:
    """Start a JupyterLab, get the first notebook's page from it, and end it with its children."""
    # The repository is the root of what make lab shows; only an existing file has contents.
    address = f"http://127.0.0.1:{port}/api/contents/notebooks/00_start_here.ipynb?content=0"
    with running(command, address, settings["cwd"] / "lab.log", seconds, **settings) as page:
        return page


def lab_settings() -> tuple[int, dict[str, str]]:
    """A free port, and what makes `make lab` use it without a browser and without a password."""
    port = free_port()
    return port, {"PORT": str(port), "LAB_ARGS": "--no-browser --ServerApp.port_retries=0 --IdentityProvider.token="}


@pytest.mark.usefixtures("registry")
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_readme_commands_work_as_they_stand_in_a_fresh_clone(place: Path, fresh: dict[str, str]) -> None:
    port, lab = lab_settings()
    # One quick file: all the others run in the test run that this belongs to, and this test must not begin again.
    few = {"PYTEST_ARGS": "-n 0 -k test_runs --ignore=tests/test_launch.py"}
    folder, before = place, []
    lines = [line for block in blocks("sh") for line in block.splitlines() if line and not line.startswith("#")]
    assert {"make lab", "make test", "perfteach check-env"} <= set(lines)
    try:
        for line in lines:
            line = re.sub(r"^git clone .+ perfteach$", f"git clone --quiet {shlex.quote(str(ROOT))} perfteach", line)
            if line.startswith("cd "):
                folder /= line.removeprefix("cd ")
            elif line.startswith((". ", "source ", "export ")):
                before.append(line)
            elif line == "make lab":
                assert b"00_start_here" in served(["make", "lab"], port, 1500, cwd=folder, env=fresh | lab)
            else:
                succeed(["bash", "-c", "\n".join([*before, line])], cwd=folder, env=fresh | few, timeout=900)
    finally:
        shutil.rmtree(place / "perfteach" / ".venv", ignore_errors=True)  # 6 GB where nothing can be linked


def test_the_five_lines_of_the_readme(place: Path, fresh: dict[str, str]) -> None:
    (code,) = (block for block in blocks("python") if "PerforatedTrainer(" in block)
    small = code.replace('data.load("synthetic10")', 'data.load("synthetic10").subset(200, 100, 100)')
    short = small.replace("TrainConfig()", "TrainConfig(FixedSwitch((1, 1), dendrite=1), roll_back=False)")
    assert len(short) > len(small) > len(code), "README's lines are no longer those that this test shortens"
    said = succeed([sys.executable, "-c", f"from perfteach import FixedSwitch\n{short}"], cwd=place, env=fresh)
    assert "features." in said and "'dendrites'" in said.splitlines()[-1]


# --- the library alone ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("registry")
def test_a_wheel_without_extras_trains_and_shows_a_record(place: Path, fresh: dict[str, str]) -> None:
    environment = {name: value for name, value in fresh.items() if not name.startswith(("UV_FIND", "UV_CONSTR"))}
    uv, python = [sys.executable, "-m", "uv"], place / "venv" / "bin" / "python"
    succeed([*uv, "build", "--quiet", "--wheel", "--out-dir", str(place / "wheel"), str(ROOT)], env=environment)
    (wheel,) = (place / "wheel").glob("*.whl")
    succeed([*uv, "venv", "--quiet", "--python", sys.executable, str(place / "venv")], env=environment)
    try:
        install = [*uv, "pip", "install", "--quiet", "--python", str(python), "-c", str(ROOT / "constraints.txt")]
        succeed([*install, str(wheel)], env=environment, timeout=1500)
        listed = succeed([*uv, "pip", "freeze", "--python", str(python)], env=environment)
        names = {line.partition("==")[0].partition(" @")[0] for line in listed.splitlines()}
        assert {"perfteach", "torch", "safetensors"} <= names
        assert not {"jupyterlab", "ipywidgets", "ipython", "onnx", "onnxscript", "onnxruntime", "pytest"} & names

        (code,) = (block for block in blocks("python") if "PerforatedTrainer(" in block)
        small = code.replace('data.load("synthetic10")', 'data.load("synthetic10").subset(200, 100, 100)')
        short = small.replace("TrainConfig()", "TrainConfig(FixedSwitch((1,), dendrite=0), roll_back=False)")
        short = f"from perfteach import FixedSwitch\nimport perfteach; print(perfteach.__file__)\n{short}"
        said = succeed([str(python), "-c", short], cwd=place, env=environment).splitlines()
        assert Path(said[0]).is_relative_to(place / "venv") and "'total': " in said[-1]

        perfteach = str(python.parent / "perfteach")
        record = str(ROOT / "data" / "runs" / "mini" / "wider-seed0.jsonl")
        assert "test accuracy " in succeed([perfteach, "runs", "show", record], cwd=place, env=environment)
        assert "extra course: Run " in succeed([perfteach, "check-env"], cwd=place, env=environment)
        widgets = run([str(python), "-c", "import perfteach.widgets"], cwd=place, env=environment)
        assert widgets.returncode == 1 and widgets.stderr.rstrip().endswith("brings what this needs.")
    finally:
        shutil.rmtree(place / "venv", ignore_errors=True)  # 6 GB where nothing can be linked


# --- Binder -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("registry")
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and CPUs are set as Linux sets them")
def test_binder_files_run_in_order_with_two_gigabytes_one_cpu_and_no_network(cut: Cut) -> None:
    check = [sys.executable, str(ROOT / "tools" / "binder_check.py"), "--only", "00", "--no-network"]
    said = succeed(check, timeout=1700)
    row = re.search(r"^00_start_here +([\d.]+) s +(\d+) MiB  ok$", said, re.M)
    assert row is not None, said
    assert 200 < int(row[2]) < 2048, "not plausible for a kernel with torch"


# --- without a network ------------------------------------------------------------------------------------------------


def seconds_to_refuse(command: list[str], **settings) -> float:
    """How long it takes, or says it took, until a request for CIFAR-10 is refused in one sentence with what to do."""
    start = time.monotonic()
    done = run(command, **settings)
    taken = time.monotonic() - start
    assert done.returncode == 1, done.stdout
    assert re.fullmatch(NO_CIFAR10 + ".*\n", done.stderr), done.stderr
    own = re.search(r"^\d+\.\d+$", done.stdout, re.M)
    return float(own[0]) if own else taken


@pytest.mark.parametrize("more", [[], ["--mirror", "http://192.0.2.1/"]], ids=["no names", "no route"])
def test_a_download_without_a_network_is_refused_at_once(more, cut, place, fresh) -> None:
    assert seconds_to_refuse(cut([*CLI, "data", "download", "cifar10", *more]), cwd=place, env=fresh) < 10


def test_a_download_from_a_server_that_says_nothing_is_given_up(place, fresh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, and nobody answers
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        # All of them: with a network the others would answer.
        code = f"""
            import sys, time
            from perfteach import cli
            from perfteach.data import cifar10
            cifar10.MIRRORS = tuple({mirror!r} + name for name in ("b.gz", "c.gz", "d.gz", "e.gz"))
            start = time.monotonic()
            status = cli.main(["data", "download", "cifar10", "--mirror", {mirror!r}])
            print(time.monotonic() - start)
            sys.exit(status)
            """
        # Its own clock: starting Python takes seconds on a busy machine, and the waits add up to nearly eight.
        assert seconds_to_refuse([sys.executable, "-c", textwrap.dedent(code)], cwd=place, env=fresh) < 10


def test_load_without_a_network_raises_our_error(cut, place, fresh) -> None:
    code = """
        import sys, time
        from perfteach import data
        from perfteach.errors import PerfteachError
        assert "torch" not in sys.modules
        for download in (False, True):
            start = time.monotonic()
            try:
                data.load("cifar10", download=download, progress=False)
            except PerfteachError as error:
                print("perfteach:", error)
            print(time.monotonic() - start, "torchvision" in sys.modules)
        """
    said = succeed(cut([sys.executable, "-c", textwrap.dedent(code)]), cwd=place, env=fresh).splitlines()
    assert len(said) == 4
    for message, answer in (said[:2], said[2:]):
        seconds, torchvision = answer.split()
        assert re.match(NO_CIFAR10, message)
        # Importing torchvision takes seconds on a slow machine, and is of no use here.
        assert float(seconds) < 10 and torchvision == "False"


def test_packed_images_are_loaded_elsewhere_without_a_network(cut, place, fresh, images) -> None:
    shown = [*CLI, "data", "show"]
    succeed([*CLI, "data", "pack", "USB Stick", "--with", str(images)], cwd=place, env=fresh)
    first = [succeed([*shown, name], cwd=place, env=fresh) for name in ("synthetic10", str(images))]
    # Another machine: the folder has moved, there is no cache and no network, and nothing can be written to the stick.
    shutil.move(place / "USB Stick", place / "elsewhere")
    shutil.rmtree(images)
    (place / "home 2").mkdir()
    (place / "elsewhere").chmod(0o555)
    other = fresh | {"HOME": str(place / "home 2")}
    for name, said in zip(("synthetic10", "images"), first, strict=True):
        again = succeed(cut([*shown, f"elsewhere/{name}.npz"]), cwd=place, env=other)
        assert again == said and "checksum" in said
    (place / "elsewhere").chmod(0o755)


# --- read-only home, second user --------------------------------------------------------------------------------------


def bound_by_permissions(command: list[str]) -> list[str]:
    """The command as a user whom permission bits bind: root without root's powers, everybody else as he is."""
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("permissions do not bind root, and setpriv is not installed (Linux: util-linux)")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]


def train(images: Path, out: Path) -> list[str]:
    short = ["--width", "0.25", "--neuron", "1", "1", "--dendrite", "1", "--batch-size", "16", "--quiet"]
    return [*CLI, "train", "--data", str(images), *short, "--out", str(out)]


@pytest.fixture
def read_only(place: Path, fresh: dict[str, str]) -> dict[str, str]:
    """The environment of somebody whose home folder is read-only, but for one cache folder."""
    home = Path(fresh["HOME"])
    (home / "nur hier für Caches").mkdir()
    home.chmod(0o555)
    # Whatever does write to the home folder would go unnoticed if it could.
    assert run(bound_by_permissions(["touch", str(home / "x")])).returncode != 0
    return fresh | {"PERFTEACH_CACHE": str(home / "nur hier für Caches")}


def test_the_command_line_works_with_a_read_only_home(place, read_only, images) -> None:
    for command in ([*CLI, "data", "show", "synthetic10"], [*CLI, "check-env"], train(images, place / "runs" / "one")):
        succeed(bound_by_permissions(command), cwd=place, env=read_only)
    assert (place / "runs" / "one" / "run.jsonl").is_file()
    assert [path.name for path in Path(read_only["HOME"]).iterdir()] == ["nur hier für Caches"]


def test_without_its_cache_folder_a_read_only_home_is_told_what_to_do(place, read_only, images) -> None:
    del read_only["PERFTEACH_CACHE"]
    done = run(bound_by_permissions([*CLI, "data", "show", str(images)]), cwd=place, env=read_only)
    assert done.returncode == 1 and "set PERFTEACH_CACHE to a folder" in done.stderr
    assert done.stderr.startswith("perfteach: ") and done.stderr.count("\n") == 1


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_lab_works_with_a_read_only_home(place, read_only) -> None:
    # Set up already, with the packages of this environment.
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, place)
    (place / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", place / "notebooks")
    python = place / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (place / ".venv" / ".perfteach-setup").touch()
    port, lab = lab_settings()
    assert b"00_start_here" in served(bound_by_permissions(["make", "lab"]), port, 90, cwd=place, env=read_only | lab)


def test_a_second_user_on_the_same_machine(place, fresh, images) -> None:
    shared = place / "tmp"
    shared.mkdir()
    fresh |= {"TMPDIR": str(shared)}
    (place / "home 2").mkdir()
    users = [fresh, fresh | {"HOME": str(place / "home 2")}]
    for number, user in enumerate(users):
        succeed(bound_by_permissions(train(images, place / f"run {number}")), cwd=place, env=user)
        # What the first user leaves behind, the second can neither read nor change.
        for folder in [place / "home", *shared.iterdir()]:
            folder.chmod(0)
    (place / "home").chmod(0o755)
    kept = [sorted(path.name for path in (Path(user["HOME"]) / ".cache" / "perfteach").iterdir()) for user in users]
    assert kept[0] == kept[1] != [], "each has a cache of his own"
