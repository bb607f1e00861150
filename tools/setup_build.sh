# shellcheck shell=bash
# Sourced by setup.sh: build folders.

# cached FOLDER NAME: a value in CMake's cache.
cached()
{
    sed -n "s/^$2:[A-Z]*=//p" "$1/CMakeCache.txt"
}

# Whether CMake made the folder here, with Ninja. One that was copied or moved would build its old sources.
build_belongs_here()
{
    [ "$(cached "$1" CMAKE_HOME_DIRECTORY)" -ef . ] && [ "$(cached "$1" CMAKE_CACHEFILE_DIR)" -ef "$1" ] &&
        [ "$(cached "$1" CMAKE_GENERATOR)" = Ninja ]
}

# setup_build FOLDER TARGET -DNAME=VALUE…: configured with these values and built.
setup_build()
{
    local folder=$1 target=$2 definition configured=
    shift 2
    if [ -f "$folder/CMakeCache.txt" ] && ! build_belongs_here "$folder"; then
        echo "$folder was made elsewhere or by another generator; it is made anew"
        rm -rf "$folder"
    fi
    [ -f "$folder/build.ninja" ] && configured=yes
    for definition in "$@"; do
        definition=${definition#-D}
        if [ -n "$configured" ] && [ "$(cached "$folder" "${definition%%=*}")" != "${definition#*=}" ]; then
            configured=
        fi
    done
    if [ -z "$configured" ]; then
        phase "Configuring $folder" cmake -B "$folder" -G Ninja "$@"
    fi
    phase "Building $target in $folder" ninja -C "$folder" "$target"
}
