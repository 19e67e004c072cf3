"""Real mounts on S3 while the store, the network and the rights of the user fail.

Every test here mounts, and needs more time than others: an outage takes as long as it takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behind_proxy import proxy, remote
from tests.mountinfo import remove_tree

__all__ = ["proxy", "remote"]

HERE = Path(__file__).parent
TEST_SECONDS = 200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.fuse)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture
def scratch(mount_root: Path) -> Iterator[Path]:
    """An ordinary directory, gone after the test."""
    path = Path(tempfile.mkdtemp(dir=mount_root))
    yield path
    remove_tree(path)
