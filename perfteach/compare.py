"""Arms against their controls: results by arm and seed, paired gains with intervals, tables and answers of a study.

There is one sign. A gain is the control's test error minus the arm's, in percentage points: positive is fewer errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from perfteach.arms import EVERY_ARM
from perfteach.errors import ConfigError
from perfteach.metrics import Interval, error_reduction, paired_interval
from perfteach.runs import Run, recorded

Results = dict[str, dict[int, Run]]
Scores = Mapping[str, Mapping[int, float]]  # test accuracy in percent by arm and seed

CONTROLS = ("same-epochs", "baseline")  # taken as the control first where a study has them

# Treated, control, and what their difference answers.
QUESTIONS = (
    ("perforated", "same-epochs", "Do frozen dendrites beat training longer?"),
    ("thawed", "same-epochs", "Do thawed dendrites beat training longer?"),
    ("thawed-random", "same-epochs", "Do dendrites thawed from a random start beat training longer?"),
    ("gradient", "same-epochs", "Do backpropagated dendrites beat training longer?"),
    ("relu", "same-epochs", "Do thawed dendrites with φ = ReLU beat training longer?"),
    ("early-relu", "same-epochs", "Do early dendrites with φ = ReLU beat training longer?"),
    ("wider", "same-epochs", "Does more width beat training longer?"),
    ("perforated", "wider", "Do frozen dendrites beat a wider network of the same size?"),
    ("thawed", "wider", "Do thawed dendrites beat a wider network of the same size?"),
    ("thawed-random", "wider", "Do dendrites thawed from a random start beat a wider network of the same size?"),
    ("gradient", "wider", "Do backpropagated dendrites beat a wider network of the same size?"),
    ("relu", "wider", "Do thawed dendrites with φ = ReLU beat a wider network of the same size?"),
    ("early-relu", "wider", "Do early dendrites with φ = ReLU beat a wider network?"),
    ("thawed-random", "wider-macs", "Do dendrites thawed from a random start beat a wider network of the same MACs?"),
    ("relu", "wider-macs", "Do thawed dendrites with φ = ReLU beat a wider network of the same MACs?"),
    ("early-start", "same-epochs", "Do early dendrites from the first epoch beat the network without them?"),
    ("early-start", "original", "Does Extra-Small beat the original?"),
    ("same-epochs", "original", "Does Extra-Small's network beat the original without dendrites, too?"),
    ("full-width-early", "original", "Does Extra-Small at full width beat the original?"),
    ("full-width-early", "full-width", "Do early dendrites help Extra-Small at full width?"),
    ("original-fine", "original", "Does the original gain from larger maps?"),
    ("early-start", "original-fine", "Does Extra-Small beat the original with larger maps?"),
    ("full-width-early", "original-fine", "Does Extra-Small at full width beat the original with larger maps?"),
    ("full-width", "original-fine", "Does it do so without dendrites?"),
    ("early-start", "wider", "Do early dendrites beat a wider network of the same size?"),
    ("early-start", "wider-macs", "Do early dendrites beat a wider network of the same MACs?"),
    ("early-start", "wider-early", "Do early dendrites beat width in the same layers, at equal parameters?"),
    ("early-start", "wider-early-macs", "Do early dendrites beat width in the same layers, at equal MACs?"),
    ("early-start", "early-identity", "Does it matter that φ is not linear?"),
    ("early-weight", "same-epochs", "Do early dendrites whose w starts from 0.1 beat the network without them?"),
    ("early-weight", "early-start", "Are they better than those whose w starts from 0?"),
    ("early-together", "same-epochs", "Do early dendrites with all three changes beat the network without them?"),
    ("early-together", "early-start", "Are they better than those without the changes?"),
    ("early-together", "wider", "Do they beat a wider network of the same size?"),
    ("early-together", "wider-macs", "Do they beat a wider network of the same MACs?"),
    ("early-together", "wider-early", "Do they beat width in the same layers, at equal parameters?"),
    ("early-together", "wider-early-macs", "Do they beat width in the same layers, at equal MACs?"),
    ("perforated", "random", "Did the correlation phase help?"),
    ("perforated", "shuffled", "Did the error signal help?"),
    ("thawed", "perforated", "Does thawing help?"),
    ("thawed", "thawed-random", "Does the correlation phase help thawed dendrites?"),
    ("thawed", "thawed-best-of-8", "Does it help more than the best of eight random starts?"),
    ("thawed-best-of-8", "thawed-random", "Does the best of eight random starts help?"),
    ("thawed", "thawed-identity", "Does it matter that thawed dendrites are not linear?"),
    ("relu", "thawed-random", "Is ReLU a better φ than tanh?"),
    ("early", "thawed-random", "Do dendrites in the early layers bring more than dendrites everywhere?"),
    ("perforated", "gradient", "Do frozen dendrites beat full backpropagation?"),
    ("thawed", "gradient", "Do thawed dendrites beat full backpropagation?"),
)


def results(runs: Iterable[Run]) -> Results:
    """Finished runs by arm and seed: the arms of the studies in the order of their table, then the others."""
    by_arm: Results = {arm: {} for arm in EVERY_ARM}
    for run in sorted((run for run in runs if run.finished), key=lambda run: run.seed):
        by_arm.setdefault(run.arm, {})[run.seed] = run
    return {arm: of_arm for arm, of_arm in by_arm.items() if of_arm}


def accuracies(by_arm: Results, split: str = "test") -> dict[str, dict[int, float]]:
    """Accuracy in percent by arm and seed, on the images "test", "validation", or "fresh" where runs held some out."""
    name = f"{split}_accuracy"
    return {arm: {seed: getattr(run.ended, name) for seed, run in runs.items()} for arm, runs in by_arm.items()}


@dataclass(frozen=True)
class Gain:
    """What an arm gains on its control over the seeds that both have; as text, the mean with its interval in points.

    Attributes:
        points: by seed, the control's test error minus the arm's, in percentage points.
        interval: their mean with its 95 % t interval. One seed has an infinite interval, none an estimate of nan.
        relative: the same in percent of the control's mean error: the relative error reduction.
    """

    arm: str
    control: str
    points: dict[int, float]
    interval: Interval
    relative: Interval

    @property
    def verdict(self) -> str:
        """What the interval says: "yes", "no, it is worse" or "cannot tell", which it is below three seeds."""
        if not self.interval.excludes_zero or len(self.points) < 3:
            return "cannot tell"
        return "yes" if self.interval.estimate > 0 else "no, it is worse"

    def __str__(self) -> str:
        if not self.points:
            return "–"
        bounds = f"[{self.interval.low:+.2f}, {self.interval.high:+.2f}]"
        return f"{self.interval.estimate:+.2f} {bounds if len(self.points) > 1 else '(one seed, no interval)'}"


def gain(scores: Scores, arm: str, control: str) -> Gain:
    """The arm against the control, seed by seed.

    Raises:
        ConfigError: for an arm without results, or an accuracy outside 0 to 100 percent.

    Source: the interval of the relative gain is that of a ratio of two means, linearised (Cochran 1977, "Sampling
    Techniques", chapter 6), so its middle is `error_reduction` of the mean accuracies.
    """
    old, new = _errors(scores, control), _errors(scores, arm)
    points = {seed: old[seed] - new[seed] for seed in old if seed in new}
    base = fmean(old[seed] for seed in points) if points else 0.0
    relative = []
    if base:  # a control without errors leaves nothing to reduce
        share = error_reduction(100 - base, 100 - fmean(new[seed] for seed in points))
        relative = [share + (100 * points[seed] - share * old[seed]) / base for seed in points]
    return Gain(arm, control, points, _mean(list(points.values())), _mean(relative))


def gains(scores: Scores, control: str) -> dict[str, Gain]:
    """Every other arm against the control; raises as `gain` does."""
    _errors(scores, control)
    return {arm: gain(scores, arm, control) for arm in scores if arm != control}


def _errors(scores: Scores, arm: str) -> dict[int, float]:
    """Test errors in percent by seed, checked."""
    if arm not in scores:
        raise ConfigError(f"there is no arm {arm!r} to compare with; there are: {', '.join(scores) or 'none'}")
    for accuracy in scores[arm].values():
        if not 0 <= accuracy <= 100:
            raise ConfigError(f"{accuracy:g} ({arm}) is not an accuracy in percent; use numbers from 0 to 100")
    return {seed: 100.0 - scores[arm][seed] for seed in sorted(scores[arm])}


def _mean(values: Sequence[float]) -> Interval:
    if len(values) < 2:
        return Interval(values[0] if values else math.nan, -math.inf, math.inf)
    return paired_interval([0.0] * len(values), values)


@dataclass(frozen=True)
class Row:
    """An arm's line in a table. `gain` is None for the control itself, and where the control has no runs."""

    arm: str
    runs: dict[int, Run]
    gain: Gain | None

    @property
    def errors(self) -> list[float]:
        """Test error of each seed in percent."""
        return [run.error for run in self.runs.values()]

    @property
    def error(self) -> float:
        """Mean test error in percent."""
        return fmean(self.errors)

    def mean_error(self, split: str) -> float:
        """Mean error in percent on "validation", "test", or "fresh", the images that were held out.

        Raises:
            AttributeError: for another split.
        """
        return fmean(100 - getattr(run.ended, f"{split}_accuracy") for run in self.runs.values())

    @property
    def parameters(self) -> float:
        """Mean number of parameters over the seeds, every dendrite counted."""
        return fmean(run.ended.total for run in self.runs.values())

    @property
    def minutes(self) -> float:
        """Median wall time of a whole run."""
        return median(run.ended.seconds for run in self.runs.values()) / 60


def rows(by_arm: Results, control: str = "same-epochs") -> list[Row]:
    """One row per arm, compared with the control."""
    scores = accuracies(by_arm)
    against = gains(scores, control) if control in scores else {}
    return [Row(arm, runs, against.get(arm)) for arm, runs in by_arm.items()]


def table(by_arm: Results, control: str = "same-epochs") -> str:
    """The results as text: one line per arm, with the gain on the control and its 95 % interval in points."""
    lines = [
        f"{'arm':<14} {'seeds':>5} {'test error %':>12} {'parameters':>11} {'minutes':>8}  "
        f"{f'gain on {control}, points':<30} {'relative %':>10}"
    ]
    for row in rows(by_arm, control):
        share = f"{row.gain.relative.estimate:.1f}" if row.gain and row.gain.points else "–"
        lines.append(
            f"{row.arm:<14} {len(row.runs):>5} {row.error:>12.2f} {row.parameters:>11,.0f} {row.minutes:>8.1f}  "
            f"{row.gain or '–'!s:<30} {share:>10}"
        )
    return "\n".join(lines)


def answers(name: str) -> str:
    """The questions that the records of a study can answer, with intervals, as a Markdown table; "" for none.

    Raises:
        DataError: when there are no records of that name.
    """
    scores = accuracies(results(recorded(name)))
    lines = ["| question | arms | fewer errors, points | relative, % | answer |", "|---|---|---|---|---|"]
    for arm, control, question in QUESTIONS:
        if arm in scores and control in scores and (found := gain(scores, arm, control)).points:
            share = f"{found.relative.estimate:.1f}"
            lines.append(f"| {question} | {arm} against {control} | {found} | {share} | {found.verdict} |")
    return "\n".join(lines) if len(lines) > 2 else ""
