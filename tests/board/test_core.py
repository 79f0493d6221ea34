"""The tests of the client's core on an emulated Cortex-M0, the micro:bit's, in a read-only file system in its flash."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from dpe_tools.emulator import PROGRAM
from tests.device.cpython.test_on_micropython import MODULES, UNIX_ONLY

pytestmark = [pytest.mark.board, pytest.mark.timeout(480)]

FLASH_SIZE = 1 << 20
"""Bytes, the most that the emulator has: the firmware is in the lower half, the file system in the upper."""
ROM = FLASH_SIZE // 2
NOT_HERE = {"test_oscore", "test_session", "test_session_course", "test_values"}
"""The vectors of the session take more memory than the board has, and its floats of 32 bits are not read exactly."""
RAM_SIZE = 256 << 10
"""Bytes; the micro:bit has 16 kB, but the board also compiles the tests, and reads the vectors from JSON."""


def run(root: Path, built: Path, directory: Path, tests: Iterable[Path]) -> subprocess.CompletedProcess[str]:
    checkout = directory / "checkout"
    ignored = shutil.ignore_patterns("test_*", "__pycache__", "cpython", "wasm")
    for folder in ("device/dpe_device", "tests/device", "tests/vectors"):
        shutil.copytree(root / folder, checkout / folder, ignore=ignored)
    for test in tests:
        shutil.copy(test, checkout / "tests" / "device")
    rom = directory / "rom"
    mpremote = [sys.executable, "-m", "mpremote", "romfs", "--no-mpy", "--output", str(rom), "build", str(checkout)]
    subprocess.run(mpremote, capture_output=True, check=True)
    assert rom.stat().st_size <= FLASH_SIZE - ROM
    command = [
        PROGRAM, "-machine", "microbit", "-nodefaults", "-nographic", "-semihosting", "-serial", "stdio",
        "-global", f"nrf51-soc.flash-size={FLASH_SIZE}", "-global", f"nrf51-soc.sram-size={RAM_SIZE}",
        "-kernel", str(built / "microbit.elf"), "-device", f"loader,file={rom},addr={ROM:#x},force-raw=on",
    ]  # fmt: skip
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)


def test_the_core_on_a_cortex_m0(root: Path, built: Path, tmp_path: Path) -> None:
    modules = MODULES - UNIX_ONLY - NOT_HERE
    done = run(root, built, tmp_path, [root / "tests" / "device" / f"{module}.py" for module in modules])
    assert done.returncode == 0, done.stdout + done.stderr
    board, interpreter, *tests, last = done.stdout.splitlines()
    assert board.startswith("microbit with nRF51, ")
    assert "MicroPython v" in interpreter
    assert {test.split()[0] for test in tests} == {"ok"}
    assert {test.split()[1].partition(".")[0] for test in tests} == modules
    assert last == f"{len(tests)} tests, 0 failed"


def test_a_failing_test_is_noticed(root: Path, built: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "test_wrong.py"
    wrong.write_text("def test_wrong():\n    assert 1 == 2\n\n\ndef test_right():\n    pass\n")
    done = run(root, built, tmp_path, [wrong])
    assert done.returncode == 1
    assert "FAILED test_wrong.test_wrong" in done.stdout
    assert "ok test_wrong.test_right" in done.stdout
    assert "2 tests, 1 failed" in done.stdout.splitlines()
