"""What the pages made from records can say: the functions that tools/templates ask, and the figures."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import ttest_1samp

from perfteach import compare, plots, runs
from perfteach.arms import EARLY, EVERY_ARM
from perfteach.compare import Gain, Results, Row
from perfteach.errors import DataError
from perfteach.metrics import paired_interval
from perfteach.runs import Run
from perfteach.study import STUDIES, Study, find

LIMIT = 1_660_000  # parameters of the published Extra-Small
PUBLISHED = "published, dendrites uncounted"
AIM = 82.25  # and its test accuracy in percent
# The networks of the study `extra-small` as its picture names them.
NETWORKS = {
    "original": "MobileNet-Small",
    "original-fine": "MobileNet-Small, larger maps",
    "early-start": "Extra-Small",
    "same-epochs": "Extra-Small without dendrites",
    "wider": "a plain network as large",
    "full-width-early": "Extra-Small at full width",
    "full-width": "full width without dendrites",
}
UNTRUE = "the sentence is no longer true"
MARGIN = 0.5  # points of test error; one test of 10,000 images is about as uncertain
RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
COUNTED: dict[str, int] = {}  # multiply-accumulates by network
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
IN_WORDS = {  # the arms as the forest plot calls them
    "wider": "plain, equal parameters",
    "wider-macs": "plain, equal MACs",
    "perforated": "perforated, frozen",
    "thawed": "perforated, then thawed",
    "random": "random, frozen",
    "thawed-random": "random start, thawed",
    "thawed-best-of-8": "best of eight random starts, thawed",
    "thawed-identity": "perforated, then thawed, identity",
    "shuffled": "errors of other images, frozen",
    "gradient": "backpropagated",
    "relu": "random start, thawed, ReLU",
    "early": "early layers only, thawed",
    "early-relu": "early layers only, thawed, ReLU",
    "early-start": "from the first epoch, ReLU",
    "full-width-early": "from the first epoch, three changes, width 1",
    "full-width": "plain, width 1",
    "original": "the original",
    "original-fine": "the original with larger maps",
    "early-two": "two dendrites a neuron",
    "early-three": "three dendrites a neuron",
    "early-more": "blocks 5 and 6 too",
    "early-hardswish": "from the first epoch, hard-swish",
    "early-gelu": "from the first epoch, GELU",
    "early-identity": "from the first epoch, identity",
    "early-slow": "learn at a third of the rate",
    "early-weight": "w starts from 0.1",
    "early-gradient": "errors flow through them",
    "early-together": "from the first epoch, three changes",
    "wider-early": "plain, early layers wider, equal parameters",
    "wider-early-macs": "plain, early layers wider, equal MACs",
}
PLACES = {None: "every layer", EARLY: "the early layers", "features.*.block.1.0": "the depthwise layers"}


class Facts:
    """What a template can ask: every public method is a function there. Records are read once and kept.

    `control` is the arm compared with, by default the one that trains as long. Numbers come as text with a true minus.
    """

    def __init__(self) -> None:
        self.arms = lru_cache(None)(self.arms)
        self._claimed: dict[tuple[str, str, str, str], Gain] = {}  # by what `strength` was asked

    def functions(self) -> dict[str, Any]:
        """The methods by name."""
        names = [name for name in dir(self) if not name.startswith("_") and name != "functions"]
        return {name: getattr(self, name) for name in names}

    # ------------------------------------------------------------------ records

    def arms(self, name: str) -> Results:
        """Finished runs of a study by arm and seed."""
        find(name)
        return compare.results(runs.recorded(name))

    def macs(self, name: str, arm: str) -> int:
        """Multiply-accumulates for one image at the end of training."""
        self._arm(name, arm)
        return _macs(name, arm)

    def declared(self, name: str) -> Study:
        """The study as it is declared."""
        return find(name)

    def recorded(self) -> list[str]:
        """The studies that have records."""
        return [name for name in STUDIES if name in runs.studies()]

    def rows(self, name: str) -> list[Row]:
        """One row per arm, compared with longer training."""
        return compare.rows(self.arms(name))

    def row(self, name: str, arm: str) -> Row:
        """The row of one arm."""
        of_arm = self._arm(name, arm)
        return next(row for row in compare.rows({arm: of_arm}))

    def pair(
        self, name: str, arm: str, control: str = "same-epochs", first: int | None = None, split: str = "test"
    ) -> Gain:
        """What an arm gains on its control, over all seeds or only the `first` so many."""
        runs_of = {which: dict(list(self._arm(name, which).items())[:first]) for which in (arm, control)}
        return compare.gain(compare.accuracies(runs_of, split), arm, control)

    def answers(self, name: str) -> str:
        """The questions that the records answer, as a table."""
        return compare.answers(name)

    def _arm(self, name: str, arm: str) -> dict[int, Run]:
        if arm not in self.arms(name):
            raise DataError(f"study {name!r} has no records of an arm {arm!r}; it has {', '.join(self.arms(name))}")
        return self.arms(name)[arm]

    def _dendritic(self, name: str, arm: str) -> bool:
        """Whether an arm is the network of same-epochs with dendrites, so that its gain is theirs."""
        kind = EVERY_ARM[arm]
        return not kind.net and bool(kind.dendrites or (kind.grow and kind.cycles and find(name).cycles))

    def _all(self, name: str) -> list[Run]:
        return [run for of_arm in self.arms(name).values() for run in of_arm.values()]

    # ------------------------------------------------------------------ numbers in a sentence

    def gain(self, name: str, arm: str, control: str = "same-epochs", digits: int = 2) -> str:
        """Mean gain in points."""
        return _number(self.pair(name, arm, control).interval.estimate, digits)

    def interval(
        self, name: str, arm: str, control: str = "same-epochs", digits: int = 2, first: int | None = None
    ) -> str:
        """The 95 % interval of the gain, as "0.28 to 1.74", with signs where zero lies within; of the `first` seeds."""
        found = self.pair(name, arm, control, first).interval
        sign = "" if found.excludes_zero else "+"
        return f"{_number(found.low, digits, sign)} to {_number(found.high, digits, sign)}"

    def fresh(self, name: str, arm: str, control: str = "same-epochs") -> str:
        """The gain on the fresh images, which no idea was chosen on, as "1.20 points, interval 0.28 to 1.74"."""
        found = self.pair(name, arm, control, split="fresh").interval
        sign = "" if found.excludes_zero else "+"
        bounds = f"{_number(found.low, 2, sign)} to {_number(found.high, 2, sign)}"
        return f"{_number(found.estimate, 2)} points, interval {bounds}"

    def verdict(self, name: str, arm: str, control: str = "same-epochs", split: str = "test") -> str:
        """Whether the arm makes fewer errors than the control; an interval that has no room for `MARGIN` says no."""
        return _verdict(self.pair(name, arm, control, split=split))

    def strength(self, name: str, arm: str, control: str = "same-epochs", split: str = "test") -> str:
        """Study with a link to its table, seeds, gain in points with its interval, and relative gain."""
        found = self.pair(name, arm, control, split=split)
        self._claimed[name, arm, control, split] = found
        return _strength(self.link(name) + " on the held-out images" * (split == "fresh"), found)

    def corrected(self) -> dict[str, int]:
        """Of the intervals whose strength was asked for, on three seeds or more: how many, how many leave out zero,
        and how many still do when corrected for their number.

        Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
        """
        claimed = [list(gain.points.values()) for gain in self._claimed.values() if len(gain.points) > 2]
        chances = sorted(float(ttest_1samp(points, 0.0).pvalue) for points in claimed)
        stand = 0
        while stand < len(chances) and chances[stand] * (len(chances) - stand) < 0.05:
            stand += 1
        return {"all": len(chances), "zero": sum(chance < 0.05 for chance in chances), "stand": stand}

    def link(self, name: str) -> str:
        """A study's name as a link to its tables in the appendix."""
        find(name)
        return f"[{name}](evidence-tables.md#study-{name})"

    def peer_verdict(self, arm: str) -> str:
        """Whether an arm of benchmarks/peer.py makes fewer errors than the other package."""
        return _verdict(_beside_peer(arm))

    def peer_strength(self, arm: str) -> str:
        """How strong that is."""
        return _strength("[beside perforatedai](performance.md#beside-perforatedai)", _beside_peer(arm))

    def spirals(self, arm: str) -> str:
        """Mean test error of an arm on two spirals in percent, from benchmarks/spirals.py."""
        return _number(fmean(row["error"] for row in _spirals(arm)), 1)

    def spiral_parameters(self, arm: str) -> int:
        """The parameters of its network, every dendrite counted."""
        return int(_spirals(arm)[0]["parameters"])

    def spirals_solved(self, arm: str) -> str:
        """In how many of its runs it made fewer errors than the control in the same seed, in words."""
        pairs = zip(_spirals(arm), _spirals("same-epochs"), strict=True)
        return NUMBERS[sum(row["error"] < control["error"] for row, control in pairs)]

    def losing_seeds(self, name: str, arm: str, control: str = "same-epochs", split: str = "test") -> str:
        """In how many seeds the arm makes more errors than the control, in words."""
        return NUMBERS[sum(points < 0 for points in self.pair(name, arm, control, split=split).points.values())]

    def relative(self, name: str, arm: str, control: str = "same-epochs") -> str:
        """Relative error reduction in percent."""
        return _number(self.pair(name, arm, control).relative.estimate, 1)

    def error(self, name: str, arm: str, digits: int = 2) -> str:
        """Mean test error in percent."""
        return _number(self.row(name, arm).error, digits)

    def accuracy(self, name: str, arm: str) -> str:
        """Mean test accuracy in percent."""
        return _number(100 - self.row(name, arm).error, 2)

    def beside(self, name: str, arm: str, other: str, part: str = "test") -> str:
        """Mean accuracy in percent ("test" or "fresh") of an arm, over the seeds that another study has of it."""
        own, seeds = self._arm(name, arm), self._arm(other, arm)
        return f"{fmean(getattr(own[seed].ended, f'{part}_accuracy') for seed in seeds):.2f}"

    def accuracies(self, name: str, arm: str) -> str:
        """The 95 % interval of the mean test accuracy in percent, as "85.03 to 87.08"."""
        errors = self.row(name, arm).errors
        mean = paired_interval(errors, [100.0] * len(errors))
        return f"{mean.low:.2f} to {mean.high:.2f}"

    def parameters(self, name: str, arm: str) -> str:
        """Parameters in all, every dendrite counted."""
        return f"{self.row(name, arm).parameters:,.0f}"

    def more_parameters(self, name: str, arm: str, than: str = "same-epochs") -> str:
        """By how many percent an arm has more parameters than another."""
        return _number(100 * (self.row(name, arm).parameters / self.row(name, than).parameters - 1), 0)

    def fewer_parameters(self, name: str, arm: str, than: str) -> str:
        """By how many percent an arm has fewer parameters than another."""
        return _number(100 * (1 - self.row(name, arm).parameters / self.row(name, than).parameters), 0)

    def more_macs(self, name: str, arm: str, than: str = "same-epochs") -> str:
        """By how many percent an arm needs more multiply-accumulates for an image than another."""
        return _number(100 * (self.macs(name, arm) / self.macs(name, than) - 1), 0)

    def fewer_macs(self, name: str, arm: str, than: str) -> str:
        """By how many percent an arm needs fewer multiply-accumulates for an image than another."""
        return _number(100 * (1 - self.macs(name, arm) / self.macs(name, than)), 0)

    def seeds(self, name: str, arm: str = "same-epochs") -> str:
        """How many seeds an arm has, in words."""
        return NUMBERS[len(self._arm(name, arm))]

    def epochs(self, name: str, arm: str = "same-epochs") -> int:
        """Epochs of each run of an arm."""
        return len(next(iter(self._arm(name, arm).values())).epochs)

    def sure(self, name: str, control: str, *arms: str) -> str:
        """Nothing; an error where one of these arms has no gain on the control that leaves out zero."""
        return self._require(name, control, arms, True)

    def unsure(self, name: str, control: str, *arms: str) -> str:
        """Nothing; an error where an interval of these arms against the control leaves out zero."""
        return self._require(name, control, arms, False)

    def small(self, name: str, control: str, *arms: str) -> str:
        """Nothing; an error where an interval of these arms against the control has room for a gain of `MARGIN`."""
        for arm in arms:
            found = self.pair(name, arm, control)
            if found.interval.high >= MARGIN:
                raise DataError(f"{name}: {arm} against {control}, {found}, has room for {MARGIN} points; {UNTRUE}")
        return ""

    def _require(self, name: str, control: str, arms: tuple[str, ...], sure: bool) -> str:
        for arm in arms:
            found = self.pair(name, arm, control)
            if sure and found.verdict != "yes":
                raise DataError(f"{name}: {arm} against {control}, {found}, is no sure gain; {UNTRUE}")
            if not sure and found.interval.excludes_zero:
                raise DataError(f"{name}: {arm} against {control}, {found}, leaves out zero; {UNTRUE}")
        return ""

    def still(self, name: str, arm: str, seeds: int) -> str:
        """Nothing; an error where an arm has another number of seeds than when the sentence was written."""
        if (there := len(self.arms(name).get(arm, {}))) != seeds:
            raise DataError(f"{name}: {arm} has {there} seeds, and had {seeds}; {UNTRUE}")
        return ""

    # ------------------------------------------------------------------ what a study's section says

    def data(self, name: str) -> dict[str, Any]:
        """Name, checksum and sizes of the data."""
        return self._all(name)[0].data

    def machines(self, name: str) -> list[str]:
        """The machines it ran on."""
        found = (run.header["machine"] for run in self._all(name))
        return sorted(
            {f"{m['cpu']}, threads: {m['threads']}" + (f", GPU: {m['gpu']}" if m.get("gpu") else "") for m in found}
        )

    def revisions(self, name: str) -> list[str]:
        """The revisions of the sources it ran with, shortened."""
        found = {str(run.header["revision"]) for run in self._all(name)}
        return sorted({text[:10] + "+changes" * text.endswith("+changes") for text in found})

    def missing(self, name: str) -> list[str]:
        """What is declared and not run: an arm with its seeds each."""
        study, there = find(name), self.arms(name)
        absent = {arm: [str(seed) for seed in study.seeds if seed not in there.get(arm, {})] for arm in study.arms}
        return [f"{arm} {', '.join(seeds)}" for arm, seeds in absent.items() if seeds]

    def not_run(self) -> list[str]:
        """The studies that are declared and have no records."""
        return [name for name in STUDIES if name not in self.recorded()]

    def done(self, name: str) -> int:
        """How many of the declared runs there are."""
        there = self.arms(name)
        return sum((seed in there.get(arm, {})) for arm, seed in find(name).grid())

    def late_rise(self, name: str) -> float | None:
        """Points by which the baseline's best validation accuracy rose in its last tenth, mean over seeds."""
        rises = []
        for run in self.arms(name).get("baseline", {}).values():
            reached = run["validation_accuracy"]
            late = len(reached) - len(reached) // 10
            if len(reached) >= 10:
                rises.append(max(max(reached[late:]) - max(reached[:late]), 0.0))
        return fmean(rises) if rises else None

    def figure(self, name: str) -> plots.Picture:
        """Every arm against the control, seed by seed."""
        scores = compare.accuracies(self.arms(name))
        control = next((arm for arm in compare.CONTROLS if arm in scores), next(iter(scores)))
        return plots.paired_differences(scores, control, data=self.data(name)["name"])

    # ------------------------------------------------------------------ over several studies

    def compared(self) -> dict[str, list[Gain]]:
        """By study, what its arms with dendrites gain on same-epochs, the best first, and then its wider networks.

        Studies without such an arm are left out; those of a single seed come last.
        """
        found = {}
        for name in self.recorded():
            gains = [row.gain for row in self.rows(name) if row.gain and row.gain.points]
            grown = [gain for gain in gains if self._dendritic(name, gain.arm)]
            plain = [gain for gain in gains if EVERY_ARM[gain.arm].wider]
            if grown:
                found[name] = sorted(grown, key=lambda gain: -gain.interval.estimate) + plain
        return dict(sorted(found.items(), key=lambda item: max(len(gain.points) for gain in item[1]) < 2))

    def forest(self) -> plots.Picture:
        """Every study's arms against longer training."""
        groups = {
            self._heading(name, gains): {IN_WORDS.get(gain.arm, gain.arm): gain for gain in gains}
            for name, gains in self.compared().items()
        }
        return plots.forest(groups, [arm for arm, kind in EVERY_ARM.items() if kind.wider])

    def front(self) -> plots.Picture:
        """Error against parameters: the networks of `extra-small` with three seeds, and the one that was published."""
        points, said = [], []
        for arm, name in NETWORKS.items():
            runs = list(self.arms("extra-small").get(arm, {}).values())
            if len(runs) < 3:
                continue
            points += [
                {"name": name, "arm": name, "parameters": run.ended.parameters["total"], "accuracy": 100 - run.error}
                for run in runs
            ]
            mean = paired_interval([0.0] * len(runs), [run.error for run in runs])
            size = self.parameters("extra-small", arm)
            said.append(f"{name}: {size} parameters, {mean.estimate:.2f} % ({mean.low:.2f} to {mean.high:.2f})")
        points.append({"name": PUBLISHED, "arm": PUBLISHED, "parameters": LIMIT, "accuracy": AIM})
        said.append(f"{PUBLISHED}: {LIMIT:,} parameters, {100 - AIM:.2f} %, one figure without an interval")
        picture = plots.pareto(points, data=self.data("extra-small")["name"])
        picture.alt = "Test error against parameters, means over seeds with 95 % intervals. " + "; ".join(said) + "."
        return picture

    def _heading(self, name: str, gains: list[Gain]) -> str:
        study, seeds = find(name), max(len(gain.points) for gain in gains)
        size = f", {study.size}×{study.size} pixels" if study.size else ""
        where = PLACES.get(study.select, study.select)
        many = f"{NUMBERS[seeds]} seed{'s' if seeds > 1 else ''}"
        return f"{name}: width {study.width:g}{size}, {self.data(name)['train']:,} images, dendrites in {where}, {many}"

    def gains_found(self, optimizer: str | None = None) -> dict[str, int]:
        """Arms with dendrites that have an interval against longer training, by one optimiser or all: how many, and
        where it lies."""
        pairs = [
            row.gain.interval
            for name in self.recorded()
            if optimizer in (None, find(name).settings.get("optimizer", "adamw"))
            for row in self.rows(name)
            if row.gain and len(row.gain.points) > 1 and self._dendritic(name, row.arm)
        ]
        return {"all": len(pairs), "above": sum(i.low > 0 for i in pairs), "below": sum(i.high < 0 for i in pairs)}

    def best_extra_small(self, name: str) -> tuple[str, float]:
        """The network with the highest test accuracy (%) within the limit of parameters, and that accuracy."""
        within = [row for row in self.rows(name) if row.parameters <= LIMIT]
        best = min(within, key=lambda row: row.error)
        return f"width {find(name).network(best.arm)['width']:g}, {best.arm}", 100 - best.error


