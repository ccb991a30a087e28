"""Two processes that train one model end where one process ends, and go on after one of them was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranked import experts, own_loop, train

from perfteach import checkpoint

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name("ranked.py")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="PyTorch for Windows is built without what torchrun needs")


def start(folder: Path, processes: int, what: str, dies: int = 0) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    launch = [f"--nproc-per-node={processes}", "--standalone", str(SCRIPT), str(folder), what, str(dies)]
    command = [sys.executable, "-m", "torch.distributed.run", *launch]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)


def run(folder: Path, processes: int, what: str, dies: int = 0) -> dict[str, torch.Tensor]:
    """Train with so many processes; returns what rank 0 ends with, after seeing that the others end with the same."""
    done = start(folder, processes, what, dies)
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [torch.load(folder / f"end-{processes}-{rank}.pt", weights_only=True) for rank in range(processes)]
    for end in ends[1:]:
        assert all(torch.equal(end[name], value) for name, value in ends[0].items() if name not in ("losses",))
    return ends[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            value, other[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, torch.Tensor]:
    return run(tmp_path_factory.mktemp("whole"), 2, "perforated")


@pytest.mark.parametrize("what", ["perforated", "covariance", "own", "experts"])
def test_two_processes_end_where_one_ends(what: str, tmp_path: Path) -> None:
    alone = {"own": own_loop, "experts": experts}.get(what, lambda: train(tmp_path / "one", what, 0))()
    same(run(tmp_path / "two", 2, what), alone)


@pytest.mark.parametrize("epoch", [2, 5, 8], ids=["neuron phase", "dendrite phase", "second neuron phase"])
def test_after_a_killed_process_training_goes_on_from_the_last_epoch(epoch: int, whole, tmp_path: Path) -> None:
    killed = start(tmp_path / "killed", 2, "perforated", dies=epoch)
    assert killed.returncode and (tmp_path / "killed" / "died").exists()
    assert len(checkpoint.record(tmp_path / "killed" / "run").epochs) == epoch - 1, killed.stderr[-3000:]
    same(run(tmp_path / "killed", 2, "perforated"), whole)


def test_processes_that_do_not_see_the_same_checkpoint_do_not_go_on(tmp_path: Path) -> None:
    assert start(tmp_path, 2, "apart", dies=2).returncode
    again = start(tmp_path, 2, "apart")
    assert again.returncode and "put the folder on a disk that all machines share" in again.stderr
