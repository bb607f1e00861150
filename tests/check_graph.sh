#!/usr/bin/env bash
# check_graph.sh [TREE]: neither modules nor folders use each other in a circle. Prints every circle; fails if there is one.
# Exit 77, which ctest shows as skipped, where Python is not installed.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "${1:-$top}"

command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
exec python3 "$top/tests/include_graph.py" --check engine
