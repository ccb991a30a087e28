"""The command line: `perfteach train`, `data`, `runs`, `study`, `predict`, `hackathon` and the others."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from perfteach import __version__
from perfteach.console import amount, folder, reason, say
from perfteach.errors import ConfigError, DataError, PerfteachError
from perfteach.extras import need
from perfteach.hackathon import commands as hackathon
from perfteach.interrupts import as_exceptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 when it went well, 1 after an error that is explained, 130 after Ctrl-C, 143 after
    SIGTERM and 129 after SIGHUP; argparse ends with 2 where the command is none.
    """
    with contextlib.suppress(AttributeError, ValueError):  # where standard output is something of somebody else's
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names in other letters
    arguments = parser().parse_args(argv)
    try:
        with as_exceptions():
            status = int(arguments.run(arguments) or 0)
            sys.stdout.flush()
        return status
    except PerfteachError as error:
        return say(str(error), 1)
    except BrokenPipeError:  # `| head` has read enough; what Python still flushes at its end must find an open file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stopped:
        number = getattr(stopped, "signal", signal.SIGINT)
        where = f" ({stopped})" if " " in str(stopped) else ""
        said = f"stopped by {signal.Signals(number).name}; nothing that was saved is lost, and the same command goes on"
        return say(f"{said}{where}", 128 + number)
    except MemoryError as error:
        return say(f"the memory is full ({error}); use fewer or smaller images, or a smaller batch or network", 1)
    except OSError as error:
        return say(f"{reason(error)}; make room, or choose another place with the command's options", 1)


def parser() -> argparse.ArgumentParser:
    """Every command with its options, its help text and an example."""
    top = argparse.ArgumentParser(prog="perfteach", description="Artificial dendrites for compact networks.")
    top.add_argument("--version", action="version", version=f"perfteach {__version__}")
    commands = top.add_subparsers(required=True, metavar="command")
    _add_train(_command(commands, "train", _train, "train a MobileNet in phases, resumably", TRAIN_EXAMPLE))
    demo = _command(commands, "demo", _demo, "the whole story in about two minutes", "perfteach demo --out figures")
    demo.add_argument("--out", type=folder, default=Path("figures"), help="folder for figures, records (%(default)s)")
    demo.add_argument("--quiet", action="store_true", help="no progress bars")
    _add_data(commands)
    _add_runs(commands)
    _add_study(commands)
    _add_predict(commands)
    hackathon.add_commands(commands, _command)
    _command(commands, "check-env", _check_env, "is everything installed? what to do if not", "perfteach check-env")
    return top


RULES = ("perforated", "covariance", "gradient", "shuffled", "none")
TRAIN_EXAMPLE = (
    "perfteach train --data cifar10 --model small --neuron 8 4 --dendrite 3 --out runs/first\n"
    "  (the same command again continues a run that was interrupted)"
)


