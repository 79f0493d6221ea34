"""Who sent a REQUEST: the handle opened, the device key derived, the security token verified."""

from dataclasses import dataclass, field

from dpe_coap.errors import BadHandle, LocalError
from dpe_coap.imei import Imei
from dpe_coap.keys import RequestStep
from dpe_coap.messages import Request
from dpe_coap.numbers import SIZE_CLEAR_IMEI
from dpe_server.at_rest import AtRest
from dpe_server.key_ring import KeyRing


class UnprovedError(Exception):
    """The sender has not proved a key. The reason is for the audit log alone: every sender hears the same 4.01."""


@dataclass(slots=True)
class Proved:
    """A REQUEST whose security token is valid, and whose it is."""

    request: Request
    payload: bytes = field(repr=False)
    th1: bytes = field(repr=False)
    """SHA-256 of the payload."""
    step: RequestStep
    epoch: int
    imei: Imei
    device: bytes = field(repr=False)
    """Keyed hash of the IMEI (16 bytes)."""


class Authenticator:
    """Proves REQUESTs made for one realm under the keys of one ring."""

    def __init__(self, realm: str, keys: KeyRing, at_rest: AtRest, *, allow_clear_imei: bool) -> None:
        self._realm = realm
        self._keys = keys
        self._at_rest = at_rest
        self._allow_clear_imei = allow_clear_imei

    def prove(self, request: Request, payload: bytes, th1: bytes) -> Proved:
        """Verify the security token of a REQUEST, received as ``payload``; UnprovedError when it is not valid."""
        for epoch, imei in self._identify(request.identity):
            key = self._keys.device_key(epoch, imei)
            if key is not None:
                step = RequestStep.of(key, self._realm)
                if step.verify(payload):
                    device = self._at_rest.device_id(imei)
                    return Proved(request, payload, th1, step, epoch, imei, device)
        raise UnprovedError("bad security token")

    def _identify(self, identity: bytes) -> list[tuple[int, Imei]]:
        """Return who the sender may be. An IMEI in clear does not say its epoch: all, the newest first."""
        if len(identity) != SIZE_CLEAR_IMEI:
            try:
                return [self._keys.open_handle(identity)]
            except BadHandle:
                raise UnprovedError("bad handle") from None
        if not self._allow_clear_imei:
            raise UnprovedError("IMEI in clear, which the policy does not allow")
        try:
            imei = Imei(identity)
        except LocalError:
            raise UnprovedError("IMEI in clear is not decimal") from None
        return [(epoch, imei) for epoch in sorted(self._keys.master, reverse=True)]
