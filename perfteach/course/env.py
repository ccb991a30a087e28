"""Is this machine ready for the course? `perfteach check-env` and notebook 00 show the answer.

Only the standard library is imported here, and torch is tried in a process of its own, so that the check
gives its answer even where torch is missing, broken, or takes the interpreter down with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from perfteach.course.bounds import EXTRAS, Bound, extra_bounds, numbers, parse_bound, runtime_bounds, satisfies
from perfteach.course.container import cpu_quota, free_memory, usable_cpus
from perfteach.course.probe import probe_torch
from perfteach.extras import install_command, installed_version, installer

Status = Literal["ok", "warn", "fail"]

GIB = 2**30
# Below the first figure training fails or swaps; below the second only the quick tier is comfortable.
MEMORY_NEEDED, MEMORY_WANTED = 0.5 * GIB, 1.5 * GIB
# The embedded images need 0.04 GiB as arrays, CIFAR-10 with its archive and arrays about 0.6 GiB.
DISK_NEEDED, DISK_WANTED = 0.1 * GIB, 1.0 * GIB
WIDGET_FILES = {
    "jupyterlab_widgets": "labextensions/@jupyter-widgets/jupyterlab-manager/package.json",
    "anywidget": "labextensions/anywidget/package.json",
}


@dataclass(frozen=True)
class Check:
    """One line of the report; `remedy` is the one thing to do when the status is not ok."""

    name: str
    status: Status
    found: str
    wanted: str = ""
    remedy: str = ""


def check_environment() -> list[Check]:
    """Look at everything the course needs; takes a few seconds, nearly all of it importing torch.

    Returns:
        One check per dependency, for each extra one or one per package, then torch, widgets, memory, disk, CPUs, GPU,
        cache and CIFAR-10.
    """
    cache = cache_folder()
    probe = probe_torch()
    return [
        *check_packages(),
        *check_extras(),
        check_torch(probe),
        check_torchvision(probe),
        check_widgets(),
        check_memory(free_memory()),
        check_disk(cache),
        check_cpus(usable_cpus(), cpu_quota(), os.environ.get("OMP_NUM_THREADS", "")),
        Check("GPU", "ok", str(probe.get("gpu") or "none"), "not needed"),
        check_cache(cache),
        check_cifar10(cache),
    ]


def ready(checks: Iterable[Check]) -> bool:
    """True when no check failed; warnings are allowed."""
    return all(check.status != "fail" for check in checks)


def report(checks: Sequence[Check]) -> str:
    """The checks as a text table, followed by the one thing to do for each that is not ok."""
    rows = [("check", "status", "found", "wanted"), *((c.name, c.status, c.found, c.wanted) for c in checks)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    todo = [f"{c.status}: {c.name}: {c.remedy}" for c in checks if c.status != "ok"]
    return "\n".join([*lines, "", *todo, _verdict(checks)])


def as_html(checks: Sequence[Check]) -> str:
    """For a notebook: the verdict, a table of what needs attention, and the rest folded away.

    The status is told by a word and a sign, not by colour alone.
    """
    attention = [check for check in checks if check.status != "ok"]
    fine = [check for check in checks if check.status == "ok"]
    parts = [f"<p><b>{escape(_verdict(checks))}</b></p>"]
    if attention:
        parts.append(_table(attention, ("check", "status", "found", "wanted", "what to do")))
    if fine:
        folded = _table(fine, ("check", "status", "found", "wanted"))
        parts.append(f"<details><summary>{len(fine)} checks are ok</summary>{folded}</details>")
    return "".join(parts)


def _table(checks: Sequence[Check], titles: Sequence[str]) -> str:
    signs, style = {"ok": "✓ ok", "warn": "! warn", "fail": "✗ fail"}, ' style="text-align:left"'
    head = "".join(f"<th{style}>{title}</th>" for title in titles)
    rows = [(c.name, signs[c.status], c.found, c.wanted, c.remedy)[: len(titles)] for c in checks]
    body = "".join("<tr>" + "".join(f"<td{style}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _verdict(checks: Sequence[Check]) -> str:
    failed = sum(check.status == "fail" for check in checks)
    warned = sum(check.status == "warn" for check in checks)
    if failed:
        return f"Not ready: {failed} to repair" + (f", {warned} to keep in mind." if warned else ".")
    return "Ready." if not warned else f"Ready, with {warned} to keep in mind."


def check_packages(
    bounds: Sequence[Bound] | None = None, version_of: Callable[[str], str | None] | None = None
) -> list[Check]:
    """Python and every runtime dependency against the bound in perfteach's own metadata."""
    if bounds is None:
        bounds = runtime_bounds()
    look_up = version_of or installed_version
    if not bounds:
        remedy = "Run `make setup`, or `python -m pip install -e .` in the folder of the course."
        return [Check("perfteach", "fail", "not installed", "", remedy)]
    return [_check_package(bound, look_up(bound.name)) for bound in bounds]


