"""How the command line speaks: one line on standard error, and options that are checked as they are read."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from perfteach import settings
from perfteach.errors import ConfigError


def say(text: str, status: int) -> int:
    """One line on standard error, where there still is one; returns the status."""
    line = " ".join(text.split())
    with contextlib.suppress(OSError, ValueError):
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        print(f"perfteach: {line.encode(encoding, 'backslashreplace').decode(encoding)}", file=sys.stderr, flush=True)
    return status


def reason(error: OSError) -> str:
    """What the system said, and of which file."""
    said = error.strerror or str(error) or type(error).__name__
    return f"{said}: {str(error.filename)!r}" if error.filename else said


def folder(text: str) -> Path:
    """A folder to write to, as an option names it: `--out ""` would be the folder one stands in."""
    try:
        return settings.path("the folder", text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def amount(text: str) -> float:
    """A number of 0 or more, such as minutes."""
    try:
        return settings.number("the number", float(text), 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more") from None