def _command(commands, name, run, text, example) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    """A subcommand whose help ends with an example."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run)
    return made


def _add_train(train: argparse.ArgumentParser) -> None:
    add = train.add_argument
    add("--data", default="synthetic10", help="synthetic10, cifar10, cifar10-sample, folder or archive (%(default)s)")
    add("--label", help="what to call the data in records and figures; for a folder or archive of your own")
    add("--model", choices=("small", "extra-small"), default="small", help="which MobileNet (%(default)s)")
    add("--width", type=float, help="width multiplier (1.0; extra-small: 0.75)")
    add("--size", type=int, help="resize images to this many pixels (default: as they are)")
    add("--rule", choices=RULES, default="perforated", help="how dendrites learn; none: a plain network (%(default)s)")
    add("--select", help='only layers whose name matches, such as "features.*" (default: every layer that can)')
    add("--activation", help="φ of the dendrites: tanh, sigmoid, relu, hardswish, gelu or identity (tanh)")
    add("--switch", choices=("fixed", "plateau"), default="fixed", help="when phases end (%(default)s)")
    add("--neuron", type=int, nargs="+", metavar="EPOCHS", help="fixed: neuron phases (8 4)")
    add("--dendrite", type=int, metavar="EPOCHS", help="fixed: dendrite phases (3)")
    add("--patience", type=int, help="plateau: epochs without gain that end a neuron phase (5)")
    add("--cycles", type=int, help="cycles at most (fixed: as many as --neuron implies; plateau: 1)")
    add("--thaw", action="store_true", help="let dendrites go on learning in the neuron phase")
    add("--keep", action="store_true", help="keep a cycle even if it did not raise validation accuracy")
    add("--batch-size", type=int, default=128, help="images a step (%(default)s)")
    add("--lr", type=float, default=2e-3, help="peak learning rate of the neuron phases (%(default)s)")
    add("--dendrite-lr", type=float, help="peak learning rate of the dendrite phases (0.002)")
    add("--seed", type=int, default=0, help="seed of start weights, batches and dendrites (%(default)s)")
    add("--device", default="auto", help="cpu, cuda, or auto (%(default)s)")
    add("--out", type=folder, default=Path("runs/train"), help="folder of this run; holds the checkpoint (%(default)s)")
    add("--onnx", action="store_true", help="also write model.onnx, which `perfteach submit` hands in")
    add("--quiet", action="store_true", help="no progress bars")


def _train(arguments: argparse.Namespace) -> None:
    from perfteach import data, models, ranks
    from perfteach.config import TrainConfig
    from perfteach.phases import FixedSwitch, PlateauSwitch
    from perfteach.runs import report
    from perfteach.selection import perforate
    from perfteach.trainer import PerforatedTrainer

    _refuse_ignored(arguments)
    if arguments.onnx:  # now, and not when the training is over
        need("export", "onnx", "onnxscript")
    given, fixed, plain = partial(_given, arguments), arguments.switch == "fixed", arguments.rule == "none"
    rule = FixedSwitch(**given("neuron", "dendrite")) if fixed else PlateauSwitch(**given("patience"))
    cycles = 0 if plain else max(len(rule.neuron) - 1, 1) if isinstance(rule, FixedSwitch) else 1
    how = {"cycles": cycles, **given("cycles", "thaw", "batch_size", "size", "lr", "dendrite_lr", "seed", "device")}
    config = TrainConfig(switch=rule, roll_back=not arguments.keep, **how)
    images = data.load(arguments.data, label=arguments.label, progress=not arguments.quiet)
    build = models.mobilenet_small if arguments.model == "small" else models.mobilenet_extra_small
    model = build(len(images.classes), seed=arguments.seed, **given("width"))
    if not plain:
        perforate(model, arguments.select, arguments.rule, **given("activation"))
    with ranks.joined():
        trainer = PerforatedTrainer(model, images, config, name=arguments.out.name, folder=arguments.out)
        run = trainer.fit(progress=not arguments.quiet)
        if ranks.rank():  # one of several processes, and the first one reports
            return
    print(report(run))
    print(f"\nrecord: {arguments.out / 'run.jsonl'}")
    if arguments.onnx:
        from perfteach.hackathon.client import export

        print(f"network: {export(model, images, arguments.out, size=arguments.size)}")


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of these options that were given; for the others the library's own defaults hold."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _refuse_ignored(arguments: argparse.Namespace) -> None:
    """An option that would change nothing is refused, so that nobody believes that it did."""
    useless = {
        "--rule none": ("select", "activation", "thaw", "keep", "cycles", "dendrite", "dendrite_lr"),
        "--rule gradient": ("dendrite", "dendrite_lr", "thaw"),
        "--switch fixed": ("patience",),
        "--switch plateau": ("neuron", "dendrite"),
    }
    for why in (f"--rule {arguments.rule}", f"--switch {arguments.switch}"):
        for name in useless.get(why, ()):
            given = getattr(arguments, name)
            if given is not None and given is not False:  # 0 is given
                raise ConfigError(f"--{name.replace('_', '-')} has no effect with {why}; leave it out")
    if arguments.rule == "none" and len(arguments.neuron or ()) > 1:
        raise ConfigError("without dendrites there is one neuron phase: give --neuron one number, or choose a --rule")


def _demo(arguments: argparse.Namespace) -> None:
    from perfteach.course import demo

    arguments.out.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=arguments.out).close()  # what cannot be written is said now, not in two minutes
    demo.main(arguments.out, progress=not arguments.quiet)


def _add_data(commands) -> None:  # type: ignore[no-untyped-def]
    group = commands.add_parser("data", help="get, import, pack and look at images", description="Images.")
    data = group.add_subparsers(required=True, metavar="what")
    download = _command(data, "download", _download, "download CIFAR-10 (170 MB)", "perfteach data download cifar10")
    download.add_argument("name", choices=("cifar10",))
    download.add_argument("--mirror", help="address of a copy of cifar-10-python.tar.gz to try first; md5 is checked")
    text = "read an image folder or archive once, so that later loads take a second"
    imported = _command(data, "import", _show_data, text, "perfteach data import my-images.zip --label flowers")
    show = _command(data, "show", _show_data, "what a data set holds", "perfteach data show synthetic10")
    pack_text = "write data sets into one folder for a room without a network"
    packed = _command(data, "pack", _pack, pack_text, "perfteach data pack workshop --with cifar10")
    packed.add_argument("out", type=folder, help="folder to write into")
    packed.add_argument("--with", dest="also", nargs="*", default=[], help="also cifar10, cifar10-sample, a folder …")
    for command in (imported, show):
        command.add_argument("name", help="synthetic10, cifar10, cifar10-sample, or an image folder or archive")
        command.add_argument("--label", help="what to call it")


def _download(arguments: argparse.Namespace) -> None:
    from perfteach import data  # without torch, which an answer must not wait for

    folder = data.download_cifar10(data.cache_folder(), mirror=arguments.mirror)
    print(f"CIFAR-10 is complete in {folder}; load it with data.load('cifar10')")


def _show_data(arguments: argparse.Namespace) -> None:
    from perfteach import data

    images = data.load(arguments.name, label=arguments.label)
    print(_printable(images.title()))
    for split in ("train", "validation", "test"):
        print(f"  {split:<10} {len(images.split(split)):>7,} images, {tuple(images.split(split).images.shape[1:])}")
    print(_printable(f"  classes    {', '.join(images.classes)}"))
    print(f"  checksum   {images.checksum}")


def _pack(arguments: argparse.Namespace) -> None:
    from perfteach import data

    everything = [data.load(name) for name in ("synthetic10", *arguments.also)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for images in everything:
        safe = "".join(c if c.isalnum() else "-" for c in images.name.lower()).strip("-")[:100] or "images"
        name = next(name for name in (safe, *(f"{safe}-{k}" for k in range(2, 1000))) if name not in taken)
        taken.add(name)
        path = data.pack(images, arguments.out / f"{name}.npz")
        print(f"{images.title()}: {path} ({path.stat().st_size / 1e6:.0f} MB); load it with data.load({str(path)!r})")


def _add_runs(commands) -> None:  # type: ignore[no-untyped-def]
    group = commands.add_parser("runs", help="list and show recorded runs", description="Recorded runs.")
    runs = group.add_subparsers(required=True, metavar="what")
    listed = _command(runs, "list", _list_runs, "one line per recorded run", "perfteach runs list runs")
    listed.add_argument("folder", nargs="?", type=folder, help="where to look (default: the runs that come along)")
    show = _command(runs, "show", _show_run, "every epoch of a run", "perfteach runs show runs/first")
    show.add_argument("path", type=folder, help="a run's folder, or its .jsonl file")


def _list_runs(arguments: argparse.Namespace) -> int:
    from perfteach import runs

    places = [arguments.folder] if arguments.folder else list(runs.RECORDS)
    paths = sorted(path for place in places for path in place.rglob("*.jsonl"))
    if not paths:
        raise DataError(f"there are no run records in {', '.join(map(str, places))}; `perfteach train` makes one")
    damaged = 0
    for path in paths:
        try:
            run = runs.Run.load(path)
        except DataError as error:
            damaged = say(str(error), 1)
            continue
        result = f"test {run.result.test_accuracy:.2f} %" if run.result else "not finished"
        line = f"{run.name:<40} {len(run.epochs):>4} epochs  {result:<14} {run.data.get('name', '')!s:<28} {path}"
        print(_printable(line))
    return damaged


def _printable(line: str) -> str:
    """A line with names in it, on one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _show_run(arguments: argparse.Namespace) -> None:
    from perfteach.runs import Run, report

    path = arguments.path / "run.jsonl" if arguments.path.is_dir() else arguments.path
    print("\n".join(map(_printable, report(Run.load(path)).split("\n"))))


