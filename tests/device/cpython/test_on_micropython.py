"""The device's tests once more, on a real MicroPython."""

import subprocess
from pathlib import Path

import pytest

DEVICE = Path(__file__).resolve().parent.parent
MODULES = sorted(file.stem for file in DEVICE.glob("test_*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_on_micropython(micropython: str, module: str) -> None:
    done = subprocess.run(
        [micropython, str(DEVICE / "run.py"), module + ".py"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
    assert "FAILED" not in done.stdout


def test_a_failing_test_is_noticed(micropython: str, tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "device"
    folder.mkdir(parents=True)
    (folder / "run.py").write_text((DEVICE / "run.py").read_text())
    (folder / "test_wrong.py").write_text("def test_wrong():\n    assert 1 == 2\n\n\ndef test_right():\n    pass\n")
    done = subprocess.run([micropython, str(folder / "run.py")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "FAILED test_wrong.test_wrong" in done.stdout
    assert "ok test_wrong.test_right" in done.stdout
    assert "2 tests, 1 failed" in done.stdout
