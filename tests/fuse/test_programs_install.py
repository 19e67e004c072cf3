"""Package managers that install into the mount. The packages are made here, so that no network is needed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.fuse.conftest import Disk, long_on_s3

MODULES = 150


def _make_wheel(directory: Path) -> Path:
    """A wheel (PEP 427) with many modules, data files and a console script."""
    info = "demo_pack-1.0.dist-info"
    files = {f"demo_pack/part{n}.py": f"value = {n}\n" * (1 + n % 50) for n in range(MODULES)}
    files["demo_pack/__init__.py"] = (
        "from importlib import import_module\n"
        f"def main():\n    print(sum(import_module(f'demo_pack.part{{n}}').value for n in range({MODULES})))\n"
    )
    files["demo_pack/data/table.csv"] = "a,b\n" * 20_000
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\nName: demo-pack\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = "[console_scripts]\ndemo-pack = demo_pack:main\n"
    record = [f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"])
    path = directory / "demo_pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _make_npm_package(directory: Path) -> Path:
    """A package as `npm pack` makes one, with many modules and a command."""
    manifest = {"name": "demo-pack", "version": "1.0.0", "main": "index.js", "bin": {"demo-pack": "cli.js"}}
    files = {f"lib/part{n}.js": f"module.exports = {n};\n" for n in range(MODULES)}
    files["package.json"] = json.dumps(manifest)
    files["index.js"] = (
        "let sum = 0;\n"
        f"for (let n = 0; n < {MODULES}; n++) sum += require(`./lib/part${{n}}.js`);\nmodule.exports = sum;\n"
    )
    files["cli.js"] = "#!/usr/bin/env node\nconsole.log(require('./index.js'));\n"
    path = directory / "demo-pack-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size, member.mode = len(text), 0o755 if name == "cli.js" else 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


ANSWER = f"{sum(range(MODULES))}\n"


def test_venv_and_pip(native_disk: Disk, scratch: Path) -> None:
    """Half a minute on a store that is asked over the network; uv has the same tree there in a fifth of that."""
    disk = native_disk
    environment = disk.path / "env"
    disk.run(sys.executable, "-m", "venv", environment)
    disk.run(environment / "bin" / "pip", "install", "--no-cache-dir", _make_wheel(scratch))
    assert disk.run(environment / "bin" / "demo-pack") == ANSWER
    disk.remount()
    assert disk.run(environment / "bin" / "demo-pack") == ANSWER
    assert "demo-pack" in disk.run(environment / "bin" / "pip", "list")
    disk.run(environment / "bin" / "pip", "uninstall", "-y", "demo-pack")
    assert not list(environment.glob("lib/python*/site-packages/demo_pack*"))
    assert not list(environment.glob("lib/python*/site-packages/~*")), "pip left what it meant to remove"


@long_on_s3
def test_pip_installs_into_a_directory_on_a_store_like_s3(disk: Disk, scratch: Path) -> None:
    target = disk.path / "site"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", target]
    disk.run(*pip, _make_wheel(scratch))
    disk.run(*pip, "--upgrade", _make_wheel(scratch))
    disk.remount()
    ask: list[str | Path] = [sys.executable, "-c", "import demo_pack; demo_pack.main()"]
    assert disk.run(*ask, PYTHONPATH=str(target)) == ANSWER


@pytest.mark.parametrize("cache", ["on the mount", "outside"])
def test_uv_links_or_copies(native_disk: Disk, scratch: Path, cache: str) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    assert uv, "uv is one of the development dependencies"
    store = str((native_disk.path if cache == "on the mount" else native_disk.outside) / "cache")
    environment = native_disk.path / "env"
    native_disk.run(uv, "venv", "--offline", "--python", sys.executable, environment, UV_CACHE_DIR=store)
    argv: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--offline",
        "--python",
        environment / "bin" / "python",
        _make_wheel(scratch),
    ]
    native_disk.run(*argv, UV_CACHE_DIR=store)
    assert native_disk.run(environment / "bin" / "demo-pack") == ANSWER
    native_disk.remount()
    assert native_disk.run(environment / "bin" / "demo-pack") == ANSWER


@long_on_s3
def test_npm_install(disk: Disk, scratch: Path) -> None:
    project = disk.path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"name": "app", "version": "1.0.0", "private": true}')
    npm: list[str | Path] = ["npm", "install", "--offline", "--no-audit", "--no-fund", "--loglevel=error"]
    disk.run(*npm, _make_npm_package(scratch), cwd=project)
    command = project / "node_modules" / ".bin" / "demo-pack"
    assert disk.run(command, cwd=project) == ANSWER
    disk.remount()
    assert disk.run(command, cwd=project) == ANSWER
    assert command.is_symlink()
    disk.run("rm", "-r", project / "node_modules")
    disk.run("npm", "ci", "--offline", "--no-audit", "--no-fund", "--loglevel=error", cwd=project)
    assert disk.run(command, cwd=project) == ANSWER
