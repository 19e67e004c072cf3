#!/bin/sh
# Prints the path of a Python that agentfs can be installed with: 3.11 to 3.13, with venv, pip and C headers.
# Asks $PYTHON alone when it is set. A name on the path proves nothing (pyenv's shims exist for versions that
# are not active, Debian ships venv and headers apart), so each candidate has to answer for itself.
set -u

probe='
import os, sys, sysconfig
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(1)
import ensurepip, venv
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    sys.exit(1)
print(sys.executable)
'

for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    if found=$("$candidate" -c "$probe" 2>/dev/null) && [ -n "$found" ]; then
        echo "$found"
        exit 0
    fi
done
exit 1
