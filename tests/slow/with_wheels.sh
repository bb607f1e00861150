#!/usr/bin/env bash
# with_wheels.sh NAME "WHEELS" SCRIPT [ARGUMENT…]: runs a Python script in an environment of its own, .cache/wheels/NAME, that has
# these wheels. Makes it where it is missing or has others. Exits with 77, which ctest shows as skipped, where pip gets no wheel.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1 wheels=$2
shift 2

folder=.cache/wheels/$name
if [ "$(cat "$folder/wheels" 2>/dev/null)" != "$wheels" ]; then
    rm -rf "$folder"
    mkdir -p .cache/wheels
    .venv/bin/python3 -m venv "$folder"
    # shellcheck disable=SC2086 # a list of wheels
    if ! "$folder/bin/pip" install --disable-pip-version-check --quiet $wheels; then
        rm -rf "$folder"
        echo "skipped: pip cannot install $wheels (no network?)" >&2
        exit 77
    fi
    echo "$wheels" >"$folder/wheels"
fi
exec "$folder/bin/python3" "$@"
