#!/usr/bin/env bash
# build-lib.sh [TARGET]: the static library for a chip, default riscv32imc-esp-espidf (ESP32-C2, C3), without ESP-IDF.
# What it leaves to be linked is checked; the path of the library is the last line.
set -euo pipefail
cd "$(dirname "$0")/components/sansocket/rust"
. ../../../../../.ci/cross.sh

TARGET=${1:-riscv32imc-esp-espidf}
CROSS_BUILD_STD=core,alloc cross_cargo "$TARGET" build --release --locked
LIB=$(realpath "${CARGO_TARGET_DIR:-target}")/$TARGET/release/libsansocket_esp_idf.a

# The seam, the log, the heap, the end, what compilers call by themselves, and the atomics of chips that have none
# (ESP-IDF brings them): nothing of lwIP, no errno, no pthread.
nm -u "$LIB" 2>/dev/null | awk '$1 == "U" { print $2 }' | sort -u >"$LIB.undefined"
nm --defined-only "$LIB" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >"$LIB.defined"
strange=$(comm -23 "$LIB.undefined" "$LIB.defined" | grep -vxE \
    'sansocket_port_(start|listen|accept|adopt|recv|send|shutdown|close|wait|wake|lock|unlock|now)|sansocket_log|malloc|calloc|memalign|realloc|free|abort|mem(cpy|move|set|cmp)|__[a-z]+[sd]i[234]|__atomic_[a-z_]+_[124]' || true)
[[ -z $strange ]] || { echo "the library asks for more than the seam:"; echo "$strange"; exit 1; }
grep -q sansocket_port_wait "$LIB.undefined" || { echo "the library does not use the seam"; exit 1; }
echo "$LIB"
