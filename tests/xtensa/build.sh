#!/usr/bin/env bash
# Builds the image and prints the path of the ELF as the last line.
set -euo pipefail
cd "$(dirname "$0")"
. ../../.ci/cross.sh

TARGET=xtensa-lx106
export CARGO_TARGET_XTENSA_LX106_LINKER=$PWD/ld.sh RUSTFLAGS=--emit=asm CROSS_BUILD_STD=core,alloc
cross_cargo $TARGET.json build -Z json-target-spec -Z build-std-features=compiler-builtins-mem --release --locked
echo "$(realpath "${CARGO_TARGET_DIR:-target}")/$TARGET/release/xtensa"
