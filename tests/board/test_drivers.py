"""The board's drivers that need no board, on MicroPython."""

import subprocess
from pathlib import Path


def test_the_drivers_on_micropython(root: Path, micropython: str) -> None:
    script = root / "tests" / "board" / "drivers.py"
    ran = subprocess.run([micropython, script], capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines() == [f"ok {line[4:-3]}" for line in sorted(_tests(script))]


def _tests(script: Path) -> list[str]:
    return [line for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("def test_")]
