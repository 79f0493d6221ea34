"""A whole server on loopback: its state directory, database and sockets are real."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from structlog.testing import capture_logs

from dpe_server.operation.server import Server
from dpe_server.operation.state_dir import StateDir
from tests.serving import LoopThread

POLICY = """
allow_clear_imei = false

[[rule]]
name = "old"
version = "0.*"
action = "version-not-supported"
highest = "1.9"

[[rule]]
name = "banned"
firmware = "banned*"
action = "refuse"

[[rule]]
name = "weak"
firmware = "weak*"
action = "require-x25519"

[[rule]]
name = "moved"
firmware = "moved*"
action = "redirect"
server = "coap://other.example"

[[rule]]
name = "full"
firmware = "full*"
action = "accept"
range = ["20000000000000", "20000000000000"]

[[rule]]
name = "all"
version = "1.*"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 3600
"""


@dataclass(frozen=True)
class Running:
    """A running server. ``uri`` says where it listens, and ``logs`` has what it has logged."""

    server: Server
    loop: LoopThread
    uri: str
    logs: list[Any]


@contextmanager
def running_on(state: StateDir) -> Iterator[Running]:
    """Run a server on a state directory, in this process and on a free port."""
    with capture_logs() as logs, LoopThread() as loop:
        server = loop.run(Server(state.path, ["127.0.0.1:0"]).__aenter__())
        try:
            yield Running(server, loop, server.uris[0], logs)
        finally:
            loop.run(server.__aexit__())
