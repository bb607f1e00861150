#!/usr/bin/env bash
# compilers.sh [COMPILER…]: every gcc from 12 to 14 and clang 14 and 19 builds all without a warning, as Debug, MinSizeRel and Release;
# Unix Makefiles build it, too. As root it installs what apt-get knows; it names those that are not here.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/setup.sh
setup_packages
compilers=("$@")
[ $# -gt 0 ] || compilers=(gcc-12 gcc-13 gcc-14 clang-14 clang-19)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

failed=0
# An older gcc's libstdc++ lacks what the system's C++ libraries were linked with; that of the system is loaded all the same.
# build_all NAME GENERATOR CC CXX TYPE
build_all()
{
    local start=$SECONDS keep_going=-k0
    [ "$2" = Ninja ] || keep_going=-k
    if ! { cmake -B "$folder/build" -G "$2" -DCMAKE_C_COMPILER="$3" -DCMAKE_CXX_COMPILER="$4" -DCMAKE_BUILD_TYPE="$5" \
        -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined -DLOCKSTEP_WERROR=ON && cmake --build "$folder/build" --parallel "$(nproc)" -- "$keep_going"; } >"$folder/log" 2>&1; then
        grep -E "error:|Error " "$folder/log" || tail -n 40 "$folder/log"
        echo "failed: $1"
        failed=1
    else
        echo "$1: no warning ($((SECONDS - start)) s)"
    fi
    rm -rf "$folder/build"
}

# install COMPILER: clang's OpenMP is a package of its own, of which a machine holds one version.
install()
{
    local packages=("$1")
    [[ $1 == gcc* ]] || packages+=("libomp-${1#clang-}-dev")
    [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" >>"$LOG" 2>&1 || true
}

for compiler in "${compilers[@]}"; do
    install "$compiler"
    # C++ is there only to link glslang, which the system's own g++ compiled: an older one may lack what that needs.
    cxx=c++
    [[ $compiler == gcc* ]] || cxx=${compiler/clang/clang++}
    if ! command -v "$compiler" >/dev/null || ! command -v "$cxx" >/dev/null; then
        echo "$compiler: not here"
        continue
    fi
    if [[ $compiler == clang* ]] && ! echo 'int main(void) { return 0; }' | "$compiler" -fopenmp -x c -o /dev/null - 2>/dev/null; then
        echo "$compiler: not here with its libomp"
        continue
    fi
    for type in Debug MinSizeRel Release; do
        build_all "$compiler $type" Ninja "$compiler" "$cxx" "$type"
    done
done
command -v make >/dev/null || { echo "make: not here"; exit "$failed"; }
build_all "cc Debug, Unix Makefiles" "Unix Makefiles" cc c++ Debug
exit "$failed"
