#!/usr/bin/env bash
# redis.sh DIRECTORY PORT: runs Redis on loopback for the chat. What it has accepted is on the disk when it answers.
set -euo pipefail
mkdir -p "$1"
exec redis-server --bind 127.0.0.1 --port "$2" --dir "$1" --appendonly yes --appendfsync always --save ''
