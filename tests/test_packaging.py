"""One list of dependencies, said four times: these tests fail when the copies drift apart."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_FILES = ["environment.yml", "binder/environment.yml"]
# Where conda-forge's name is not the package index's.
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base"}


def lower_bounds(requirements: list[str]) -> dict[str, str]:
    """Name to specifier, such as `{"torch": ">=2.10"}`."""
    parsed = [Requirement(line) for line in requirements]
    return {canonicalize_name(item.name): str(item.specifier) for item in parsed}


def conda_file(name: str) -> dict[str, list[str]]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("name", CONDA_FILES)
def test_conda_files_list_the_runtime_dependencies_with_the_same_bounds(name: str) -> None:
    listed = conda_file(name)["dependencies"]
    expected = {
        CONDA_NAMES.get(package, package) + bound for package, bound in lower_bounds(PROJECT["dependencies"]).items()
    }
    assert set(listed) - {"python=3.12", "pip"} == expected
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", CONDA_FILES)
def test_conda_files_are_complete_in_a_way_binder_understands(name: str) -> None:
    content = conda_file(name)
    assert content["channels"] == ["conda-forge"]
    # Strings only: a nested `pip:` part would hide a dependency from the comparison above.
    assert all(isinstance(item, str) for item in content["dependencies"])
    assert {"pip", "python=3.12"} <= set(content["dependencies"])
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains("3.12")


def test_both_conda_files_have_the_same_content() -> None:
    assert conda_file(CONDA_FILES[0]) == conda_file(CONDA_FILES[1])


def test_every_line_of_the_conda_files_says_what_it_is_for() -> None:
    for name in CONDA_FILES:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        items = [line for line in lines if line.lstrip().startswith("- ")]
        assert items
        assert [line for line in items if " # " not in line.replace("  #", " # ")] == []


def test_every_dependency_has_its_sentence_in_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = text[text.index("\ndependencies = [") : text.index("\n[project.scripts]")].splitlines()
    quoted = [i for i, line in enumerate(lines) if line.strip().startswith('"')]
    listed = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert len(quoted) == len(listed)
    assert [lines[i] for i in quoted if not re.fullmatch(r"    # .+\.", lines[i - 1])] == []


def test_constraints_pin_every_direct_dependency_within_its_bound() -> None:
    pins = constraints()
    direct = lower_bounds(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
    assert [name for name in direct if name not in pins] == []
    outside = [
        f"{name}=={pins[name]} is not {bound}"
        for name, bound in direct.items()
        if not Requirement(name + bound).specifier.contains(pins[name])
    ]
    assert outside == []


def test_no_set_up_file_names_a_host() -> None:
    for name in [
        "constraints.txt",
        *CONDA_FILES,
        "Makefile",
        "pyproject.toml",
        ".pre-commit-config.yaml",
        ".ci/run",
    ]:
        text = (ROOT / name).read_text(encoding="utf-8")
        own = (
            f'Repository = "{PROJECT["urls"]["Repository"]}"'  # the project's own page, from which nothing is installed
        )
        assert "://" not in text.replace(own, ""), name
        assert "index-url" not in text, name


@pytest.mark.parametrize("name", ["binder/postBuild", "binder/start", ".ci/run"])
def test_scripts_are_executable_and_valid_bash(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / name)], check=True)


def test_binder_start_hands_over_with_one_thread_per_library(tmp_path: Path) -> None:
    show = 'import os; print(*(os.environ[n] for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PERFTEACH_TIER")))'
    environment = {key: value for key, value in os.environ.items() if key != "PERFTEACH_TIER"}
    command = [str(ROOT / "binder/start"), sys.executable, "-c", show]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert done.stdout.split() == ["1", "1", "quick"]


def test_binder_post_build_stops_at_the_first_failure() -> None:
    lines = (ROOT / "binder/postBuild").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "set -e"
    assert "python -m pip install --no-cache-dir --no-deps -e ." in commands


def test_repo2docker_picks_conda_python_312_and_our_files() -> None:
    pytest.importorskip("repo2docker", reason="repo2docker is not installed")
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-2000:]
    assert "Building conda environment for python=3.12" in output
    assert '--file "binder/environment.yml"' in output
    assert re.search(r"^RUN \./binder/postBuild$", output, re.M)
    assert re.search(r'R2D_ENTRYPOINT="?.*binder/start', output)


def test_notice_names_trademark_patent_and_independence() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert '"Perforated Backpropagation" is a trademark of Perforated AI' in notice
    assert "11,580,403" in notice
    assert "not affiliated with or endorsed by" in notice


def test_the_license_is_apache_2() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def fresh(code: str) -> str:
    """Run code in a new interpreter, from the root so that it finds this copy of perfteach."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_version_is_the_same_everywhere() -> None:
    assert fresh("import perfteach; print(perfteach.__version__)") == PROJECT["version"]


def test_importing_perfteach_leaves_the_heavy_packages_alone() -> None:
    heavy = ("matplotlib", "ipywidgets", "pandas", "scipy")
    loaded = fresh(f"import sys, perfteach; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]"


def test_importing_perfteach_costs_little_beyond_torch_and_torchvision() -> None:
    # After the other two and in CPU time, so that a busy machine does not decide the result.
    code = (
        "import time, torch, torchvision; start = time.process_time(); import perfteach, perfteach.trainer;"
        "print(time.process_time() - start)"
    )
    assert statistics.median(float(fresh(code)) for _ in range(3)) <= 0.3


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMakefile:
    def make(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(
            ["make", *arguments], capture_output=True, text=True, cwd=folder, env=environment, timeout=120
        )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A clone in a folder whose name has spaces and letters outside ASCII."""
        folder = tmp_path / "Übung und Spaß 学"
        folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        return folder

    def test_help_lists_every_target_and_is_the_default(self, folder: Path) -> None:
        done = self.make(folder)
        assert done.returncode == 0, done.stderr
        targets = re.findall(r"^  make (\w+)", done.stdout, re.M)
        phony = re.search(r"^\.PHONY: (.+)$", (folder / "Makefile").read_text(), re.M)
        assert phony is not None
        assert sorted(targets) == sorted(phony.group(1).split())

    def test_a_python_that_is_too_old_gets_one_clear_sentence(self, folder: Path) -> None:
        old = folder / "old python"
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
        done = self.make(folder, "setup", "PYTHON=./old python")
        assert done.returncode != 0
        assert "perfteach needs Python 3.11 or newer" in done.stderr
        assert not (folder / ".venv").exists()

    def test_a_finished_set_up_is_not_repeated(self, folder: Path) -> None:
        (folder / ".venv").mkdir()
        (folder / ".venv" / ".perfteach-setup").touch()
        done = self.make(folder, "setup", "PYTHON=false")
        assert done.returncode == 0, done.stderr
        os.utime(folder / "constraints.txt", (2**31, 2**31))
        assert self.make(folder, "setup", "PYTHON=false").returncode != 0

    def test_test_fails_when_a_linter_fails(self, folder: Path) -> None:
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        (folder / ".venv" / ".perfteach-setup").touch()
        for part in ("ruff check", "ruff format", "mypy", "pytest"):
            python.write_text(f'#!/bin/sh\ncase "$*" in "-m {part}"*) exit 1;; esac\necho "ran $*"\n')
            python.chmod(0o755)
            assert self.make(folder, "test").returncode != 0, part
        python.write_text('#!/bin/sh\necho "ran $*"\n')
        done = self.make(folder, "test")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("ran -m pytest")
