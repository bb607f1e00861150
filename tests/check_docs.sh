#!/usr/bin/env bash
# check_docs.sh PROGRAM [--twin | TREE WORDS]: the documents say what is there. README.md has at most 150 lines of at most
# 100 columns; links and paths of *.md exist; commands, options, prompt commands and faults in docs/ are those of the
# program, all of them. Prints every line that breaks this; fails if there is one. The twin plants each such mistake in a
# copy of the tree: TREE is the copy, WORDS a folder with what the program said.
set -euo pipefail
program=$(realpath "$1")
check=$(realpath "$0")
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8

# The words that the program has, in files of $words: commands, options.COMMAND, prompt, faults.
ask_program()
{
    local word
    "$program" --help | sed -nE 's/^  (lockstep )?([a-z]+) .*/\2/p' | sort -u | while read -r word; do
        if "$program" "$word" --help >"$words/help" 2>/dev/null; then
            echo "$word"
            sed -nE 's/^ +(--?[a-z][a-z-]*).*/\1/p' "$words/help" >"$words/options.$word"
        fi
    done >"$words/commands"
    echo help >"$words/script"
    "$program" debug golden/tiny-llama --ids 1 --on reference -x "$words/script" |
        sed -nE 's/^  ([a-z]+)( .*)?$/\1/p' >"$words/prompt"
    "$program" faults --json - | sed -nE 's/.*"fault": "([^"]+)".*/\1/p' >"$words/faults"
}

# must_complain TEXT FILE SED: the check says TEXT once SED changed FILE of the copy.
must_complain()
{
    local said
    cp "$copy/$2" "$copy/saved"
    sed -i "$3" "$copy/$2"
    said=$("$check" "$program" "$copy" "$words") && { echo "$2 changed by $3: not found"; exit 1; }
    grep -qF "$1" <<<"$said" || { echo "$2 changed by $3: expected $1 in: $said"; exit 1; }
    mv "$copy/saved" "$copy/$2"
}

if [ "${2:-}" = --twin ]; then
    copy=$(mktemp -d)
    words=$(mktemp -d)
    trap 'rm -rf "$copy" "$words"' EXIT
    ask_program
    find . -mindepth 1 -maxdepth 1 -not -name '.*' -not -name 'build*' -exec cp -r {} "$copy" \;
    "$check" "$program" "$copy" "$words" >/dev/null || { echo "the tree itself does not pass check_docs.sh"; exit 1; }
    must_complain "columns, expected" README.md "1s/\$/$(printf '%0101d' 0)/"
    must_complain "lines, expected" README.md "1s/\$/$(printf '\\n%.0s' {1..150})/"
    must_complain "no such file" README.md '$s/$/ [x](docs\/nothing.md)/'
    must_complain "no such heading" README.md '$s/$/ [x](docs\/faults.md#nothing)/'
    must_complain "no such file" CONTRIBUTING.md '$s/$/ `model\/nothing.c`/'
    must_complain "no such command" docs/faq.md '$s/$/ `lockstep nothing`/'
    must_complain "audit --json is missing" docs/commands.md '/^## audit/,/^## compare/s/^| `--json.*//'
    must_complain "audit --nothing: the program has none" docs/commands.md '/^## audit/s/$/\n| `--nothing` |/'
    must_complain "prompt command where is missing" docs/prompt.md '/^| `where/d'
    must_complain "fault kv-stale is missing" docs/faults.md '/^| `kv-stale/d'
    exit 0
fi
cd "${2:-.}"
words=${3:-}
if [ -z "$words" ]; then
    words=$(mktemp -d)
    trap 'rm -rf "$words"' EXIT
    ask_program
fi
wrong=0
complain()
{
    echo "$*"
    wrong=1
}

