"""Things that are built on the mount and run from it, and the tools that walk over them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fuse.conftest import Disk, long_on_s3

MODULES = 12

MAKEFILE = """\
OBJECTS = main.o $(patsubst %,part%.o,$(shell seq 1 {count}))
app: $(OBJECTS) libparts.a
\t$(CC) -o $@ main.o -L. -lparts
libparts.a: $(filter part%,$(OBJECTS))
\trm -f $@ && ar rcs $@ $^
%.o: %.c parts.h
\t$(CC) -O1 -c -o $@ $<
"""


def _write_sources(root: Path) -> None:
    numbers = range(1, MODULES + 1)
    root.mkdir()
    (root / "Makefile").write_text(MAKEFILE.format(count=MODULES))
    (root / "parts.h").write_text("".join(f"int part{n}(void);\n" for n in numbers))
    for n in numbers:
        (root / f"part{n}.c").write_text(f'#include "parts.h"\nint part{n}(void) {{ return {n}; }}\n')
    total = " + ".join(f"part{n}()" for n in numbers)
    (root / "main.c").write_text(
        f'#include <stdio.h>\n#include "parts.h"\nint main(void) {{ printf("%d\\n", {total}); return 0; }}\n'
    )


def test_c_project_builds_in_parallel_and_runs(disk: Disk) -> None:
    root = disk.path / "app"
    _write_sources(root)
    disk.run("make", "-j2", cwd=root)
    total = f"{sum(range(1, MODULES + 1))}\n"
    assert disk.run(root / "app", cwd=root) == total
    assert "up to date" in disk.run("make", cwd=root)
    disk.remount()
    assert disk.run(root / "app", cwd=root) == total
    assert "up to date" in disk.run("make", cwd=root), "times did not survive the remount"
    (root / "part1.c").write_text('#include "parts.h"\nint part1(void) { return 1001; }\n')
    rebuilt = disk.run("make", "-j2", cwd=root)
    assert "part1.o" in rebuilt
    assert "part2.o part2.c" not in rebuilt
    assert disk.run(root / "app", cwd=root) == f"{sum(range(1, MODULES + 1)) + 1000}\n"


def test_script_made_executable_runs(disk: Disk) -> None:
    script = disk.path / "hello.sh"
    script.write_text("#!/bin/sh\necho hello from $0\n")
    disk.run("chmod", "+x", script)
    assert disk.run(script) == f"hello from {script}\n"
    disk.remount()
    assert disk.run(script) == f"hello from {script}\n"


@long_on_s3
def test_python_imports_and_caches_its_bytecode(disk: Disk) -> None:
    package = disk.path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("from package.inner import answer\n")
    (package / "inner.py").write_text("answer = 42\n")
    for _ in range(2):
        assert disk.run("python3", "-c", "import package; print(package.answer)") == "42\n"
    assert list((package / "__pycache__").glob("inner.*.pyc"))


@long_on_s3
def test_find_du_and_ls_see_every_file(disk: Disk) -> None:
    root = disk.path / "tree"
    expected = []
    for directory in range(8):
        for number in range(25):
            path = root / f"d{directory}" / f"f{number:02}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * (number * 1000))
            expected.append(str(path.relative_to(root)))
    size = 8 * sum(range(25)) * 1000
    for _ in range(2):
        found = disk.run("find", ".", "-type", "f", "-printf", "%P\n", cwd=root).split()
        assert sorted(found) == expected
        assert disk.run("find", ".", "-size", "+20k", "-name", "f2?", cwd=root).count("\n") == 8 * 4
        lines = disk.run("du", "-ab", ".", cwd=root).splitlines()
        assert sum(int(line.split()[0]) for line in lines if "/f" in line) == size
        used = int(disk.run("du", "-sk", ".", cwd=root).split()[0])
        assert size / 1024 <= used < size / 1024 + 8 * 25 * 8 + 100, f"{used} KiB on disk"
        listing = disk.run("ls", "-lR", ".", cwd=root)
        assert len(re.findall(r"^-rw-r--r--", listing, re.MULTILINE)) == 200
        disk.remount()
