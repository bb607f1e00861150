#!/usr/bin/env bash
# check_goldens.sh PROGRAM [--twin]: the committed goldens are what transformers computes. Exit 77, which ctest shows as
# skipped, where torch and transformers are not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python3
if ! "$python" -c 'import h5py, torch, transformers' 2>/dev/null; then
    echo "skipped: torch and transformers are not installed (.venv/bin/pip install -r requirements-golden.txt)"
    exit 77
fi
exec "$python" golden/check_goldens.py "$@"
