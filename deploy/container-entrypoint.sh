#!/bin/sh
# What the container runs: a mount at /mnt/agentfs/agent until it is stopped. Arguments go to `agentfs mount`.
#
# The mountpoint is one level below the volume: the volume is shared, so the mount appears on the host and in every
# container that has the volume, and a container that starts again finds the dead mount of its predecessor there.
set -eu

point=/mnt/agentfs/agent

if agentfs status "$point" --json 2>/dev/null | grep -q '"state": "dead"'; then
    agentfs umount --force "$point"
fi
mkdir -p "$point"
exec agentfs mount "$point" --foreground "$@"
