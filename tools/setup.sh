# shellcheck shell=bash
# Sourced by demo, check and .ci/run from the repository's root: what a fresh Debian 12 or Ubuntu 24.04 needs to build
# and run lockstep. Every step looks first whether its work is done, so a second run takes seconds.

LOG=.cache/setup.log
SYSTEM_PYTHON=/usr/bin/python3 # the one that libpython belongs to; another python3 may come first on the PATH
DEBIAN_PACKAGES=(
    gcc g++ cmake ninja-build pkg-config
    libvulkan-dev mesa-vulkan-drivers vulkan-validationlayers
    glslang-dev glslang-tools libspirv-cross-c-shared-dev
    libhdf5-dev hdf5-tools libjansson-dev libcmocka-dev libreadline-dev
    libpython3-dev python3-venv ca-certificates
)

fail()
{
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# phase TEXT COMMAND…: one progress line for a command whose own output goes to the log; the log's end if it fails.
phase()
{
    local text=$1 start=$SECONDS status=0 child log_start
    shift
    log_start=$(wc -l <"$LOG")
    printf '\n== %s: %s\n' "$text" "$*" >>"$LOG"
    printf '%s … ' "$text"
    "$@" >>"$LOG" 2>&1 </dev/null &
    child=$!
    trap 'kill "$child" 2>/dev/null; echo; exit 130' INT TERM
    while [ -t 1 ] && kill -0 "$child" 2>/dev/null; do
        printf '\r%s … %d s ' "$text" $((SECONDS - start))
        sleep 0.5
    done
    wait "$child" || status=$?
    trap - INT TERM
    if [ "$status" -ne 0 ]; then
        printf 'failed\n\n'
        tail -n "+$((log_start + 2))" "$LOG" | tail -n 40 >&2
        fail "$text failed with status $status; all of its output is in $LOG"
    fi
    [ -t 1 ] && printf '\r%s … ' "$text"
    printf 'done (%d s)\n' $((SECONDS - start))
}

# as_root COMMAND…: through sudo where the user is not root.
as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

install_packages()
{
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

# Installs those of the Debian packages that are not there.
setup_packages()
{
    local missing=() package
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian or Ubuntu; these packages are taken as installed: ${DEBIAN_PACKAGES[*]}"
        return
    fi
    for package in "${DEBIAN_PACKAGES[@]}"; do
        case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
        ii*) ;;
        *) missing+=("$package") ;;
        esac
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "as root, run: apt-get install ${missing[*]}"
        echo "To install with apt-get: ${missing[*]}"
        sudo -v # asks for the password here, where it can be seen
    fi
    phase "Installing ${#missing[@]} Debian packages" install_packages "${missing[@]}"
}

# A new .venv, unless there is one made from the system's present Python.
make_venv()
{
    local version
    version=$(basename "$(readlink -f "$SYSTEM_PYTHON")")
    if [ ! -d ".venv/lib/$version" ] || ! .venv/bin/python -c "import sys; sys.exit(sys.base_prefix != '/usr')"; then
        rm -rf .venv
        "$SYSTEM_PYTHON" -m venv .venv
    fi
}

install_requirements()
{
    make_venv
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --requirement "$1"
    { "$SYSTEM_PYTHON" --version && cat "$1"; } >".venv/installed-$1"
}

# setup_python FILE…: .venv with the packages of these requirements files. A copy of each in .venv says what is there.
setup_python()
{
    local file
    for file in "$@"; do
        if ! { "$SYSTEM_PYTHON" --version && cat "$file"; } | cmp -s - ".venv/installed-$file"; then
            phase "Python packages of $file into .venv" install_requirements "$file"
        fi
    done
}

# setup_build FOLDER TARGET CMAKE-ARGUMENT…
setup_build()
{
    local folder=$1 target=$2
    shift 2
    if [ ! -f "$folder/build.ninja" ]; then
        phase "Configuring $folder" cmake -B "$folder" -G Ninja "$@"
    fi
    phase "Building $target in $folder" ninja -C "$folder" "$target"
}

mkdir -p .cache
: >"$LOG"
