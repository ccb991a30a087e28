"""What a machine, or the container that stands for one, really has: free memory, processors, and time on them."""

from __future__ import annotations

import os
import re
from pathlib import Path


def free_memory(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that a new program may use, within the container's limit if there is one; None: unknown."""
    candidates = []
    match = re.search(r"MemAvailable:\s+(\d+) kB", _read(proc))
    if match:
        candidates.append(int(match.group(1)) * 1024)
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        candidates.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = _read(cgroup / "memory.max").strip(), _read(cgroup / "memory.current").strip()
    if not limit:  # the first version of control groups
        cgroup /= "memory"
        limit = _read(cgroup / "memory.limit_in_bytes").strip()
        used = _read(cgroup / "memory.usage_in_bytes").strip()
    if limit.isdigit() and used.isdigit():
        # Page cache counts as used, but the kernel gives it back when a program needs it.
        cached = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(cgroup / "memory.stat"), re.M)
        candidates.append(max(0, int(limit) - int(used) + (int(cached.group(1)) if cached else 0)))
    return min(candidates, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def usable_cpus() -> int:
    """The CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """How many CPUs' worth of time a container may use, of either version of control groups; None: no limit."""
    words = _read(cgroup / "cpu.max").split()
    if not words:
        words = [_read(cgroup / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        return int(words[0]) / int(words[1])
    return None
