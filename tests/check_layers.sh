#!/usr/bin/env bash
# check_layers.sh [TREE]: #include goes one way, shaders/params.h <- model <- {reference, engine} <- workbench <- tests, and no
# file includes a .c file. Prints every line that breaks this; fails if there is one.
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

# Folders in layers, bottom to top: each includes only folders before it, and its own. Headers that lie in the folder itself
# are above all layers.
declare -A LAYERS=(
    [workbench]="text trace fault audit diagnose report session python invariants pages batch bench probes debugger cli"
    [engine]="device program placement schedule lowering recording run"
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
for folder in "${!LAYERS[@]}"; do
    allowed=""
    for layer in ${LAYERS[$folder]}; do
        allowed+="${allowed:+|}$layer"
        bad=$(grep -rnE --include='*.[ch]' "^[[:space:]]*#[[:space:]]*include[[:space:]]*\"$folder/" "$folder/$layer" |
            grep -vE "include[[:space:]]*\"$folder/($allowed)/" || true)
        if [ -n "$bad" ]; then
            echo "$bad"
            wrong=1
        fi
    done
    for layer in "$folder"/*/; do
        [[ " ${LAYERS[$folder]} " == *" $(basename "$layer") "* ]] || { echo "$layer is in no layer"; wrong=1; }
    done
done
for folder in "${!LAYERS[@]}"; do
    [ "$folder" = workbench ] || continue # engine/ itself holds its public header
    if compgen -G "$folder/*.[ch]" >/dev/null; then
        echo "$folder/ itself holds files: $(echo "$folder"/*.[ch])"
        wrong=1
    fi
done
# A folder of more files is no room any more.
while read -r folder; do
    n=$(find "$folder" -maxdepth 1 -type f | wc -l)
    if [ "$n" -gt 25 ]; then
        echo "$folder holds $n files, expected 25 at most"
        wrong=1
    fi
done < <(find workbench engine -type d)
exit "$wrong"
