"""Runs in Swift's own environment: `rings DIR PORT...` writes its rings, `serve DIR NAME` is one of its servers.

Swift looks for its configuration in /etc/swift; the tests keep it in a directory of theirs, so that they need neither
root nor anything on the system.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

DEVICE = {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "device": "d1", "weight": 1.0, "meta": ""}


def rings(directory: str, *ports: str) -> None:
    """One replica on one device, for accounts, containers and objects."""
    from swift.common.ring.builder import RingBuilder

    for name, port in zip(("account", "container", "object"), ports, strict=True):
        place = {"port": int(port), "replication_ip": "127.0.0.1", "replication_port": int(port)}
        builder = RingBuilder(4, 1, 1)
        builder.add_dev(DEVICE | place)
        builder.rebalance(seed="tests")
        builder.get_ring().save(os.path.join(directory, f"{name}.ring.gz"))


def serve(directory: str, name: str) -> None:
    from swift.common import constraints, utils

    utils.set_swift_dir(directory)
    constraints.reload_constraints()
    sys.argv = [
        str(Path(sys.executable).parent / f"swift-{name}-server"),
        os.path.join(directory, f"{name}-server.conf"),
    ]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    command = rings if sys.argv[1] == "rings" else serve
    command(*sys.argv[2:])
