"""From records to pages: the tables of docs/evidence.md and of each study's README, and the check that they agree."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from perfteach import plots
from perfteach.dendrites import add_dendrites
from perfteach.errors import DataError
from perfteach.metrics import Interval, error_reduction, paired_interval
from perfteach.models import count_macs
from perfteach.runs import RECORDS, Run, recorded, studies
from perfteach.study import EVERY_ARM, IDEAS, STUDIES, Study, find, record_folder

PAGE = RECORDS[1].parents[1] / "docs" / "evidence.md"
FIGURE = "arms.png"
EXTRA_SMALL = ("case-study", "case-study-extra-small")  # the original network's study, and the smaller one's
AIM, LIMIT = 82.25, 1_660_000  # test accuracy (%) and parameters of the published Extra-Small
DECIMAL = re.compile(r"\d+\.\d+")
Results = dict[str, dict[int, Run]]
Scores = dict[str, dict[int, float]]

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
    ("gradient", "wider-macs", "Do backpropagated dendrites beat a wider network of the same MACs?"),
    ("relu", "wider-macs", "Do thawed dendrites with φ = ReLU beat a wider network of the same MACs?"),
    ("perforated", "random", "Did the correlation phase help?"),
    ("perforated", "shuffled", "Did the error signal help?"),
    ("thawed", "perforated", "Does thawing help?"),
    ("thawed", "thawed-random", "Does the correlation phase help thawed dendrites?"),
    ("relu", "thawed-random", "Is ReLU a better φ than tanh?"),
    ("early", "thawed-random", "Do dendrites in the early layers bring more than dendrites everywhere?"),
    ("perforated", "gradient", "Do frozen dendrites beat full backpropagation?"),
    ("thawed", "gradient", "Do thawed dendrites beat full backpropagation?"),
)


def results(runs: list[Run]) -> Results:
    """Finished runs by arm and seed."""
    by_arm: Results = defaultdict(dict)
    for run in runs:
        if run.finished and "arm" in run.header:
            by_arm[run.header["arm"]][run.header["seed"]] = run
    return dict(by_arm)


def accuracies(by_arm: Results) -> Scores:
    """Test accuracy in percent by arm and seed."""
    return {arm: {seed: _result(run)["test_accuracy"] for seed, run in runs.items()} for arm, runs in by_arm.items()}


def _result(run: Run) -> dict[str, float]:
    assert run.result is not None
    return run.result


def difference(scores: Scores, control: str, arm: str) -> Interval | float | None:
    """Error of `control` minus error of `arm` over their common seeds: interval, one value for one seed, or None."""
    seeds = sorted(scores.get(control, {}).keys() & scores.get(arm, {}).keys())
    old, new = ([100.0 - scores[which][seed] for seed in seeds] for which in (control, arm))
    if len(seeds) < 2:
        return old[0] - new[0] if seeds else None
    return paired_interval(new, old)


def table(name: str) -> str:
    """The study as a Markdown section: what is missing, one row per arm, the answers, and how to make it again."""
    study, runs = find(name), recorded(name)
    by_arm = results(runs)
    scores = accuracies(by_arm)
    rows = [
        "| arm | rules out, or tries | seeds | test error, % | gain on same-epochs | relative, % | parameters | MACs "
        "| min |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [_row(study, arm, by_arm[arm], scores) for arm in EVERY_ARM if arm in by_arm]
    parts = [f"### {study.about}", _about(name, study, runs), _missing(study, by_arm), "\n".join(rows)]
    parts += [part for part in (_stopped(study, by_arm, scores), _answers(scores)) if part]
    return "\n\n".join(parts) + "\n"


def _row(study: Study, arm: str, runs: dict[int, Run], scores: Scores) -> str:
    errors = [100 - score for score in scores[arm].values()]
    gain = None if arm in ("baseline", "same-epochs") else difference(scores, "same-epochs", arm)
    minutes = median(_result(run)["seconds"] for run in runs.values()) / 60
    return (
        f"| {arm} | {EVERY_ARM[arm].rules_out} | {len(runs)} | {fmean(errors):.2f} | {_gain(gain)} "
        f"| {_relative(scores, 'same-epochs', arm) if gain is not None else '–'} "
        f"| {_parameters(runs)} | {_macs(study, arm) / 1e6:.2f} M | {minutes:.1f} |"
    )


def _gain(gain: Interval | float | None) -> str:
    if gain is None:
        return "–"
    if isinstance(gain, float):
        return f"{gain:+.2f} (one seed, no interval)"
    return f"{gain.estimate:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def _relative(scores: Scores, control: str, arm: str) -> str:
    """Relative error reduction in percent, of the mean errors over the common seeds."""
    shared = scores[control].keys() & scores[arm].keys()
    old, new = (fmean(scores[which][seed] for seed in shared) for which in (control, arm))
    return f"{error_reduction(old, new):.1f}"


@lru_cache
def _macs(study: Study, arm: str) -> int:
    """Multiply-accumulates for one image at the end of training."""
    kind, edge = EVERY_ARM[arm], study.size or 32
    with torch.device("meta"):
        model = study.model(arm, 0)
        for _ in range(study.cycles if kind.cycles and kind.grow else 0):
            add_dendrites(model)
    return count_macs(model, (3, edge, edge)).total


def _stopped(study: Study, by_arm: Results, scores: Scores) -> str:
    """Whether the baseline had stopped improving, by a rule fixed before the runs and by what a restart still gave."""
    runs = [run for run in by_arm.get("baseline", {}).values() if len(run.epochs) >= 10]
    if not runs:
        return ""
    rises = []
    for run in runs:
        reached = [epoch["validation_accuracy"] for epoch in run.epochs]
        late = len(reached) - len(reached) // 10
        rises.append(max(max(reached[late:]) - max(reached[:late]), 0.0))
    rise = fmean(rises)
    said = (
        f"Had the baseline stopped? In the last tenth of its epochs its best validation accuracy rose by {rise:.2f} "
        f'points (mean over seeds); by the rule "less than 0.2" it had {"" if rise < 0.2 else "not "}stopped.'
    )
    again = difference(scores, "baseline", "same-epochs")
    if again is None:
        return said
    more = study.cycles * (study.dendrite + study.neuron)
    return (
        f"{said} {more} more epochs with a restarted learning rate, the arm same-epochs, gained {_gain(again)} points."
    )


def answers(name: str) -> str:
    """The questions that a study's records can answer, with intervals, as a Markdown table."""
    return _answers(accuracies(results(recorded(name))))


