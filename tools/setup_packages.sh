# shellcheck shell=bash
# Sourced by setup.sh: the Debian packages.

DEBIAN_PACKAGES=(
    gcc g++ cmake ninja-build pkg-config
    libvulkan-dev mesa-vulkan-drivers vulkan-validationlayers
    glslang-dev glslang-tools libspirv-cross-c-shared-dev
    libhdf5-dev hdf5-tools libjansson-dev libcmocka-dev libreadline-dev
    libpython3-dev python3-venv ca-certificates
)
APT_LOCKS=(/var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock)
APT_PATIENCE=600 # seconds

# as_root COMMAND…: through sudo where the user is not root.
as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Prints who holds one of apt's locks, "1234 (apt-get)"; fails where nobody does. The locks are fcntl's, which /proc/locks
# lists by inode.
apt_lock_holder()
{
    local lock inode pid
    for lock in "${APT_LOCKS[@]}"; do
        inode=$(stat -c %i "$lock" 2>/dev/null) || continue
        pid=$(awk -v inode=":$inode\$" '$2 == "POSIX" && $6 ~ inode { print $5; exit }' /proc/locks 2>/dev/null)
        if [ -n "$pid" ]; then
            echo "$pid ($(cat "/proc/$pid/comm" 2>/dev/null || echo "a process that cannot be seen"))"
            return 0
        fi
    done
    return 1
}

# Waits until no other apt or dpkg runs, and says so.
wait_for_apt()
{
    local holder start=$SECONDS told=
    while holder=$(apt_lock_holder); do
        if [ -z "$told" ]; then
            echo "Process $holder holds apt's lock; waiting for it to end (at most $APT_PATIENCE s)"
            told=yes
        fi
        [ $((SECONDS - start)) -lt "$APT_PATIENCE" ] || fail "process $holder still holds apt's lock after $APT_PATIENCE s"
        sleep 1
    done
}

# What an apt-get or dpkg that was stopped left half done is finished first.
install_packages()
{
    as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout="$APT_PATIENCE" update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout="$APT_PATIENCE" install -y --fix-broken \
        --no-install-recommends "$@"
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
    wait_for_apt
    phase "Installing ${#missing[@]} Debian packages" install_packages "${missing[@]}"
}
