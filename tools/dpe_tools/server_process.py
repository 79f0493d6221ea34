"""A real `dpe serve` in its own process, for the demo and the tests."""

import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from dpe_coap.errors import LocalError

START_SECONDS = 20
STOP_SECONDS = 10
_READY = "listening on coap://"


def free_port() -> int:
    """Return a UDP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """Runs `dpe serve STATE --listen 127.0.0.1:PORT` while the ``with`` block runs. Its log goes to ``log``.

    ``options`` are further options of the command. ``within`` is a command that runs it (`taskset`, `env`,
    `ip netns exec`).
    """

    def __init__(
        self,
        state: Path,
        log: Path,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        options: Sequence[str] = (),
        within: Sequence[str] = (),
    ) -> None:
        serve = [sys.executable, "-m", "dpe_tools", "serve", str(state), "--listen", f"{host}:{port}"]
        self._command = [*within, *serve, *options]
        self._log = log
        self.address = (host, port)

    def __enter__(self) -> Self:
        """Return when the server is ready; LocalError with its last words when it does not get there."""
        self.begin()
        self.await_ready()
        return self

    def begin(self) -> None:
        """Start the process."""
        with self._log.open("ab") as log:
            # In its own session: Ctrl-C at the terminal reaches only the demo, which then stops the server in order.
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )

    def await_ready(self) -> None:
        """Return when the server is ready; LocalError with its last words when it does not get there."""
        assert self.process.stdout is not None
        try:
            readable, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
            line = self.process.stdout.readline() if readable else ""
        except BaseException:
            self.stop()
            raise
        if not line.startswith(_READY):
            self.stop()
            words = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise LocalError(f"the server did not start: {words[-1] if words else 'it said nothing'}")
        host, _, port = line.removeprefix(_READY).strip().rpartition(":")
        self.address = (host, int(port))

    def restart(self) -> None:
        """Stop the server, and start it again; at the same address, if it was given a port."""
        self.stop()
        self.begin()
        self.await_ready()

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()

    def stop(self) -> int:
        """End the server with SIGTERM, wait for it, and return its exit status."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode
