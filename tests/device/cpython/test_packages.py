"""What `mip` installs and what a firmware's manifest freezes: the client whole, the optional parts when asked for."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PACKAGES = {
    "package": {"registration", "store", "udp"},
    "x25519": {"x25519"},
    "aio": {"aio"},
    "session": {"device"},
    "aes": {"aes"},
}
"""The packages of `mip`, and what an application imports from each."""

LEFT_OUT = {"__main__.py"}  # the command line's


@pytest.fixture(scope="module")
def version(root: Path) -> str:
    project: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return project


def urls(root: Path, package: str) -> dict[str, str]:
    """Where the files of a package go, and where they come from."""
    return dict(json.loads((root / "device" / f"{package}.json").read_text(encoding="utf-8"))["urls"])


@pytest.mark.parametrize("package", PACKAGES)
def test_an_installed_package_has_all_it_imports(
    root: Path, micropython: str, version: str, tmp_path: Path, package: str
) -> None:
    said = json.loads((root / "device" / f"{package}.json").read_text(encoding="utf-8"))
    assert said["version"] == version
    for installed in {"package", package}:
        for target, source in urls(root, installed).items():
            (tmp_path / target).parent.mkdir(exist_ok=True)
            shutil.copy(root / "device" / source, tmp_path / target)
    imports = "; ".join(f"import dpe_device.{module}" for module in sorted(PACKAGES[package]))
    done = subprocess.run([micropython, "-c", imports], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_file_is_in_one_package(root: Path) -> None:
    packaged = [target for package in PACKAGES for target in urls(root, package)]
    files = {f"dpe_device/{file.name}" for file in (root / "device" / "dpe_device").glob("*.py")}
    assert sorted(packaged) == sorted(files - {f"dpe_device/{name}" for name in LEFT_OUT})
    assert all(urls(root, package)[target] == target for package in PACKAGES for target in urls(root, package))


class Options(SimpleNamespace):
    """The options of a manifest, as MicroPython's build has them: what the including manifest said goes first."""

    def defaults(self, **values: bool) -> None:
        for name, value in values.items():
            self.__dict__.setdefault(name, value)


def frozen(root: Path, **options: bool) -> tuple[str, set[str]]:
    """The version and the files that the manifest names."""
    found: dict[str, Any] = {}
    manifest = (root / "device" / "manifest.py").read_text(encoding="utf-8")
    names = {"options": Options(**options), "metadata": lambda **said: found.update(said)}
    names["package"] = lambda name, *, files, opt: found.update({"files": {f"{name}/{file}" for file in files}})
    exec(manifest, names)
    return found["version"], found["files"]


def test_the_manifest_freezes_the_same(root: Path, version: str) -> None:
    client = set(urls(root, "package"))
    assert frozen(root) == (version, client)
    assert frozen(root, x25519=True) == (version, client | set(urls(root, "x25519")))
    assert frozen(root, aio=True, x25519=False) == (version, client | set(urls(root, "aio")))
    assert frozen(root, session=True) == (version, client | set(urls(root, "session")))
    assert frozen(root, aes=True) == (version, client | set(urls(root, "aes")))
