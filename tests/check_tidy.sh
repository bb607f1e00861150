#!/usr/bin/env bash
# check_tidy.sh BUILD [FILE…]: clang-tidy 14 finds nothing in the C files that BUILD compiles, or in these. Several run side by side. Exit
# 77, which ctest shows as skipped, where that version is not installed (./check installs it).
set -euo pipefail
build=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."

for tidy in "$PWD/.venv/bin/clang-tidy" clang-tidy-14 clang-tidy ""; do
    if [ -z "$tidy" ]; then
        echo "clang-tidy 14 is not installed"
        exit 77
    fi
    if "$tidy" --version 2>/dev/null | grep -q 'version 14\.'; then
        break
    fi
done

if [ $# -eq 0 ]; then
    mapfile -t files < <(sed -n 's/^ *"file": "\(.*\.c\)",*$/\1/p' "$build/compile_commands.json" | grep -v '/generated/' | sort -u)
else
    files=("$@")
fi
# The wheel has no headers of a compiler's own (stddef.h); gcc's do.
printf '%s\0' "${files[@]}" | xargs -0 -n 4 -P "$(nproc)" "$tidy" -p "$build" --quiet \
    "--extra-arg=-isystem$(gcc -print-file-name=include)" 2>&1 | grep -v -e '^[0-9]* warnings\? generated' -e '^$' && exit 1
exit "${PIPESTATUS[1]}"
