#!/usr/bin/env bash
# check_wrong.sh PROGRAM [--twin]: make_wrong.py writes the traces of golden/wrong/: bit-identical, or with the same divergence
# where torch rounds sums differently on another processor. The twin has one trace in place of another, which must be
# found. Exits with 77, which ctest shows as skipped, if torch is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Prints what the audit says of a trace; fails if it says nothing.
said()
{
    { "$program" audit "golden/$1" "$2" 2>&1 || true; } | grep -E "^diverged|^  cause|^parity" || { echo "no verdict on $2"; exit 1; }
}

as_committed()
{
    "$program" compare "golden/wrong/$1" "$folder/$1" >/dev/null ||
        [ "$(said "$2" "golden/wrong/$1")" = "$(said "$2" "$folder/$1")" ]
}

if [ "${2:-}" = --twin ]; then
    cp golden/wrong/nothing.h5 "$folder/gelu-for-silu.h5"
    ! as_committed gelu-for-silu.h5 tiny-llama
    exit
fi

tests/with_python.sh requirements-golden.txt h5py,torch,transformers golden/make_wrong.py "$folder" >"$folder/list"
while read -r name model _; do
    as_committed "$name" "$model" || { echo "$name: another divergence than the committed one"; exit 1; }
    echo "$name: as committed"
done <"$folder/list"
[ "$(wc -l <"$folder/list")" -ge 10 ]
