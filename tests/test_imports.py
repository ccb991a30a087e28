"""Imports go one way, and the contract that says so can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINT, "--no-cache", "--config", str(place / "pyproject.toml")]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("errors.py", "from perfteach import phases"),
        ("dendrites.py", "from perfteach.selection import perforate"),
        ("cycle.py", "def later():\n    from perfteach.trainer import PerforatedTrainer"),
        ("runs.py", "from perfteach.plots import style"),
    ],
)
def test_an_arrow_turned_round_breaks_the_contract(tmp_path, module, line):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "perfteach", tmp_path / "perfteach", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "perfteach" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{line}\n", encoding="utf-8")
    told = lint(tmp_path)
    assert told.returncode == 1 and "1 broken" in told.stdout, told.stdout + told.stderr


def test_imports_go_one_way():
    told = lint(ROOT)
    assert told.returncode == 0 and "1 kept, 0 broken" in told.stdout, told.stdout + told.stderr
