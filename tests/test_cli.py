"""The command line: every command does what its help says, and errors are one sentence, never a traceback."""

from __future__ import annotations

import argparse
import errno
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
from inspect import signature

import numpy as np
import pytest
from PIL import Image

import perfteach
from perfteach import cli, mobilenet_extra_small, mobilenet_small
from perfteach.config import TrainConfig
from perfteach.correlation import Rule
from perfteach.course import demo
from perfteach.phases import FixedSwitch, PlateauSwitch
from perfteach.runs import Run
from perfteach.study import run_study
from perfteach.trainer import PerforatedTrainer

# Runs of one epoch a phase often gain nothing, and then say loudly that no dendrite is installed.
pytestmark = pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning")


@pytest.fixture
def folder(tmp_path):
    """A small image folder of two classes: dark and bright."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 8)):
        for name, level in (("bright", 180), ("dark", 60)):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(-40, 40, (32, 32, 3))
                Image.fromarray((level + noise).astype("uint8")).save(
                    tmp_path / "images" / split / name / f"{index}.png"
                )
    return tmp_path / "images"


def train(folder, out, *more: str) -> list[str]:
    short = ["--width", "0.25", "--batch-size", "16", "--quiet"]
    short += ["--neuron", "1"] if more == ("--rule", "none") else ["--neuron", "1", "1", "--keep"]
    if "--rule" not in more:
        short += ["--dendrite", "1"]
    return ["train", "--data", str(folder), "--label", "light", *short, "--out", str(out), *more]


def test_train_shows_every_epoch_and_continues_nothing_twice(folder, tmp_path, capsys):
    assert cli.main(train(folder, tmp_path / "run")) == 0
    said = capsys.readouterr().out
    run = Run.load(tmp_path / "run" / "run.jsonl")
    assert [e["phase"] for e in run.epochs] == ["neuron", "dendrite", "neuron"]
    assert "light" in said and "switch:" in said and "every dendrite counted" in said
    assert f"{run.result['parameters']['total']:,}" in said
    assert cli.main(train(folder, tmp_path / "run")) == 0, "the finished run is shown again"
    assert Run.load(tmp_path / "run" / "run.jsonl") == run
    assert cli.main(["runs", "show", str(tmp_path / "run")]) == 0
    assert "every dendrite counted" in capsys.readouterr().out
    assert cli.main(["runs", "list", str(tmp_path)]) == 0
    assert "3 epochs" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="there is no bash to count on")
def test_a_reader_that_has_seen_enough_ends_the_list_quietly():
    line = f"{shlex.quote(sys.executable)} -m perfteach.cli runs list | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1 and done.stderr == ""


@pytest.mark.parametrize(
    "more",
    [
        ["--rule", "gradient"],
        ["--rule", "none"],
        ["--thaw"],
        ["--select", "features.*"],
        ["--activation", "relu"],
    ],
)
def test_train_options(folder, tmp_path, more):
    assert cli.main(train(folder, tmp_path / "run", *more)) == 0
    run = Run.load(tmp_path / "run" / "run.jsonl")
    dendrites = run.result["parameters"]["dendrites"] if run.result["best_epoch"] > 1 else None
    assert run.header["rule"] == {"gradient": "gradient", "none": None}.get(more[-1], "perforated")
    assert run.header["config"]["thaw"] == (more == ["--thaw"])
    assert dendrites is None or (dendrites == 0) == (more[-1] == "none")
    activations = {layer["activation"] for layer in run.header["layers"]}
    assert activations == {"none": set(), "relu": {"relu"}}.get(more[-1], {"tanh"})


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["train", "--data", "no-such-folder"], "no-such-folder"),
        (["train", "--batch-size", "0"], "batch_size"),
        (["train", "--neuron", "0"], "neuron[0] is 0; use a whole number, 1 or more"),
        (["train", "--rule", "none", "--select", "features.*"], "--select has no effect with --rule none"),
        (["train", "--activation", "softplus"], "activation is 'softplus'; use one of 'tanh', 'sigmoid', 'relu'"),
        (["train", "--rule", "none", "--activation", "relu"], "--activation has no effect with --rule none"),
        (["train", "--rule", "none", "--neuron", "8", "4"], "give --neuron one number"),
        (["train", "--rule", "none", "--dendrite-lr", "0.1"], "--dendrite-lr has no effect with --rule none"),
        (["train", "--rule", "gradient", "--dendrite", "4"], "--dendrite has no effect with --rule gradient"),
        (["train", "--switch", "plateau", "--neuron", "4"], "--neuron has no effect with --switch plateau"),
        (["train", "--switch", "plateau", "--dendrite", "0"], "--dendrite has no effect with --switch plateau"),
        (["train", "--patience", "3"], "--patience has no effect with --switch fixed"),
        (["runs", "show", "nothing.jsonl"], "no run record"),
        (["runs", "list", "."], "no run records"),
        (["study", "huge"], "mini"),
        (["study", "mini", "--report", "--seeds", "0", "--minutes", "1"], "leave out --seeds and --minutes"),
        (["study", "mini", "--report", "--data", "cifar10"], "leave out --data"),
        (["study", "mini", "--report", "--jobs", "2"], "leave out --jobs"),
        (["data", "pack", "out", "--with", "no-such"], "no-such"),
    ],
)
def test_errors_are_one_sentence(argv, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 1
    said = capsys.readouterr().err
    assert says in said and said.startswith("perfteach: ") and said.count("\n") == 1


def commands(parser: argparse.ArgumentParser | None = None, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command there is, as the words that call it."""
    (within,) = (action for action in (parser or cli.parser())._actions if isinstance(action.choices, dict))
    found = []
    for name, below in within.choices.items():
        group = any(isinstance(action.choices, dict) for action in below._actions)
        found += commands(below, (*above, name)) if group else [(*above, name)]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and f"perfteach {' '.join(command)}" in said.split("example:")[1]


