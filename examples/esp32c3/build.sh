#!/usr/bin/env bash
# build.sh [esp32c3|esp32c6]...: for each chip, both by default, the ELF and from it an image to flash. SSID and
# PASSWORD come from the environment; CONNECTIONS, TCP_BUFFER and BUFFER may.
#
# With espflash the image is whole (bootloader, partition table, firmware: flash it at 0); else it is the firmware
# alone, from esptool out of a venv of its own, for 0x10000 of a board that has a bootloader.
set -euo pipefail
cd "$(dirname "$0")"
: "${SSID:?is missing. Which WiFi? SSID=... PASSWORD=... ./build.sh}"
. ../../.ci/cross.sh

CROSS_BUILD_STD=core,alloc
BUILT=$(realpath -m "${CARGO_TARGET_DIR:-target}")

image() {
    local chip=$1 elf=$2 image=$3
    if command -v espflash >/dev/null; then
        espflash save-image --chip "$chip" --merge --skip-update-check "$elf" "$image"
        return
    fi
    local venv=$BUILT/esptool
    [[ -x $venv/bin/esptool ]] || { python3 -m venv "$venv" && "$venv/bin/pip" -q install esptool==5.6.0; }
    "$venv/bin/esptool" --chip "$chip" elf2image --flash-mode dio --flash-freq 80m --flash-size 4MB -o "$image" "$elf"
    local info
    info=$("$venv/bin/esptool" --chip "$chip" image-info "$image")
    echo "$info"
    [[ $(grep -c '(valid)' <<<"$info") == 2 ]] # check sum and hash; the exit code does not tell
}

(($#)) || set -- esp32c3 esp32c6
for chip; do
    case $chip in
        esp32c3) target=riscv32imc-unknown-none-elf ;;
        esp32c6) target=riscv32imac-unknown-none-elf ;;
        *) echo "no such chip: $chip" >&2; exit 2 ;;
    esac
    cross_cargo $target build --release --locked --features "$chip"
    elf=$BUILT/$target/release/esp32-echo
    image "$chip" "$elf" "$BUILT/$chip.bin"
    echo "$chip ELF   $elf"
    echo "$chip image $BUILT/$chip.bin, $(wc -c <"$BUILT/$chip.bin") bytes"
done
