"""The DPE Client's state machine: it registers a device, and is REGISTERED once the server has proved that it knows.

Sans-I/O: time, entropy, storage and datagrams are passed in. What is under a valid security token is believed; anything
else is a hint to back off and try again.

Every transition, by the event that `step` reports (`start` reports none):

    state       event        next
    IDLE        requested    REQUESTING
    BACKOFF     requested    REQUESTING
    REQUESTING  retried      REQUESTING   with the server's version, or with X25519
    REQUESTING  redirected   REQUESTING   to another server of the realm
    REQUESTING  failed       BACKOFF      no answer, a reset, or an error without a security token
    REQUESTING  unavailable  BACKOFF
    REQUESTING  refused      REFUSED
    REQUESTING  accepted     CONFIRMING   saved
    REQUESTING  declined     CONFIRMING   by the application, for its version, or as it could not be saved
    CONFIRMING  repeated     CONFIRMING   no answer, a reset, or an error without a security token
    CONFIRMING  failed       BACKOFF      the third time
    CONFIRMING  abandoned    IDLE         the third time, when declining
    CONFIRMING  superseded   BACKOFF
    CONFIRMING  released     IDLE         when declining
    CONFIRMING  registered   REGISTERED
    BACKOFF     start        IDLE
    REFUSED     start        IDLE
    REGISTERED  start        IDLE
"""

from .coap import Client
from .keys import extract, sha256, sign, verify
from .messages import export, make_request, make_success, open_confirm, open_response

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from ._types import X25519, Accept, Address, Any, Credential, Entropy, Fields, Storage, Version

IDLE = "IDLE"
REQUESTING = "REQUESTING"
CONFIRMING = "CONFIRMING"
REGISTERED = "REGISTERED"
REFUSED = "REFUSED"
BACKOFF = "BACKOFF"

_CONTENT_FORMAT_CBOR = const(60)
_BAD_REQUEST = const(0x80)  # the least code of an error

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
_MOST_BACKOFF = const(3600000)  # ms

# What is saved: boot counter (4 bytes), session, MAC (16). A session: one of these, next handle (17), Client ID (7),
# version (2), lifetime + 1 or 0 for none (5), PRK3 (32), TH2 (32), server URI after a redirect. Without a session
# there is only the first handle, which may be an IMEI in clear. The MAC covers the layout's number: a record of another
# layout, as an update of the firmware may find, is not read.
_LAYOUT = b"state 1"
_NO_SESSION = b"\0"
_UNCONFIRMED = b"\1"
_CONFIRMED = b"\2"
_HANDLE = const(1)
_CLIENT_ID = const(18)
_VERSION = const(25)
_LIFETIME = const(27)
_PRK3 = const(32)
_TH2 = const(64)
_SERVER = const(96)


