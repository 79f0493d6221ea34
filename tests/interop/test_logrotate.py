"""The file for logrotate, as logrotate reads it: the server goes on in the new file, and no line is lost."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dpe_tools.server_process import ServerProcess
from tests.audit import lines, until
from tests.interop.conftest import IMEI, dpe

LOGROTATE = Path(__file__).resolve().parents[2] / "server" / "packaging" / "dpe.logrotate"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_server_goes_on_in_a_new_file(workers: str, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    logrotate = require_tool("logrotate")
    state, device = tmp_path / "state", tmp_path / "device.json"
    dpe("init", state)
    config = (state / "config.toml").read_text().replace("audit_megabytes = 256", "audit_megabytes = 0")
    (state / "config.toml").write_text(config)
    audit, old = state / "audit.jsonl", state / "audit.jsonl.1"
    with ServerProcess(state, tmp_path / "log", options=("--workers", workers)) as server:
        text = LOGROTATE.read_text(encoding="utf-8").replace("/var/lib/dpe", str(state))
        text = text.replace("systemctl reload dpe-serve", f"kill -HUP {server.process.pid}")
        text = text.replace("su dpe dpe\n", "").replace("create 0600 dpe dpe", "create 0600")
        (tmp_path / "rotate").write_text(text)
        (tmp_path / "rotate").chmod(0o600)
        uri = f"coap://127.0.0.1:{server.address[1]}"
        device.write_text(re.sub('coap://[^"]*', uri, dpe("provision", state, IMEI)))
        dpe("register", device)
        until(lambda: audit.exists() and [line["event"] for line in lines(audit)] == ["response", "established"])
        rotate = [logrotate, "--force", "--state", str(tmp_path / "rotated"), str(tmp_path / "rotate")]
        done = subprocess.run(rotate, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        until(lambda: (tmp_path / "log").read_text().count("policy and keys reloaded") == int(workers))
        dpe("register", device)
        until(lambda: [line["event"] for line in lines(audit)] == ["response", "established", "superseded"])
    assert [line["event"] for line in lines(old)] == ["response", "established"]
    assert audit.stat().st_mode & 0o777 == 0o600
