#!/usr/bin/env bash
# check_layers.sh [TREE]: #include goes one way, shaders/params.h <- model <- {reference, engine} <- workbench <- tests, and no
# file includes a .c file. Inside workbench/ the folders are layers, too. Prints every line that breaks this; fails if there is one.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

declare -A MAY_INCLUDE=(
    [shaders]="shaders"
    [model]="shaders|model"
    [reference]="shaders|model|reference"
    [engine]="shaders|model|engine"
    [workbench]="shaders|model|reference|engine|workbench"
    [tests]="shaders|model|reference|engine|workbench|tests"
)

wrong=0
for folder in "${!MAY_INCLUDE[@]}"; do
    [ -d "$folder" ] || { echo "no folder $folder"; exit 1; }
    includes=$(grep -rnE --include='*.[ch]' --include='*.comp' --include='*.glsl' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder" || true)
    # A name without a folder is one of the same folder (GLSL).
    bad=$(grep -E 'include[[:space:]]*"[^"]*/|include[[:space:]]*"[^"]*\.c"' <<<"$includes" |
        grep -vE "include[[:space:]]*\"(${MAY_INCLUDE[$folder]})/[^\"]*[^c]\"" || true)
    bad+=$(grep -E 'include[[:space:]]*"[^/"]*\.c"' <<<"$includes" || true)
    if [ -n "$bad" ]; then
        echo "$bad"
        wrong=1
    fi
done
# Inside workbench/: a folder includes itself and the folders to its left.
layers=(trace fault audit diagnose report session python bench probes debugger cli)
allowed=
for layer in "${layers[@]}"; do
    [ -d "workbench/$layer" ] || { echo "no folder workbench/$layer"; exit 1; }
    allowed+="${allowed:+|}$layer"
    bad=$(grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"workbench/' "workbench/$layer" |
        grep -vE "include[[:space:]]*\"workbench/($allowed)/" || true)
    if [ -n "$bad" ]; then
        echo "$bad"
        wrong=1
    fi
done
for folder in workbench/*/; do
    [[ " ${layers[*]} " == *" $(basename "$folder") "* ]] || { echo "$folder is no layer that check_layers.sh knows"; wrong=1; }
done
if compgen -G 'workbench/*.[ch]' >/dev/null; then
    echo "workbench/ itself holds files: $(echo workbench/*.[ch])"
    wrong=1
fi
exit "$wrong"
