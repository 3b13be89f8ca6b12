#!/usr/bin/env bash
# The linker that rustc calls. LLVM itself puts the literals of Xtensa code where it cannot reach them, so of
# each object and library the assembly that rustc wrote beside it (--emit=asm) is taken, mended and assembled.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A function's literals stand before the line that begins its section. They belong into it, before the code.
mend() {
    awk '/^\t\.literal/ { held = held $0 "\n"; next }
        /^\t\.type\t.*,@function$/ { printf "%s", held; held = "" }
        { print }
        END { exit held != "" }' "$1"
}

assemble() {
    xtensa-lx106-elf-as --text-section-literals -o "$@"
}

objects=("$work/start.o")
assemble "$work/start.o" "$here/start.S"
while (($#)); do
    case $1 in
        -o) elf=$2 assembly= && shift ;;
        *.rcgu.o) assembly=${1%%.*}.s ;;
        *.rlib) assembly=${1/%.rlib/.s} assembly=${assembly/\/lib/\/} ;;
        *) assembly= ;;
    esac
    if [[ $assembly ]]; then
        object=$work/${#objects[@]}.o
        mend "$assembly" | assemble "$object" -
        objects+=("$object")
    fi
    shift
done
xtensa-lx106-elf-ld --no-warn-execstack --no-warn-rwx-segments --gc-sections -T "$here/link.x" -o "$elf" "${objects[@]}"