class Registration:
    """A device and its registration.

    `credential` has `server`, `realm`, `handle` and `device_key`; `storage` has `load()` and `save(bytes)`, which
    raises OSError when it fails; `entropy(n)` gives n random bytes. `versions` are those that the device speaks, the
    preferred one first. `x25519` is an implementation, used when the server asks for it, or from the start when `suite`
    is 2. `accept(client_id, version)` declines with a status other than 0. `ack_timeout` is CoAP's ACK_TIMEOUT and
    `backoff` the first back-off, in ms.

    `state` is one of this module's; `server` is the URI to send to. `peer` is its address, set by the caller: what
    comes from elsewhere is dropped. `status` and `version` are the last that came under a valid security token.
    `client_id` (7 bytes), `lifetime` (s, None is without end) and `oscore` (master secret and salt) are those of the
    last confirmed session.
    """

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
        self.credential = credential
        self.storage = storage
        self.entropy = entropy
        self.versions = versions
        self.firmware = firmware
        self.x25519: "Any" = x25519
        self.suite = suite
        self.accept = accept
        self.backoff = backoff
        self.peer: "Address" = None
        self.status: "int | None" = None
        self.client_id: "bytes | None" = None
        self.version: "Version" = versions[0]
        self.lifetime: "int | None" = None
        self.oscore: "tuple[bytes, bytes] | None" = None
        self.state = IDLE
        self._redirect = ""
        self._coap = Client(entropy, ack_timeout)
        self._boot = 0
        self._booted = False
        self._session = _NO_SESSION + credential["handle"]
        self.start()
        record = storage.load()
        if record and verify(credential["device_key"], record, _LAYOUT + credential["handle"]):
            self._boot = int.from_bytes(record[:4], "big")
            self._session = session = record[4:-16]
            if session[:1] != _NO_SESSION:
                self._redirect = str(session[_SERVER:], "utf-8")
                self._answer(session[_PRK3:_TH2], session[_TH2:_SERVER], session[_CLIENT_ID:_VERSION], _STATUS_OK)
                if session[:1] == _CONFIRMED:
                    self._confirmed()
        self.server: str = self._redirect or credential["server"]

    def start(self) -> None:
        """Register, or register anew, from the next step on; without effect while that is under way."""
        if self.state not in (REQUESTING, CONFIRMING):
            self.state = IDLE
            self._failures = 0
            self._due: "int | None" = 0  # when to begin the next exchange, in ms

    def step(
        self, now: int, datagram: "bytes | None" = None, sender: "Address" = None
    ) -> "tuple[bytes | None, int | None, str | None]":
        """Take the time and what was received; return a datagram to send, when to step again, and the event.

        `now` is in ms and never goes back. When to step again may be past; None is not before a datagram comes.
        """
        coap = self._coap
        out = event = None
        if datagram is not None and sender == self.peer:
            out, response = coap.receive(datagram)
            if response:
                event = self._on_response(now, *response)
                if event:
                    coap.close(out)
                else:
                    out = None
        if out is None:
            if coap.due is None:
                if self._due is not None and now >= self._due:
                    if self.state in (IDLE, BACKOFF):
                        event = self._begin()
                    self.server = self._redirect or self.credential["server"]
                    out = coap.post(now, self._success if self.state == CONFIRMING else self._make_request())
            elif now >= coap.due:
                out = coap.expire(now)
                if out is None:
                    event = self._fail(now, 0, "failed")
        return out, self._due if coap.due is None else coap.due, event

    def _begin(self) -> str:
        # Each attempt begins afresh: the server's policy may have changed.
        self._version = self.versions[0]
        self._private = self.entropy(32) if self.suite == 2 else b""
        self._redirect = ""
        self.state = REQUESTING
        if not self._booted:
            self._booted = True
            self._boot = self._boot + 1 & 0xFFFFFFFF
            self._save(self._session)
        return "requested"

    def _make_request(self) -> bytes:
        key = self.credential["device_key"]
        self._request = make_request(
            key,
            self.credential["realm"],
            self._session[_HANDLE:_CLIENT_ID],
            self._version,
            extract(key, b"nonce" + self._boot.to_bytes(4, "big") + self.entropy(16))[:16],
            self.x25519.public(self._private) if self._private else None,
            self.firmware,
        )
        return self._request

    def _on_response(
        self, now: int, code: int, content_format: "int | None", max_age: int, payload: bytes
    ) -> "str | None":
        # The event that a response makes, or None: it is ignored as if it had never come.
        if content_format != _CONTENT_FORMAT_CBOR:
            return None if 0 < code < _BAD_REQUEST else self._fail(now, min(max_age * 1000, _MOST_BACKOFF), "failed")
        try:
            if self.state == CONFIRMING:
                confirm = open_confirm(self._prk3, self._th3, payload)
            else:
                opened = open_response(
                    self.credential["device_key"], self._request, payload, self.x25519, self._private
                )
        except ValueError:
            return None
        if self.state == CONFIRMING:
            return self._conclude(now, confirm)
        return self._decide(now, *opened)

    def _decide(self, now: int, fields: "Fields", prk3: bytes, th2: bytes) -> str:
        self.status = status = fields[_LABEL_STATUS]
        self.version = version = fields[_LABEL_VERSION]
        if status == _STATUS_OK:
            client_id = fields[_LABEL_CLIENT_ID]
            if version not in self.versions:
                status = _STATUS_VERSION_UNACCEPTABLE
            elif self.accept:
                status = self.accept(client_id, version) or _STATUS_OK
            if status == _STATUS_OK:
                session = _UNCONFIRMED + fields[_LABEL_SEALED_HANDLE] + client_id + bytes(version) + bytes(5)
                if not self._save(session + prk3 + th2 + self._redirect.encode()):
                    status = _STATUS_STORAGE_FAILURE
            self._answer(prk3, th2, client_id, status)
            return "declined" if status else "accepted"
        if status == _STATUS_UNAVAILABLE:
            return self._fail(now, fields.get(_LABEL_RETRY_AFTER, 0) * 1000, "unavailable")
        self._due = 0
        if status == _STATUS_REDIRECT and not self._redirect:
            self._redirect = fields[_LABEL_SERVER_URI]
            return "redirected"
        if status == _STATUS_SUITE_TOO_WEAK and self.x25519 and not self._private:
            self._private = self.entropy(32)
            return "retried"
        if status == _STATUS_VERSION_NOT_SUPPORTED and self._version == self.versions[0] != version in self.versions:
            self._version = version
            return "retried"
        self.state = REFUSED
        self._due = None
        return "refused"

    def _answer(self, prk3: bytes, th2: bytes, client_id: bytes, status: int) -> None:
        self._prk3 = prk3
        self._success = make_success(prk3, client_id, status)
        self._th3 = sha256(th2 + self._success)
        self._declining = status != _STATUS_OK
        self._exchanges = _EXCHANGES
        self.state = CONFIRMING
        self._due = 0

    def _conclude(self, now: int, fields: "Fields") -> str:
        self.status = fields[_LABEL_STATUS]
        self._failures = 0
        if self._declining:
            self.state = IDLE
            self._due = None
            return "released"
        session = self._session
        if self.status != _STATUS_OK:
            self._save(_NO_SESSION + session[_HANDLE:])
            self.client_id = self.oscore = None
            self._exchanges = 0
            return self._fail(now, 0, "superseded")
        lifetime = (fields.get(_LABEL_LIFETIME, -1) + 1).to_bytes(5, "big")
        session = _CONFIRMED + session[_HANDLE:_LIFETIME] + lifetime + session[_PRK3:]
        self._save(session)  # if it fails, the next boot repeats SUCCESS and gets the same CONFIRM
        self._session = session
        self._confirmed()
        return "registered"

    def _confirmed(self) -> None:
        # The state comes last: memory may run out before.
        session = self._session
        self.oscore = export(self._prk3, self._th3)
        self.client_id = session[_CLIENT_ID:_VERSION]
        self.version = session[_VERSION], session[_VERSION + 1]
        lifetime = int.from_bytes(session[_LIFETIME:_PRK3], "big")
        self.lifetime = lifetime - 1 if lifetime else None
        self._due = None
        self.state = REGISTERED

    def _save(self, session: bytes) -> bool:
        credential = self.credential
        record = self._boot.to_bytes(4, "big") + session + bytes(16)
        try:
            self.storage.save(sign(credential["device_key"], record, _LAYOUT + credential["handle"]))
        except OSError:
            return False
        self._session = session
        return True

    def _fail(self, now: int, least: int, event: str) -> str:
        # Back off, for `least` ms or more; while CONFIRMING repeat SUCCESS first.
        random = self._coap.random
        wait = min(_MOST_BACKOFF, self.backoff << min(self._failures, 10))
        self._due = now + max(wait // 2 + random(wait), least + random(least // 2))
        self._failures += 1
        if self.state == CONFIRMING:
            self._exchanges -= 1
            if self._exchanges > 0:
                return "repeated"
            if self._declining:
                self.state = IDLE
                self._due = None
                return "abandoned"
        self.state = BACKOFF
        return event
