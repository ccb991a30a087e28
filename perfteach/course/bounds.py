"""Which versions perfteach accepts, read from its own metadata, and whether an installed one is among them.

Only the standard library is needed, so that `perfteach.course.env` can answer where everything else is missing.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from perfteach.errors import ConfigError

# The extras that somebody may want beside the library, and what for; the other ones are for its developers.
EXTRAS = {"course": "the notebooks and widgets", "export": "notebook 06", "hackathon": "notebook 07"}


class Bound(NamedTuple):
    """A package and the versions that are accepted, such as `Bound("torch", ">=2.10")`."""

    name: str
    specifier: str


def runtime_bounds() -> list[Bound]:
    """Python and the runtime dependencies, from the installed metadata or else a clone's pyproject.toml."""
    python, lines = _declared()
    return [Bound("python", python), *map(parse_bound, lines[""])] if python else []


def extra_bounds() -> dict[str, list[Bound]]:
    """The packages of each extra in `EXTRAS`, from the same place as the runtime dependencies."""
    _, lines = _declared()
    bounds = {extra: [parse_bound(line) for line in lines.get(extra, ())] for extra in EXTRAS}
    # An extra that brings another one names perfteach itself.
    return {extra: [bound for bound in of if bound.name != "perfteach"] for extra, of in bounds.items() if of}


def _declared() -> tuple[str, dict[str, list[str]]]:
    """The bound on Python, and the requirements by extra, the runtime ones under ""; both empty if nothing is known."""
    try:
        python = metadata.metadata("perfteach")["Requires-Python"]
        declared = metadata.requires("perfteach") or []
    except metadata.PackageNotFoundError:
        source = Path(__file__).resolve().parents[2] / "pyproject.toml"
        if not source.is_file():
            return "", {"": []}
        project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], {"": project["dependencies"], **project["optional-dependencies"]}
    lines: dict[str, list[str]] = {"": []}
    for line in declared:
        extra = re.search(r"""\bextra\s*==\s*["']([\w.-]+)["']""", line)
        lines.setdefault(extra.group(1) if extra else "", []).append(line)
    return python, lines


def parse_bound(requirement: str) -> Bound:
    """Split `"torch>=2.10"`, `"torch (>=2.10)"` or either with a marker into name and specifier.

    Raises:
        ConfigError: the text does not begin with a package's name.
    """
    match = re.match(r"\s*([\w.-]+)\s*(?:\[.*?\])?\s*\(?([^;)]*)", requirement)
    if match is None:
        raise ConfigError(f"Not a requirement: {requirement!r}; write it like 'torch>=2.10'.")
    return Bound(match.group(1), match.group(2).replace(" ", ""))


def satisfies(version: str, specifier: str) -> bool:
    """Does the version meet the specifier? Without the packaging library only numbers are compared."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return all(_satisfies_one(version, part) for part in specifier.split(",") if part)
    return SpecifierSet(specifier, prereleases=True).contains(version)


def _satisfies_one(version: str, part: str) -> bool:
    have, want = numbers(version), numbers(part.lstrip("<>=!~"))
    if part.startswith((">=", "~=")):
        return have >= want
    return have == want if part.startswith("==") else True


def numbers(version: str) -> list[int]:
    """`"2.10.0+cpu"` as `[2, 10]`: without the zeros at the end, so that 2.10 and 2.10.0 are equal."""
    match = re.match(r"(\d+(?:\.\d+)*?)(?:\.0+)*(?![\d.])", version)
    return [int(part) for part in match.group(1).split(".")] if match else [0]
