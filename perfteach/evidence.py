"""From records to pages: the tables of docs/evidence.md and of each study's README, and the check that they agree."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean

from perfteach.errors import DataError
from perfteach.metrics import Interval, error_reduction, paired_interval
from perfteach.runs import RECORDS, Run, recorded
from perfteach.study import ARMS, Study, find

PAGE = RECORDS[1].parents[1] / "docs" / "evidence.md"
Results = dict[str, dict[int, Run]]


def results(runs: list[Run]) -> Results:
    """Finished runs by arm and seed."""
    by_arm: Results = defaultdict(dict)
    for run in runs:
        if run.finished and "arm" in run.header:
            by_arm[run.header["arm"]][run.header["seed"]] = run
    return dict(by_arm)


def accuracies(by_arm: Results) -> dict[str, dict[int, float]]:
    """Test accuracy in percent by arm and seed."""
    return {arm: {seed: _result(run)["test_accuracy"] for seed, run in runs.items()} for arm, runs in by_arm.items()}


def _result(run: Run) -> dict[str, float]:
    assert run.result is not None
    return run.result


def difference(by_arm: dict[str, dict[int, float]], control: str, arm: str) -> Interval | float | None:
    """Error of `control` minus error of `arm` over their common seeds: interval, one value for one seed, or None."""
    seeds = sorted(by_arm.get(control, {}).keys() & by_arm.get(arm, {}).keys())
    old, new = ([100.0 - by_arm[which][seed] for seed in seeds] for which in (control, arm))
    if len(seeds) < 2:
        return old[0] - new[0] if seeds else None
    return paired_interval(new, old)


def table(name: str) -> str:
    """The study as a Markdown section: what is missing, one row per arm, and how to make it again."""
    study, runs = find(name), recorded(name)
    by_arm = results(runs)
    scores = accuracies(by_arm)
    rows = [
        "| arm | rules out | seeds | test error, % | gain on same-epochs, points | relative, % | parameters | min |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [_row(arm, by_arm[arm], scores) for arm in ARMS if arm in by_arm]
    return "\n".join([f"### {study.about}", "", _about(name, study, runs), "", _missing(study, by_arm), "", *rows, ""])


def _row(arm: str, runs: dict[int, Run], scores: dict[str, dict[int, float]]) -> str:
    errors = [100 - score for score in scores[arm].values()]
    gain = None if arm in ("baseline", "same-epochs") else difference(scores, "same-epochs", arm)
    shared = scores.get("same-epochs", {}).keys() & scores[arm].keys()
    relative = "–"
    if gain is not None and shared:
        control, treated = (fmean(scores[which][seed] for seed in shared) for which in ("same-epochs", arm))
        relative = f"{error_reduction(control, treated):.1f}"
    parameters = fmean(_result(run)["parameters"]["total"] for run in runs.values())  # type: ignore[index]
    minutes = fmean(_result(run)["seconds"] for run in runs.values()) / 60
    return (
        f"| {arm} | {ARMS[arm].rules_out} | {len(runs)} | {fmean(errors):.2f} | {_gain(gain)} | {relative} "
        f"| {parameters:,.0f} | {minutes:.1f} |"
    )


def _gain(gain: Interval | float | None) -> str:
    if gain is None:
        return "–"
    if isinstance(gain, float):
        return f"{gain:+.2f} (one seed, no interval)"
    return f"{gain.estimate:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def _about(name: str, study: Study, runs: list[Run]) -> str:
    header = runs[0].header
    machines = sorted({f"{run.header['machine']['cpu']}, {run.header['machine']['threads']} thread(s)" for run in runs})
    revisions = sorted({str(run.header["revision"])[:10] for run in runs})
    after = study.dendrite + study.neuron
    return "\n".join(
        [
            f"- Data: {header['data']['name']}, {header['data']['train']:,} training images, checksum "
            f"`{header['data']['checksum'][:12]}`.",
            f"- Epochs: {study.baseline}, then {study.cycles} cycle(s) of {study.dendrite} + {study.neuron}; "
            f"arms without a dendrite phase train {after} instead.",
            f"- Learning rates {study.lr:g} and {study.dendrite_lr:g}, batch {study.batch_size}.",
            f"- Machine: {'; '.join(machines)}. Revision: {', '.join(revisions)}.",
            "- Positive gains are fewer errors; brackets are 95 % intervals over paired seeds.",
            f"- Again: `perfteach study {name}`.",
        ]
    )


def _missing(study: Study, by_arm: Results) -> str:
    missing = [f"{arm} seed {seed}" for arm, seed in study.grid() if seed not in by_arm.get(arm, {})]
    if not missing:
        return f"Complete: {len(study.arms)} arms × {len(study.seeds)} seeds."
    done = len(study.arms) * len(study.seeds) - len(missing)
    return f"**Not complete: {done} of {done + len(missing)} runs. No conclusion can rest on it yet.**"


def write(name: str) -> Path:
    """Put the study's section into docs/evidence.md and into the README beside its records."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_replaced(page, name, table(name)), encoding="utf-8")
    (RECORDS[1] / name / "README.md").write_text(f"# Recorded runs: {name}\n\n{table(name)}", encoding="utf-8")
    return PAGE


def check(name: str) -> None:
    """Recompute the study's section from the records and compare it with docs/evidence.md and the README.

    Raises:
        DataError: when either page says something else than the records; the message shows the first line.
    """
    page, beside = PAGE.read_text(encoding="utf-8"), RECORDS[1] / name / "README.md"
    fresh = table(name)
    for path, wanted in ((PAGE, _replaced(page, name, fresh)), (beside, f"# Recorded runs: {name}\n\n{fresh}")):
        old, new = path.read_text(encoding="utf-8").splitlines(), wanted.splitlines()
        if old != new:
            first = next((n for o, n in zip(old, new, strict=False) if o != n), "a line is missing")
            raise DataError(f"{path.name} differs from the records of {name}: it should say {first!r}")


def _replaced(page: str, name: str, section: str) -> str:
    start, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    if start not in page or end not in page:
        raise DataError(f"{PAGE.name} has no place for the study {name}; add the lines {start.strip()!r} and {end!r}")
    head, rest = page.split(start, 1)
    return head + start + section + rest[rest.index(end) :]