@lru_cache(None)
def _macs(name: str, arm: str) -> int:
    study, kind = find(name), EVERY_ARM[arm]
    network = [study.network(arm), study.size, study.cycles if kind.cycles and kind.grow else 0]
    same = json.dumps(network, sort_keys=True)  # counting takes a second, and many arms share a network
    if same not in COUNTED:
        COUNTED[same] = study.macs(arm)
    return COUNTED[same]


def _beside_peer(arm: str) -> Gain:
    scores: dict[str, dict[int, float]] = {}
    for row in json.loads((RESULTS / "peer.json").read_text(encoding="utf-8"))["rows"]:
        scores.setdefault(row["arm"], {})[row["seed"]] = row["accuracy"]
    return compare.gain(scores, arm, "peer")


def _spirals(arm: str) -> list[dict[str, Any]]:
    rows = json.loads((RESULTS / "spirals.json").read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["arm"] == arm]


def _verdict(found: Gain) -> str:
    if found.verdict == "cannot tell" and len(found.points) > 2 and found.interval.high < MARGIN:
        return f"no (at most {_number(found.interval.high, 2, '+')})"
    return found.verdict


def _strength(where: str, found: Gain) -> str:
    seeds = f", {NUMBERS[len(found.points)]} seeds" if len(found.points) > 1 else ""
    return f"{where}{seeds}: " + f"{found}, {found.relative.estimate:+.1f} %".replace("-", "−")


def _number(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", "−")
