#!/usr/bin/env bash
# Builds the component for this PC, over the lwIP of Debian (apt: liblwip-dev); the program's path is the last line.
set -euo pipefail
cd "$(dirname "$0")"

component=../components/sansocket
(cd $component/rust && cargo build --release --locked)
OUT=$(realpath "${CARGO_TARGET_DIR:-$component/rust/target}")/release
# A PC's core is compiled to unwind, which nothing does here.
cc -std=gnu11 -O2 -g -Wall -Wextra -Werror -I$component/include -I/usr/include/lwip main.c tap.c \
    $component/sansocket_port.c "$OUT/libsansocket_esp_idf.a" -llwip -pthread -Wl,--defsym=rust_eh_personality=abort -o "$OUT/echo_lwip"
echo "$OUT/echo_lwip"