def own(function, name):
    """A function's own default for an argument."""
    return signature(function).parameters[name].default


@pytest.mark.parametrize(
    ("command", "option", "default"),
    [
        (
            "train",
            "--width WIDTH",
            f"{own(mobilenet_small, 'width')}; extra-small: {own(mobilenet_extra_small, 'width')}",
        ),
        ("train", "--activation ACTIVATION", own(perfteach.perforate, "activation")),
        ("train", "--neuron EPOCHS [EPOCHS ...]", " ".join(map(str, FixedSwitch.neuron))),
        ("train", "--dendrite EPOCHS", str(FixedSwitch.dendrite)),
        ("train", "--patience PATIENCE", str(PlateauSwitch.patience)),
        ("train", "--batch-size BATCH_SIZE", str(TrainConfig.batch_size)),
        ("train", "--lr LR", str(TrainConfig.lr)),
        ("train", "--dendrite-lr DENDRITE_LR", str(TrainConfig.dendrite_lr)),
        ("train", "--seed SEED", str(TrainConfig.seed)),
        ("train", "--device DEVICE", TrainConfig.device),
        ("study", "--jobs JOBS", str(own(run_study, "jobs"))),
        ("study", "--engine ENGINE", f"{own(run_study, 'engine')}, which is eager on a CPU"),
    ],
)
def test_help_says_the_defaults_of_the_library(command, option, default, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a narrow one breaks lines within words
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    assert said.partition(f"{option} ")[2].partition(" --")[0].endswith(f"({default})")


def test_a_picture_that_is_not_there_is_called_missing(capsys):
    assert cli.main(["predict", "no such picture.png"]) == 1
    assert "there is no file no such picture.png" in capsys.readouterr().err


def test_a_rule_that_is_none_is_refused_with_all_that_there_are(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--rule", "magic"])
    said = capsys.readouterr().err
    assert all(rule in said for rule in ("magic", *Rule, "none"))


def test_a_missing_extra_is_named_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("perfteach.extras.find_spec", lambda module: None if module == "onnx" else True)
    monkeypatch.setattr(PerforatedTrainer, "fit", lambda *_, **__: pytest.fail("it trained"))
    assert cli.main(["train", "--onnx", "--out", str(tmp_path / "run")]) == 1


def test_data_show_and_pack(folder, tmp_path, capsys):
    assert cli.main(["data", "import", str(folder), "--label", "light"]) == 0
    assert "bright, dark" in capsys.readouterr().out
    assert cli.main(["data", "pack", str(tmp_path / "stick"), "--with", str(folder)]) == 0
    packed = tmp_path / "stick" / "images.npz"
    assert packed.is_file() and (tmp_path / "stick" / "synthetic10.npz").is_file()
    assert cli.main(["data", "show", str(packed)]) == 0
    assert "bright, dark" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_end_politely(monkeypatch, tmp_path, capsys, name, status):
    if not hasattr(signal, name):
        pytest.skip("this system has no such signal")
    monkeypatch.setattr(demo, "main", lambda *args, **how: signal.raise_signal(getattr(signal, name)))
    assert cli.main(["demo", "--out", str(tmp_path)]) == status
    said = capsys.readouterr().err
    assert f"stopped by {name}" in said and said.count("\n") == 1


def test_a_signal_within_training_says_what_is_kept(folder, tmp_path, monkeypatch, capsys):
    class Stopping(PerforatedTrainer):
        def save(self) -> None:
            super().save()
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("perfteach.trainer.PerforatedTrainer", Stopping)
    assert cli.main(train(folder, tmp_path / "run")) == 143
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("stopping after this step") and "1 epoch is kept" in said[1] and len(said) == 2
    monkeypatch.undo()
    assert cli.main(train(folder, tmp_path / "run")) == 0
    assert len(Run.load(tmp_path / "run" / "run.jsonl").epochs) == 3


ODD = [
    ["train", "--out", ""], ["train", "--out", "nul\0"], ["train", "--lr", "nan"], ["train", "--lr", "inf"],
    ["train", "--lr", "-1"], ["train", "--lr", "x"], ["train", "--dendrite-lr", "nan"], ["train", "--seed", "-1"],
    ["train", "--seed", str(2**70)], ["train", "--size", "0"], ["train", "--size", "-5"], ["train", "--cycles", "-1"],
    ["train", "--dendrite", "-3"], ["train", "--switch", "plateau", "--patience", "0"], ["train", "--device", "meta"],
    ["train", "--device", ""], ["train", "--data", ""], ["train", "--data", "/dev"], ["train", "--data", "x" * 999],
    ["train", "--data", "file"], ["train", "--data", "nul\0"], ["demo", "--out", ""], ["demo", "--out", "file"],
    ["demo", "--out", "file/below"], ["runs", "list", ""], ["runs", "list", "file"], ["runs", "list", "nul\0"],
    ["runs", "show", ""], ["runs", "show", "."], ["runs", "show", "file"], ["data", "pack", ""], ["data", "show", ""],
    ["data", "import", "/dev/zero"], ["data", "show", "file.npz"], ["data", "download", "cifar10", "--mirror", "ftp://x"],
    ["study", ""], ["study", "mini", "--minutes", "nan"], ["study", "mini", "--minutes", "-1"],
    ["study", "mini", "--work", ""], ["study", "mini", "--data", "file"], ["study", "mini", "--seeds", "x"],
    ["train", "--width", "nan"], ["train", "--select", "["], ["predict", ""], ["predict", "file"], ["predict", "nul\0"],
    ["predict", "file", "--network", "x"], ["predict", "file", "--top", "0"], ["hackathon", "init", ""],
    ["hackathon", "init", "file"], ["hackathon", "init", "file/below"], ["hackathon", "init", "nul\0"],
    ["hackathon", "init", "event", "--hidden", "0"], ["hackathon", "init", "event", "--parameters", "-1"],
    ["hackathon", "init", "event", "--data", "file"], ["hackathon", "serve", ""], ["hackathon", "serve", "file"],
    ["hackathon", "team", "file", "owls"], ["hackathon", "finish", "."], ["hackathon", "reference", "file", "x"],
    ["submit", "", "--name", "x"], ["submit", "file", "--name", "x"], ["submit", "file", "--name", ""],
    ["submit", "file", "--name", "x" * 99], ["submit", "file", "--name", "x", "--out", ""],
]  # fmt: skip


@pytest.mark.parametrize("argv", ODD, ids=lambda argv: " ".join(argv)[:60].replace("\0", "NUL"))
def test_odd_arguments_are_refused_and_nothing_is_written(argv, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not what it should be")
    (tmp_path / "file.npz").write_text("neither")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFTEACH_CACHE", str(tmp_path / "cache"))
    try:
        status = cli.main(argv)
    except SystemExit as ended:  # argparse
        status = ended.code
    said = capsys.readouterr().err.splitlines()
    assert status in (1, 2) and said[-1].startswith("perfteach") and (status == 2 or len(said) == 1), said
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "file.npz", "cache"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO])
def test_what_the_system_says_is_one_line(monkeypatch, capsys, tmp_path, number):
    def failing(*args, **how):
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(demo, "main", failing)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert os.strerror(number) in said and "some/file" in said and said.count("\n") == 1


def test_a_damaged_record_does_not_end_the_list(tmp_path, capsys):
    for number, text in enumerate((b"1", b"null", b'"a"', b"\xff\xfe", b"[" * 100_000)):
        (tmp_path / f"{number}.jsonl").write_bytes(text)
    Run({"name": "good\n\u202e$a_{$"}).save(tmp_path / "z.jsonl")
    assert cli.main(["runs", "list", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 5 and said.out.count("\n") == 1 and "$a_{$" in said.out


def test_a_name_in_letters_that_the_terminal_lacks_is_escaped(tmp_path):
    Run({"name": "caf\udce9 🦎", "data": {"name": "ünicode"}}).save(tmp_path / "run.jsonl")
    command = [sys.executable, "-m", "perfteach.cli", "runs", "show", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and "caf\\udce9 \\U0001f98e: \\xfcnicode" in done.stdout, done.stderr


def test_installed_command_runs_and_names_its_version():
    done = subprocess.run([sys.executable, "-m", "perfteach.cli", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"perfteach {perfteach.__version__}\n"


def test_an_interrupt_does_not_wait_for_the_demo_s_runs(monkeypatch):
    def interrupt(waiting):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "as_completed", interrupt)
    others = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        demo.side_by_side([(demo.mobilenet_run, "same-epochs", 0)] * 2, progress=False)
    assert set(multiprocessing.active_children()) <= others


def test_the_arms_of_the_demo_train_equally_many_epochs():
    config = demo.arm_config("perforated", (2, 3), 1, batch_size=50)
    assert config.switch.neuron == (2, 3) and demo.arm_config("random", (2, 3), 1).switch.neuron == (2, 4)
