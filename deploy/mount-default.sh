#!/bin/sh
# `make mount`: mounts, or says that it is mounted, and how to go on. Arguments: MOUNTPOINT USER [STORE].
set -eu

point=$1
user=$2
store=${3:-}
agentfs=$(realpath -s "${VENV:-.venv}/bin/agentfs")

state=$("$agentfs" status "$point" --json 2>/dev/null | sed -n 's/^ *"state": "\([a-z]*\)".*/\1/p') || :

case $state in
starting | serving)
    echo "Already mounted:"
    "$agentfs" status "$point"
    ;;
*)
    if [ "$state" = dead ]; then
        echo "The daemon of $point is gone; its dead mount is cleared away."
        "$agentfs" umount --force "$point"
    fi
    [ -d "$point" ] || mkdir -p "$point"
    "$agentfs" mount "$point" --user "$user" ${store:+--store "$store"}
    ;;
esac

cat <<END

Use it      ls $point/workspace $point/memory
Look at it  $agentfs status $point
Unmount it  $agentfs umount $point    (or: make umount)
END
