"""A device played by dpe_coap's key schedule, so that a test determines every byte that it sends."""

import itertools
import os
import time
from dataclasses import dataclass

from dpe_coap import keys as schedule
from dpe_coap.imei import Imei
from dpe_coap.keys import ConfirmStep, RequestStep, SuccessStep
from dpe_coap.messages import Confirm, Request, Response, Success, Version, decode, encode
from dpe_coap.numbers import Status
from dpe_server.keys.ring import KeyRing
from dpe_server.operation.state_dir import StateDir

VERSION = Version(1, 0)
_serial_numbers = itertools.count(1)


@dataclass
class Offered:
    """A RESPONSE that the device has verified."""

    response: Response
    step: SuccessStep

    def success(self, status: Status = Status.OK) -> bytes:
        """SUCCESS with the Client ID of the RESPONSE."""
        assert self.response.client_id is not None
        return self.step.sign(encode(Success(self.response.client_id, status, bytes(16))))

    def confirm(self, success: bytes, payload: bytes) -> tuple[Confirm, ConfirmStep]:
        """Verify the CONFIRM for a SUCCESS."""
        step = self.step.next(success)
        assert step.verify(payload)
        confirm = decode(payload)
        assert isinstance(confirm, Confirm)
        return confirm, step


class Device:
    """A device of the server with this state directory. It has an IMEI of its own."""

    def __init__(self, state: StateDir, *, keys: KeyRing | None = None, epoch: int = 1) -> None:
        keys = keys or state.keys
        self.imei = Imei.parse(f"35693803{next(_serial_numbers):06d}")
        self.handle = keys.seal_handle(epoch, self.imei, int(time.time()), os.urandom)
        key = keys.device_key(epoch, self.imei)
        assert key is not None
        self.step = RequestStep.of(key, state.config.realm)
        self._private = os.urandom(32)

    def request(
        self,
        version: Version = VERSION,
        *,
        x25519: bool = False,
        firmware: str | None = None,
        identity: bytes | None = None,
    ) -> bytes:
        """A fresh REQUEST."""
        public = schedule.ephemeral(self._private) if x25519 else None
        token = os.urandom(16) + bytes(16)
        message = Request(identity or self.handle, version, token, x25519_key=public, firmware=firmware)
        return self.step.sign(encode(message))

    def read(self, request: bytes, payload: bytes) -> Offered:
        """Verify the RESPONSE to a REQUEST."""
        response = decode(payload)
        assert isinstance(response, Response)
        dh = b""
        if response.x25519_key is not None:
            dh = response.x25519_key + schedule.agree(self._private, response.x25519_key)
        step = self.step.respond(request, response.security_token[:16], dh)
        assert step.verify(payload)
        return Offered(response, step.next(payload))
