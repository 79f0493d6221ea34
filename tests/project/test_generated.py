"""What is made from other files is what is committed, and a difference is noticed."""

import shutil
import subprocess
import sys
from pathlib import Path


def generate(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(root / "tools" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_committed_is_what_is_made(root: Path) -> None:
    done = generate(root, "--check")
    assert done.returncode == 0, done.stderr


def test_a_difference_is_told_and_mended(root: Path, tmp_path: Path) -> None:
    for file in ("tools/generate.py", "dpe_coap/dpe1.cddl", "dpe_coap/numbers.py", "docs/state-machines.md"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(root / file, tmp_path / file)
    shutil.copy(root / "docs" / "protocol.md", tmp_path / "docs")
    schema = tmp_path / "dpe_coap" / "dpe1.cddl"
    schema.write_text(schema.read_text(encoding="utf-8").replace("status-redirect = 6", "status-redirect = 7"))
    done = generate(tmp_path, "--check")
    assert done.returncode == 1
    assert "numbers.py, protocol.md" in done.stderr
    assert generate(tmp_path).returncode == 0
    assert generate(tmp_path, "--check").returncode == 0
    assert "REDIRECT = 7" in (tmp_path / "dpe_coap" / "numbers.py").read_text(encoding="utf-8")
