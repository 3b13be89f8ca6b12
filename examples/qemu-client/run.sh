#!/usr/bin/env bash
# run.sh [--ca DER-FILE] NAME=VALUE... [-- QEMU-ARGS...]: the board with these settings (see src/settings.rs), its
# serial line on stdout. The process becomes QEMU: kill it to switch the board off.
set -euo pipefail
cd "$(dirname "$0")"

CA=/dev/null
if [[ ${1-} == --ca ]]; then
  CA=$2
  shift 2
fi
TEXT=
while (($#)) && [[ $1 != -- ]]; do
  TEXT+=$1$'\n'
  shift
done
ELF=${ELF:-${CARGO_TARGET_DIR:-target}/riscv32imc-unknown-none-elf/release/qemu-client}
[[ -f $ELF ]] || { echo "no image yet: run build.sh" >&2; exit 1; }

# The settings are a file without a name, which is gone when QEMU is.
PARTITION=$(mktemp)
exec 3<>"$PARTITION"
rm "$PARTITION"
{ printf '%s\0' "$TEXT"; cat "$CA"; } >&3

exec qemu-system-riscv32 -M virt -cpu rv32,a=off,f=off,d=off -m 16M -bios none \
    -nographic -serial stdio -monitor none -device virtio-rng-device \
    -netdev user,id=n0 -device virtio-net-device,netdev=n0 \
    -device loader,file=/dev/fd/3,addr=0x8007e000,force-raw=on -kernel "$ELF" "${@:2}" </dev/null
