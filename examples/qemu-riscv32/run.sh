#!/usr/bin/env bash
# run.sh [PORT [QEMU-ARGS...]]: the board on 127.0.0.1:PORT, default 8080, its serial line on stdout. ELF=PATH runs another image.
# The process becomes QEMU: kill it to switch the board off.
set -euo pipefail
cd "$(dirname "$0")"

PORT=${1:-8080}
ELF=${ELF:-${CARGO_TARGET_DIR:-target}/riscv32imc-unknown-none-elf/release/qemu-riscv32}
[[ -f $ELF ]] || { echo "no image yet: run build.sh" >&2; exit 1; }

exec qemu-system-riscv32 -M virt -cpu rv32,a=off,f=off,d=off -m 16M -bios none \
    -nographic -serial stdio -monitor none \
    -netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$PORT-:80" -device virtio-net-device,netdev=n0 \
    -kernel "$ELF" "${@:2}" </dev/null
