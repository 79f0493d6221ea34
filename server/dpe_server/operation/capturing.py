"""A capture of what passes through the server's sockets, for an operator who looks for a fault."""

from collections.abc import Sequence
from pathlib import Path

import structlog

from dpe_server.net.pcapng import Capture
from dpe_server.net.udp import UdpSocket

APPLICATION = "dpe serve"
CAPTURED = "it has no keys, but who spoke when and from where, Client IDs, sizes, and IMEIs that are sent in clear"

_log = structlog.get_logger(__name__)


def capture(sockets: Sequence[UdpSocket], path: Path) -> Capture:
    """Have what passes through these sockets written to a file, also by processes that begin later; CaptureError."""
    made = Capture(path, APPLICATION)
    for socket in sockets:
        socket.capture_to(made, lambda why: _log.warning("nothing is captured any more", reason=why))
    _log.warning("every datagram is captured", file=str(path), hint=CAPTURED)
    return made
