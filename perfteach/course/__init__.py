"""What only the course uses: tiers, checks of exercises, the check of the environment, the demo.

The method lies in the modules beside this package, and none of them needs it. `course.tier()` says how much the live
runs train, `course.about(runs)` where recorded runs come from.
"""

from __future__ import annotations

from perfteach.course.tiers import TIERS, VARIABLE, Tier, about, tier

__all__ = ["TIERS", "VARIABLE", "Tier", "about", "tier"]
