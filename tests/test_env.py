from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfteach import cli, extras
from perfteach.course import env
from perfteach.course.env import Check
from perfteach.errors import MissingExtraError

GOOD = {
    "torch": "2.15.0+cpu",
    "product": [[7.0, 10.0], [15.0, 22.0]],
    "gpu": "",
    "torchvision": "0.30.0",
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretends that packages ask for these lines, by package, and that these versions are installed."""

    def pretend(lines: dict[str, list[str]], versions: dict[str, str], python: str = ">=3.11") -> None:
        def of(name: str) -> list[str]:
            if name not in lines:
                raise env.metadata.PackageNotFoundError(name)
            return lines[name]

        class Metadata(dict):
            get_all = dict.get

        monkeypatch.setattr(env.metadata, "requires", of)
        monkeypatch.setattr(env.metadata, "metadata", lambda name: of(name) and Metadata({"Requires-Python": [python]}))
        monkeypatch.setattr(env, "installed_version", versions.get)

    return pretend


LINES = [
    "torch (>=2.10)",
    "scipy >=1.15, <2",
    "pywin32>=300; sys_platform == 'nowhere'",
    "pytest>=8; extra == 'dev'",
    'onnx>=1.18; extra == "export"',
    "perfteach[export]; extra == 'hackathon'",
    "onnx>=1.18; extra == 'hackathon'",
    "starlette>=0.46; extra == 'hackathon'",
]


def test_what_is_needed_is_read_from_the_metadata(machine) -> None:
    machine({"perfteach": LINES}, {})
    said = {extra: list(map(str, env.needed(extra))) for extra in ("", "course", "export", "hackathon")}
    assert said[""] == ["python>=3.11", "torch>=2.10", "scipy<2,>=1.15"]
    assert said["course"] == [] and [line.split(";")[0] for line in said["export"]] == ["onnx>=1.18"]
    assert [line.split(";")[0] for line in said["hackathon"]] == ["onnx>=1.18", "starlette>=0.46"]


def test_the_real_metadata_name_what_the_course_needs() -> None:
    bounds = {bound.name: str(bound.specifier) for bound in env.needed()}
    assert bounds["python"] == ">=3.11"
    assert bounds["torch"] == ">=2.10"
    assert not {"pytest", "jupyterlab", "onnx"} & set(bounds)
    assert [bound.name for bound in env.needed("course")] == ["anywidget", "ipywidgets", "jupyterlab"]
    assert all(env.needed(extra) for extra in env.EXTRAS)
    assert "perfteach" not in [bound.name for bound in env.needed("hackathon")]


@pytest.mark.parametrize(
    ("version", "specifier", "meets"),
    [
        ("2.10.0+cpu", ">=2.10", True),
        ("2.9.1", ">=2.10", False),
        ("10", ">=9.5", True),
        ("8.1.8", ">=8.1.9", False),
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.0", "==2.15.0", False),
        ("3.0.0rc1", ">=2.10", True),
        ("4.0", "", True),
    ],
)
def test_versions_are_compared_as_an_installer_does(machine, version: str, specifier: str, meets: bool) -> None:
    machine({"perfteach": [f"numpy{specifier}"]}, {"python": "3.12.1", "numpy": version})
    assert [check.status for check in env.check_packages()] == ["ok", "ok" if meets else "fail"]


def test_missing_and_old_packages_fail_with_the_command_to_run(machine) -> None:
    versions = {"python": "3.11.7", "numpy": "1.26.4", "scipy": "1.17.1"}
    machine({"perfteach": ["torch>=2.10", "numpy>=2.1", "scipy>=1.14"]}, versions)
    _, torch, numpy, scipy = env.check_packages()
    assert (torch.status, torch.found) == ("fail", "missing")
    assert 'pip install "torch>=2.10"' in torch.remedy
    assert (numpy.status, numpy.found, numpy.wanted) == ("fail", "1.26.4", ">=2.1")
    assert 'pip install "numpy>=2.1"' in numpy.remedy
    assert scipy == Check("scipy", "ok", "1.17.1", ">=1.14")


def test_an_old_python_is_told_apart_from_an_old_package(machine) -> None:
    machine({"perfteach": ["torch"]}, {"python": "3.10.13", "torch": "2.15"})
    check, _ = env.check_packages()
    assert check.status == "fail"
    assert check.remedy.startswith("Install Python 3.11 or newer")


def test_where_perfteach_is_not_installed_one_line_says_how_to_install_it(machine) -> None:
    machine({}, {"packaging": "26.3"})
    (check,) = env.check_packages()
    assert (check.name, check.status, check.found) == ("perfteach", "fail", "not installed")
    assert "make setup" in check.remedy and env.check_extras() == []
    assert env.check_torchvision(GOOD).wanted == "imports"


def test_where_packaging_is_missing_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    (check,) = env.check_packages()
    assert (check.name, check.status, check.found) == ("packaging", "fail", "not installed")
    assert "make setup" in check.remedy and env.check_extras() == []
    assert env.check_torchvision(GOOD).status == "ok"


def test_a_missing_extra_is_one_warning_with_the_command_that_installs_it(machine) -> None:
    lines = [f"{line}; extra == 'course'" for line in ("ipywidgets>=8.1.9", "jupyterlab>=4.6")]
    lines.append("onnx>=1.18; extra == 'export'")
    versions = {"jupyterlab": "4.6.6", "onnx": "1.17.0"}
    machine({"perfteach": lines}, versions)
    course, onnx = env.check_extras()
    assert (course.name, course.status, course.found) == ("extra course", "warn", "without ipywidgets")
    assert f'{sys.executable} -m pip install "perfteach[course]"' in course.remedy
    # What is there has to be new enough, whoever installed it.
    assert (onnx.status, onnx.found) == ("fail", "1.17.0") and 'pip install "onnx>=1.18"' in onnx.remedy
    versions |= {"ipywidgets": "8.1.9", "onnx": "1.18"}
    assert [check.status for check in env.check_extras()] == ["ok"] * 3


def test_probe_reports_what_the_real_torch_does() -> None:
    probe = env.probe_torch()
    assert probe.get("product") == GOOD["product"], probe
    assert env.check_torch(probe).status == "ok"
    assert env.check_torchvision(probe).status == "ok"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import no_such_torch", "No module named 'no_such_torch'"),
        ("import os; os._exit(7)", "exit code 7"),
        pytest.param(
            "import os; os.abort()",
            "exit code -6",
            marks=pytest.mark.skipif(os.name == "nt", reason="signals have numbers on POSIX only"),
        ),
    ],
)
def test_a_broken_torch_cannot_take_the_check_down(code: str, expected: str) -> None:
    probe = env.probe_torch(code)
    check = env.check_torch(probe)
    assert check.status == "fail"
    assert expected in check.found
    assert "torch torchvision" in check.remedy
    assert env.check_torchvision(probe).remedy.startswith("Repair torch first")


def test_a_torch_that_hangs_is_given_up() -> None:
    probe = env.probe_torch("import time; time.sleep(60)", seconds=0.5)
    assert probe == {"error": "did not answer within 0.5 s"}


def test_a_wrong_product_fails() -> None:
    check = env.check_torch({**GOOD, "product": [[0.0, 0.0], [0.0, 0.0]]})
    assert check.status == "fail"
    assert "wrong product" in check.found


def test_torchvision_for_another_torch_fails(machine) -> None:
    machine({"torchvision": ["numpy", "torch (>=2.14.0)", "torch==1.0; extra == 'old'"]}, {})
    assert env.check_torchvision(GOOD).status == "ok"
    machine({"torchvision": ["numpy", "torch==2.13.0"]}, {})
    check = env.check_torchvision(GOOD)
    assert check.status == "fail"
    assert check.wanted == "torch==2.13.0"
    broken = {k: v for k, v in GOOD.items() if k != "torchvision"}
    broken["problem"] = "RuntimeError: operator torchvision::nms does not exist"
    check = env.check_torchvision(broken)
    assert check.status == "fail"
    assert "nms" in check.found


def test_widgets_need_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ipywidgets": "8.1.9", "jupyterlab_widgets": "3.0.17"}
    monkeypatch.setattr(env, "installed_version", versions.get)
    monkeypatch.setattr(env, "widget_files_present", lambda: True)
    assert env.check_widgets().status == "ok"
    with monkeypatch.context() as without:
        without.setattr(env, "widget_files_present", lambda: False)
        assert env.check_widgets().status == "fail" and "browser part missing" in env.check_widgets().found
    versions["ipywidgets"] = "7.8.1"
    assert env.check_widgets().status == "fail"
    versions |= {"ipywidgets": "8.1.9", "jupyterlab_widgets": "2.4.0"}
    assert env.check_widgets().status == "fail"
    del versions["jupyterlab_widgets"]
    assert env.check_widgets().status == "fail" and "jupyterlab_widgets missing" in env.check_widgets().found
    versions.clear()
    assert env.check_widgets().status == "warn" and "perfteach[course]" in env.check_widgets().remedy


def test_widget_files_are_looked_for_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert env.widget_files_present()
    monkeypatch.setattr(env.metadata, "files", lambda name: [])
    monkeypatch.setattr(env.sys, "prefix", str(tmp_path))
    assert not env.widget_files_present()


@pytest.mark.parametrize(("gib", "status"), [(0.2, "fail"), (1.0, "warn"), (8.0, "ok"), (None, "ok")], ids=str)
def test_memory(gib: float | None, status: str) -> None:
    check = env.check_memory(None if gib is None else int(gib * env.GIB))
    assert check.status == status
    assert bool(check.remedy) == (status != "ok")


def test_a_containers_limit_counts_as_the_free_memory(tmp_path: Path) -> None:
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal: 33554432 kB\nMemAvailable:   16777216 kB\n")
    assert env.free_memory(proc, tmp_path) == 16 * env.GIB
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{env.GIB}\n")
    assert env.free_memory(proc, tmp_path) == 16 * env.GIB
    (tmp_path / "memory.max").write_text(f"{2 * env.GIB}\n")
    assert env.free_memory(proc, tmp_path) == env.GIB
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {env.GIB // 2}\n")
    assert env.free_memory(proc, tmp_path) == env.GIB * 3 // 2


def test_a_full_disk_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Usage:
        free = 10 * 2**20

    monkeypatch.setattr(env.shutil, "disk_usage", lambda path: Usage)
    check = env.check_disk(tmp_path / "not" / "there" / "yet")
    assert check.status == "fail"
    assert str(tmp_path) in check.remedy


def test_the_cache_folder_follows_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERFTEACH_CACHE", str(tmp_path))
    assert env.cache_folder() == tmp_path
    monkeypatch.delenv("PERFTEACH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # what Windows calls it
    assert env.cache_folder() == tmp_path / ".cache" / "perfteach"


def test_a_cache_that_is_not_there_yet_is_fine_and_not_created(tmp_path: Path) -> None:
    assert env.check_cache(tmp_path / "a" / "b").status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(env.tempfile, "TemporaryFile", refuse)
    check = env.check_cache(tmp_path)
    assert check.status == "fail"
    assert "Permission denied" in check.found
    assert "PERFTEACH_CACHE" in check.remedy


def test_a_file_in_the_place_of_the_cache_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    assert env.check_cache(tmp_path / "cache").status == "fail"


CHECKS = [
    Check("numpy", "ok", "2.4.6", ">=2.1"),
    Check("free memory", "warn", "1.0 GiB", "1.5 GiB", "Close other programs."),
    Check("torch", "fail", "missing <here>", ">=2.10", "Install torch."),
]


def test_report_names_the_one_thing_to_do() -> None:
    text = env.report(CHECKS)
    assert "fail: torch: Install torch." in text
    assert "warn: free memory: Close other programs." in text
    assert text.endswith("Not ready: 1 to repair, 1 to keep in mind.")
    header, _, numpy = text.splitlines()[:3]
    assert header.index("wanted") == numpy.index(">=2.1")
    assert env.report(CHECKS[:1]).endswith("Ready.")
    assert env.report(CHECKS[:2]).endswith("Ready, with 1 to keep in mind.")


def test_html_escapes_what_was_found_and_says_the_status_in_words() -> None:
    html = env.as_html(CHECKS)
    assert "missing &lt;here&gt;" in html
    assert "✗ fail" in html
    assert html.count("<tr>") == 2 + len(CHECKS), "two tables, each with a heading"
    open_part, folded = html.split("<details>")
    assert "free memory" in open_part and "Install torch." in open_part and "numpy" not in open_part
    assert "<summary>1 checks are ok</summary>" in folded and "numpy" in folded
    assert "<details>" not in env.as_html(CHECKS[1:]) and "<table>" not in env.as_html(CHECKS[:1]).split("<details>")[0]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_check_env_returns_1_only_on_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: env.Status, code: int
) -> None:
    monkeypatch.setattr(env, "check_environment", lambda: [Check("x", status, "found")])
    assert cli.main(["check-env"]) == code
    assert "found" in capsys.readouterr().out


def test_without_torch_check_env_prints_the_table_and_exits_1(tmp_path: Path) -> None:
    """A `torch` that raises on import stands in for a missing one."""
    for name in ("torch", "torchvision"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")\n")
    root = Path(env.__file__).resolve().parents[2]
    path = os.pathsep.join([str(tmp_path), str(root)])
    done = subprocess.run(
        [sys.executable, "-m", "perfteach", "check-env"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PERFTEACH_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 1, done.stderr
    assert "No module named 'torch'" in done.stdout
    assert "Not ready: " in done.stdout
    assert "Traceback" not in done.stderr


# --- what a container of a hub really has -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
    ],
)
def test_the_quota_is_read_in_both_versions_of_control_groups(tmp_path, files, quota):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert env.cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("seen", "quota", "threads", "status"),
    [(4, None, "", "ok"), (4, 8.0, "", "ok"), (4, 1.0, "", "warn"), (4, 1.0, "1", "ok"), (4, 2.5, "4", "warn"),
     (4, 2.5, "2", "ok"), (4, 0.5, "1", "ok"), (4, 1.0, "many", "warn")],
)  # fmt: skip
def test_more_threads_than_the_quota_are_warned_of(seen, quota, threads, status):
    check = env.check_cpus(seen, quota, threads)
    assert check.status == status
    assert ("OMP_NUM_THREADS=" in check.remedy) is (status == "warn")


def test_the_first_version_of_control_groups_limits_memory_too(tmp_path):
    (tmp_path / "memory").mkdir()
    for name, value in (("limit_in_bytes", 2 * 2**30), ("usage_in_bytes", 2**30)):
        (tmp_path / "memory" / f"memory.{name}").write_text(f"{value}\n")
    (tmp_path / "memory" / "memory.stat").write_text(f"cache 5\ntotal_inactive_file {2**28}\n")
    (tmp_path / "meminfo").write_text("MemAvailable: 99999999 kB\n")
    assert env.free_memory(tmp_path / "meminfo", tmp_path) == 2**30 + 2**28


def test_where_pip_is_missing_uv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match=r"`uv pip install --python .* \"perfteach\[export\]\"` brings"):
        extras.need("export", "onnx")
