#!/usr/bin/env bash
# Runs the image. It passes if the machine ends well in time, and every test of the files has passed.
set -euo pipefail
cd "$(dirname "$0")"

ELF=${CARGO_TARGET_DIR:-target}/xtensa-lx106/release/xtensa
[[ -f $ELF ]] || { echo "no image yet: run build.sh" >&2; exit 1; }
# Counted here, and not by what made the image: those of features, of 64-bit targets and of proptest (they are indented) do not count.
expected=$(sed 's|.*|../&.rs|' files | xargs cat |
    awk '/^#\[test\]/ && before !~ /^#\[cfg\((all\()?(feature|target_pointer_width = "64")/ { n++ } { before = $0 } END { print n }')
output=$(mktemp)
trap 'rm -f "$output"' EXIT

status=0
timeout 600 qemu-system-xtensa -M sim -cpu lx106 -m 128M -nographic -semihosting -monitor none -serial none \
    -kernel "$ELF" </dev/null | tee "$output" || status=$?
((status != 124)) || echo "FAILED: no end after ten minutes"
((status == 0)) || exit 1
passed=$(grep -c ' \.\.\. ok$' "$output") || true
if ((passed != expected)) || [[ $(tail -1 "$output") != "$passed passed,"* ]]; then
    echo "FAILED: $passed of $expected tests passed"
    exit 1
fi
