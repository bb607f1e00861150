#!/usr/bin/env bash
# stop_demo.sh: in a Debian without any of what ./demo installs, stops ./demo by Ctrl-C while it installs packages, makes .venv,
# fetches the model, configures and builds. Each time it must end with 130 and leave no process behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The set-up's processes that run in this root.
left_behind()
{
    local process
    for process in /proc/[0-9]*; do
        if [ "$process/root" -ef / ]; then
            case $(cat "$process/comm" 2>/dev/null) in
            apt* | dpkg* | http* | python* | pip* | cmake* | ninja* | cc1* | gcc* | sleep) cat "$process/comm" ;;
            esac
        fi
    done
}

# stop_when CONDITION: ./demo until the condition holds, then Ctrl-C.
stop_when()
{
    local status=0 child
    set -m # a process group of its own, as at a terminal; nohup ignores INT, and so would its children
    env --default-signal=INT ./demo >stopped.txt 2>&1 </dev/null &
    child=$!
    set +m
    until eval "$1"; do
        kill -0 "$child" 2>/dev/null || { cat stopped.txt; echo "./demo ended before: $1"; exit 1; }
        sleep 0.1
    done
    kill -INT -- "-$child"
    wait "$child" || status=$?
    echo "stopped when $1: exit status $status, after: $(tail -n 1 stopped.txt)"
    [ "$status" -eq 130 ] || { echo "expected exit status 130"; exit 1; }
    [ -z "$(left_behind)" ] || { left_behind; echo "left behind"; exit 1; }
}

stop_when 'grep -q "^Unpacking " .cache/setup.log 2>/dev/null'
stop_when '[ -f .venv/pyvenv.cfg ]'
stop_when 'ls .cache/smollm2.new >/dev/null 2>&1'
stop_when 'grep -q "^Configuring" stopped.txt'
stop_when 'grep -q "^\[20/" .cache/setup.log 2>/dev/null'
rm stopped.txt
