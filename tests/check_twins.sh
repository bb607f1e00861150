#!/usr/bin/env bash
# check_twins.sh layers|graph|format|setup: runs a check on a copy of the tree. It must pass there, and fail once a mistake is
# planted.
set -euo pipefail
tests=$(cd "$(dirname "$0")" && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$tests/../"{model,reference,engine,workbench,shaders,tests,tools,.clang-format} "$copy"

# must_fail TEXT FILE [CASE]: the check (of CASE) fails with TEXT as the last line of FILE.
must_fail()
{
    local status=0
    cp "$copy/$2" "$copy/saved"
    echo "$1" >>"$copy/$2"
    "$check" "$copy" "${@:3}" >/dev/null 2>&1 || status=$?
    [ "$status" -ne 77 ] || exit 77
    [ "$status" -eq 1 ] || [ "$status" -eq 123 ] || { echo "$(basename "$check") found nothing wrong with $1 in $2 (exit $status)"; exit 1; }
    mv "$copy/saved" "$copy/$2"
}

check=$tests/check_$1.sh
status=0
"$check" "$copy" >/dev/null 2>&1 || status=$?
[ "$status" -ne 77 ] || exit 77
case $1 in
layers)
    must_fail '#include "reference/reference.h"' engine/engine.h
    must_fail '#include "engine/engine.h"' reference/reference.h
    must_fail '#include "workbench/trace/trace.h"' model/plan.h
    must_fail '#  include "model/plan.c"' reference/reference.h
    must_fail '#include "plan.c"' model/plan.h
    must_fail '#include "workbench/session/session.h"' workbench/trace/trace.h
    must_fail '#include "workbench/cli/command.h"' workbench/debugger/repl.h
    must_fail '#include "engine/run/state.h"' engine/recording/chain.c
    must_fail '#include "engine/engine.h"' engine/run/options.h
    ;;
graph)
    must_fail '#include "engine/device/submit.h"' engine/device/device.h       # modules
    must_fail '#include "engine/program/program_key.h"' engine/device/vulkan.h # folders
    must_fail 'void readback_fill(int declared_elsewhere);' engine/recording/barriers.h
    ;;
setup)
    must_fail 'venv_is_whole() { [ -d .venv ]; }' tools/setup_python.sh python_environment
    must_fail 'build_belongs_here() { true; }' tools/setup_build.sh build_folder
    must_fail 'NO_NETWORK=nothing' tools/setup.sh network
    must_fail 'apt_lock_holder() { return 1; }' tools/setup_packages.sh apt_lock
    must_fail 'stop_phase() { exit 130; }' tools/setup.sh interrupt
    must_fail 'fetch_smollm2() { mv .cache/smollm2.new .cache/smollm2; }' tools/smollm2.sh model
    ;;
format) must_fail 'int  badly_formatted ;' model/plan.h ;;
esac
[ "$status" -eq 0 ] || { echo "the tree itself does not pass $(basename "$check")"; exit 1; }
