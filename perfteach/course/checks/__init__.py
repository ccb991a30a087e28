"""One check for each exercise of the course: what was got, what was expected, and one hint.

Every `check_…` takes the learner's function or value and returns a `Result`, which shows itself in the notebook. Those
of functions are rows of exercises.toml, the others stand in `custom`.
"""

from __future__ import annotations

from perfteach.course.checks import custom, tables
from perfteach.course.checks.core import TITLES, Result

CHECKS = tables.load() | {name: check for name, check in vars(custom).items() if name.startswith("check_")}
globals().update(CHECKS)

__all__ = ["CHECKS", "TITLES", "Result", *sorted(CHECKS)]
