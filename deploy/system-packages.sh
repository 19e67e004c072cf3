#!/bin/sh
# Installs the Debian or Ubuntu packages that are missing, and only those: `system-packages.sh run` for what
# agentfs needs, `system-packages.sh run test` for the programs of its tests as well, `rgw` for Ceph's S3 server. What
# is there already, from wherever it came, is left alone; when nothing is missing neither apt-get nor sudo is called.
set -eu

here=$(dirname "$0")
missing=''

# want PACKAGE PROBE...: PACKAGE is needed unless the command PROBE succeeds.
want() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

# has PROGRAM: also finds what Debian keeps in /sbin, which is not on every user's path.
has() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1"
}

for purpose in "$@"; do
    case $purpose in
    run)
        want fuse3 has fusermount3
        want pkg-config has pkg-config
        want libfuse3-dev pkg-config --exists 'fuse3 >= 3.3.0'
        want gcc has gcc
        want libc6-dev test -e /usr/include/stdio.h
        want 'python3 python3-dev python3-venv' "$here/find-python.sh"
        ;;
    test)
        want git has git
        want make has make
        want npm has npm
        want redis-server has redis-server
        want rsync has rsync
        want s3fs has s3fs
        want openssl has openssl
        want sqlite3 has sqlite3
        want unzip has unzip
        want zip has zip
        ;;
    rgw)
        want ceph-common has ceph
        want ceph-mon has ceph-mon
        want ceph-osd has ceph-osd
        want radosgw has radosgw
        ;;
    *)
        echo "$0: unknown purpose '$purpose' (run, test, rgw)" >&2
        exit 2
        ;;
    esac
done

[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Missing:$missing. There is no apt-get here: install these with your system's package manager." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=''
elif command -v sudo >/dev/null; then
    as_root='sudo'
else
    echo "Missing:$missing. Run 'apt-get install$missing' as root, or install sudo." >&2
    exit 1
fi

apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing system packages:$missing"
# shellcheck disable=SC2086  # lists of words on purpose
if ! { $apt update && $apt install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "apt-get could not install:$missing" >&2
    exit 1
fi

case " $* " in
*' run '*)
    if ! "$here/find-python.sh" >/dev/null; then
        echo "No Python 3.11, 3.12 or 3.13 with venv and headers${PYTHON:+ at $PYTHON}." \
            "Install one and name it: make PYTHON=/path/to/python3.12 ..." >&2
        exit 1
    fi
    ;;
esac
