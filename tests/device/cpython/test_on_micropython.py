"""The device's tests once more, on a real MicroPython of every version that the client is for."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing

DEVICE = ROOT / "tests" / "device"
MODULES = {file.stem for file in DEVICE.glob("test_*.py")}
# These need the machine's files, entropy and sockets, and a heap that does not grow.
UNIX_ONLY = {"test_store", "test_udp", "test_device", "test_exhaustion"}
PINNED = json.loads((DEVICE / "wasm" / "package.json").read_text(encoding="utf-8"))["dependencies"]
VERSIONS = [name.removeprefix("micropython-") for name in PINNED]


@pytest.fixture(scope="module", params=["unix", *VERSIONS])
def interpreter(request: pytest.FixtureRequest) -> list[str]:
    """The command of an interpreter: the unix port's, or a version's as WebAssembly."""
    if request.param == "unix":
        return [request.getfixturevalue("micropython")]
    folder = ROOT / ".cache" / "wasm" / "node_modules" / f"micropython-{request.param}"
    if not folder.is_dir():
        missing(f"there is no MicroPython {request.param}: run tools/fetch_interpreters")
    return [request.getfixturevalue("require_tool")("node"), str(DEVICE / "wasm" / "run.mjs"), str(folder)]


@pytest.mark.timeout(240)  # AES in MicroPython in WebAssembly, on a busy machine
def test_on_micropython(interpreter: list[str], request: pytest.FixtureRequest) -> None:
    version = request.node.callspec.params["interpreter"]
    modules = MODULES if version == "unix" else MODULES - UNIX_ONLY
    files = [f"{module}.py" for module in sorted(modules)]
    done = subprocess.run([*interpreter, DEVICE / "run.py", *files], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *tests, last = done.stdout.splitlines()
    assert f"MicroPython v{version}." in first or version == "unix"
    assert {test.split()[0] for test in tests} == {"ok"}
    assert {test.split()[1].partition(".")[0] for test in tests} == modules
    assert last == f"{len(tests)} tests, 0 failed"


def test_a_failing_test_is_noticed(interpreter: list[str], tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    folder = tmp_path / "tests" / "device"
    folder.mkdir(parents=True)
    (folder / "run.py").write_text((DEVICE / "run.py").read_text())
    (folder / "test_wrong.py").write_text("def test_wrong():\n    assert 1 == 2\n\n\ndef test_right():\n    pass\n")
    done = subprocess.run([*interpreter, folder / "run.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "FAILED test_wrong.test_wrong" in done.stdout
    assert "ok test_wrong.test_right" in done.stdout
    assert re.search(r"^2 tests, 1 failed$", done.stdout, re.MULTILINE)
