"""Who has made what: the truth with which all that a server believes, answers or stores is compared."""

from dataclasses import dataclass
from hashlib import sha256

from dpe_tools.simulation.events import DeviceKnown, RequestSent, SuccessSent, TransactionBegan
from dpe_tools.simulation.world import World


@dataclass(frozen=True, slots=True)
class Made:
    """A message that a device has made."""

    device: bytes
    payload: bytes
    status: int = 0
    """This and all below: of a SUCCESS only."""
    prk3: bytes = b""
    th3: bytes = b""
    client_id: bytes = b""
    request: bytes = b""
    """The REQUEST before it."""


class Messages:
    """All messages that devices have made. It sees an event before any invariant does."""

    def __init__(self, world: World) -> None:
        self.devices: dict[bytes, DeviceKnown] = {}
        self.requests: dict[bytes, Made] = {}
        """By payload."""
        self.successes: dict[bytes, Made] = {}
        """By payload."""
        self.by_hash: dict[bytes, Made] = {}
        """Each SUCCESS, by its SHA-256."""
        self._offered: dict[bytes, bytes] = {}
        """By PRK3, the REQUEST that the offer was an answer to."""
        world.on(DeviceKnown, self._known)
        world.on(RequestSent, self._request)
        world.on(SuccessSent, self._success)
        world.on(TransactionBegan, self._began)

    def _known(self, event: DeviceKnown) -> None:
        self.devices[event.device] = event

    def _began(self, event: TransactionBegan) -> None:
        if event.client_id is not None:
            self._offered[event.prk3] = event.request

    def _request(self, event: RequestSent) -> None:
        if event.request not in self.requests:
            self.requests[event.request] = Made(event.device, event.request)

    def _success(self, event: SuccessSent) -> None:
        success = event.success
        if success not in self.successes:
            status = success[13] if success[13] < 24 else success[14]  # a4 00 03 03 47 client-id 04 status
            # Not always the last REQUEST: after a power cut a client may go on with a session that it stored before
            # later attempts.
            request = self._offered.get(event.prk3, b"")
            made = Made(event.device, success, status, event.prk3, event.th3, success[5:12], request)
            self.successes[success] = self.by_hash[sha256(success).digest()] = made
