#!/bin/sh
# `make mount`: mounts, or says that it is mounted, and how to go on. Arguments: MOUNTPOINT USER [STORE].
set -eu

point=$1
user=$2
store=${3:-}
agentfs=$(realpath -s "${VENV:-.venv}/bin/agentfs")

if status=$("$agentfs" status "$point" 2>/dev/null); then
    echo "Already mounted at $point:"
    echo "$status"
else
    # A mount whose daemon died is listed and answers nothing, not even test -d: agentfs says so below.
    [ -d "$point" ] || mkdir -p "$point" 2>/dev/null || :
    "$agentfs" mount "$point" --user "$user" ${store:+--store "$store"}
fi

cat <<END

Use it      ls $point/workspace $point/memory
Look at it  $agentfs status $point
Unmount it  $agentfs umount $point    (or: make umount)
END
