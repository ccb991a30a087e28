# Everything goes through the virtual environment's own Python, by relative path, so that the project also works in a
# folder whose name has spaces or letters outside ASCII. VENV itself must not contain a space.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8888
LAB_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.perfteach-setup
# JupyterLab refuses to start as root unless it is told to.
ROOT_ARGS := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
NOTEBOOKS = $(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb)

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
.PHONY: help setup lab test check demo notebooks bench clean

help: ## list the targets
	@echo "perfteach: make lab opens the course, make test runs every test. All targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'

setup: $(STAMP) ## install everything into VENV (does nothing when it is up to date)

# PIP_* are unset so that a folder of wheels set up for other projects cannot supply a torch that does not match.
$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "perfteach needs Python 3.11 or newer, and '$(PYTHON)' is not: run make again with PYTHON=/path/to/a/newer/python3." >&2; \
		exit 1; }
	@echo "Setting up $(VENV): about a minute on a fast line; on Linux PyTorch brings about 3 GB of downloads."
	@"$(PYTHON)" -m venv "$(VENV)" || { \
		echo "Python could not create a virtual environment: install its venv package (Debian, Ubuntu: python3-venv)." >&2; \
		exit 1; }
	@env -u PIP_FIND_LINKS -u PIP_CONSTRAINT "$(PY)" -m pip install --quiet --disable-pip-version-check uv
	@env -u UV_FIND_LINKS -u UV_CONSTRAINT "$(PY)" -m uv pip install --python "$(PY)" -c constraints.txt -e '.[dev]'
	@touch "$@"

lab: $(STAMP) ## open the course in JupyterLab (PORT=8888, LAB_ARGS=...)
	"$(PY)" -m jupyterlab --port="$(PORT)" $(ROOT_ARGS) $(LAB_ARGS) notebooks/00_start_here.ipynb

test: check ## run all checks and tests, notebooks included
	OMP_NUM_THREADS=1 PERFTEACH_TIER=quick "$(PY)" -m pytest -n 2 --dist loadscope \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(PYTEST_ARGS) tests $(NOTEBOOKS)

check: $(STAMP) ## lint, formatting and types only
	"$(PY)" -m ruff check .
	"$(PY)" -m ruff format --check .
	"$(PY)" -m mypy

demo: $(STAMP) ## the whole story without a browser, in about two minutes
	"$(PY)" -m perfteach.cli demo $(DEMO_ARGS)

notebooks: $(STAMP) ## build both editions of the notebooks from their sources
	"$(PY)" tools/build_notebooks.py

bench: $(STAMP) ## time a training step in each phase and a redraw of each widget
	"$(PY)" tools/bench.py

clean: ## remove caches and build results; the environment and the data stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path "./$(VENV)" -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
