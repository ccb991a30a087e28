"""Evidence pages: every number comes from the records, and a page that says something else is found out."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import fmean, median

import pytest
from conftest import load_tool
from scipy.stats import ttest_rel

from perfteach import compare, runs, study
from perfteach.errors import DataError
from perfteach.runs import Run

ROOT = Path(__file__).resolve().parent.parent
tool = load_tool("evidence")
facts_of = sys.modules[tool.Facts.__module__]


def made(arm: str, seed: int, accuracy: float, reached: tuple[float, ...] = (), total: int = 1000) -> Run:
    header = {"name": f"mini/{arm}-seed{seed}", "study": "mini", "arm": arm, "seed": seed, "revision": "abc"}
    header |= {"data": {"name": "made-up", "checksum": "0" * 64, "train": 10}, "machine": {"cpu": "some", "threads": 1}}
    run = Run.of([{"kind": "run", **header}])
    for number, value in enumerate(reached or (50.0,), start=1):
        run.take({"kind": "epoch", "epoch": number, "validation_accuracy": value})
    run.take({"kind": "result", "test_accuracy": accuracy, "parameters": {"total": total}, "seconds": 60.0})
    return run


@pytest.fixture
def records(tmp_path, monkeypatch):
    """A folder of made-up records, and figures of multiply-accumulates that cost no time."""
    for module in (study, runs):
        monkeypatch.setattr(module, "RECORDS", (tmp_path / "none", tmp_path / "runs"))
    monkeypatch.setattr(facts_of, "_macs", lambda name, arm: 460_000)
    for arm, values in {"same-epochs": (60, 61, 62), "thawed": (62, 63.5, 64), "baseline": (59, 60, 61)}.items():
        for seed, value in enumerate(values):
            keep(tmp_path, made(arm, seed, value))
    return tmp_path


def keep(folder: Path, run: Run, name: str = "mini") -> None:
    run.save(folder / "runs" / name / f"{run.arm}-seed{run.seed}.jsonl")


def page(name: str = "mini") -> str:
    return tool.render("records.md.jinja", tool.Facts(), name=name)


def filled(text: str) -> str:
    """What a line of a template becomes."""
    return tool.environment(tool.Facts()).from_string(text).render()


def test_the_table_is_computed_from_the_records(records):
    row = next(line for line in page().splitlines() if line.startswith("| thawed"))
    assert "| 36.83 | +2.17 [+1.45, +2.88] | 5.6 | 1,000 | 0.46 M | 1.0 |" in row, "t interval of 2, 2.5, 2"
    assert "Not complete: 9 of 40 runs" in page()
    assert "Missing seeds: baseline 3, 4; same-epochs 3, 4; wider 0, 1, 2, 3, 4; random" in page()
    assert "![Gain over same-epochs on made-up" in page() and "thawed +2.17 (95 % interval" in page()


def test_one_changed_number_of_a_record_changes_table_and_text(records):
    sentence = '{{ gain("mini", "thawed") }} [{{ interval("mini", "thawed") }}], {{ error("mini", "thawed", 1) }} %'
    assert filled(sentence) == "2.17 [1.45 to 2.88], 36.8 %"
    before = page()
    keep(records, made("thawed", 0, 62.6))
    assert filled(sentence) == "2.37 [1.57 to 3.17], 36.6 %"
    changed = [new for old, new in zip(before.splitlines(), page().splitlines(), strict=True) if old != new]
    assert len(changed) == 3, "the arm's row, its answer, and the figure in words"
    assert all("+2.37" in line for line in changed)


def test_numbers_in_a_sentence(records):
    keep(records, made("wider", 0, 61.0, total=1100))
    assert filled('{{ gain("mini", "same-epochs", "thawed") }}') == "−2.17", "the other way round, with a true minus"
    assert filled('{{ interval("mini", "thawed", first=2) }}') == "−0.93 to +5.43", "2 and 2.5: zero within, so signs"
    assert filled('{{ seeds("mini") }} {{ losing_seeds("mini", "baseline") }}') == "three three"
    assert filled('{{ more_parameters("mini", "wider") }} {{ relative("mini", "thawed") }}') == "10 5.6"
    assert filled('{{ sure("mini", "same-epochs", "thawed") }}') == ""
    with pytest.raises(DataError, match=r"thawed against same-epochs, \+2.17 .*the sentence is no longer true"):
        filled('{{ unsure("mini", "same-epochs", "thawed") }}')
    with pytest.raises(DataError, match="is no sure gain; the sentence is no longer true"):
        filled('{{ sure("mini", "thawed", "same-epochs") }}')  # its interval leaves out zero on the wrong side
    assert filled('{{ still("mini", "thawed", 3) }}') == ""
    with pytest.raises(DataError, match="thawed has 3 seeds, and had 2"):
        filled('{{ still("mini", "thawed", 2) }}')


def test_claims_are_corrected_for_their_number(records):
    alone = '{{ strength("mini", "thawed")[:0] }}{{ corrected() }}'
    assert filled(alone) == "{'all': 1, 'zero': 1, 'stand': 1}", "p = 0.006"
    two = alone.replace("{{ corrected", '{{ strength("mini", "thawed", "baseline")[:0] }}{{ corrected')
    assert filled(two) == "{'all': 2, 'zero': 2, 'stand': 2}"


@pytest.mark.parametrize(
    ("values", "verdict", "strength"),
    [
        ((62, 63.5, 64), "yes", ", three seeds: +2.17 [+1.45, +2.88], +5.6 %"),
        ((58, 58.5, 60), "no, it is worse", ", three seeds: −2.17 [−2.88, −1.45], −5.6 %"),
        ((60.1, 60.9, 62), "no (at most +0.25)", ", three seeds: +0.00 [−0.25, +0.25], +0.0 %"),
        ((61, 60, 62), "cannot tell", ", three seeds: +0.00 [−2.48, +2.48], +0.0 %"),
        ((60.1, 60.6), "cannot tell", ", two seeds: −0.15 [−3.33, +3.03], −0.4 %"),
        ((62,), "cannot tell", ": +2.00 (one seed, no interval), +5.0 %"),
    ],
)
def test_a_verdict_follows_from_the_interval(records, values, verdict, strength):
    for seed in range(3):
        (records / "runs" / "mini" / f"thawed-seed{seed}.jsonl").unlink()
    for seed, value in enumerate(values):
        keep(records, made("thawed", seed, value))
    assert filled('{{ verdict("mini", "thawed") }}') == verdict
    assert filled('{{ strength("mini", "thawed") }}') == f"[mini](evidence-tables.md#study-mini){strength}"


def test_studies_without_records_are_listed_as_not_run(records):
    assert tool.Facts().not_run() == [name for name in study.STUDIES if name != "mini"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ('gain("mini", "thawd")', r"no records of an arm 'thawd'; it has baseline, same-epochs, thawed"),
        ('gain("mini", "thawed", "widr")', r"no records of an arm 'widr'"),
        ('gain("minni", "thawed")', r"study is .minni.; use one of .mini"),
        ('gain("search", "thawed")', r"no recorded runs called 'search'"),
        ('loss("mini", "thawed")', r"'loss' is undefined"),
    ],
)
def test_a_template_that_asks_for_what_is_not_there_fails_and_says_where(records, tmp_path, monkeypatch, asked, says):
    monkeypatch.setattr(tool, "TEMPLATES", tmp_path)
    (tmp_path / "wrong.jinja").write_text("one\n\nGained {{ " + asked + " }} points.\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"wrong.jinja, line 3: .*{says}"):
        tool.render("wrong.jinja", tool.Facts())


def test_what_was_tried_counts_arms_with_dendrites_only(records):
    for seed, value in enumerate((63, 63.5, 65)):
        for arm in ("wider", "wider-macs"):
            keep(records, made(arm, seed, value))
    assert tool.Facts().gains_found() == {"all": 1, "above": 1, "below": 0}


def test_the_best_extra_small_is_the_best_within_the_limit(records):
    name = "case-study-extra-small"
    keep(records, made("wider", 0, 84.0, total=1_700_000), name)
    keep(records, made("thawed", 0, 82.0, total=1_600_000), name)
    assert tool.Facts().best_extra_small(name) == ("width 0.5, thawed", 82.0), "84 % is too large"


def test_a_single_seed_gets_no_interval_and_no_answer(records):
    for seed in (1, 2):
        (records / "runs" / "mini" / f"thawed-seed{seed}.jsonl").unlink()
    assert "+2.00 (one seed, no interval)" in page()
    row = next(line for line in page().splitlines() if "thawed against same-epochs" in line)
    assert row.endswith("| cannot tell |")


def test_the_questions_are_answered_with_an_interval(records):
    row = next(line for line in page().splitlines() if "thawed against same-epochs" in line)
    assert row.endswith("| +2.17 [+1.45, +2.88] | 5.6 | yes |")
    assert "against wider" not in page(), "there is no run of it"


@pytest.mark.parametrize(("last", "said"), [(60.1, "it had stopped"), (60.3, "it had not stopped")])
def test_the_baseline_has_stopped_when_its_last_epochs_add_nothing(records, last, said):
    for seed, value in enumerate((59, 60, 61)):
        keep(records, made("baseline", seed, value, (50.0, 60.0, *[59.0] * 16, 58.0, last)))
    assert said in page() and f"rose by {last - 60:.2f} points" in page()
    assert "gained +1.00 [" in page()


# ---------------------------------------------------------------------------------------------- the committed pages


@pytest.mark.slow
def test_the_committed_pages_and_figures_say_what_the_records_say(tmp_path):
    facts = tool.Facts()
    made_again = tool.pages(facts)
    assert set(made_again) == {
        ROOT / "README.md", *(ROOT / "docs").glob("evidence*.md"), *(ROOT / "data" / "runs").glob("*/README.md")
    }  # fmt: skip
    for path, text in made_again.items():
        tool.compare_page(path, text)
    figures = tool.figures(facts)
    assert set(figures) == {
        ROOT / "docs/images/forest.png",
        ROOT / "docs/images/extra-small.png",
        *(ROOT / "data" / "runs").glob("*/arms.png"),
    }
    for path, (picture, scores) in figures.items():
        tool.compare_figure(path, picture, scores)
    picture, scores = figures[tool.FOREST]
    scores["mini"]["perforated"][0] += 0.01
    with pytest.raises(DataError, match=r"forest.png was not drawn from these records; run"):
        tool.compare_figure(tool.FOREST, picture, scores)
    other = tmp_path / "page.md"
    text = made_again[ROOT / "docs" / "evidence-tables.md"]
    other.write_text(text.replace("36.77", "36.07", 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"page.md, line \d+, says '\| thawed .*36.07.* should say '\| thawed .*36.77"):
        tool.compare_page(other, text)
    other.write_text(text + "one more\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"says 'one more' and should say '\(nothing\)'"):
        tool.compare_page(other, text)


def lines_of(name: str) -> dict[str, dict[int, dict]]:
    """Results by arm and seed, read without the library."""
    found: dict[str, dict[int, dict]] = {}
    for path in (ROOT / "data" / "runs" / name).glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found.setdefault(lines[0]["arm"], {})[lines[0]["seed"]] = lines[-1]
    return found


def errors_of(found: dict[str, dict[int, dict]], arm: str, control: str) -> tuple[list[float], list[float]]:
    """Test errors of the control and the arm, by the seeds that both have."""
    seeds = sorted(found[arm].keys() & found[control].keys())
    old, new = ([100 - found[which][seed]["test_accuracy"] for seed in seeds] for which in (control, arm))
    return old, new


def recomputed(found: dict[str, dict[int, dict]], arm: str, control: str) -> tuple[str, str]:
    """Gain with its interval, and relative gain, by hand."""
    old, new = errors_of(found, arm, control)
    relative = f"{100 * (fmean(old) - fmean(new)) / fmean(old):.1f}"
    if len(old) == 1:
        return f"{old[0] - new[0]:+.2f} (one seed, no interval)", relative
    low, high = ttest_rel(old, new).confidence_interval(0.95)
    return f"{fmean(old) - fmean(new):+.2f} [{low:+.2f}, {high:+.2f}]", relative


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "data" / "runs").glob("*/README.md")))
def test_every_committed_table_is_what_a_second_computation_gives(name):
    found = lines_of(name)
    text = (ROOT / "data" / "runs" / name / "README.md").read_text(encoding="utf-8")
    whole = (ROOT / "docs" / "evidence-tables.md").read_text(encoding="utf-8")
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    arms = {cells[0]: cells for cells in tables if cells[0] in found}
    assert arms.keys() == found.keys()
    for arm, cells in arms.items():
        of_arm = found[arm].values()
        assert cells[2:4] == [str(len(of_arm)), f"{fmean(100 - result['test_accuracy'] for result in of_arm):.2f}"]
        plain = arm in ("baseline", "same-epochs") or "same-epochs" not in found
        assert cells[4:6] == (["–", "–"] if plain else [*recomputed(found, arm, "same-epochs")])
        assert cells[6] == f"{fmean(result['parameters']['total'] for result in of_arm):,.0f}"
        assert cells[8] == f"{median(result['seconds'] for result in of_arm) / 60:.1f}"
        held = all("fresh_accuracy" in result for result in of_arm)
        splits = ("validation", "fresh") if held else ()
        extra = [f"{fmean(100 - result[f'{split}_accuracy'] for result in of_arm):.2f}" for split in splits]
        assert [cell for cell in cells[9:] if cell] == extra, "studies with held-out images say so"
        assert plain or (f"README.md) | {arm}" in whole and f"| {' | '.join(cells[4:6])} |" in whole)
    asked = [cells for cells in tables if " against " in cells[1]]
    for _, pair, gain, relative, answer in asked:
        arm, control = pair.split(" against ")
        assert (gain, relative) == recomputed(found, arm, control)
        old, new = errors_of(found, arm, control)
        low, high = -1, 1  # too few seeds for an answer
        if len(old) > 2:  # a bound just above zero is printed as +0.00
            low, high = ttest_rel(old, new).confidence_interval(0.95)
        assert answer == ("yes" if low > 0 else "no, it is worse" if high < 0 else "cannot tell")
    both = [(arm, control) for arm, control, _ in compare.QUESTIONS if arm in found and control in found]
    assert len(asked) == len(both)
    assert all(line in whole for line in text.splitlines() if line[:1] == "|"), "both pages have the same tables"


def test_the_picture_of_extra_small_has_its_networks_with_intervals_and_the_published_one():
    facts = tool.Facts()
    picture = facts.front()
    for arm in ("original", "early-start", "same-epochs"):
        assert (
            f"{facts.parameters('extra-small', arm)} parameters, {facts.error('extra-small', arm)} % (" in picture.alt
        )
    assert "published, dendrites uncounted: 1,660,000 parameters, 17.75 %" in picture.alt
    intervals = [line for line in picture.axes[0].collections if line.get_gid() == "interval"]
    widths = [abs(path.vertices[0, 1] - path.vertices[1, 1]) for line in intervals for path in line.get_paths()]
    assert sum(width > 0.2 for width in widths) == picture.alt.count("(") and min(widths) == 0, "one run has none"


def test_the_forest_plot_has_every_arm_with_dendrites_and_every_wider_network():
    picture = tool.Facts().forest()
    drawn = {part.get_gid(): part for part in picture.findobj() if ":" in str(part.get_gid())}
    means = {gid for gid in drawn if gid.startswith("mean:")}
    expected = {}
    for name in (path.parent.name for path in (ROOT / "data" / "runs").glob("*/README.md")):
        found = lines_of(name)
        grown = {arm for arm, runs in found.items() if any(r["parameters"].get("dendrites") for r in runs.values())}
        grown -= {"full-width-early"}  # it differs from same-epochs in more than its dendrites
        if "same-epochs" in found and grown:
            expected |= {(name, arm): found for arm in found if arm in grown or arm.startswith("wider")}
    assert len(expected) >= 32
    places = {(gid[5:].split(": ")[0], gid.rpartition("/")[2]): gid[5:] for gid in means}
    assert places.keys() == expected.keys()
    for (name, arm), gid in places.items():
        gain = recomputed(expected[name, arm], arm, "same-epochs")[0]
        numbers = [float(number) for number in re.findall(r"[-+][\d.]+", gain)]
        mark = drawn[f"mean:{gid}"]
        assert mark.get_xdata()[0] == pytest.approx(numbers[0], abs=0.0051), f"{name} {arm}"
        assert (mark.get_markerfacecolor() == "#ffffff") == arm.startswith("wider"), "hollow without dendrites"
        assert (f"interval:{gid}" in drawn) == (len(numbers) == 3), "one seed has no bar"
        if len(numbers) == 3:
            ((low, _), (high, _)), *_ = drawn[f"interval:{gid}"].get_segments()
            assert (low, high) == pytest.approx(numbers[1:], abs=0.0051), f"{name} {arm}"


def test_the_page_of_evidence_is_one_page_whose_links_lead_to_headings():
    page, tables = (ROOT.joinpath("docs", name).read_text("utf-8") for name in ("evidence.md", "evidence-tables.md"))
    headings = re.findall(r"^#+ (.+)$", tables, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    asked = re.findall(r"\(evidence-tables\.md#([^)]+)\)", page)
    assert len(set(asked)) > 8 and set(asked) <= anchors
    assert len(page.splitlines()) <= 120
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) >= 10 and all(row.count(" | ") == 2 for row in rows)
    assert "\n\n| " not in page.split("|---|", 1)[1], "the table is one"