def _answers(scores: Scores) -> str:
    rows = []
    for arm, control, question in QUESTIONS:
        gain = difference(scores, control, arm)
        if gain is not None:
            verdict = "cannot tell"
            if isinstance(gain, Interval) and gain.excludes_zero:
                verdict = "yes" if gain.estimate > 0 else "no, it is worse"
            relative = _relative(scores, control, arm)
            rows.append(f"| {question} | {arm} against {control} | {_gain(gain)} | {relative} | {verdict} |")
    head = ["| question | arms | fewer errors, points | relative, % | answer |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""


def _about(name: str, study: Study, runs: list[Run]) -> str:
    header = runs[0].header
    machines = sorted({f"{run.header['machine']['cpu']}, threads: {run.header['machine']['threads']}" for run in runs})
    revisions = sorted({_short(str(run.header["revision"])) for run in runs})
    after = study.dendrite + study.neuron
    return "\n".join(
        [
            f"- Data: {header['data']['name']}, {header['data']['train']:,} training images, checksum "
            f"`{header['data']['checksum'][:12]}`.",
            f"- Epochs: {study.baseline}, then {study.cycles} × ({study.dendrite} + {study.neuron}); "
            f"arms without a dendrite phase train {after} instead.",
            f"- Learning rates {study.lr:g} and {study.dendrite_lr:g}, batch {study.batch_size}.",
            f"- Machine: {'; '.join(machines)}. Revision: {', '.join(revisions)}.",
            "- Positive gains are fewer errors; brackets are 95 % intervals over paired seeds. Parameters and MACs "
            "count every dendrite; minutes are the median wall time of a whole run.",
            f"- Again: move data/runs/{name} away, then `perfteach study {name} --data IMAGES`. The same numbers need "
            "the same images (checksum above, and data/README.md).",
        ]
    )


def _short(revision: str) -> str:
    return revision[:10] + "+changes" * revision.endswith("+changes")


def _missing(study: Study, by_arm: Results) -> str:
    absent = {arm: [str(seed) for seed in study.seeds if seed not in by_arm.get(arm, {})] for arm in study.arms}
    missing = {arm: seeds for arm, seeds in absent.items() if seeds}
    whole = len(study.arms) * len(study.seeds)
    if not missing:
        return f"Complete: {len(study.arms)} arms × {len(study.seeds)} seeds."
    done = whole - sum(map(len, missing.values()))
    listed = "; ".join(f"{arm} {', '.join(seeds)}" for arm, seeds in missing.items())
    return (
        f"**Not complete: {done} of {whole} runs.** Missing seeds: {listed}. No conclusion can rest on an arm with "
        "fewer than three seeds."
    )


def tried() -> str:
    """Every arm of every recorded study against longer training and against more width, one line each."""
    rows = [
        "| study | arm | seeds | gain on same-epochs, points | relative, % | gain on wider, points | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    gains = []
    for name in (name for name in STUDIES if name in studies()):
        by_arm = results(recorded(name))
        scores = accuracies(by_arm)
        for arm in (arm for arm in EVERY_ARM if arm in by_arm and arm not in ("baseline", "same-epochs")):
            gain = difference(scores, "same-epochs", arm)
            gains += [gain] if isinstance(gain, Interval) and not EVERY_ARM[arm].wider else []
            width = "–" if arm == "wider" else _gain(difference(scores, "wider", arm))
            relative = _relative(scores, "same-epochs", arm) if gain is not None else "–"
            idea = f"{arm}: {IDEAS[arm].rules_out}" if arm in IDEAS else arm
            rows.append(
                f"| [{name}](../data/runs/{name}/README.md) | {idea} | {len(by_arm[arm])} | {_gain(gain)} | {relative} "
                f"| {width} | {_parameters(by_arm[arm])} |"
            )
    above, below = (sum(gain.excludes_zero and sign * gain.estimate > 0 for gain in gains) for sign in (1, -1))
    said = (
        f"Arms with dendrites and an interval against same-epochs: {len(gains)}. Intervals above zero: {above}; below: "
        f"{below}. Without any effect one in forty would lie above zero by chance, and one in forty below."
    )
    return "\n".join(rows) + f"\n\n{said}\n"


def extra_small() -> str:
    """How near the networks of the studies at 64×64 came to what Extra-Small aimed at, as a Markdown table."""
    small = fmean(accuracies(results(recorded("case-study")))["baseline"].values())
    rows = [
        "| network | arm | seeds | epochs | parameters | test accuracy, % | from the aim | from MobileNet-Small |",
        "|---|---|---|---|---|---|---|---|",
    ]
    best = (0.0, "")
    for name in EXTRA_SMALL:
        by_arm = results(recorded(name))
        for arm in (arm for arm in EVERY_ARM if arm in by_arm):
            runs = list(by_arm[arm].values())
            accuracy, parameters = (fmean(values) for values in zip(*map(_point, runs), strict=True))
            network = f"width {find(name).network(arm)['width']:g}"
            rows.append(
                f"| {network} | {arm} | {len(runs)} | {len(runs[0].epochs)} | {parameters:,.0f} | {accuracy:.2f} "
                f"| {accuracy - AIM:+.2f} | {accuracy - small:+.2f} |"
            )
            if name == EXTRA_SMALL[1] and parameters <= LIMIT:
                best = max(best, (accuracy, f"{network}, {arm}"))
    return "\n".join(rows) + (
        f"\n\nThe aim was {AIM} % with at most {LIMIT:,} parameters, and more than the baseline of MobileNet-Small. "
        f"It is {'' if best[0] >= max(AIM, small) else 'not '}reached: the best Extra-Small network, {best[1]}, is "
        f"{best[0] - AIM:+.2f} points from the first figure and {best[0] - small:+.2f} from the baseline.\n"
    )


def _point(run: Run) -> tuple[float, int]:
    """Test accuracy in percent and total parameters."""
    return _result(run)["test_accuracy"], _result(run)["parameters"]["total"]  # type: ignore[index]


def _parameters(runs: dict[int, Run]) -> str:
    return f"{fmean(_point(run)[1] for run in runs.values()):,.0f}"


def write(name: str) -> Path:
    """Put the study's section into docs/evidence.md and, with its figure, into the folder of its records.

    Raises:
        DataError: outside a checkout, or when the page has no place for the study.
    """
    for path, text in _pages(name).items():
        path.write_text(text, encoding="utf-8")
    note = PngInfo()
    note.add_text("records", _fingerprint(name))
    figure = Image.open(io.BytesIO(plots.png(_figure(name))))
    figure.save(record_folder(name) / FIGURE, optimize=True, pnginfo=note)
    return PAGE


def check(name: str) -> None:
    """Recompute the study's section from the records and compare it with docs/evidence.md, the README and the figure.

    The text around the generated sections may only quote decimal numbers that stand in one of them.

    Raises:
        DataError: when one says something else than the records; the message shows the first line or number.
    """
    for path, text in _pages(name).items():
        old, new = path.read_text(encoding="utf-8").splitlines(), text.splitlines()
        if old != new:
            first = next((n for o, n in zip(old, new, strict=False) if o != n), "a line is missing")
            raise DataError(f"{path.name} differs from the records of {name}: it should say {first!r}")
    if unknown := _unfounded(PAGE.read_text(encoding="utf-8")):
        raise DataError(f"{PAGE.name} quotes {', '.join(unknown)}, which no generated table has")
    with Image.open(record_folder(name) / FIGURE) as image:
        if image.info.get("records") != _fingerprint(name):
            raise DataError(f"{FIGURE} of {name} was drawn from other records; write the pages again")


def _pages(name: str) -> dict[Path, str]:
    """What the two pages have to say, by path."""
    folder, section, alt = record_folder(name), table(name), _figure(name).alt
    page = _replaced(PAGE.read_text(encoding="utf-8"), name, f"{section}\n![{alt}](../data/runs/{name}/{FIGURE})\n")
    page = _replaced(page, "tried", tried())
    if name in EXTRA_SMALL:
        page = _replaced(page, "extra-small", extra_small())
    return {PAGE: page, folder / "README.md": f"# Recorded runs: {name}\n\n{section}\n![{alt}]({FIGURE})\n"}


def _figure(name: str) -> plots.Picture:
    """Every arm against the same-epochs control, seed by seed."""
    runs = recorded(name)
    scores = accuracies(results(runs))
    ordered = {arm: scores[arm] for arm in EVERY_ARM if arm in scores}
    control = "same-epochs" if "same-epochs" in ordered else next(iter(ordered))
    return plots.paired_differences(ordered, control, data=runs[0].header["data"]["name"])


def _fingerprint(name: str) -> str:
    """What the figure shows, as a checksum that is stored in it: pixels differ between machines, this does not."""
    scores = json.dumps(accuracies(results(recorded(name))), sort_keys=True)
    return hashlib.sha256(scores.encode()).hexdigest()


def _replaced(page: str, name: str, section: str) -> str:
    start, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    if start not in page or end not in page:
        raise DataError(f"{PAGE.name} has no place for the study {name}; add the lines {start.strip()!r} and {end!r}")
    head, rest = page.split(start, 1)
    return head + start + section + rest[rest.index(end) :]


def _unfounded(page: str) -> list[str]:
    """Decimal numbers of the text around the generated sections that stand in none of these.

    What lies between `<!-- measured elsewhere -->` and `<!-- end -->` does not come from the records.
    """
    generated = re.compile(r"<!-- (\S+): generated -->.*?<!-- \1: end -->", re.DOTALL)
    known = set(DECIMAL.findall("".join(match.group() for match in generated.finditer(page))))
    text = re.sub(r"<!-- measured elsewhere -->.*?<!-- end -->", "", generated.sub("", page), flags=re.DOTALL)
    return [number for number in DECIMAL.findall(text) if number not in known]
