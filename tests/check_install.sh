#!/usr/bin/env bash
# check_install.sh BUILD [--twin]: installs a build folder under a scratch prefix, moves that, hides the source folder where the system
# lets us, and runs what needs files: diff, text through Python, shaders compiled anew. The twin lacks the installed files: not
# one of the source folder may be used in their place, so that it must fail.
set -euo pipefail
build=$(cd "$1" && pwd)
twin=${2:-}
source=$(readlink -f "$(dirname "$0")/..")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# hidden COMMAND…: in a mount namespace where the source folder is empty.
hidden()
{
    "$@"
}
if unshare --mount true 2>/dev/null; then
    hidden()
    {
        # shellcheck disable=SC2016 # the inner shell expands them
        unshare --mount bash -c 'mount -t tmpfs none "$0" && exec "$@"' "$source" "$@"
    }
fi

cmake --install "$build" --prefix "$scratch/made" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
mv "$scratch/made" "$scratch/moved"
lockstep=$scratch/moved/bin/lockstep
share=$scratch/moved/share/lockstep
cp "$share/golden/tiny-gemma3.h5" "$scratch/golden.h5"
cp -r "$share/golden/tiny-gemma3" "$scratch/model"
[ -z "$twin" ] || rm -r "$share"
cd "$scratch"

# holds TEXT COMMAND…: it ends with 0 and prints the text.
holds()
{
    local text=$1
    shift
    hidden "$@" >output 2>&1 && grep -qF -- "$text" output && return
    echo "expected \"$text\" of: $*"
    cat output
    return 1
}

checks()
{
    holds ", commit $("$build/lockstep" --version | sed 's/.*commit //')" "$lockstep" --version &&
        holds "parity" "$lockstep" diff model --golden golden.h5 &&
        holds "ids: " "$lockstep" run model --ids 1,2,3 -n 2 &&
        printf 'reload shaders\npy import tokenizers\npy 6 * 7\n' >script &&
        holds "shaders compiled from $share/shaders" "$lockstep" debug model --golden golden.h5 -x script &&
        grep -qx 42 output
}

if [ -z "$twin" ]; then
    checks
elif checks >/dev/null; then
    echo "the program does without its installed files"
    exit 1
fi
