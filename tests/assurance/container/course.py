"""What is done in a container: found a server, run it, register a device with it, ask for its health, and stop it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_tools.server_process import free_port
from tests.assurance.container.box import Box, first_process

IMEI = "490154203237518"


def init(box: Box) -> tuple[int, str, str]:
    """Run `dpe init`; return its exit status, and what it prints on both streams."""
    return box.run("dpe", "init", f"{box.data}/dpe", "--uri", f"coap://127.0.0.1:{free_port()}")


def found(box: Box) -> None:
    """Make the state directory; LocalError."""
    _succeed(init(box))


def serve(box: Box, *options: str) -> None:
    """Run the server, use it, and stop it as a container's runtime does; LocalError says what was not as it must be."""
    config = (box.volume / "dpe" / "config.toml").read_text(encoding="utf-8")
    (uri,) = re.findall(r'^uri = "(coap://\S+)"', config, re.MULTILINE)
    address = uri.removeprefix("coap://")
    with box.started("dpe", "serve", f"{box.data}/dpe", "--listen", address, "--json-log", *options) as process:
        assert process.stderr is not None
        event = ""
        while event != "listening":
            line = process.stderr.readline()
            if not line.startswith("{"):
                raise LocalError(f"the server has not begun to listen: {line}{process.stderr.read()}")
            event = json.loads(line)["event"]
        status = Path(f"/proc/{first_process(process)}/status").read_text(encoding="utf-8")
        if not re.search(rf"^Uid:(\t{box.user}){{4}}$", status, re.MULTILINE):
            raise LocalError("the server runs as another user")
        register(_succeed(box.run("dpe", "provision", f"{box.data}/dpe", IMEI, "--json")))
        told = _succeed(box.run("dpe", "doctor", "--probe", address))
        if not told.startswith("ok "):
            raise LocalError(f"the probe says: {told}")
        os.kill(first_process(process), signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        if process.returncode or "Traceback" in errors:
            raise LocalError(f"the server ended with status {process.returncode}:\n{errors}")


def register(credential: str) -> None:
    """Register a device from outside; LocalError."""
    with tempfile.TemporaryDirectory(prefix="dpe-device-") as folder:
        path = Path(folder) / "device.json"
        path.write_text(credential, encoding="utf-8")
        command = [sys.executable, "-m", "dpe_tools", "register", str(path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50)
        if done.returncode or json.loads(done.stdout)["state"] != "REGISTERED":
            raise LocalError(f"the device is not registered:\n{done.stdout}{done.stderr}")


def modes(folder: Path) -> dict[str, int]:
    """Return the permissions of the files in a folder."""
    return {path.name: path.stat().st_mode & 0o7777 for path in folder.iterdir()}


def _succeed(done: tuple[int, str, str]) -> str:
    status, shown, errors = done
    if status:
        raise LocalError(f"status {status}:\n{shown}{errors}")
    return shown
