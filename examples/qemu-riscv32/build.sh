#!/usr/bin/env bash
# build.sh [CARGO-ARGS...]: builds the image and prints the path of the ELF as the last line. CRATE=DIRECTORY builds another
# image for this board.
set -euo pipefail
cd "$(dirname "$0")/../${CRATE:-qemu-riscv32}"
. ../../.ci/cross.sh

TARGET=riscv32imc-unknown-none-elf
cross_cargo $TARGET build --release --locked "$@"
echo "$(realpath "${CARGO_TARGET_DIR:-target}")/$TARGET/release/$(basename "$PWD")"