def _add_study(commands) -> None:  # type: ignore[no-untyped-def]
    text = "run, continue or report a study: a grid of arms and seeds"
    study = _command(
        commands, "study", _study, text, "perfteach study search-two-cycles --data my-cifar10.zip --seeds 0 1"
    )
    study.add_argument("name", help="mini, case-study, search, …; an unknown name lists them all")
    study.add_argument("--data", help="cifar10, or an image folder or archive (cifar10)")
    study.add_argument("--label", help="what to call the data in records and figures")
    study.add_argument("--seeds", type=int, nargs="+", help="only these seeds")
    study.add_argument("--arms", nargs="+", help="only these arms")
    study.add_argument("--jobs", type=int, help="runs at once on this machine, one core each (1)")
    study.add_argument("--scheduler", metavar="ADDRESS", help="train on the workers of this Dask scheduler instead")
    study.add_argument("--engine", help="how steps are run: eager, graph or compile (graph, which is eager on a CPU)")
    study.add_argument("--minutes", type=amount, help="start no new run after this many minutes")
    study.add_argument("--report", action="store_true", help="run nothing; print the table of what is recorded")
    study.add_argument("--work", type=folder, help="folder for checkpoints under way (runs/studies)")


def _study(arguments: argparse.Namespace) -> None:
    from perfteach import compare, data, runs, study

    study.find(arguments.name)
    given = _given(arguments, "arms", "seeds", "minutes", "data", "label", "work", "jobs", "scheduler", "engine")
    if arguments.report and given:
        raise ConfigError(f"--report shows all records of a study; leave out --{' and --'.join(given)}")
    if arguments.report:
        done = runs.recorded(arguments.name)
    else:
        images = data.load(given.pop("data", "cifar10"), label=given.pop("label", None))
        done = study.run_study(arguments.name, images, given.pop("work", Path("runs/studies")), **given)
    print(compare.table(compare.results(done)))


def _add_predict(commands) -> None:  # type: ignore[no-untyped-def]
    text = "what a trained network sees in a picture"
    predict = _command(commands, "predict", _predict, text, "perfteach predict cat.jpg holiday.png")
    predict.add_argument("pictures", nargs="+", metavar="PICTURE", help="a JPEG, PNG or other picture file")
    predict.add_argument("--network", default="mobilenet-extra-small", help="an unknown name lists all (%(default)s)")
    predict.add_argument("--top", type=int, default=3, help="how many classes to name (%(default)s)")


def _predict(arguments: argparse.Namespace) -> int:
    """One line a picture. One that cannot be read is said so, and the others are looked at all the same."""
    from perfteach.predict import classify

    failed = 0
    for picture in arguments.pictures:
        try:
            guesses = classify(picture, arguments.network, arguments.top)
        except DataError as error:
            failed = say(str(error), 1)
        else:
            seen = ", ".join(f"{guess.name} {100 * guess.probability:.1f} %" for guess in guesses)
            print(f"{_printable(picture)}: {seen}")
    return failed


def _check_env(arguments: argparse.Namespace) -> int:
    from perfteach.course import env

    checks = env.check_environment()
    print(env.report(checks))
    return 0 if env.ready(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
