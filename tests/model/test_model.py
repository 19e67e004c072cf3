"""A mount and a disk are given the same random programs, and must answer alike in everything.

Short and always the same by default, so that a red run can be run again. `AGENTFS_TEST_MODEL=long pytest tests/model`
takes new programs each time, for about half an hour, and shrinks what fails; `--hypothesis-seed=N` repeats it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.conftest import MakeMount
from tests.model import tree
from tests.model.attribute_rules import AttributeRules
from tests.model.content_rules import ContentRules
from tests.model.machine import Sizes
from tests.model.name_rules import NameRules
from tests.model.twin import Twin
from tests.mountinfo import remove_tree
from tests.mounting import Mount

LONG = os.environ.get("AGENTFS_TEST_MODEL") == "long"
SECONDS = 3600 if LONG else 240
STEPS = 100 if LONG else 50
REMOUNT_EVERY = 30
"""System calls between two remounts, at least: each takes as long as hundreds of calls."""

MIB = 1 << 20
SMALL_FILES = Sizes()
LARGE_FILES = Sizes(write=5 * MIB // 2, offset=12 * MIB)

Local = tuple[Path, Path]


class EveryRule(ContentRules, NameRules, AttributeRules):
    """The two sides, without a remount."""


class OnMount(EveryRule):
    """One example, in a directory of its own on a mount that many examples share."""

    def __init__(self, twin: Twin, mount: Mount, sizes: Sizes) -> None:
        super().__init__(twin)
        self.mount = mount
        self.sizes = sizes
        self.remounted_at = 0

    @precondition(lambda self: self.calls >= self.remounted_at + REMOUNT_EVERY)
    @rule()
    def remount(self) -> None:
        self.remounted_at = self.calls
        self.close_all()
        self.mount.remount()
        tree.separate_links(self.twin.disk.root)
        tree.compare(self.twin)


def profile(examples: int) -> settings:
    return settings(
        max_examples=examples * (40 if LONG else 1),
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=not LONG,
        database=None,
        print_blob=LONG,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    )


@pytest.fixture
def scratch(mount_root: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=mount_root))
    yield path
    remove_tree(path)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def run(mount: Mount, scratch: Path, sizes: Sizes, examples: int) -> None:
    numbers = itertools.count()

    def program() -> OnMount:
        number = next(numbers)
        return OnMount(Twin(mount.workspace / str(number), scratch / str(number)), mount, sizes)

    run_state_machine_as_test(program, settings=profile(examples))


def test_the_model_demands_only_what_a_disk_does(scratch: Path) -> None:
    """Both sides on the same disk: a failure is the model's."""
    numbers = itertools.count()

    def program() -> EveryRule:
        number = next(numbers)
        return EveryRule(Twin(scratch / f"{number}-a", scratch / f"{number}-b"))

    run_state_machine_as_test(program, settings=profile(50))


@pytest.mark.fuse
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("native", [True, False], ids=["native", "like-s3"])
def test_a_mount_does_what_a_disk_does(mounts: MakeMount, scratch: Path, native: bool) -> None:
    run(mounts(native=native), scratch, SMALL_FILES, 16)


@pytest.mark.fuse
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("native", [True, False], ids=["native", "like-s3"])
def test_with_files_larger_than_ram(mounts: MakeMount, scratch: Path, native: bool) -> None:
    """Parts of 1 MiB and RAM for a few: every commit is a multipart upload or a patch of one."""
    mount = mounts(native=native, ram_limit="16M", env=(("AGENTFS_PART_SIZE", "1M"),))
    run(mount, scratch, LARGE_FILES, 8)
