"""The DPE Client's state machine: it registers a device, and is REGISTERED once the server has proved that it knows.

Sans-I/O: time, entropy, storage and datagrams are passed in. What is under a valid security token is believed; anything
else is a hint to back off and try again. Until that attempt begins, the answer to the one before still counts: whoever
forges a hint, but cannot keep the answer from coming, delays nothing.

Every transition; `step` and `start` are calls:

    state       event        next
    IDLE        step         REQUESTING
    IDLE        exhausted    REFUSED      the boot counter is at its end
    BACKOFF     step         REQUESTING
    BACKOFF     exhausted    REFUSED      the boot counter is at its end
    REQUESTING  retried      REQUESTING   another version, X25519, or a server that this one named
    REQUESTING  exhausted    REFUSED      the boot counter is at its end
    REQUESTING  failed       BACKOFF      unavailable, no answer, a reset, an error without a security token
    REQUESTING  refused      REFUSED
    REQUESTING  accepted     CONFIRMING   it is saved
    REQUESTING  declined     CONFIRMING   by the application, for its version, or as it could not be saved
    CONFIRMING  repeated     CONFIRMING   no answer, a reset, an error without a security token
    CONFIRMING  failed       BACKOFF      the third time, or superseded
    CONFIRMING  released     IDLE         declined
    CONFIRMING  confirmed    REGISTERED
    BACKOFF     retried      REQUESTING   these six as above, by an answer that comes after a hint or late
    BACKOFF     failed       BACKOFF
    BACKOFF     refused      REFUSED
    BACKOFF     accepted     CONFIRMING
    BACKOFF     declined     CONFIRMING
    BACKOFF     released     IDLE
    BACKOFF     confirmed    REGISTERED
    BACKOFF     start        IDLE
    REFUSED     start        IDLE
    REGISTERED  start        IDLE
"""

from . import coap, messages

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import X25519, Accept, Address, Any, Credential, Entropy, Storage, Version

IDLE = "IDLE"
REQUESTING = "REQUESTING"
CONFIRMING = "CONFIRMING"
REGISTERED = "REGISTERED"
REFUSED = "REFUSED"
BACKOFF = "BACKOFF"

_OPTION_CONTENT_FORMAT = const(12)
_OPTION_MAX_AGE = const(14)
_CONTENT_FORMAT_CBOR = const(60)
_BAD_REQUEST = const(0x80)  # the least code of an error

# As in `coap`.
_FAILED = const(0)
_ANSWERED = const(1)

_AT_TYPE = const(2)  # where a message has its type
_TYPE_SUCCESS = const(3)

_LABEL_VERSION = const(2)
_LABEL_CLIENT_ID = const(3)
_LABEL_STATUS = const(4)
_LABEL_SEALED_HANDLE = const(5)
_LABEL_SERVER_URI = const(8)
_LABEL_LIFETIME = const(9)
_LABEL_RETRY_AFTER = const(10)

_STATUS_OK = const(0)
_STATUS_VERSION_NOT_SUPPORTED = const(1)
_STATUS_UNAVAILABLE = const(3)
_STATUS_SUITE_TOO_WEAK = const(4)
_STATUS_REDIRECT = const(6)
_STATUS_VERSION_UNACCEPTABLE = const(17)
_STATUS_STORAGE_FAILURE = const(18)

_EXCHANGES = const(3)  # with the same SUCCESS
_HOUR = const(3600)  # the longest back-off, and the most that an unauthenticated Max-Age is worth

_BLOCK = const(256)  # boot counters; there are 2^32 - 1 blocks, and the one after the last is never begun

# What is saved: the next block of boot counters (4 bytes), mark (5), session, check (16). The mark is 0 without a
# session, one of these or, when confirmed with a lifetime, that and the last of these. The session: next handle (17),
# Client ID (7), version (2), PRK3 (32), TH2 (32), after a redirect the server's URI, and a zero and the base, as text:
# the block with which the numbers of its messages begin. Firmware that sent none has left the last two out. Without a
# session, the handle.
_UNCONFIRMED = const(1)
_UNLIMITED = const(2)
_LIMITED = const(3)
_MARK = const(4)
_SESSION = const(9)
_CLIENT_ID = const(17)
_VERSION = const(24)
_PRK3 = const(26)
_TH2 = const(58)
_SERVER = const(90)
_CHECK = const(-16)


