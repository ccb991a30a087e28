"""Evidence pages: the tables come from the records, and a page that says something else is found out."""

from __future__ import annotations

import pytest

from perfteach import evidence, runs
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
    for module in (evidence, runs):
        monkeypatch.setattr(module, "RECORDS", (tmp_path / "none", tmp_path / "runs"))
    (tmp_path / "evidence.md").write_text("# E\n\n<!-- mini: generated -->\n<!-- mini: end -->\n\nthe end\n")
    for arm, values in {"same-epochs": (60, 61, 62), "thawed": (62, 63.5, 64), "baseline": (59, 60, 61)}.items():
        for seed, value in enumerate(values):
            made(arm, seed, value).save(tmp_path / "runs" / "mini" / f"{arm}-seed{seed}.jsonl")
    return tmp_path


def test_the_table_is_computed_from_the_records(pages):
    evidence.write("mini")
    page = (pages / "evidence.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| thawed"))
    assert "| 36.83 | +2.17 [+1.45, +2.88] | 5.6 | 1,000 | 1.0 |" in row, "39.00 to 36.83; t interval of 2, 2.5, 2"
    assert "Not complete: 9 of 40 runs" in page and page.endswith("the end\n")
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
    page.write_text(page.read_text().replace("36.83", "36.03"))
    with pytest.raises(DataError, match=r"evidence.md differs"):
        evidence.check("mini")


@pytest.mark.parametrize("name", [name for name in STUDIES if name in runs.studies()])
def test_the_committed_pages_say_what_the_committed_records_say(name):
    evidence.check(name)
