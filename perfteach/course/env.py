"""Is this machine ready for the course? `perfteach check-env` and notebook 00 show the answer.

Only the standard library is imported at the top, and torch is tried in a process of its own, so that the check
gives its answer even where torch is missing, broken, or takes the interpreter down with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perfteach.course.container import cpu_quota, free_memory, usable_cpus
from perfteach.extras import install_command, installed_version, installer

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Status = Literal["ok", "warn", "fail"]

# The extras that somebody may want beside the library, and what for; the other ones are for its developers.
EXTRAS = {"course": "the notebooks and widgets", "export": "notebook 06", "hackathon": "notebook 07"}
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
        One check per dependency, for each extra one or one per package, then torch, widgets, memory, disk, CPUs, GPU
        and cache.
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


def needed(extra: str = "", of: str = "perfteach") -> list[Requirement]:
    """Python and the packages that a package's metadata asks for, or those that an extra brings beside them.

    Empty where the package is not installed, or `packaging`, which reads the versions.
    """
    try:
        from packaging.requirements import Requirement

        python = f"python{metadata.metadata(of).get_all('Requires-Python', [''])[0]}"
        every = [Requirement(line) for line in (python, *(metadata.requires(of) or ()))]
    except ImportError:  # a distribution that is not found is one as well
        return []
    found = [one for one in every if (one.marker.evaluate({"extra": extra}) if one.marker else not extra)]
    return [one for one in found if one.name != of]  # an extra that brings another one names its own package


def check_packages() -> list[Check]:
    """Python and every runtime dependency against the bound in perfteach's own metadata."""
    if bounds := needed():
        return [_check_package(bound, installed_version(bound.name)) for bound in bounds]
    missing = "packaging" if installed_version("perfteach") else "perfteach"
    remedy = "Run `make setup`, or `python -m pip install -e .` in the folder of the course."
    return [Check(missing, "fail", "not installed", "", remedy)]


def check_extras() -> list[Check]:
    """The packages of each extra. One that is not (wholly) installed is a single warning: the library works without."""
    checks: list[Check] = []
    for extra, purpose in EXTRAS.items():
        versions = {bound: installed_version(bound.name) for bound in needed(extra)}
        if missing := [bound.name for bound, version in versions.items() if version is None]:
            found = f"without {', '.join(missing)}"
            checks.append(Check(f"extra {extra}", "warn", found, f"for {purpose}", f"Run {install_command(extra)}."))
        else:
            known = {check.name for check in checks}  # of another extra, which this one includes
            checks += [_check_package(bound, got) for bound, got in versions.items() if bound.name not in known]
    return checks


def _check_package(bound: Requirement, version: str | None) -> Check:
    wanted = str(bound.specifier)
    if version is not None and bound.specifier.contains(version, prereleases=True):
        return Check(bound.name, "ok", version, wanted)
    if bound.name == "python":
        remedy = f"Install Python {wanted.lstrip('>=')} or newer and set perfteach up with it."
    else:
        remedy = f'Run `{installer()} "{bound.name}{wanted}"`.'
    return Check(bound.name, "fail", version or "missing", wanted, remedy)


TORCH_SECONDS = 120.0
_PROBE = """
import json
answer = {}
import torch
answer["torch"] = torch.__version__
a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
answer["product"] = (a @ a).tolist()
answer["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
if not answer["gpu"] and torch.backends.mps.is_available():
    answer["gpu"] = "none that perfteach can use (Apple's have no double precision)"
try:
    import torchvision
    answer["torchvision"] = torchvision.__version__
except Exception as problem:
    answer["problem"] = f"{type(problem).__name__}: {problem}"
print("PERFTEACH " + json.dumps(answer))
"""


def probe_torch(code: str = _PROBE, seconds: float = TORCH_SECONDS) -> dict[str, Any]:
    """Import torch and torchvision and multiply two matrices in another process, so that a crash stays there.

    Returns:
        `torch`, `product`, `gpu`, and `torchvision` or `problem` (why torchvision failed); only `error`
        (why torch failed) when the process did not get that far.
    """
    try:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"did not answer within {seconds:g} s"}
    except OSError as problem:
        return {"error": f"could not be tried: {problem}"}
    for line in done.stdout.splitlines():
        if line.startswith("PERFTEACH "):
            return dict(json.loads(line.removeprefix("PERFTEACH ")))
    last = (done.stderr.strip().splitlines() or [f"stopped with exit code {done.returncode}"])[-1]
    return {"error": last[:200]}


def check_torch(probe: dict[str, Any]) -> Check:
    """Did torch import, and is its matrix product right?"""
    wanted, found = "imports and multiplies", str(probe.get("error", probe.get("torch")))
    if "error" not in probe and probe.get("product") != [[7.0, 10.0], [15.0, 22.0]]:
        found = f"wrong product {probe.get('product')}"
    elif "error" not in probe:
        return Check("torch works", "ok", found, wanted)
    return Check("torch works", "fail", found, wanted, _reinstall_torch())


def check_torchvision(probe: dict[str, Any]) -> Check:
    """Does torchvision import, and was it built for this torch?"""
    bound = next((one.specifier for one in needed(of="torchvision") if one.name == "torch"), None)
    wanted = f"torch{bound}" if bound else "imports"
    if "error" in probe:
        remedy = "Repair torch first; torchvision cannot be tried without it."
        return Check("torchvision matches torch", "fail", "torch does not work", wanted, remedy)
    if "torchvision" not in probe:
        found = str(probe.get("problem", "does not import"))[:200]
        return Check("torchvision matches torch", "fail", found, wanted, _reinstall_torch())
    found = f"{probe['torchvision']} with torch {probe['torch']}"
    if bound and not bound.contains(str(probe["torch"]), prereleases=True):
        return Check("torchvision matches torch", "fail", found, wanted, _reinstall_torch())
    return Check("torchvision matches torch", "ok", found, wanted)


def _reinstall_torch() -> str:
    return f"Install the two together: `{installer()} --force-reinstall torch torchvision`."


def check_widgets() -> Check:
    """Can widgets render? That takes ipywidgets in Python and the matching part in JupyterLab, and so for anywidget."""
    python, lab = (installed_version(name) or "missing" for name in ("ipywidgets", "jupyterlab_widgets"))
    wanted = "8 and 3, with the browser part"
    if python == lab == "missing":  # the library does without; the line on the extra says the same for all of it
        return Check("widgets", "warn", "not installed", wanted, f"Run {install_command('course')}.")
    found = f"ipywidgets {python}, jupyterlab_widgets {lab}"
    if python.startswith("8.") and lab.startswith("3."):
        if widget_files_present():
            return Check("widgets", "ok", found, wanted)
        found += ", browser part missing"
    remedy = f"Run `{installer()} --force-reinstall ipywidgets jupyterlab_widgets anywidget`."
    return Check("widgets", "fail", found, wanted, remedy)


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


def _nearest_existing(folder: Path) -> Path:
    """The folder itself, or the closest parent that is there: what would have to be written to."""
    return next((path for path in [folder, *folder.absolute().parents] if os.path.exists(path)), Path("."))
