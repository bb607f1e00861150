# shellcheck shell=bash
# Sourced by demo, check and .ci/run from the repository's root: what a fresh Debian needs to build and run lockstep.
# Every step looks first whether its work is done, so a second run takes seconds; one that was stopped halfway is done anew.

LOG=.cache/setup.log

fail()
{
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# What apt-get, pip and git say without a network.
NO_NETWORK="Temporary failure resolving|Temporary failure in name resolution|Could not resolve|Name or service not known"
NO_NETWORK+="|Network is unreachable|No route to host|Failed to establish a new connection|Could not connect to"

# A process and all that descend from it. A process group would not do: apt-get gives dpkg a session of its own.
process_tree()
{
    local child
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        process_tree "$child"
    done
    echo "$1"
}

# Whether one of these processes runs; one that has ended and that nobody waits for does not.
any_runs()
{
    local process
    for process in "$@"; do
        if grep -q '^State:.*[^Z] (' "/proc/$process/status" 2>/dev/null; then
            return 0
        fi
    done
    return 1
}

# stop_phase PROCESS: after Ctrl-C. Ends all that the phase started, and waits for it: a second run must not meet it. What sudo
# runs does not heed us; a second run waits for its lock.
stop_phase()
{
    local signal process tries processes=()
    echo
    for signal in INT TERM KILL; do
        for process in "$1" "${processes[@]}"; do
            mapfile -t -O ${#processes[@]} processes < <(process_tree "$process")
        done
        kill "-$signal" "${processes[@]}" 2>/dev/null || true
        for ((tries = 0; tries < 50; tries++)); do
            any_runs "${processes[@]}" || break 2
            sleep 0.1
        done
    done
    exit 130
}

# phase TEXT COMMAND…: one progress line for a command whose own output goes to the log; the log's end if it fails.
phase()
{
    local text=$1 start=$SECONDS status=0 child log_start
    shift
    log_start=$(wc -l <"$LOG")
    printf '\n== %s: %s\n' "$text" "$*" >>"$LOG"
    printf '%s … ' "$text"
    set -m # a process group of its own, which Ctrl-C can end as a whole
    "$@" >>"$LOG" 2>&1 </dev/null &
    child=$!
    set +m
    # shellcheck disable=SC2064 # as the number is now
    trap "stop_phase $child" INT TERM HUP
    while [ -t 1 ] && kill -0 "$child" 2>/dev/null; do
        printf '\r%s … %d s ' "$text" $((SECONDS - start))
        sleep 0.5
    done
    wait "$child" || status=$?
    trap - INT TERM HUP
    if [ "$status" -ne 0 ]; then
        printf 'failed\n'
        if tail -n "+$((log_start + 2))" "$LOG" | grep -qE "$NO_NETWORK"; then
            fail "no network, which \"$text\" needs; its output is in $LOG"
        fi
        echo
        tail -n "+$((log_start + 2))" "$LOG" | tail -n 40 >&2
        fail "$text failed with status $status; all of its output is in $LOG"
    fi
    [ -t 1 ] && printf '\r%s … ' "$text"
    printf 'done (%d s)\n' $((SECONDS - start))
}

mkdir -p .cache
: >"$LOG"
source tools/setup_packages.sh
source tools/setup_python.sh
source tools/setup_build.sh
