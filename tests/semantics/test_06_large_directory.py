"""Chapter 6, one sentence: a directory that nobody else should have to share a mount with."""

from __future__ import annotations

import os
from pathlib import Path

from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.semantics.program import Stored

MANY = 100_000


@semantics("S6.4")
def test_a_hundred_thousand_entries(disk: Mount, work: Path, stored: Stored) -> None:
    place = stored.path(work)
    for i in range(MANY):
        os.close(os.open(place / f"{i:06}", os.O_CREAT | os.O_WRONLY))
    disk.remount()
    names = os.listdir(work)
    assert len(names) == MANY
    assert set(names) == {f"{i:06}" for i in range(MANY)}
