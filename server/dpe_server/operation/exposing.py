"""Starts the process that serves metrics (``dpe_server.exposition``), and lets it end with the server.

If it ends earlier, the server goes on without it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from dpe_coap.errors import LocalError
from dpe_server.net.udp import listen_error, parsed_address

HOST = "127.0.0.1"
"""Where metrics are served if only a port is named."""
PORT = 9464
"""At which port they are if only a host is named: the one that OpenTelemetry's exporters have."""


class Serving(NamedTuple):
    """Metrics that are served."""

    folder: Path
    """Where the server's processes write their snapshots."""
    url: str


@contextmanager
def serving(state: Path, address: str) -> Iterator[Serving]:
    """Serve the metrics of the server of ``state`` at ``address`` (``HOST:PORT`` or ``PORT``) while the block runs.

    Raises ListenError if nobody can listen there, LocalError if the library is not installed.
    """
    if find_spec("prometheus_client") is None:
        raise LocalError("what serves metrics is not installed", hint="pip install 'dpe-coap[metrics]'")
    host, port = parsed_address(f"{HOST}:{address}" if address.isdigit() else address, PORT)
    with tempfile.TemporaryDirectory(prefix="dpe-metrics-") as folder:
        command = [sys.executable, "-m", "dpe_server.exposition", str(state), folder, host, str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            told = json.loads(child.stdout.readline() or "{}")
            try:
                if "errno" in told:
                    raise listen_error(address, OSError(told["errno"], os.strerror(told["errno"])), "--metrics")
                if "url" not in told:
                    raise LocalError("the metrics cannot be served", hint="what went wrong is above")
                yield Serving(Path(folder), told["url"])
            finally:
                child.stdin.close()  # which ends it
