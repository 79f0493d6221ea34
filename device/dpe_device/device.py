"""A device in its session, on a UDP socket: what `udp` and `aio` report and deregister."""

import os

from .reporter import Reporter
from .session import READY, Session
from .udp import Driver

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Address, Aes, Any, Credential, Property, Sequence, Settings, Storage, Trace, Unpack, Value

LONGEST = 1088  # as `udp.LONGEST`, for answers of 1,024 bytes
_REPORT = const(2)
_DEREGISTER = const(4)
_PATIENCE = const(3600000)  # ms


class Device(Driver):
    """A device and its session on a socket, for `report` and `deregister` here and in `aio`.

    `aes` is as for `oscore.Context`, `trace` and `settings` as for `register`. `longest` is the most bytes to receive:
    an answer of the server that is longer is not taken, which `reporter.dropped` says under None.
    """

    _wish = 0

    def __init__(
        self,
        credential: "Credential",
        storage: "Storage",
        aes: "Aes",
        *,
        longest: int = LONGEST,
        trace: "Trace | None" = None,
        **settings: "Unpack[Settings]",
    ) -> None:
        session = Session(credential, storage, os.urandom, **settings)
        session.aes = aes
        session.reporter = self.reporter = Reporter()
        Driver.__init__(self, session, None, trace)
        self.longest = longest

    def begin(self, values: "dict[Property, Value] | None", deadline_ms: "int | None") -> None:
        """Take values to report until the deadline; None deregisters. The first report after a boot is always sent."""
        self._deadline = None if deadline_ms is None else self._clock.now() + deadline_ms
        self.reporter.dropped = {}
        self.reporter.values.update(values or {})
        self._wish = _DEREGISTER if values is None else _REPORT
        if (
            values is None or self.reporter.code is None
        ):  # the session is refreshed after a boot, and the first call is it
            self.registration.want(self._wish)

    def rest(self) -> float:
        """Return for how long there is nothing to do, in s, if no value changes: then call `report` again."""
        now = self._clock.now()
        due = self.registration.due
        wait: float = max(min(self.reporter.due(now), now + _PATIENCE if due is None else due) - now, 0) / 1000
        return wait

    def step(self, received: "tuple[bytes, Address] | None") -> str:
        """As for `Driver`."""
        uri = ""
        if received and len(received[0]) >= self.longest:
            self.reporter.dropped[None] = 0
        try:
            uri = Driver.step(self, received)
        except MemoryError:
            if not received:
                raise
            self.reporter.dropped[None] = 0
            self._out = None
        now = self._clock.now()
        if self._wish == _REPORT and self.registration.state == READY and self.reporter.due(now) <= now:
            self.registration.want(_REPORT)
        return uri

    def send(self, found: "Sequence[Any]") -> "float | None":
        """As for `Driver`; it is over when nothing is left to report."""
        wait = Driver.send(self, found)
        return None if self._wish == _REPORT and self.registration.state == READY and self.rest() else wait
