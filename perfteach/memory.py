"""Memory that one training step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # what glibc's malloc.h calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
HELD = 256 * 2**20  # bytes that may lie free at the end of the heap
LARGEST = 32 * 2**20  # bytes up to which a block comes from the heap; glibc allows no more
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@contextmanager
def kept() -> Iterator[None]:
    """A block of training on a CPU, whose steps need not ask the system for memory again and again.

    Each step frees the maps of its batch. glibc gives them back to the system at once, and the next step waits until
    the system has found and cleared as many pages again, which can take a third of its time. From this block on the
    process keeps up to 256 MB for itself; at the end of the block they are given back. Where memory comes from another
    library (macOS, Windows, musl), or the environment sets glibc's thresholds, nothing happens.
    """
    libc = _glibc()
    try:
        yield
    finally:
        if libc:
            libc.malloc_trim(0)


@lru_cache(maxsize=1)
def _glibc() -> Any:
    if sys.platform != "linux" or any(name in os.environ for name in OWN):
        return None
    libc = ctypes.CDLL(None)
    # Both or none: with the second alone, glibc would take each map from the system by itself.
    if not hasattr(libc, "mallopt") or not libc.mallopt(MMAP_THRESHOLD, LARGEST):
        return None
    libc.mallopt(TRIM_THRESHOLD, HELD)
    return libc
