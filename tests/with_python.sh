#!/usr/bin/env bash
# with_python.sh REQUIREMENTS MODULES SCRIPT [ARGUMENT…]: runs a script with the project's Python. Exits with 77, which ctest
# shows as skipped, if one of the modules is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=$1 modules=$2
shift 2

python=.venv/bin/python3
if ! "$python" -c "import $modules" 2>/dev/null; then
    echo "skipped: one of $modules is not installed (.venv/bin/pip install -r $requirements)" >&2
    exit 77
fi
exec "$python" "$@"
