"""One list of dependencies, said four times, and what the public sees of the project: it must not drift apart."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_FILES = ["environment.yml", "binder/environment.yml"]
# Where conda-forge's name is not the package index's.
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def lower_bounds(requirements: list[str]) -> dict[str, str]:
    """Name to specifier, such as `{"torch": ">=2.10"}`; perfteach's own extras, named in others, are no packages."""
    parsed = [Requirement(line) for line in requirements]
    return {canonicalize_name(item.name): str(item.specifier) for item in parsed if item.name != PROJECT["name"]}


def conda_file(name: str) -> dict[str, list[str]]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("name", CONDA_FILES)
def test_conda_files_list_what_the_course_needs_with_the_same_bounds(name: str) -> None:
    listed = conda_file(name)["dependencies"]
    nbval = [line for line in EXTRAS["dev"] if line.startswith("nbval")]  # so that a teacher can try every notebook
    bounds = lower_bounds(
        [*PROJECT["dependencies"], *EXTRAS["course"], *EXTRAS["export"], *EXTRAS["hackathon"], *nbval]
    )
    expected = {CONDA_NAMES.get(package, package) + bound for package, bound in bounds.items()}
    assert set(listed) - {"python=3.12", "pip"} == expected
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", CONDA_FILES)
def test_conda_files_are_complete_in_a_way_binder_understands(name: str) -> None:
    content = conda_file(name)
    assert content["channels"] == ["conda-forge"]
    # Strings only: a nested `pip:` part would hide a dependency from the comparison above.
    assert all(isinstance(item, str) for item in content["dependencies"])
    assert {"pip", "python=3.12"} <= set(content["dependencies"])
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains("3.12")


def test_the_readmes_lines_for_conda_name_the_environment() -> None:
    """They are not run, as the others are: conda is not everywhere that the tests are."""
    (lines,) = re.findall(r"^```shell\n(.*?)^```$", README, re.M | re.S)
    name = conda_file(CONDA_FILES[0])["name"]
    assert lines.splitlines()[:2] == ["conda env create -f environment.yml", f"conda activate {name}"]


def test_both_conda_files_have_the_same_content() -> None:
    assert conda_file(CONDA_FILES[0]) == conda_file(CONDA_FILES[1])


def test_every_line_of_the_conda_files_says_what_it_is_for() -> None:
    for name in CONDA_FILES:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        items = [line for line in lines if line.lstrip().startswith("- ")]
        assert items
        assert [line for line in items if " # " not in line.replace("  #", " # ")] == []


def test_every_dependency_has_its_sentence_in_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = text[text.index("\ndependencies = [") : text.index("\n[project.scripts]")].splitlines()
    quoted = [i for i, line in enumerate(lines) if line.strip().startswith('"')]
    listed = [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    assert len(quoted) == len(listed)
    assert [lines[i] for i in quoted if not re.fullmatch(r"    # .+\.", lines[i - 1])] == []


def test_constraints_pin_every_direct_dependency_within_its_bound() -> None:
    pins = constraints()
    direct = lower_bounds([*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)])
    assert [name for name in direct if name not in pins] == []
    outside = [
        f"{name}=={pins[name]} is not {bound}"
        for name, bound in direct.items()
        if not Requirement(name + bound).specifier.contains(pins[name])
    ]
    assert outside == []


def test_the_extras_lie_in_each_other_and_no_package_is_listed_twice() -> None:
    assert set(EXTRAS) == {"course", "export", "cluster", "hackathon", "dev", "site"}
    assert f"{PROJECT['name']}[course,export,cluster,hackathon]" in EXTRAS["dev"]
    names = [name for lines in (PROJECT["dependencies"], *EXTRAS.values()) for name in lower_bounds(lines)]
    assert len(names) == len(set(names))


