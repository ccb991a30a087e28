"""Parts that are installed on request, and the sentence that says how to get a missing one."""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec

from perfteach.errors import MissingExtraError


def need(extra: str, *modules: str) -> None:
    """Go on only where an extra of perfteach is installed; nothing is imported.

    Args:
        extra: its name in pyproject.toml, such as `"export"`.
        modules: what is going to be imported from it, such as `"onnx"`.

    Raises:
        MissingExtraError: one of the modules is missing. The message names it and the command that installs the extra.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtraError(
            f"{' and '.join(missing)} {verb} not installed; {install_command(extra)} brings what this needs.",
            name=missing[0],
        )


def install_command(extra: str) -> str:
    """What installs an extra beside the perfteach that is there, as a line for a shell, between backticks."""
    return f'`{installer()} "perfteach[{extra}]"`'


def installer() -> str:
    """The words for a shell after which a package is named that is to be installed for this interpreter."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    if find_spec("pip") is None:  # `uv` makes environments without it
        return f"uv pip install --python {python}"
    return f"{python} -m pip install"


def installed_version(name: str) -> str | None:
    """The version of an installed package (or of Python), None when it is not installed."""
    if name == "python":
        return ".".join(str(part) for part in sys.version_info[:3])
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