def check_extras(
    bounds: dict[str, list[Bound]] | None = None, version_of: Callable[[str], str | None] | None = None
) -> list[Check]:
    """The packages of each extra. One that is not (wholly) installed is a single warning: the library works without."""
    if bounds is None:
        bounds = extra_bounds()
    look_up, checks = version_of or installed_version, []
    for extra, packages in bounds.items():
        missing = [bound.name for bound in packages if look_up(bound.name) is None]
        if missing:
            found, wanted = f"without {', '.join(missing)}", f"for {EXTRAS.get(extra, 'development')}"
            checks.append(Check(f"extra {extra}", "warn", found, wanted, f"Run {install_command(extra)}."))
        else:
            known = {check.name for check in checks}  # of another extra, which this one includes
            checks += [_check_package(bound, look_up(bound.name)) for bound in packages if bound.name not in known]
    return checks


def _check_package(bound: Bound, version: str | None) -> Check:
    if version is not None and satisfies(version, bound.specifier):
        return Check(bound.name, "ok", version, bound.specifier)
    if bound.name == "python":
        remedy = f"Install Python {bound.specifier.lstrip('>=')} or newer and set perfteach up with it."
    else:
        remedy = f'Run `{installer()} "{bound.name}{bound.specifier}"`.'
    return Check(bound.name, "fail", version or "missing", bound.specifier, remedy)


def check_torch(probe: dict[str, Any]) -> Check:
    """Did torch import, and is its matrix product right?"""
    wanted, found = "imports and multiplies", str(probe.get("error", probe.get("torch")))
    if "error" not in probe and probe.get("product") != [[7.0, 10.0], [15.0, 22.0]]:
        found = f"wrong product {probe.get('product')}"
    elif "error" not in probe:
        return Check("torch works", "ok", found, wanted)
    return Check("torch works", "fail", found, wanted, _reinstall_torch())


def check_torchvision(probe: dict[str, Any], requirements: Sequence[str] | None = None) -> Check:
    """Does torchvision import, and was it built for this torch?"""
    if requirements is None:
        requirements = _requirements_of("torchvision")
    bounds = [parse_bound(line) for line in requirements if "extra ==" not in line]
    bound = next((b.specifier for b in bounds if b.name == "torch"), "")
    wanted = f"torch{bound}" if bound else "imports"
    if "error" in probe:
        remedy = "Repair torch first; torchvision cannot be tried without it."
        return Check("torchvision matches torch", "fail", "torch does not work", wanted, remedy)
    if "torchvision" not in probe:
        found = str(probe.get("problem", "does not import"))[:200]
        return Check("torchvision matches torch", "fail", found, wanted, _reinstall_torch())
    found = f"{probe['torchvision']} with torch {probe['torch']}"
    if bound and not satisfies(str(probe["torch"]), bound):
        return Check("torchvision matches torch", "fail", found, wanted, _reinstall_torch())
    return Check("torchvision matches torch", "ok", found, wanted)


