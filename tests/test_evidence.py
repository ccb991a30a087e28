"""Evidence pages: the tables come from the records, and a page that says something else is found out."""

from __future__ import annotations

import pytest
from PIL import Image

from perfteach import evidence, runs, study
from perfteach.errors import DataError
from perfteach.runs import Run
from perfteach.study import STUDIES


def made(arm: str, seed: int, accuracy: float) -> Run:
    header = {"name": f"mini/{arm}-seed{seed}", "study": "mini", "arm": arm, "seed": seed, "revision": "abc"}
    header |= {"data": {"name": "made-up", "checksum": "0" * 64, "train": 10}, "machine": {"cpu": "some", "threads": 1}}
    result = {"test_accuracy": accuracy, "parameters": {"total": 1000}, "seconds": 60.0}
    return Run(header, [], [], result)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "PAGE", tmp_path / "evidence.md")
    for module in (study, runs):
        monkeypatch.setattr(module, "RECORDS", (tmp_path / "none", tmp_path / "runs"))
    places = "".join(f"<!-- {name}: generated -->\n<!-- {name}: end -->\n\n" for name in ("tried", "mini"))
    (tmp_path / "evidence.md").write_text(f"# E\n\n{places}the end\n")
    for arm, values in {"same-epochs": (60, 61, 62), "thawed": (62, 63.5, 64), "baseline": (59, 60, 61)}.items():
        for seed, value in enumerate(values):
            made(arm, seed, value).save(tmp_path / "runs" / "mini" / f"{arm}-seed{seed}.jsonl")
    return tmp_path


def test_the_table_is_computed_from_the_records(pages):
    evidence.write("mini")
    page = (pages / "evidence.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| thawed"))
    assert "| 36.83 | +2.17 [+1.45, +2.88] | 5.6 | 1,000 | 0.46 M | 1.0 |" in row, (
        "39.00 to 36.83; t interval of 2, 2.5, 2"
    )
    assert "Not complete: 9 of 40 runs" in page and page.endswith("the end\n")
    assert "Missing seeds: baseline 3, 4; same-epochs 3, 4; wider 0, 1, 2, 3, 4; random" in page
    evidence.check("mini")


def test_what_was_tried_is_one_line_an_arm(pages):
    for seed, value in enumerate((63, 63.5, 65)):
        for arm in ("wider", "wider-macs"):
            made(arm, seed, value).save(pages / "runs" / "mini" / f"{arm}-seed{seed}.jsonl")
    wider, thawed, _ = (line for line in evidence.tried().splitlines() if line.startswith("| [mini]"))
    assert "| thawed | 3 | +2.17 [+1.45, +2.88] | 5.6 | -0.67 [" in thawed and "| wider | 3 | +2.83 [" in wider
    assert "interval against same-epochs: 1. Intervals above zero: 1; below: 0." in evidence.tried(), "no plain one"


def test_the_best_extra_small_is_measured_against_the_aim(pages):
    for name, arm, accuracy, parameters in (
        ("case-study", "baseline", 80.5, 1_500_000),
        ("case-study-extra-small", "wider", 84.0, 1_700_000),
        ("case-study-extra-small", "thawed", 82.0, 1_600_000),
    ):
        run = made(arm, 0, accuracy)
        run.epochs, run.result["parameters"] = [{"epoch": 1}], {"total": parameters}
        run.save(pages / "runs" / name / f"{arm}-seed0.jsonl")
    said = evidence.extra_small()
    assert "| width 0.5 | thawed | 1 | 1 | 1,600,000 | 82.00 | -0.25 | +1.50 |" in said
    assert "not reached: the best Extra-Small network, width 0.5, thawed, is -0.25 points" in said, "84 % is too large"
    run.result["test_accuracy"] = 82.3
    run.save(pages / "runs" / name / f"{arm}-seed0.jsonl")
    assert "It is reached" in evidence.extra_small()


def test_the_text_may_quote_only_what_a_table_says(pages):
    evidence.write("mini")
    page = pages / "evidence.md"
    written = page.read_text()
    page.write_text(written + "Thawing gains 2.17 points.\n<!-- measured elsewhere -->3.14<!-- end -->\n")
    evidence.check("mini")
    page.write_text(written + "Thawing gains 2.18 points.\n")
    with pytest.raises(DataError, match=r"quotes 2\.18, which no generated table has"):
        evidence.check("mini")


def test_a_single_seed_gets_no_interval(pages):
    for seed in (1, 2):
        (pages / "runs" / "mini" / f"thawed-seed{seed}.jsonl").unlink()
    assert "+2.00 (one seed, no interval)" in evidence.table("mini")


def test_a_changed_record_or_page_is_found_out(pages):
    evidence.write("mini")
    made("thawed", 0, 62.01).save(pages / "runs" / "mini" / "thawed-seed0.jsonl")
    with pytest.raises(DataError, match="differs from the records"):
        evidence.check("mini")
    evidence.write("mini")
    page = pages / "evidence.md"
    written = page.read_text()
    page.write_text(written.replace("36.83", "36.03"))
    with pytest.raises(DataError, match=r"evidence.md differs"):
        evidence.check("mini")
    page.write_text(written)
    figure = pages / "runs" / "mini" / "arms.png"
    Image.open(figure).save(figure)  # the same picture without its fingerprint
    with pytest.raises(DataError, match=r"arms.png"):
        evidence.check("mini")


def test_the_questions_are_answered_with_an_interval_or_not_at_all(pages):
    page = evidence.table("mini")
    row = next(line for line in page.splitlines() if "thawed against same-epochs" in line)
    assert row.endswith("| +2.17 [+1.45, +2.88] | 5.6 | yes |")
    assert "against wider" not in page, "there is no run of it"
    for seed in (1, 2):
        (pages / "runs" / "mini" / f"thawed-seed{seed}.jsonl").unlink()
    row = next(line for line in evidence.table("mini").splitlines() if "thawed against same-epochs" in line)
    assert row.endswith("| cannot tell |")


@pytest.mark.parametrize(("last", "said"), [(60.1, "it had stopped"), (60.3, "it had not stopped")])
def test_the_baseline_has_stopped_when_its_last_epochs_add_nothing(pages, last, said):
    for seed in range(3):
        path = pages / "runs" / "mini" / f"baseline-seed{seed}.jsonl"
        run = Run.load(path)
        reached = [50.0, 60.0, *[59.0] * 16, 58.0, last]
        run.epochs = [{"epoch": n, "validation_accuracy": value} for n, value in enumerate(reached, start=1)]
        run.save(path)
    text = evidence.table("mini")
    assert said in text and f"rose by {last - 60:.2f} points" in text
    assert "gained +1.00 [" in text


@pytest.mark.parametrize("name", [name for name in STUDIES if name in runs.studies()])
def test_the_committed_pages_say_what_the_committed_records_say(name):
    evidence.check(name)