def test_what_the_library_imports_at_once_is_no_extra() -> None:
    """The modules that stand at the top of the library's files: standard library, core, or asked for by `need`."""
    core = {*lower_bounds(PROJECT["dependencies"]), "pil", "perfteach"}
    found = {}
    for path in (ROOT / "perfteach").rglob("*.py"):
        for name in re.findall(r"^(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.M):
            found.setdefault(name, set()).add(path.relative_to(ROOT / "perfteach").parts[0])
    foreign = {name: where for name, where in found.items() if name not in sys.stdlib_module_names}
    asked_for = {name: where for name, where in foreign.items() if name.lower() not in core}
    drawn = {name for name, where in asked_for.items() if where == {"widgets"}}
    assert drawn == {"anywidget", "ipywidgets", "traitlets"}
    # Its commands ask for the extra before they import anything of it; tests/test_hackathon_board.py tries it.
    others = {name: where for name, where in asked_for.items() if where != {"widgets"}}
    assert set(others) == {"jinja2", "onnx", "sqlalchemy", "starlette", "uvicorn"}
    assert set().union(*others.values()) == {"hackathon"}


def test_without_ipywidgets_the_widgets_name_their_extra_and_the_rest_goes_on() -> None:
    code = (
        "import sys, importlib.machinery as m; find = m.PathFinder.find_spec;"
        "hide = lambda name, *rest: None if name == 'ipywidgets' else find(name, *rest);"
        "m.PathFinder.find_spec = hide; import perfteach.plots, perfteach.errors as e\n"
        "try: import perfteach.widgets\n"
        "except e.PerfteachError as error: print(isinstance(error, ImportError), error)"
    )
    said = fresh(code)
    assert said.startswith("True ipywidgets is not installed") and '-m pip install "perfteach[course]"`' in said


def test_no_set_up_file_names_a_host() -> None:
    workflows = [path.relative_to(ROOT).as_posix() for path in WORKFLOWS]
    for name in [
        "constraints.txt",
        *CONDA_FILES,
        "Makefile",
        "pyproject.toml",
        ".pre-commit-config.yaml",
        ".ci/run",
        "docs/conf.py",
        "tools/build_site.py",
        *workflows,
    ]:
        text = (ROOT / name).read_text(encoding="utf-8")
        # The project's own pages, from which nothing is installed.
        assert "://" not in text.replace(f'"{PROJECT["urls"]["Repository"]}', ""), name
        assert "index-url" not in text, name


@pytest.mark.skipif(os.name == "nt", reason="there is no bash to count on")
@pytest.mark.parametrize("name", ["binder/postBuild", "binder/start", ".ci/run", "tools/test_lowest.sh"])
def test_scripts_are_executable_and_valid_bash(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / name)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="there is no bash to count on")
@pytest.mark.parametrize("threads", [None, "4"])
def test_binder_start_hands_over_with_one_thread_per_library_unless_a_hub_gives_more(
    threads: str | None, tmp_path: Path
) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    show = f"import os; print(*(os.environ[n] for n in {(*names, 'PERFTEACH_TIER')}))"
    environment = {key: value for key, value in os.environ.items() if key not in (*names, "PERFTEACH_TIER")}
    environment |= dict.fromkeys(names, threads) if threads else {}
    command = [str(ROOT / "binder/start"), sys.executable, "-c", show]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert done.stdout.split() == [*[threads or "1"] * 3, "quick"]


def test_binder_post_build_stops_at_the_first_failure() -> None:
    lines = (ROOT / "binder/postBuild").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "set -e"
    assert "python -m pip install --no-cache-dir --no-deps -e ." in commands


@pytest.mark.skipif(os.name == "nt", reason="repo2docker does not run on Windows")
def test_repo2docker_picks_conda_python_312_and_our_files() -> None:
    pytest.importorskip("repo2docker", reason="repo2docker is not installed")
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-2000:]
    assert "Building conda environment for python=3.12" in output
    assert '--file "binder/environment.yml"' in output
    assert re.search(r"^RUN \./binder/postBuild$", output, re.M)
    assert re.search(r'R2D_ENTRYPOINT="?.*binder/start', output)


@pytest.mark.parametrize("name", ["NOTICE", "README.md"])
def test_notice_and_readme_name_trademark_patent_and_independence(name: str) -> None:
    notice = re.sub(r"\s+", " ", (ROOT / name).read_text(encoding="utf-8"))
    assert '"Perforated Backpropagation" is a trademark of Perforated AI' in notice
    assert "11,580,403" in notice
    assert "independent educational implementation" in notice
    assert re.search(r"(not|neither) affiliated with (or|nor) endorsed by", notice)


