"""Starts the process that serves metrics (``dpe_server.exposition``), and lets it end with the server.

If it ends earlier, it is started again; if it does so too often, the server goes on without it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from dpe_coap.errors import LocalError
from dpe_server.net.udp import listen_error, parsed_address
from dpe_server.operation.workers import describe

HOST = "127.0.0.1"
"""Where metrics are served if only a port is named."""
PORT = 9464
"""At which port they are if only a host is named: the one that OpenTelemetry's exporters have."""
RESTARTS = 3
"""How often the process is started again within WITHIN seconds. After that, it stays away."""
WITHIN = 60.0

_log = structlog.get_logger(__name__)


class Exposition:
    """The process that serves the metrics of the server of ``state``, from the snapshots in ``folder``."""

    def __init__(self, state: Path, folder: Path, address: str) -> None:
        self._state = state
        self.folder = folder
        """Where the server's processes write their snapshots."""
        self._host, port = parsed_address(f"{HOST}:{address}" if address.isdigit() else address, PORT)
        self._restarts: list[float] = []
        self._over = False
        self._start(port)
        told = json.loads(self._told.readline() or "{}")
        if "url" not in told:
            self.close()
            if "errno" in told:
                raise listen_error(address, _error(told), "--metrics")
            raise LocalError("the metrics cannot be served", hint="what went wrong is above")
        self.url: str = told["url"]
        self._port: int = told["port"]

    def _start(self, port: int) -> None:
        command = [sys.executable, "-m", "dpe_server.exposition", str(self._state), str(self.folder)]
        self._child = subprocess.Popen(
            [*command, self._host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._life, self._told = self._child.stdin, self._child.stdout

    def look(self) -> None:
        """Start the process again if it has ended, at the same port. It does not wait; to be called after SIGCHLD."""
        status = None if self._over else self._child.poll()
        if status is None:
            return
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < WITHIN]
        told = self._last_words()
        self.close()
        if len(self._restarts) == RESTARTS:
            self._over = True
            _log.error("metrics are served no more", **describe(status), **told)
            return
        _log.error("process of metrics died", **describe(status), **told)
        self._restarts.append(now)
        try:
            self._start(self._port)
            _log.warning("process of metrics started again")
        except OSError as error:
            self._over = True
            _log.error("metrics are served no more", reason=error.strerror or str(error))

    def _last_words(self) -> dict[str, str]:
        """Return why a process that has ended could not listen; nothing if it could, or was served before."""
        *_, line = [b"{}", *self._told.read().splitlines()]
        told = json.loads(line)
        return {"reason": str(_error(told).strerror)} if "errno" in told else {}

    def close(self) -> None:
        """Let the process end."""
        self._life.close()
        self._told.close()
        self._child.wait()


def _error(told: dict[str, Any]) -> OSError:
    return OSError(told["errno"], os.strerror(told["errno"]))


@contextmanager
def serving(state: Path, address: str) -> Iterator[Exposition]:
    """Serve the metrics of the server of ``state`` at ``address`` (``HOST:PORT`` or ``PORT``) while the block runs.

    Raises ListenError if nobody can listen there, LocalError if the library is not installed, or there is no folder for
    temporary files, as in a container whose file system can only be read.
    """
    if find_spec("prometheus_client") is None:
        raise LocalError("what serves metrics is not installed", hint="pip install 'dpe-coap[metrics]'")
    try:
        temporary = tempfile.TemporaryDirectory(prefix="dpe-metrics-")
    except FileNotFoundError:
        raise LocalError(
            "metrics need a folder for temporary files", hint="mount one at /tmp, or name one as TMPDIR"
        ) from None
    with temporary as folder:
        exposition = Exposition(state, Path(folder), address)
        try:
            yield exposition
        finally:
            exposition.close()
