"""The DPE session's state machine: what a registered device reports, asks and ends, under OSCORE (RFC 8613).

Sans-I/O as the registration, on whose endpoint it stands. Only what is protected is believed; anything else is a hint
to back off. Every request has a number of its own, and what it reports is made anew with each: the values of now.

Every transition beside those of a registration; `step` and `start` are calls:

    state       event        next
    CONFIRMING  confirmed    READY        instead of REGISTERED
    BACKOFF     confirmed    READY
    READY       step         REPORTING    something is wanted, or the session is to be refreshed
    READY       ending       ENDING       that is saved
    READY       failed       BACKOFF      it could not be saved that a number is taken
    READY       exhausted    REFUSED      the boot counter is at its end
    REPORTING   answered     READY        under protection, also if the server refused what was reported
    REPORTING   failed       BACKOFF      unavailable, no answer, a reset, an error that is not protected
    ENDING      failed       BACKOFF
    ENDING      answered     IDLE         the session is erased
    BACKOFF     step         REPORTING
    BACKOFF     ending       ENDING
    BACKOFF     answered     READY        after a hint or late
    BACKOFF     over         IDLE         three exchanges to end it have failed, or the answer came late
    BACKOFF     unknown      REQUESTING   the server has said three times in a row, or once after a boot, not to know it
    READY       start        IDLE
    REPORTING   start        IDLE
    ENDING      start        IDLE
"""

from .oscore import Context
from .registration import IDLE, Registration

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import Aes, Any, Reports, Response

READY = "READY"
REPORTING = "REPORTING"
ENDING = "ENDING"

_POST = const(2)
_DELETE = const(4)
_BAD_REQUEST = const(0x80)  # the least code of an error
_UNAUTHORIZED = const(0x81)

_OPTION_OSCORE = const(9)
_OPTION_CONTENT_FORMAT = const(12)

# As in `coap`.
_FAILED = const(0)
_ANSWERED = const(1)

# As in `registration`.
_BLOCK = const(256)
_EXCHANGES = const(3)
_HANDLE = const(17)
_SERVER = const(90)

_ENDS = const(39)  # the bit of the mark that says that the device is deregistering

# So many times the server may say that it does not know the session; after a boot, not at all. The lowest bit of what
# is counted says that it has said so in this exchange: more than once counts once.
_PATIENCE = const(2 << 1)
_MINUTE = const(60000)  # ms
_TWO_DAYS = const(172800)  # s: a session is refreshed after half its lifetime, and after a day at the latest


class Session(Registration):
    """A registration that goes on: once REGISTERED, it is the device's session.

    `aes`, as for `oscore.Context`, and `reporter` must be set before the first step. `reporter.make(now, session)`
    returns a dpe-report in CBOR, of at most 1,024 bytes, each time that one is sent: without properties, a refresh.
    `session` is a number that is another one in each session, whose server knows no property at first.
    `reporter.done(code, answer, lifetime)` gets the code and the payload of each protected response, and returns the
    session's lifetime as it is then (s, or None).
    """

    aes: "Aes"
    reporter: "Reports"
    _context: "Context | None" = None
    _wish = _method = 0
    _refusals = _PATIENCE

    def want(self, method: int) -> None:
        """Report (2), ask for the policies (1) or deregister (4), from the next step on.

        During an exchange or a back-off, that is after it; of several wishes, the largest number counts.

        Deregistering goes on after a reboot, once it was saved, which is before the server hears of it.
        """
        self._wish = max(self._wish, method)
        if self.state == READY:
            self.due = 0

    def _registered(self) -> None:
        # After a boot a session is refreshed, at some time in the clock's first minute: not by all devices at once.
        due = int.from_bytes(self.entropy(2), "big") * _MINUTE >> 16
        Registration._registered(self)
        self._wish |= self._mark >> _ENDS << 2  # DELETE
        self._left = _FAILED
        self.due = due
        self.state = READY

    def _ask(self, now: int) -> "Any":
        if self.state == READY:
            self._context = self._context or Context(self.client_id, self.oscore, self.aes)  # type: ignore[arg-type]
        method = max(self._wish, self._method) or _POST
        self._refusals = self._refusals + 1 & -2
        if (
            not self._context
            or self.state == IDLE
            or self._boot + 3 * _BLOCK >> 40
            or (self._refusals > _PATIENCE and method != _DELETE)
        ):
            self._context = None
            self._refusals = _PATIENCE
            return Registration._ask(self, now)
        if self._wish > self._method:
            self._tries = _EXCHANGES
        self._method = method  # first: a step may be interrupted anywhere
        self._wish = 0
        if method == _DELETE:
            if self._tries < 1:
                self._save(0, self._session[:_HANDLE])  # if this fails, the next boot goes on with it
                # `due` first: it must not register again
                self.due = self._context = self.client_id = self.oscore = None
                self.state = IDLE
                self._method = 0
                return True
            self._mark |= method << _ENDS - 2
            self._end = 0
        if self._boot >> 8 >= self._end and not self._save(self._mark, self._session):
            self._fail(now, 0)  # not saved means not sent
            return True
        self._boot += 1
        base = int(self._session[_SERVER:].partition(b"\0")[2] or 0) * _BLOCK
        self._asked_at = self.due = now
        rest = b"\x11\x3c\xff" + self.reporter.make(now, base) if method == _POST else b""
        self.post(self._context.protect(self._boot - base, method, rest), b"")
        self.state = ENDING if method == _DELETE else REPORTING
        return True

    def receive(self, datagram: bytes) -> "tuple[bytes | None, Response | None]":
        """As for `Endpoint`; a protected response is acted upon here, and an unprotected one is at most a hint."""
        reply, response = Registration.receive(self, datagram)
        if response and self._context:
            code, options, payload = response
            if _OPTION_OSCORE in options:
                try:
                    code, _, payload = self._context.unprotect(payload)
                except ValueError:
                    return None, None
                response = None
                self._failures = self._refusals = self._tries = self.due = 0
                self._left = _ANSWERED
                self.lifetime = self.reporter.done(code, payload, self.lifetime)
                if self._method != _DELETE:
                    if not self._wish:
                        self.due = self._asked_at + (
                            min(self.lifetime or _TWO_DAYS, _TWO_DAYS) * 500 if code < _BAD_REQUEST else _MINUTE
                        )
                    self._method = 0
                    self.state = READY
                self._request = b""
            else:
                options[_OPTION_CONTENT_FORMAT] = 0
                self._refusals |= code == _UNAUTHORIZED
        return reply, response
