#!/usr/bin/env bash
# run.sh COMMAND...: in a network of its own, where nothing but a tap device is: 192.0.2.1 is the kernel's side of it, and
# lwIP takes 192.0.2.2. The process becomes COMMAND. Others join it: nsenter -t PID -n COMMAND.
set -euo pipefail

if [[ ${1-} != --inside ]]; then
    ((EUID == 0)) && exec unshare --net -- "$0" --inside "$@"
    exec unshare --map-root-user --net -- "$0" --inside "$@"
fi
shift
ip link set lo up
ip tuntap add dev tap0 mode tap
ip address add 192.0.2.1/24 dev tap0
ip address add 2001:db8::1/64 dev tap0 nodad
ip link set tap0 up
exec "$@"
