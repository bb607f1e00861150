#!/usr/bin/env bash
# check_format.sh [TREE]: every C file is formatted by clang-format 14. Other versions format differently. Exits with 77, which
# ctest shows as skipped, if that version is not installed (./check installs it).
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "${1:-$top}"

for format in "$top/.venv/bin/clang-format" clang-format-14 clang-format; do
    if "$format" --version 2>/dev/null | grep -q 'version 14\.'; then
        find model reference engine workbench tests shaders -name '*.[ch]' -print0 |
            xargs -0 "$format" --dry-run -Werror --ferror-limit=3
        exit 0
    fi
done
echo "clang-format 14 is not installed"
exit 77
