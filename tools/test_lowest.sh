#!/bin/bash
# Runs the unit tests on the lowest versions that pyproject.toml allows: tools/test_lowest.sh [FOLDER]
# Slow (a second copy of PyTorch is downloaded), so it is run by hand when a bound changes, not in every CI run.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder="${1:-$(mktemp -d)}"
python="${PYTHON:-python3}"

# A folder of wheels set up for other projects must not supply a torch that does not match.
unset PIP_FIND_LINKS PIP_CONSTRAINT UV_FIND_LINKS UV_CONSTRAINT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

# The library and the extras of the course at their lowest; what only developers need comes at the versions the project is tested with.
"$folder/venv/bin/python" -m uv pip install --python "$folder/venv/bin/python" --resolution lowest-direct -e '.[course,export,cluster,hackathon]'
grep -E '^(pytest|pytest-timeout|hypothesis|psutil|nbformat|httpx|import-linter|jupytext|nbclient|ipykernel|pyyaml)==' constraints.txt >"$folder/dev.txt"
"$folder/venv/bin/python" -m uv pip freeze --python "$folder/venv/bin/python" --exclude-editable >"$folder/lowest.txt"
"$folder/venv/bin/python" -m uv pip install --python "$folder/venv/bin/python" -c "$folder/lowest.txt" -r "$folder/dev.txt"
"$folder/venv/bin/python" -m uv pip freeze --python "$folder/venv/bin/python" |
    grep -E '^(torch|torchvision|numpy|scipy|pandas|matplotlib|seaborn|tqdm|pillow|safetensors|packaging|ipywidgets|jupyterlab|onnx|onnxscript|onnxruntime|starlette|sqlalchemy|uvicorn|distributed)=='

OMP_NUM_THREADS=1 "$folder/venv/bin/python" -m pytest -m "not browser" \
    --ignore tests/test_packaging.py --ignore tests/test_launch.py tests
