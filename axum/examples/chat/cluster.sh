#!/usr/bin/env bash
# cluster.sh [DIRECTORY]: one chat on two processes, with a Redis that keeps its messages in DIRECTORY. Needs redis-server.
# Open http://127.0.0.1:8081/ and http://127.0.0.1:8082/; Ctrl-C ends all three.
set -euo pipefail
cd "$(dirname "$0")"
directory=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/axum_chat} port=6390 children=()
command -v redis-server >/dev/null || { echo "redis-server is missing: apt install redis-server"; exit 1; }
cargo build --release
program=$(cargo metadata --format-version 1 --no-deps | grep -oP '"target_directory":"\K[^"]+')/release/axum_chat
trap 'kill "${children[@]}" 2>/dev/null; wait' EXIT
trap exit INT TERM
./redis.sh "$directory" $port >/dev/null &
children+=($!)
until redis-cli -p $port ping >/dev/null 2>&1; do
  kill -0 "${children[0]}" # Redis must be running
  sleep 0.1
done
for listen in 127.0.0.1:8081 127.0.0.1:8082; do
  "$program" --listen $listen --redis redis://127.0.0.1:$port/ &
  children+=($!)
done
wait
