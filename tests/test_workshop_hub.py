"""A JupyterHub with three learners on this machine, and what the documents of the hub say."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import load_tool

ROOT = Path(__file__).resolve().parent.parent
VALUES = ROOT / "binder" / "hub-values.yaml"
PAGE = (ROOT / "docs" / "workshop-hub.md").read_text(encoding="utf-8")

# The kernel goes into a control group with 300 MB and asks for more, as in a container with a limit.
GROUP = """
import os, pathlib
root = pathlib.Path("/sys/fs/cgroup")
root = root / "memory" if (root / "memory").is_dir() else root
group = root / f"perfteach-learner-{os.getpid()}"
group.mkdir()
limit = "memory.limit_in_bytes" if (root / "memory.limit_in_bytes").exists() else "memory.max"
(group / limit).write_text("300000000")
(group / "cgroup.procs").write_text(str(os.getpid()))
"""
FILL = "held = [bytearray(b'x') * 50_000_000 for _ in range(40)]"


@pytest.fixture(scope="module")
def load():
    if importlib.util.find_spec("jupyterhub") is None:
        pytest.skip("JupyterHub is not installed (pip install perfteach[dev]).")
    tool = load_tool("workshop_load")
    if tool.proxy_command() is None:
        pytest.skip("configurable-http-proxy is not installed (npm install -g configurable-http-proxy).")
    return tool


@pytest.fixture(scope="module")
def hub(load, tmp_path_factory):
    base = tmp_path_factory.mktemp("hub")
    with load.own_hub(base) as address:
        yield address, base / "homes"


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_three_learners_work_at_once_and_one_without_memory_leaves_the_others_alone(load, hub):
    address, homes = hub
    learners = [load.Learner(f"learner-{n}") for n in range(3)]
    ordinary = [["import time, os", "time.sleep(3)", "print(os.environ['OMP_NUM_THREADS'])"] * 4]
    may_limit = os.access("/sys/fs/cgroup", os.W_OK) and hasattr(os, "getuid") and os.getuid() == 0
    hungry = [[GROUP, FILL]] if may_limit else [["import os", "os.kill(os.getpid(), 9)"]]

    async def all_three() -> None:
        watch = asyncio.ensure_future(load._watch(learners, homes))
        works = (ordinary, ordinary, hungry)
        await asyncio.gather(*(load.learn(address, who, work, 0) for who, work in zip(learners, works, strict=True)))
        watch.cancel()

    asyncio.run(all_three())
    for group in Path("/sys/fs/cgroup").glob("**/perfteach-learner-*"):
        group.rmdir()
    for one in learners[:2]:
        assert one.problems == [] and len(one.cells) == 12 and one.started > 0
        assert one.memory > 2**24
    assert learners[2].problems == ["the kernel died"]
    again = load.Learner("learner-2")
    asyncio.run(load.learn(address, again, [["1 + 1"]], 0))
    assert again.problems == [], "the one who was out of memory can go on with a new kernel"


@pytest.mark.slow
def test_what_a_cell_raises_is_reported_and_ends_the_run_with_1(load, hub):
    learner = load.Learner("learner-3")
    asyncio.run(load.learn(hub[0], learner, [["1 / 0", "2"]], 0))
    assert learner.problems == ["ZeroDivisionError: division by zero"] and len(learner.cells) == 2
    assert "learner-3: ZeroDivisionError" in load.report([learner])


@pytest.mark.parametrize("first", ["execute_reply", "status"])
def test_a_cell_ends_whichever_of_reply_and_idle_comes_first(first):
    tool = load_tool("workshop_load")
    sent: list[str] = []

    class Kernel:
        """Answers the last message: by the shell and by the public channel, which keep no order between them."""

        def __init__(self) -> None:
            self.answers = [first, "execute_reply" if first == "status" else "status"]

        async def write_message(self, text: str) -> None:
            sent.append(json.loads(text)["header"]["msg_id"])

        async def read_message(self) -> str:
            kind = self.answers.pop(0)
            content = {"execution_state": "idle"} if kind == "status" else {"status": "ok"}
            said = {"header": {"msg_type": kind}, "parent_header": {"msg_id": sent[-1]}, "content": content}
            return json.dumps(said)

    kernel = Kernel()
    assert asyncio.run(tool._run_cell(kernel, "1 + 1")) == "" and kernel.answers == []


def test_a_learner_gets_what_binder_gives():
    start = (ROOT / "binder" / "start").read_text(encoding="utf-8")
    for name, value in load_tool("workshop_load").LEARNER.items():
        assert re.search(rf"export {name}=\D*{value}", start), name


def test_the_values_have_what_a_workshop_needs():
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    user = values["singleuser"]
    assert values["prePuller"]["hook"]["enabled"] and values["prePuller"]["continuous"]["enabled"]
    for kind in ("memory", "cpu"):
        assert user[kind]["guarantee"] and user[kind]["limit"]
    assert user["extraEnv"]["OMP_NUM_THREADS"] == "1"
    assert values["cull"]["enabled"] and values["cull"]["timeout"] >= 3600
    assert len(user["profileList"]) >= 2 and sum(bool(p.get("default")) for p in user["profileList"]) == 1
    assert values["scheduling"]["userScheduler"]["enabled"]
    assert user["startTimeout"] >= 300


def test_the_page_names_what_exists():
    for name in ("binder/hub-values.yaml", "tools/workshop_load.py"):
        assert name in PAGE and (ROOT / name).is_file()
    assert "git-pull" in PAGE and "OMP_NUM_THREADS" in PAGE and "check-env" in PAGE


# ---------------------------------------------------------------------------------------------- a new course version

NOTEBOOK = "notebooks/02_one_neuron_one_dendrite.ipynb"
ANSWER = "return torch.sigmoid(h) - y  # mine"


def git(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    who = ["-c", "user.name=course", "-c", "user.email=course@example.org", "-c", "core.autocrlf=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=check)


def rewrite(path: Path, old: str, new: str) -> None:
    """Opens a notebook, changes the first cell that has the old words, and saves it."""
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if old in cell.source)
    cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, path)


def release(course: Path) -> None:
    """A new version: a text and an exercise of the notebook are others, one file is new, and one is gone."""
    rewrite(course / NOTEBOOK, "...  # your code here", "...  # one line is enough")
    rewrite(course / NOTEBOOK, "# 02 · One neuron", "# 02 · Second edition: one neuron")
    (course / "notebooks/08_new.md").write_text("New.\n", encoding="utf-8")
    git(course, "rm", "-q", "old.md")
    git(course, "add", ".")
    git(course, "commit", "-q", "-m", "second version")


@pytest.fixture
def course(tmp_path):
    """A repository with one notebook of the course and one page more."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed.")
    folder = tmp_path / "course"
    (folder / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / NOTEBOOK, folder / NOTEBOOK)
    (folder / "old.md").write_text("Old.\n", encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first version")
    return folder


def test_answers_survive_an_update_by_the_hub_s_link(course, tmp_path):
    reason = "nbgitpuller is not installed (pip install perfteach[dev])."
    puller = pytest.importorskip("nbgitpuller.pull", reason=reason)
    home = tmp_path / "home"

    def click() -> str:
        return "".join(puller.GitPuller(course.as_uri(), str(home), branch="main").pull())

    click()
    rewrite(home / NOTEBOOK, "...  # your code here", ANSWER)
    (home / "notebooks/perfteach-progress.json").write_text("{}")
    release(course)
    click()
    merged = nbformat.read(home / NOTEBOOK, as_version=4)
    nbformat.validate(merged)
    sources = [cell.source for cell in merged.cells]
    assert any(source.endswith(ANSWER) for source in sources), "the learner's answer stays"
    assert not any("one line is enough" in source for source in sources)
    assert "Second edition" in sources[0], "what the learner did not touch is new"
    assert (home / "notebooks/08_new.md").is_file() and not (home / "old.md").exists()
    assert (home / "notebooks/perfteach-progress.json").is_file()
    before = git(home, "show", f"HEAD^1:{NOTEBOOK}").stdout
    assert ANSWER in before and "Second edition" not in before
    assert "git show HEAD^1:notebooks/" in PAGE

    (home / NOTEBOOK).rename(home / "notebooks/mine.ipynb")
    click()
    assert ANSWER in (home / "notebooks/mine.ipynb").read_text(encoding="utf-8")
    assert (home / NOTEBOOK).read_bytes() == (course / NOTEBOOK).read_bytes(), "the new version, whole"


def test_git_pull_touches_no_answer_and_says_so(course, tmp_path):
    home = tmp_path / "home"
    git(tmp_path, "clone", "-q", course.as_uri(), str(home))
    rewrite(home / NOTEBOOK, "...  # your code here", ANSWER)
    mine = (home / NOTEBOOK).read_bytes()
    release(course)
    said = git(home, "pull", check=False)
    assert said.returncode != 0 and NOTEBOOK in said.stderr
    assert (home / NOTEBOOK).read_bytes() == mine