class Registration(coap.Endpoint):
    """The registration of a device.

    `credential` has `server`, `realm`, `handle` and `device_key`; `storage` has `load()` and `save(bytes)`, which
    raises OSError when it fails; `entropy(n)` gives n random bytes. The rest are keywords, the same for `register` in
    `udp` and `aio`. `versions` are those that the device speaks, the preferred one first; `firmware` is what it tells
    the server of its own, at most 32 bytes of UTF-8. `x25519` is an implementation, used when the server asks for it,
    or from the start when `suite` is 2. `accept(client_id, version)` declines with a status other than 0. `ack_timeout`
    is CoAP's ACK_TIMEOUT and `backoff` the first back-off, in ms.

    `state` is one of this module's; `server` is the URI to send to. `peer` is its address, set by the caller when a
    datagram is to be sent and it is None; what comes from elsewhere is dropped. `status` is the last that came under a
    valid security token, or None in REFUSED when the boot counter is at its end; `version` is the one that the server
    selected, or the highest it supports. `client_id` (7 bytes), `lifetime` (s, None is without end) and `oscore`
    (master secret and salt) are those of the last confirmed session.

    No two REQUESTs have the same nonce, even when `entropy` repeats itself: each has a boot counter of its own, which
    never wraps. These are taken from storage in blocks of 256, so that attempts do not wear it: it is written before
    the first REQUEST of a boot, and of every 256 after that. A boot goes on with another block than the one before, if
    that was saved.
    """

    state = IDLE
    status: "int | None" = None
    client_id: "bytes | None" = None
    lifetime: "int | None" = None
    oscore: "tuple[bytes, bytes] | None" = None
    _redirect = ""
    _boot = _mark = _failures = _tries = _end = 0  # the last is the next block, as this boot has saved it

    def __init__(
        self,
        credential: "Credential",
        storage: "Storage",
        entropy: "Entropy",
        *,
        versions: "tuple[Version, ...]" = ((1, 0),),
        firmware: "str | None" = None,
        x25519: "X25519 | None" = None,
        suite: int = 1,
        accept: "Accept | None" = None,
        ack_timeout: int = 2000,
        backoff: int = 5000,
    ) -> None:
        self.entropy = entropy
        self.ack_timeout = ack_timeout
        self.credential = credential
        self.storage = storage
        self.versions = versions
        self.firmware = firmware
        self.x25519: "Any" = x25519
        self.suite = suite
        self.accept = accept
        self.backoff = backoff
        self.version = versions[0]
        self._key: bytes = credential["device_key"]
        self._session: bytes = credential["handle"]
        record = storage.load()
        if record and record[_CHECK:] == self._check(record[:_CHECK]):
            self._boot = int.from_bytes(record[:_MARK], "big") << 8
            self._mark = int.from_bytes(record[_MARK:_SESSION], "big")
            self._session = session = record[_SESSION:_CHECK]
            if self._mark:
                self._prk3 = session[_PRK3:_TH2]
                self._th = session[_TH2:_SERVER]
                self._redirect = str(session[_SERVER:], "utf-8").split("\0")[0]
                self._answer(session[_CLIENT_ID:_VERSION], _STATUS_OK)
                self.version = session[_VERSION], session[_VERSION + 1]
                if self._mark > _UNCONFIRMED:
                    self._registered()
        self.server: str = self._redirect or credential["server"]

    def start(self) -> None:
        """Register, or register anew, from the next step on; without effect while that is under way."""
        if self.state not in (REQUESTING, CONFIRMING):
            self.state = IDLE
            self._request = b""
            self.due = self._failures = self._left = 0

    def step(
        self, now: int, datagram: "bytes | None" = None, sender: "Address" = None
    ) -> "tuple[bytes | None, int | None, str]":
        """Take the time and what was received; return a datagram to send, when to step again, and the state.

        `now` is in ms and never goes back. The time to step again may have come already; None is when a datagram comes.
        """
        out = None
        if datagram and len(datagram) > 3 and sender == self.peer:
            out, response = self.receive(datagram)
            if response:
                code, options, payload = response
                if options.get(_OPTION_CONTENT_FORMAT) != _CONTENT_FORMAT_CBOR:
                    if code < _BAD_REQUEST:
                        out = None
                    elif self._left:  # one hint is enough: with more, whoever forges them would lengthen the back-off
                        self._fail(now, min(options.get(_OPTION_MAX_AGE, 0), _HOUR))
                elif self._believe(now, payload):
                    self._request = b""
                else:
                    out = None
        if out is None and self.due is not None and now >= self.due:
            if self._left <= _ANSWERED:
                if self.state != CONFIRMING and self._ask(now):
                    return None, self.due, self.state
                self.server = self._redirect or self.credential["server"]
                self.post(self._message)
            out = self.transmit(now)
            if not out:
                self._fail(now, 0)
        return out, self.due, self.state

    def _ask(self, now: int) -> bool:
        # Make the next message, or return True. An attempt begins afresh, as the server's policy may have changed.
        if self._boot + 3 * _BLOCK >> 40:  # what is saved later may name two blocks more
            self.state = REFUSED
            self.status = self.due = None
            return True
        if self.state != REQUESTING:
            self._asked = self.versions[0]
            self._redirect = ""
            self._private: "Any" = self.suite > 1 and self.entropy(32)
            self.state = REQUESTING  # last: memory may run out before
        if self._boot >> 8 >= self._end:
            self._save(self._mark, self._session)
        self._boot += 1
        nonce = messages.derive(self._key, b"nonce" + self._boot.to_bytes(5, "big") + self.entropy(16))[:16]
        self._message = messages.make_request(
            self._key,
            self.credential["realm"],
            self._session[:_CLIENT_ID],
            self._asked,
            nonce,
            self.x25519.public(self._private) if self._private else None,
            self.firmware,
        )
        return False

    def _believe(self, now: int, payload: bytes) -> bool:
        # Act on a message; or not, and it is as if it had never come.
        confirming = self._message[_AT_TYPE] == _TYPE_SUCCESS
        try:
            if confirming:
                fields = messages.open_confirm(self._prk3, self._th, payload)
            else:
                fields, self._prk3, self._th = messages.open_response(
                    self._key, self._message, payload, self.x25519, self._private
                )
        except ValueError:
            return False
        self.status = status = fields[_LABEL_STATUS]
        if confirming:
            if self._declining:
                self.state = IDLE
                self.due = None
            elif status != _STATUS_OK:
                self._tries = 0
                self._fail(now, 0)
            else:
                # If this is not saved, the next boot repeats SUCCESS and gets the same CONFIRM.
                self._mark = fields.get(_LABEL_LIFETIME, _UNLIMITED - _LIMITED) + _LIMITED
                self._save(self._mark, self._session)
                self._registered()
            return True
        self.version = version = fields[_LABEL_VERSION]
        self.state = REQUESTING
        self.due = 0
        self._left = _ANSWERED
        if status == _STATUS_OK:
            client_id = fields[_LABEL_CLIENT_ID]
            if version not in self.versions:
                status = _STATUS_VERSION_UNACCEPTABLE
            elif self.accept:
                status = self.accept(client_id, version) or _STATUS_OK
            base = -(-self._boot >> 8)
            self._boot = base << 8
            session = fields[_LABEL_SEALED_HANDLE] + client_id + bytes(version)
            session += self._prk3 + self._th + bytes(self._redirect + "\0" + str(base), "utf-8")
            if status == _STATUS_OK and not self._save(_UNCONFIRMED, session):
                status = _STATUS_STORAGE_FAILURE
            self._answer(client_id, status)
        elif status == _STATUS_UNAVAILABLE:
            self._fail(now, fields.get(_LABEL_RETRY_AFTER, 0))
        elif status == _STATUS_REDIRECT and not self._redirect:
            self._redirect = fields[_LABEL_SERVER_URI]
            self._left = _FAILED
        elif status == _STATUS_SUITE_TOO_WEAK and self.x25519 and not self._private:
            self._private = self.entropy(32)
        elif status == _STATUS_VERSION_NOT_SUPPORTED and self._asked == self.versions[0] != version in self.versions:
            self._asked = version
        else:
            self.state = REFUSED
            self.due = None
        return True

    def _answer(self, client_id: bytes, status: int) -> None:
        message = messages.make_success(self._prk3, client_id, status)
        self._th = messages.sha256(self._th + message).digest()
        self._message = message
        self._declining = status
        self._tries = _EXCHANGES
        self.state = CONFIRMING

    def _registered(self) -> None:
        self.client_id = self._session[_CLIENT_ID:_VERSION]
        self.lifetime = self._mark - _LIMITED if self._mark > _UNLIMITED else None
        self.oscore = messages.export(self._prk3, self._th)
        self.state = REGISTERED
        self.due = None

    def _save(self, mark: int, session: bytes) -> bool:
        end = (self._boot >> 8) + 1
        record = end.to_bytes(4, "big") + mark.to_bytes(5, "big") + session
        try:
            self.storage.save(record + self._check(record))
        except OSError:
            return False
        self._end = end
        self._mark = mark
        self._session = session
        return True

    def _check(self, record: bytes) -> bytes:
        # Tells a record from one that is damaged, or that another credential or another layout of the firmware has
        # left. It need not keep out a forger: who can write to the storage can read the credential.
        return messages.sha256(b"state 2" + self._key + self.credential["handle"] + record).digest()[:16]

    def _fail(self, now: int, least: int) -> None:
        # Back off, by 0.5 to 1.5 of the time and 1 to 1.5 of `least` seconds; while CONFIRMING, SUCCESS is sent again.
        wait = min(_HOUR * 1000, self.backoff << self._failures)
        self._failures += wait < _HOUR * 1000
        chance = int.from_bytes(self.entropy(2), "big")
        self.due = now + (max(wait * (chance + 0x8000), least * 500 * (chance + 0x20000)) >> 16)
        self._left = _FAILED
        self._tries -= 1
        if self.state != CONFIRMING or self._tries < 1:
            self.state = BACKOFF