# same_words WHAT FILE WORDS: FILE lists the words of standard input, and the program has those of the file WORDS.
same_words()
{
    local listed word
    listed=$(sort -u)
    while read -r word; do
        complain "$2: $1 $word: the program has none"
    done < <(comm -23 <(sort -u <<<"$listed") <(sort -u "$3") | grep . || true)
    while read -r word; do
        complain "$2: $1 $word is missing"
    done < <(comm -13 <(sort -u <<<"$listed") <(sort -u "$3"))
}

# Fills anchors[FILE] with FILE's headings as GitHub links to them: lower case, no punctuation, hyphens for spaces.
declare -A anchors=()
find_anchors()
{
    if [ -z "${anchors[$1]:-}" ]; then
        anchors[$1]=" $(sed -nE 's/^#+ +//p' "$1" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g' | tr '\n' ' ') "
    fi
}

# Table rows that begin with `WORD: those words. FILE, or standard input.
first_cells()
{
    sed -nE 's/^\| `([a-z0-9-]+).*/\1/p' "$@"
}

mapfile -t documents < <(find . -name '*.md' -not -path './.*/*' -not -path './build*' | sort)
[ "${#documents[@]}" -ge 10 ] || complain "only ${#documents[@]} documents"

# README.md is short and narrow.
lines=$(wc -l <README.md) columns=$(wc -L <README.md)
[ "$lines" -le 150 ] || complain "README.md: $lines lines, expected at most 150"
[ "$columns" -le 100 ] || complain "README.md: $columns columns, expected at most 100"

# Links exist, with their headings.
for document in "${documents[@]}"; do
    while read -r link; do
        file=${link%%#*} target=$document
        [ -z "$file" ] || target=${document%/*}/$file
        if [ ! -e "$target" ]; then
            complain "$document: link to $link: no such file"
        elif [[ $link = *#* ]]; then
            find_anchors "$target"
            [[ ${anchors[$target]} = *" ${link#*#} "* ]] || complain "$document: link to $link: no such heading"
        fi
    done < <(grep -oE '\]\([^)[:space:]]+\)' "$document" | sed -E 's/^\]\(//; s/\)$//' | grep -vE '^[a-z]+:' || true)
done

# Paths in `code` that begin with a folder of this tree exist; NAME, G.h5 and … stand for something else.
folders=$(find . -mindepth 1 -maxdepth 1 -type d -not -name '.*' -not -name 'build*' -printf '%f|')
for document in "${documents[@]}"; do
    while read -r path; do
        compgen -G "$path" >/dev/null || complain "$document: $path: no such file"
    done < <(grep -oE "\`(${folders%|})/[a-z0-9_./*-]+[\` ]" "$document" | tr -d '` ' | sort -u || true)
done

# Commands that are named exist: "lockstep COMMAND" in `code` or at the beginning of a line of a code block.
mapfile -t commands <"$words/commands"
[ "${#commands[@]}" -ge 5 ] || complain "lockstep --help: only ${#commands[@]} commands"
for document in "${documents[@]}"; do
    while read -r command; do
        [[ " ${commands[*]} help " = *" $command "* ]] || complain "$document: lockstep $command: no such command"
    done < <({
        grep -oE '`(build/)?lockstep [a-z]+' "$document" || true
        awk '/^```/ { code = !code; next } code' "$document" | grep -oE '^(\$ )?(build/)?lockstep [a-z]+' || true
    } | sed -E 's/.* //' | sort -u)
done

# docs/commands.md has a section of each command, and its table all options.
for command in "${commands[@]}"; do
    grep -qx "## $command" docs/commands.md || complain "docs/commands.md: no section $command"
    same_words "$command" docs/commands.md "$words/options.$command" \
        < <(awk -v command="$command" '/^## / { inside = $2 == command } inside' docs/commands.md | first_cells)
done

same_words "prompt command" docs/prompt.md "$words/prompt" < <(first_cells docs/prompt.md)
same_words fault docs/faults.md "$words/faults" < <(first_cells docs/faults.md)

exit "$wrong"
