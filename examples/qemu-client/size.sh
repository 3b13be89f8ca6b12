#!/usr/bin/env bash
# size.sh: flash and RAM of the image without TLS and with it, in bytes; the last image that it builds is the whole one.
set -euo pipefail
cd "$(dirname "$0")"

for args in --no-default-features --features=tls; do
  elf=$(CRATE=qemu-client ../qemu-riscv32/build.sh $args | tail -1)
  size -A "$elf" | awk -v title="$args" '
    $1 ~ /^\.(text|rodata|data)$/ { flash += $2 }
    $1 ~ /^\.(data|bss)$/ { ram += $2 }
    END { if (!flash || !ram) exit 1; printf "%s: flash %d, static RAM %d\n", title, flash, ram }'
  future=$(nm -CS "$elf" | awk '/ b .*__embassy_main::POOL$/ { print $2 }')
  echo "  of it the future of main, with every buffer of a connection but TCP's: $((16#$future))"
done
