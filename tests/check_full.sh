#!/usr/bin/env bash
# check_full.sh PROGRAM [--twin]: what golden/make_full.py writes, on small shapes. Exit 77, which ctest shows as skipped,
# where numpy is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python3
if ! "$python" -c 'import numpy' 2>/dev/null; then
    echo "skipped: numpy is not installed (.venv/bin/pip install -r requirements.txt)"
    exit 77
fi
exec "$python" tests/check_full.py "$@"