def test_the_license_is_apache_2() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def fresh(code: str) -> str:
    """Run code in a new interpreter, from the root so that it finds this copy of perfteach."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_version_is_said_once_and_repeated_only_in_the_citation() -> None:
    version = fresh("import perfteach; print(perfteach.__version__)")
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["version"]
    assert settings == {"path": "perfteach/__init__.py"}
    assert CITATION["version"] == version
    # Nowhere else: not as a setting of Sphinx, and in no other module.
    places = [ROOT / "docs/conf.py", *(ROOT / "perfteach").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
    said = [place for place in places if f'"{version}"' in place.read_text(encoding="utf-8")]
    assert said == [ROOT / "perfteach/__init__.py"]


def test_the_citation_has_what_its_format_asks_for() -> None:
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert all("name" in author or "family-names" in author for author in CITATION["authors"])
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["repository-code"] == PROJECT["urls"]["Repository"]
    (paper,) = CITATION["references"]
    assert paper["type"] == "article" and [author["family-names"] for author in paper["authors"]] == ["Brenner", "Itti"]


# --- the two jobs where there is no make ------------------------------------------------------------------------------


def uv_lines() -> list[list[str]]:
    """README's lines for Windows, as words."""
    return [shlex.split(line) for line in re.findall(r"^python -m (uv run .+)$", README, re.M)]


def test_readme_has_both_jobs_as_one_line_each_for_windows() -> None:
    for words in uv_lines():
        extras = [words[i + 1] for i, word in enumerate(words) if word == "--extra"]
        assert extras and set(extras) <= set(EXTRAS), words
        assert not set(" ".join(words)) & set("$`\\'\"*;&|"), "the two shells of Windows read these in other ways"
    lab, test = uv_lines()
    assert lab[-1] == "notebooks/00_start_here.ipynb" and (ROOT / lab[-1]).is_file() and "jupyter" in lab
    assert all((ROOT / word).is_dir() for word in test[-2:])


def test_the_line_for_windows_and_the_workflows_run_pytest_as_make_test_does() -> None:
    recipe = re.search(r"-m pytest(.+?)\$\(PYTEST_ARGS\)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.S)
    assert recipe is not None
    flags = recipe[1].replace("\\\n", " ").split()
    steps = [step.get("run", "").split() for path in WORKFLOWS for job in jobs(path).values() for step in job["steps"]]
    lines = [words for words in [*uv_lines(), *steps] if words[-2:] == ["tests", "notebooks"]]
    assert len(lines) == 3
    for words in lines:
        assert words[words.index("pytest") + 1 : -2] == flags, words


@pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="uv is not installed")
def test_uv_knows_the_options_of_these_lines() -> None:
    for words in uv_lines():
        command = [sys.executable, "-m", "uv", *words[1 : words.index("--extra") + 2], "--help"]
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0


# --- workflows --------------------------------------------------------------------------------------------------------


