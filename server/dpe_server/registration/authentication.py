"""Who sent a REQUEST: the handle opened, the device key derived, the security token verified.

Whatever is wrong, the same work is done before the refusal, with keys that belong to nobody where there are none: the
time must not reveal the reason. ``./tools/assure timing`` measures that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from dpe_coap.imei import Imei
from dpe_coap.keys import RequestStep
from dpe_coap.messages import Request
from dpe_coap.numbers import SIZE_CLEAR_IMEI, SIZE_SEALED_IMEI
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import Claim, KeyRing, nobodys
from dpe_server.store.contract import NOBODY

_NO_HANDLE = bytes(SIZE_SEALED_IMEI)
"""A handle that nothing opens: there is no handle key 0."""


@dataclass(slots=True)
class Sender:
    """A REQUEST and who claims to have sent it. Unless ``proved``, all but the message itself is only a claim."""

    proved: bool
    """Whether its security token is valid."""
    request: Request
    payload: bytes = field(repr=False)
    th1: bytes = field(repr=False)
    """SHA-256 of the payload."""
    step: RequestStep
    epoch: int
    imei: Imei
    issued: int
    """When its handle was issued, as the handle says (``keys.ring.freshness``); 0 if the IMEI came in clear."""
    device: bytes = field(repr=False)
    """Keyed hash of the IMEI (16 bytes), to be looked up in the store; ``NOBODY`` unless ``proved``."""
    refusal: str
    """Why it gets 4.01, if it does. For the audit log alone: every sender hears the same."""


class Authenticator:
    """Proves REQUESTs made for one realm under the keys of one ring. ``random`` gives strong bytes."""

    def __init__(
        self, realm: str, keys: KeyRing, at_rest: AtRest, random: Callable[[int], bytes], *, allow_clear_imei: bool
    ) -> None:
        self._realm = realm
        self._keys = keys
        self._at_rest = at_rest
        self._nobodys = nobodys(random)
        self._allow_clear_imei = allow_clear_imei

    def prove(self, request: Request, payload: bytes, th1: bytes) -> Sender:
        """Verify the security token of a REQUEST, received as ``payload``."""
        claims, fault = self._claims(request.identity)
        for epoch, imei, issued, key, genuine in claims:  # noqa: B007  # the last one is used below
            step = RequestStep.of(key, self._realm)
            proved = step.verify(payload) & genuine
            device = self._at_rest.device_id(imei)
            if proved:
                break
        refusal = "revoked device" if proved else "bad security token" if genuine else fault
        return Sender(proved, request, payload, th1, step, epoch, imei, issued, device if proved else NOBODY, refusal)

    def _claims(self, identity: bytes) -> tuple[list[Claim], str]:
        """Return who the sender may be, and what is wrong if it is none of them."""
        if len(identity) != SIZE_CLEAR_IMEI:
            return [self._keys.claim(identity, self._nobodys)], "bad handle"
        if not self._allow_clear_imei:
            return [self._keys.claim(_NO_HANDLE, self._nobodys)], "IMEI in clear, which the policy does not allow"
        if not identity.hex().isdecimal():
            return [self._keys.claim(_NO_HANDLE, self._nobodys)], "IMEI in clear is not decimal"
        return self._keys.claims_of(Imei(identity)), ""
