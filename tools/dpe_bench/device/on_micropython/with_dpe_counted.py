"""`with_dpe`, and it counts what the client's CoAP layer takes for a response."""

from dpe_device import udp
from dpe_device.registration import Registration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Counted(Registration):
    """A registration with a counter."""

    taken = 0

    def receive(self, datagram: bytes) -> "Any":
        """Take a datagram."""
        reply, response = super().receive(datagram)
        self.taken += response is not None
        return reply, response


udp.Registration = Counted  # type: ignore[attr-defined]

import with_dpe  # type: ignore[import-not-found]  # noqa: E402, F401
