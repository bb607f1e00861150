#!/usr/bin/env bash
# compilers.sh: every gcc from 12 to 14 and clang 14 and 19 that this machine has builds all without a warning, as Debug, MinSizeRel and
# Release; Unix Makefiles build it, too. Names those that are not here. clang needs libomp-N-dev.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# An older gcc's libstdc++ lacks what the system's C++ libraries were linked with; that of the system is loaded all the same.
# build_all NAME GENERATOR CC CXX TYPE
build_all()
{
    local start=$SECONDS
    if ! { cmake -B "$folder/build" -G "$2" -DCMAKE_C_COMPILER="$3" -DCMAKE_CXX_COMPILER="$4" -DCMAKE_BUILD_TYPE="$5" \
        -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined -DLOCKSTEP_WERROR=ON && cmake --build "$folder/build" --parallel "$(nproc)"; } >"$folder/log" 2>&1; then
        tail -n 40 "$folder/log"
        echo "failed: $1"
        exit 1
    fi
    echo "$1: no warning ($((SECONDS - start)) s)"
    rm -rf "$folder/build"
}

for compiler in gcc-12 gcc-13 gcc-14 clang-14 clang-19; do
    # C++ is there only to link glslang, which the system's own g++ compiled: an older one may lack what that needs.
    cxx=c++
    [[ $compiler == gcc* ]] || cxx=${compiler/clang/clang++}
    if ! command -v "$compiler" >/dev/null || ! command -v "$cxx" >/dev/null; then
        echo "$compiler: not here"
        continue
    fi
    # libomp of one version alone can be installed.
    if [[ $compiler == clang* ]] && ! echo 'int main(void) { return 0; }' | "$compiler" -fopenmp -x c -o /dev/null - 2>/dev/null; then
        echo "$compiler: not here with its libomp"
        continue
    fi
    for type in Debug MinSizeRel Release; do
        build_all "$compiler $type" Ninja "$compiler" "$cxx" "$type"
    done
done
command -v make >/dev/null || { echo "make: not here"; exit; }
build_all "cc Debug, Unix Makefiles" "Unix Makefiles" cc c++ Debug