def jobs(path: Path) -> dict[str, dict]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def test_the_workflows_are_there() -> None:
    assert [path.name for path in WORKFLOWS] == ["docs.yml", "tests.yml", "weekly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_the_parts_that_its_host_asks_for(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "permissions", "jobs"} <= set(content)
    assert True in content, "YAML reads the word `on` as true"
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert "runs-on" in job and 0 < job["timeout-minutes"] <= 180
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert job["steps"][0]["uses"].startswith("actions/checkout@")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_of_a_workflow_names_what_exists(path: Path) -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert phony is not None
    commands = [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        for line in command.replace("\\\n", " ").strip().splitlines():
            words = shlex.split(line)
            if words[0] == "make":
                assert {word for word in words[1:] if "=" not in word} <= set(phony[1].split()), line
            elif words[0] == ".ci/run":
                assert (ROOT / words[0]).is_file()
            else:
                assert words[0] in {"uv", "python", "pip", "$CONDA/bin/conda"}, f"{line}: not checked here"
            paths = [word for word in words[1:] if re.fullmatch(r"[\w./]+\.(txt|py|ipynb|toml)|tests|notebooks", word)]
            assert [name for name in paths if not (ROOT / name).exists()] == [], line
            extras = [words[i + 1] for i, word in enumerate(words) if word == "--extra"]
            extras += [name for found in re.findall(r"\.\[([\w,]+)\]", line) for name in found.split(",")]
            assert set(extras) <= set(EXTRAS), line


def test_the_tests_run_on_three_systems_and_on_the_oldest_and_newest_python() -> None:
    (job,) = jobs(ROOT / ".github/workflows/tests.yml").values()
    matrix = job["strategy"]["matrix"]
    assert [system.split("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]
    named = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert matrix["python"] == [named[0], named[-1]] and PROJECT["requires-python"] == f">={named[0]}"


def test_the_weekly_run_takes_the_newest_versions() -> None:
    text = (ROOT / ".github/workflows/weekly.yml").read_text(encoding="utf-8")
    assert "constraints.txt" not in text and "make" not in text and "schedule:" in text


# --- continuous integration -------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="there is no bash to count on")
@pytest.mark.parametrize("beside", ["nothing", "images", "an empty folder"])
def test_ci_asks_for_the_real_images_only_where_they_are_meant_to_be(tmp_path: Path, beside: str) -> None:
    (tmp_path / "clone" / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "clone" / ".ci" / "run")
    data = tmp_path / "shared" / "data"
    if beside != "nothing":
        data.mkdir(parents=True)
    if beside == "images":
        (data / "cifar10-jpeg.tar.xz").touch()
    stands_in = tmp_path / "bin"
    stands_in.mkdir()
    for name in ("make", "chromium", "python3"):
        (stands_in / name).write_text(
            '#!/bin/sh\necho "${PERFTEACH_TEST_IMAGES:-none} ${PERFTEACH_REQUIRE_IMAGES:-0} $*"\n'
        )
        (stands_in / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PERFTEACH_")}
    environment = kept | {"PATH": f"{stands_in}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", str(tmp_path / "clone" / ".ci" / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    asked = "none 0" if beside == "nothing" else f"{data / 'cifar10-jpeg.tar.xz'} 1"
    assert done.stdout.splitlines()[-1] == f"{asked} --no-print-directory test"


@pytest.mark.parametrize("flags", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_run_without_the_real_images_says_so_above_its_closing_line(tmp_path: Path, flags: list[str]) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text("def test_one(real_images): ...\ndef test_two(): ...\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERFTEACH_", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=kept, timeout=120)
    sentence, closing = done.stdout.strip().splitlines()[-2:]
    assert sentence.startswith("1 test was skipped for want of real images: PERFTEACH_TEST_IMAGES does not name")
    assert closing.startswith("1 passed, 1 skipped in ")


def test_no_module_has_more_than_350_lines() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in (ROOT / "perfteach").rglob("*.py")}
    assert not {str(path): length for path, length in lengths.items() if length > 350}


def test_importing_perfteach_leaves_the_heavy_packages_alone() -> None:
    heavy = ("matplotlib", "ipywidgets", "pandas", "scipy")
    loaded = fresh(f"import sys, perfteach; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]"


def test_importing_perfteach_costs_little_beyond_torch_and_torchvision() -> None:
    # After the other two and in CPU time, so that a busy machine does not decide the result.
    code = (
        "import time, torch, torchvision; start = time.process_time(); import perfteach, perfteach.trainer;"
        "print(time.process_time() - start)"
    )
    assert statistics.median(float(fresh(code)) for _ in range(3)) <= 0.3


@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="there is no make with a shell beside it")
class TestMakefile:
    def make(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(
            ["make", *arguments], capture_output=True, text=True, cwd=folder, env=environment, timeout=120
        )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A clone in a folder whose name has spaces and letters outside ASCII."""
        folder = tmp_path / "Übung und Spaß 学"
        folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        return folder

    def test_help_lists_every_target_and_is_the_default(self, folder: Path) -> None:
        done = self.make(folder)
        assert done.returncode == 0, done.stderr
        targets = re.findall(r"^  make (\w+)", done.stdout, re.M)
        phony = re.search(r"^\.PHONY: (.+)$", (folder / "Makefile").read_text(), re.M)
        assert phony is not None
        assert sorted(targets) == sorted(phony.group(1).split())

    def test_a_python_that_is_too_old_gets_one_clear_sentence(self, folder: Path) -> None:
        old = folder / "old python"
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
        done = self.make(folder, "setup", "PYTHON=./old python")
        assert done.returncode != 0
        assert "perfteach needs Python 3.11 or newer" in done.stderr
        assert not (folder / ".venv").exists()

    def test_a_finished_set_up_is_not_repeated(self, folder: Path) -> None:
        (folder / ".venv").mkdir()
        (folder / ".venv" / ".perfteach-setup").touch()
        done = self.make(folder, "setup", "PYTHON=false")
        assert done.returncode == 0, done.stderr
        os.utime(folder / "constraints.txt", (2**31, 2**31))
        assert self.make(folder, "setup", "PYTHON=false").returncode != 0

    @pytest.mark.parametrize("answers", [True, False], ids=["index answers", "index does not answer"])
    @pytest.mark.parametrize("chosen", ["", "cpu"], ids=["auto", "chosen"])
    def test_set_up_picks_the_build_of_torch_and_falls_back(self, folder: Path, answers: bool, chosen: str) -> None:
        """A stand-in for Python writes down what uv is asked to do, and plays the index."""
        python = folder / "python"
        python.write_text(
            "#!/bin/sh\n"
            'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
            'echo "$UV_TORCH_BACKEND|$*" >> asked.txt\n'
            f'case "$*" in *--dry-run*) exit {0 if answers else 2};; esac\n'
        )
        python.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if name != "UV_TORCH_BACKEND"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "environ", kept | ({"UV_TORCH_BACKEND": chosen} if chosen else {}))
            done = self.make(folder, "setup", "PYTHON=./python")
        assert done.returncode == 0, done.stderr
        asked = [line for line in (folder / "asked.txt").read_text().splitlines() if "-m uv " in line]
        (tried, installed) = asked
        flag = f"--torch-backend={chosen or 'auto'}"
        assert flag in tried.split() and "--dry-run" in tried and tried.endswith(" torch torchvision")
        assert installed.startswith("|") and installed.endswith("-e .[dev]") and "-c constraints.txt" in installed
        assert (flag in installed.split()) is answers and ("--torch-backend" in installed) is answers
        sentence = [line for line in done.stdout.splitlines() if "index does not answer" in line]
        assert len(sentence) == (0 if answers else 1)
        assert (folder / ".venv" / ".perfteach-setup").is_file()

    def test_a_set_up_that_fails_for_another_reason_fails(self, folder: Path) -> None:
        python = folder / "python"
        python.write_text(
            "#!/bin/sh\n"
            'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
            'echo "$*" >> asked.txt\n'
            'case "$*" in *--dry-run*) exit 0;; *"-m uv"*) exit 1;; esac\n'
        )
        python.chmod(0o755)
        assert self.make(folder, "setup", "PYTHON=./python").returncode != 0
        assert (folder / "asked.txt").read_text().count("-m uv") == 2, "it is not tried again"
        assert not (folder / ".venv" / ".perfteach-setup").exists()

    def test_site_installs_its_extra_once(self, folder: Path) -> None:
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        (folder / ".venv" / ".perfteach-setup").touch()
        python.write_text('#!/bin/sh\necho "ran $*"\n')
        python.chmod(0o755)
        first, second = self.make(folder, "site").stdout, self.make(folder, "site").stdout
        assert "-e .[site]" in first and "-e .[site]" not in second
        assert first.splitlines()[-1] == second.splitlines()[-1] == "ran tools/build_site.py"

    def test_test_fails_when_a_linter_fails(self, folder: Path) -> None:
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        (folder / ".venv" / ".perfteach-setup").touch()
        for part in ("-m ruff check", "-m ruff format", "-m mypy", "-m pytest", "-c from importlinter"):
            python.write_text(f'#!/bin/sh\ncase "$*" in "{part}"*) exit 1;; esac\necho "ran $*"\n')
            python.chmod(0o755)
            assert self.make(folder, "test").returncode != 0, part
        python.write_text('#!/bin/sh\necho "ran $*"\n')
        done = self.make(folder, "test")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("ran -m pytest")


def test_every_module_has_its_layer() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = tools["importlinter"]["contracts"]
    modules = {path.stem for path in (ROOT / "perfteach").glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in (ROOT / "perfteach").glob("*/__init__.py")}
    assert {f"perfteach.{name}" for name in modules | packages} == set(contract["layers"])


def test_a_record_names_the_version_of_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which a set-up that is older than they are does not know."""
    from perfteach import __version__, provenance

    monkeypatch.setattr(provenance, "installed_version", lambda name: "0.0.1")
    assert provenance.provenance()["versions"]["perfteach"] == __version__
