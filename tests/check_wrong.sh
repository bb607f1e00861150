#!/usr/bin/env bash
# check_wrong.sh PROGRAM: golden/wrong/ is what make_wrong.py makes: bit for bit, or, where torch rounds sums otherwise on
# another processor, with the same divergence. Exit 77, which ctest shows as skipped, where torch is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1

python=.venv/bin/python3
if ! "$python" -c 'import h5py, torch, transformers' 2>/dev/null; then
    echo "skipped: torch and transformers are not installed (.venv/bin/pip install -r requirements-golden.txt)"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" golden/make_wrong.py "$folder" >"$folder/list"
while read -r name model _; do
    if ! "$program" compare "golden/wrong/$name" "$folder/$name" >/dev/null; then
        for path in golden/wrong "$folder"; do
            "$program" audit "golden/$model" "$path/$name" 2>&1 | grep -E "^First|^  diagnosis|^Verdict" >"$folder/said" || true
            [ "$path" = golden/wrong ] && mv "$folder/said" "$folder/first"
        done
        cmp "$folder/first" "$folder/said" || { echo "$name: another divergence than the committed one"; exit 1; }
    fi
    echo "$name: as committed"
done <"$folder/list"
[ "$(wc -l <"$folder/list")" -ge 10 ]
