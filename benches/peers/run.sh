#!/usr/bin/env bash
# Measures sansocket beside other libraries, and prints CSV: work,library,value,unit,ratio_to_floor.
#
#   run.sh            all works: memory, unmask, handshake, frames, loopback, deflate; less than 25 minutes on two cores
#   run.sh --quick    the same with fewer rounds and connections, in less than ten minutes
#   run.sh WORK...    some of them; other options go to their programs: run.sh frames --only sansocket
#
# Needs Debian's libwslay-dev, and npm for uWebSockets (through Bun) and ws. PYTHON names a Python that has websockets. README.md says how it measures.
set -euo pipefail
cd "$(dirname "$0")"
quick=() works=() options=()
for arg; do
  case $arg in
    --quick) quick=(--quick) ;;
    memory | unmask | handshake | frames | loopback | deflate) works+=("$arg") ;;
    *) options+=("$arg") ;;
  esac
done
((${#works[@]})) || works=(memory unmask handshake frames loopback deflate)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --locked >&2
# By default glibc gives memory back to the system and takes it again: large messages would measure page faults.
export MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=1073741824
echo work,library,value,unit,ratio_to_floor
for work in "${works[@]}"; do
  if [[ $work == deflate ]]; then
    # A build of its own: feature `deflate` changes what the other works measure.
    (
      export CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")/deflate
      cd deflate
      npm ci --silent --no-audit --no-fund --ignore-scripts >&2
      cargo build --release --quiet --locked >&2
    )
    taskset -c 1 "$CARGO_TARGET_DIR/deflate/release/deflate-peers" "${quick[@]}" --python "${PYTHON:-python3}" \
      --bun deflate/node_modules/@oven/bun-linux-x64/bin/bun "${options[@]}"
    continue
  fi
  bun=()
  if [[ $work == loopback ]]; then
    (cd bun && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
    bun=(--bun "$(ls bun/node_modules/@oven/bun-linux-x64/bin/bun)")
  fi
  taskset -c 1 "$CARGO_TARGET_DIR/release/$work" "${quick[@]}" "${bun[@]}" "${options[@]}"
done
