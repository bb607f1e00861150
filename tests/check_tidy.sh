#!/usr/bin/env bash
# check_tidy.sh BUILD [FILE…|--twin]: clang-tidy 14 finds nothing in the C files of the program, as BUILD compiles them, or in these. Several run side by
# side. The twin's file has a branch without braces, which must be found. Exit 77, which ctest shows as skipped, where that version
# is not installed (./check installs it).
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

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ "${1:-}" = --twin ]; then
    printf '%s\n' 'int sign(int x);' 'int sign(int x)' '{' '    if (x < 0)' '        return -1;' '    return 1;' '}' >"$scratch/twin.c"
    cp .clang-tidy "$scratch"
    files=("$scratch/twin.c")
elif [ $# -gt 0 ]; then
    files=("$@")
else
    mapfile -t files < <(sed -n 's/^ *"file": "\(.*\.c\)",*$/\1/p' "$build/compile_commands.json" |
        grep -E "^$PWD/(model|reference|engine|workbench)/" | sort -u)
fi

# The wheel has no headers of a compiler's own (stddef.h); gcc's do, but for an attribute in omp.h that clang 14 does not know.
status=0
printf '%s\0' "${files[@]}" | xargs -0 -n 4 -P "$(nproc)" "$tidy" -p "$build" --quiet \
    "--extra-arg=-isystem$(gcc -print-file-name=include)" "--extra-arg=-D__malloc__(...)=__malloc__" >"$scratch/output" 2>&1 || status=$?
if [ "${1:-}" = --twin ]; then
    grep -q 'twin.c:4.*readability-braces-around-statements' "$scratch/output" && [ "$status" -ne 0 ]
    exit
fi
grep -v -e '^[0-9]* warnings\? generated' -e '^$' "$scratch/output" || true
exit "$status"
