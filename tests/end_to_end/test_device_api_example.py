"""The example of the page on the device package, on MicroPython's unix port. On CPython it runs with all documents."""

import dataclasses
import os
import subprocess
from pathlib import Path

from dpe_coap.imei import Imei
from dpe_server.operation.credential import credential
from dpe_server.operation.state_dir import StateDir
from tests.end_to_end.running import Running
from tests.project.console import commands

WRITES = "cat > sensor.py << 'END'\n"


def test_it_runs_on_micropython(
    state: StateDir, running: Running, root: Path, tmp_path: Path, micropython: str
) -> None:
    [program] = [c.text for c in commands(root / "docs" / "device-api.md") if c.text.startswith(WRITES)]
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "sensor.py").write_text(program.removeprefix(WRITES).removesuffix("END"), encoding="utf-8")
    made = credential(state.keys, state.config, Imei.parse("35209900176148"))
    (folder / "credential.cbor").write_bytes(dataclasses.replace(made, server=running.uri).to_cbor())
    done = subprocess.run(
        [micropython, "sensor.py"],
        cwd=folder,
        env={**os.environ, "MICROPYPATH": f".frozen:{root / 'device'}"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert [line.split()[0] for line in said[:4]] == ["sent", "received"] * 2
    assert said[4].startswith("Client ID 1")
    assert said[4].endswith(" lifetime 3600")
    assert said[5:] == ["OSCORE master secret and salt: 16 and 8 bytes", "after a reset: REGISTERED"]
