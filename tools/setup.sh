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

# stop_phase GROUP: after Ctrl-C. Ends every process that the phase started, and waits for them: a second run must not meet
# them. Those under sudo do not heed us; a second run waits for apt-get's lock.
stop_phase()
{
    local group=$1 signal tries
    echo
    for signal in INT TERM KILL; do
        kill "-$signal" -- "-$group" 2>/dev/null || break
        for ((tries = 0; tries < 50; tries++)); do
            kill -0 -- "-$group" 2>/dev/null || break 2
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
