# shellcheck shell=bash
# Sourced by setup.sh: .venv, the Python environment.

SYSTEM_PYTHON=/usr/bin/python3 # the one that libpython belongs to; another python3 may come first on the PATH

# Whether .venv is whole, made from the system's present Python, and made here: the scripts of one that was copied or moved
# still name the place where it was made, and what they install goes there.
venv_is_whole()
{
    local version folder
    version=$(basename "$(readlink -f "$SYSTEM_PYTHON")")
    folder=$(readlink -f .venv)
    [ -d ".venv/lib/$version" ] && [ ! -e .venv/unfinished ] && [ -f .venv/bin/pip ] || return 1
    head -n 2 .venv/bin/pip | grep -qF -e "#!$folder/bin/python" -e "\"$folder/bin/python" || return 1
    .venv/bin/python -c "import pip, sys; sys.exit(sys.base_prefix != '/usr')" 2>/dev/null
}

# .venv/unfinished stands there until all is installed.
install_requirements()
{
    local file=$1
    if ! venv_is_whole; then
        rm -rf .venv
        mkdir .venv
        touch .venv/unfinished
        "$SYSTEM_PYTHON" -m venv .venv
    fi
    touch .venv/unfinished
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --requirement "$file"
    { "$SYSTEM_PYTHON" --version && cat "$file"; } >".venv/installed-$file"
    rm .venv/unfinished
}

# setup_python FILE…: .venv with the packages of these requirements files. A copy of each in .venv says what is there.
setup_python()
{
    local file whole=yes
    venv_is_whole || whole=
    for file in "$@"; do
        if [ -z "$whole" ] || ! { "$SYSTEM_PYTHON" --version && cat "$file"; } | cmp -s - ".venv/installed-$file"; then
            phase "Python packages of $file into .venv" install_requirements "$file"
        fi
        whole=yes
    done
}
