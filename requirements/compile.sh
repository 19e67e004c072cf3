#!/bin/sh
# Renews the lock files from pyproject.toml: exact versions with hashes, right for Python 3.11 to 3.13 on Linux.
# Argument: the uv to use. `--upgrade` as a second one takes the newest versions that the ranges allow.
set -eu
cd "$(dirname "$0")/.."

compile() {
    target=requirements/$1.txt
    shift
    # shellcheck disable=SC2086  # an option or nothing
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --default-index https://pypi.org/simple --custom-compile-command 'make lock' $upgrade \
        -o "$target" "$@"
}

uv=$1
upgrade=${2:-}
compile run pyproject.toml
compile build --group build -c requirements/run.txt
compile dev --group dev -c requirements/run.txt -c requirements/build.txt
compile ministack --group ministack
compile swift --group swift
