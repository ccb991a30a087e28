# Everything goes through the virtual environment's own Python, by relative path, so that the project also works in a
# folder whose name has spaces or letters outside ASCII. VENV itself must not contain a space.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8888
LAB_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
TORTURE_ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.perfteach-setup
SITE_STAMP := $(VENV)/.perfteach-site
# JupyterLab refuses to start as root unless it is told to.
ROOT_ARGS := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
NOTEBOOKS = $(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb)

# Which build of PyTorch: auto is the one for the CPU, 3 GB smaller, where there is no NVIDIA GPU; cpu, cu130, ... force one.
UV_TORCH_BACKEND ?= auto
# UV_* are unset so that a folder of wheels set up for other projects cannot supply a torch that does not match.
UV := env -u UV_FIND_LINKS -u UV_CONSTRAINT -u UV_TORCH_BACKEND "$(PY)" -m uv
INSTALL = pip install --python "$(PY)" -c constraints.txt

# Where the home folder cannot be written, uv, JupyterLab and what they start keep their files in the cache folder too.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
KEPT := $(or $(PERFTEACH_CACHE),$(HOME)/.cache/perfteach)
export UV_CACHE_DIR ?= $(KEPT)/uv
export JUPYTER_CONFIG_DIR ?= $(KEPT)/jupyter-config
export JUPYTER_DATA_DIR ?= $(KEPT)/jupyter-data
export IPYTHONDIR ?= $(KEPT)/ipython
export MPLCONFIGDIR ?= $(KEPT)/matplotlib
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup lab test check demo notebooks site figures bench torture clean

help: ## list the targets
	@echo "perfteach: make lab opens the course, make test runs every test. All targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'

setup: $(STAMP) ## install everything into VENV (does nothing when it is up to date)

# PyTorch keeps its builds in an index of its own. Whether that answers is asked first: an installation that fails for
# another reason must not be repeated with 3 GB more.
$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "perfteach needs Python 3.11 or newer, and '$(PYTHON)' is not: run make again with PYTHON=/path/to/a/newer/python3." >&2; \
		exit 1; }
	@echo "Setting up $(VENV): about a minute on a fast line."
	@"$(PYTHON)" -m venv "$(VENV)" || { \
		echo "Python could not create a virtual environment: install its venv package (Debian, Ubuntu: python3-venv)." >&2; \
		exit 1; }
	@env -u PIP_FIND_LINKS -u PIP_CONSTRAINT "$(PY)" -m pip install --quiet --disable-pip-version-check uv
	@backend="--torch-backend=$(UV_TORCH_BACKEND)"; \
	env UV_HTTP_RETRIES=1 $(UV) $(INSTALL) --quiet --dry-run --reinstall --no-deps "$$backend" torch torchvision >/dev/null 2>&1 || { \
		echo "PyTorch's own index does not answer, so its usual build is installed: on Linux about 3 GB, with CUDA."; \
		backend=; }; \
	$(UV) $(INSTALL) $$backend -e '.[dev]'
	@touch "$@"

$(SITE_STAMP): $(STAMP)
	@$(UV) $(INSTALL) -e '.[site]'
	@touch "$@"

# The root is named, because the folder of a notebook that is named would become it, and no link to docs/ would work.
# tools/jupyter holds the settings that differ for a learner: no question about news over the first notebook.
lab: $(STAMP) ## open the course in JupyterLab (PORT=8888, LAB_ARGS=...)
	env JUPYTER_CONFIG_PATH="$(CURDIR)/tools/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
		"$(PY)" -m jupyterlab --port="$(PORT)" --ServerApp.root_dir="$(CURDIR)" $(ROOT_ARGS) $(LAB_ARGS) \
		notebooks/00_start_here.ipynb

test: check ## run all checks and tests, notebooks included
	OMP_NUM_THREADS=1 PERFTEACH_TIER=quick "$(PY)" -m pytest -n 2 --dist loadscope \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(PYTEST_ARGS) tests $(NOTEBOOKS)

check: $(STAMP) ## lint, formatting, types and the direction of imports only
	"$(PY)" -m ruff check .
	"$(PY)" -m ruff format --check .
	"$(PY)" -m mypy
	"$(PY)" -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache

demo: $(STAMP) ## the whole story without a browser, in about two minutes
	"$(PY)" -m perfteach.cli demo $(DEMO_ARGS)

notebooks: $(STAMP) ## build both editions of the notebooks from their sources
	"$(PY)" tools/build_notebooks.py

site: $(SITE_STAMP) ## build the pages of the course, with a search, in build/site
	"$(PY)" tools/build_site.py

figures: $(STAMP) ## draw the figures of README and docs again, and write the pages from records
	"$(PY)" tools/pictures.py
	"$(PY)" tools/climb.py
	"$(PY)" tools/evidence.py --write

bench: $(STAMP) ## time what training, inference, loading and widgets cost, as ratios
	"$(PY)" -m benchmarks

torture: $(STAMP) ## try to lose something: interrupts, flipped bits, full disks, power cuts (TORTURE_ARGS=...)
	OMP_NUM_THREADS=1 "$(PY)" tools/torture.py $(TORTURE_ARGS)

clean: ## remove caches and build results; the environment and the data stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path "./$(VENV)" -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
