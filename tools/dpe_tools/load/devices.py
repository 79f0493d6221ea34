"""The devices of a load: their storage, what they report, and the device package's state machines, which they run."""

import os
from typing import Any, Protocol

from dpe_coap import keys
from dpe_coap.binding import Code
from dpe_coap.errors import MalformedMessage
from dpe_device.registration import Registration
from dpe_device.session import Session
from dpe_tools import voice
from dpe_tools.load.network import Address, Endpoint
from dpe_tools.load.plan import FIRST_PROPERTY, Plan
from dpe_tools.voice import Voice

MS = 1_000_000
S = 1_000_000_000
"""ns."""
CON = 0x44
"""The first byte of a device's requests: confirmable, with a CoAP token of 4 bytes."""
REDIRECTED = "REDIRECTED"


class Wire(Protocol):
    """What the devices need from their network."""

    @property
    def peer(self) -> Address: ...  # noqa: D102
    def lease(self, number: int) -> Endpoint | None: ...  # noqa: D102
    def release(self, endpoint: Endpoint) -> None: ...  # noqa: D102
    def send(self, endpoint: Endpoint, datagram: bytes) -> None: ...  # noqa: D102


class X25519:
    """The device client's X25519, by a library, because the server is what is measured."""

    public = staticmethod(keys.ephemeral)

    @staticmethod
    def shared(private: bytes, peer: bytes) -> bytes:
        """Return the shared secret. Raises ValueError if it is all zero."""
        try:
            return keys.agree(private, peer)
        except MalformedMessage as error:
            raise ValueError(str(error)) from None


class _InTurn(Registration):
    """A device whose message IDs go on where those of the last device on its port ended, not at a random one."""

    def post(self, payload: bytes, *options: bytes) -> None:
        """Open an exchange."""
        mid = self.mid + 1 & 0xFFFF
        super().post(payload, *options)
        self.mid = mid
        self._request = self._request[:2] + mid.to_bytes(2, "big") + self._request[4:]


class Client(_InTurn):
    """A device that registers, and is done then."""


class Talker(_InTurn, Session):
    """A device that registers and goes on with its session, but only refreshes it with a report that it wants."""

    def _registered(self) -> None:
        super()._registered()
        self.due = None


class Meter(Voice):
    """What a device reports: ``properties`` that all have the same value, which grows with each report that is made.

    So the server's record tells which report it is from.
    """

    def __init__(self, properties: int) -> None:
        super().__init__()
        self.numbers = range(FIRST_PROPERTY, FIRST_PROPERTY + properties)
        self.value = 0
        """The last one that was made, in whichever session."""
        self.begin()

    def begin(self) -> None:
        """Begin a session, whose server knows no value."""
        self.least = self.value + 1
        self.known = False

    def boot(self) -> None:
        """Forget what an application has in memory only."""
        self.policy_etag = None

    def make(self, now: int, session: int) -> bytes:
        """Return the next report."""
        self.value += 1
        self.properties = dict.fromkeys(self.numbers, self.value)
        return super().make(now, session)

    def done(self, code: int, payload: bytes, lifetime: int | None) -> int | None:
        """Take a protected response."""
        if code == Code.CHANGED:
            self.least, self.known = self.value, True
        return super().done(code, payload, lifetime)


class Device:
    """A simulated device while it is off: its number, its credential, its storage, and its meter."""

    __slots__ = ("credential", "meter", "number", "record")

    def __init__(self, number: int, credential: dict[str, Any]) -> None:
        self.number = number
        self.credential = credential
        self.record: bytes | None = None
        self.meter: Meter | None = None

    def load(self) -> bytes | None:
        """Return the last record that was saved."""
        return self.record

    def save(self, record: bytes) -> None:
        """Keep a record."""
        self.record = record

    def boot(self, plan: Plan) -> Registration:
        """Return the device as it is after a boot: a ``Talker`` if the plan has reports."""
        options: dict[str, Any] = {
            "x25519": X25519,
            "suite": plan.suite,
            "ack_timeout": plan.ack_timeout,
            "backoff": plan.backoff,
        }
        if plan.talk is None:
            return Client(self.credential, self, os.urandom, **options)
        if self.meter is None:
            self.meter = Meter(plan.talk.properties)
        self.meter.boot()
        return voice.given(Talker(self.credential, self, os.urandom, **options), self.meter)
