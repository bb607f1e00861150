#!/usr/bin/env bash
# check_notebooks.sh PROGRAM [--twin]: the notebooks run without an error and draw their pictures. Exit 77, which ctest shows
# as skipped, where Jupyter's packages are not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python3
if ! "$python" -c 'import h5py, ipykernel, matplotlib, nbclient, nbformat' 2>/dev/null; then
    echo "skipped: nbclient, ipykernel or matplotlib is not installed (.venv/bin/pip install -r requirements-check.txt)"
    exit 77
fi
exec "$python" tests/check_notebooks.py "$@"
