#!/usr/bin/env bash
# Builds the images and prints the figures: see figures.py.
set -euo pipefail
cd "$(dirname "$0")"
. ../../.ci/cross.sh

TARGET=riscv32imc-unknown-none-elf
images=${CARGO_TARGET_DIR:-target}/$TARGET/release
cross_cargo $TARGET build --release --locked --bin sansocket --features small
cp "$images/sansocket" "$images/sansocket-small"
cross_cargo $TARGET build --release --locked --bins
python3 figures.py "$images"
