"""Every error perfteach raises on purpose. Each message says what was wrong and what to do about it."""

from __future__ import annotations


class PerfteachError(Exception):
    """Base class, so that `except PerfteachError` catches everything the library raises on purpose."""


class DataError(PerfteachError, ValueError):
    """Images that are missing, damaged or laid out in a way that cannot be read."""


class ConfigError(PerfteachError, ValueError):
    """A setting that has no meaning, such as an unknown rule or zero dendrites."""


class SelectionError(PerfteachError, ValueError):
    """A layer was asked for by name and cannot carry dendrites."""


class CheckpointError(PerfteachError, RuntimeError):
    """A checkpoint that is damaged, of another version or another network, or cannot be written."""


class NonFiniteLossError(PerfteachError, RuntimeError):
    """The loss became infinite or not a number; the last good state was kept."""


class MissingExtraError(PerfteachError, ModuleNotFoundError):
    """A package that perfteach installs only on request (as one of its extras) is missing."""