def _requirements_of(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def _reinstall_torch() -> str:
    return f"Install the two together: `{installer()} --force-reinstall torch torchvision`."


def check_widgets(
    version_of: Callable[[str], str | None] | None = None, has_browser_part: Callable[[], bool] | None = None
) -> Check:
    """Can widgets render? That takes ipywidgets in Python and the matching part in JupyterLab, and so for anywidget."""
    look_up, look = version_of or installed_version, has_browser_part or widget_files_present
    python, lab = look_up("ipywidgets"), look_up("jupyterlab_widgets")
    found = f"ipywidgets {python or 'missing'}, jupyterlab_widgets {lab or 'missing'}"
    wanted = "8 and 3, with the browser part"
    remedy = f"Run `{installer()} --force-reinstall ipywidgets jupyterlab_widgets anywidget`."
    if not python and not lab:
        # The library does without; the line on the extra says the same for all of it.
        return Check("widgets", "warn", "not installed", wanted, f"Run {install_command('course')}.")
    if not python or not lab or numbers(python)[0] != 8 or numbers(lab)[0] != 3:
        return Check("widgets", "fail", found, wanted, remedy)
    if not look():
        return Check("widgets", "fail", f"{found}, browser part missing", wanted, remedy)
    return Check("widgets", "ok", found, wanted)


def widget_files_present() -> bool:
    """Is the JavaScript that draws widgets where JupyterLab looks for it, that of both packages?"""
    return all(_browser_part(package, file) for package, file in WIDGET_FILES.items())


def _browser_part(package: str, file: str) -> bool:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    listed = [Path(str(path.locate())) for path in files if str(path).endswith(file)]
    return any(path.is_file() for path in [*listed, Path(sys.prefix, "share/jupyter", file)])


def check_memory(free: int | None) -> Check:
    """Is there memory for a training run? `free` in bytes, None when the system does not tell."""
    wanted = f"{MEMORY_WANTED / GIB:g} GiB"
    remedy = "Close other programs and other notebooks' kernels."
    return _check_room("free memory", free, MEMORY_NEEDED, MEMORY_WANTED, wanted, remedy)


def check_disk(folder: Path) -> Check:
    """Is there room on the disk that holds the cache folder?"""
    place = _nearest_existing(folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = None
    remedy = f"Make room on the disk of {place}, or set PERFTEACH_CACHE to a folder on another one."
    return _check_room("free disk", free, DISK_NEEDED, DISK_WANTED, f"{DISK_WANTED / GIB:g} GiB", remedy)


def _check_room(name: str, free: int | None, needed: float, wanted: float, text: str, remedy: str) -> Check:
    if free is None:
        return Check(name, "ok", "unknown", text)
    status: Status = "fail" if free < needed else "warn" if free < wanted else "ok"
    return Check(name, status, f"{free / GIB:.1f} GiB", text, "" if status == "ok" else remedy)


def check_cpus(seen: int, quota: float | None, threads: str) -> Check:
    """Do the numerical libraries start no more threads than there is CPU time for?

    Args:
        seen: CPUs that this process may run on; without a setting the libraries start as many threads.
        quota: CPUs' worth of time, None for no limit.
        threads: the variable OMP_NUM_THREADS, empty where it is not set.
    """
    if quota is None or quota >= seen:
        return Check("CPUs", "ok", str(seen))
    started = int(threads) if threads.isdigit() and int(threads) else seen
    found, most = f"{seen}, with a quota of {quota:g} and {started} threads", max(1, int(quota))
    if started <= most:
        return Check("CPUs", "ok", found)
    remedy = f"Set OMP_NUM_THREADS={most} before Jupyter starts: more threads than the quota stop each other."
    return Check("CPUs", "warn", found, f"{most} threads", remedy)


def cache_folder() -> Path:
    """Where downloads and decoded images are kept: PERFTEACH_CACHE, else `~/.cache/perfteach`."""
    chosen = os.environ.get("PERFTEACH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(os.path.expanduser("~"), ".cache", "perfteach")


def check_cache(folder: Path) -> Check:
    """Can images be kept for the next session?"""
    place = _nearest_existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as problem:
        found = f"{folder}: {problem.strerror or problem}"
        remedy = "Set PERFTEACH_CACHE to a folder that you can write to."
        return Check("cache folder", "fail", found, "writable", remedy)
    return Check("cache folder", "ok", str(folder), "writable")


def check_cifar10(folder: Path) -> Check:
    """Has CIFAR-10 been downloaded? Information only: the embedded images are enough for the course."""
    try:
        present = any((parent / "cifar-10-batches-py").is_dir() for parent in [folder, *folder.glob("*/")])
    except OSError:
        present = False
    found = "downloaded" if present else "not downloaded (`perfteach data download cifar10`)"
    return Check("CIFAR-10", "ok", found, "not needed")


def _nearest_existing(folder: Path) -> Path:
    """The folder itself, or the closest parent that is there: what would have to be written to."""
    return next((path for path in [folder, *folder.absolute().parents] if os.path.exists(path)), Path("."))


def main() -> int:
    """Print the report; 1 when something has to be repaired, else 0."""
    checks = check_environment()
    print(report(checks))
    return 0 if ready(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
