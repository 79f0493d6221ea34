"""Tells the service manager how far the server is (sd_notify(3), the unit's ``Type=notify``)."""

import os
import socket

import structlog

_log = structlog.get_logger(__name__)


def notify(state: str) -> None:
    """Send ``READY=1`` or the like to the socket in NOTIFY_SOCKET, if there is one. It does not wait."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
    except OSError as error:
        _log.warning("service manager not notified", state=state, reason=error.strerror or str(error))
