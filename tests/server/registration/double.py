"""A registrar on a made-up clock and a device for it, with real keys, a real policy and a real database."""

from collections.abc import Sequence
from os import urandom
from pathlib import Path

from dpe_coap import keys as schedule
from dpe_coap.binding import CONTENT_FORMAT_CBOR, Code
from dpe_coap.client_ids import client_id_bytes
from dpe_coap.imei import Imei
from dpe_coap.messages import Confirm, Request, Response, Success, Version, decode, encode
from dpe_coap.numbers import Status
from dpe_server import policy
from dpe_server.handling.handler import handle
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Reply
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.registration.ordinals import Ordinals
from dpe_server.registration.registrar import Registrar
from dpe_server.registration.transaction_table import Transactions
from dpe_server.store.contract import (
    Change,
    Outcome,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    StoreError,
)
from dpe_server.store.sqlite.store import SqliteStore

REALM = "test realm"
WALL = 1_800_000_000.0
FIRST, LAST = 0x10000000000000, 0x1FFFFFFFFFFFFF

POLICY = """
[[rule]]
name = "current"
version = "1.0-1.3"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 86400
[rule.report]
battery = { pmin = 3600, pmax = 3600 }

[[rule]]
name = "weak"
version = "2.*"
action = "require-x25519"

[[rule]]
name = "modern"
version = "2.*"
action = "accept"
range = ["20000000000000", "2fffffffffffff"]
client_id = "stable"
select = "1.3"

[[rule]]
name = "small"
version = "3.0"
action = "accept"
range = ["30000000000000", "30000000000001"]

[[rule]]
name = "elsewhere"
version = "4.0"
action = "redirect"
server = "coap://other.example:5683"

[[rule]]
name = "unwanted"
version = "5.0"
action = "refuse"

[[rule]]
name = "future"
action = "version-not-supported"
highest = "2.5"
"""


class Store(SqliteStore):
    """The real store; its commits and reads fail on demand, as on a full or broken disk."""

    broken = False

    def commit(self, changes: Sequence[Change], *, patience: float = 0.0) -> list[Outcome]:
        if self.broken:
            raise StoreError("made to fail")
        return super().commit(changes, patience=patience)


class Device:
    """A device as dpe_coap's key schedule makes it; the real client is tested elsewhere."""

    def __init__(self, server: "Server", digits: str = "35209900176148", *, epoch: int = 1) -> None:
        self.server = server
        self.imei = Imei.parse(digits)
        key = server.keys.device_key(epoch, self.imei)
        assert key is not None
        self.key = key
        self.handle = server.keys.seal_handle(epoch, self.imei, int(server.wall), urandom)

    def request(
        self,
        version: str = "1.0",
        *,
        private: bytes | None = None,
        firmware: str | None = None,
        clear: bool = False,
        realm: str = REALM,
    ) -> bytes:
        message = Request(
            self.imei.packed if clear else self.handle,
            Version.parse(version),
            urandom(16) + bytes(16),
            x25519_key=None if private is None else schedule.ephemeral(private),
            firmware=firmware,
        )
        return schedule.RequestStep.of(self.key, realm).sign(encode(message))

    def receive(
        self, request: bytes, reply: Reply, private: bytes | None = None
    ) -> tuple[Response, schedule.ResponseStep]:
        """Verify a RESPONSE as a device does."""
        response = decode(reply.payload)
        assert isinstance(response, Response)
        dh = b""
        if private is not None:
            assert response.x25519_key is not None
            dh = response.x25519_key + schedule.agree(private, response.x25519_key)
        step = schedule.RequestStep.of(self.key, REALM).respond(request, response.security_token[:16], dh)
        assert step.verify(reply.payload)
        assert reply.content_format == CONTENT_FORMAT_CBOR
        return response, step

    def success(self, step: schedule.ResponseStep, reply: Reply, status: int = 0) -> tuple[bytes, schedule.ConfirmStep]:
        response = decode(reply.payload)
        assert isinstance(response, Response)
        assert response.client_id is not None
        last = step.next(reply.payload)
        success = last.sign(encode(Success(response.client_id, status, bytes(16))))
        return success, last.next(success)

    def offered(self, version: str = "1.0", status: int = 0) -> tuple[bytes, schedule.ConfirmStep, Response]:
        """Do the first exchange; return the SUCCESS to send and what verifies its CONFIRM."""
        request = self.request(version)
        reply = self.server.send(request)
        assert reply.code == Code.CHANGED
        response, step = self.receive(request, reply)
        success, last = self.success(step, reply, status)
        return success, last, response

    def register(self, version: str = "1.0") -> Response:
        success, last, response = self.offered(version)
        assert confirmation(self.server.send(success), last).status == Status.OK
        return response


def confirmation(reply: Reply, step: schedule.ConfirmStep) -> Confirm:
    """Verify a CONFIRM as a device does."""
    assert reply.code == Code.CHANGED
    assert step.verify(reply.payload)
    confirm = decode(reply.payload)
    assert isinstance(confirm, Confirm)
    return confirm


class Server:
    """A registrar and its store, on a clock that tests set."""

    remote = False
    """What the store says of itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = KeyRing(
            master={1: urandom(32), 2: urandom(32)}, handle={1: urandom(32), 7: urandom(32)}, at_rest=urandom(32)
        )
        self.now, self.wall = 1000.0, WALL
        self.total = 1000
        self.start()

    def start(self) -> None:
        self.store = Store(self.path)
        self.registrar = self.another()
        self.records: list[AuditRecord] = []
        """What the audit log was told."""

    def another(self) -> Registrar:
        """Return a registrar on the same store, as another worker has it."""
        return Registrar(
            realm=REALM,
            keys=self.keys,
            policy=policy.parse(POLICY),
            random=urandom,
            ordinals=Ordinals.after(self.store.last_ordinal(), self.now, self.wall),
            retry_after=30,
            transactions=Transactions(urandom, total=self.total),
        )

    def restart(self) -> None:
        self.store.close()
        self.start()

    def send(self, *payloads: bytes) -> Reply:
        """Return the reply to the last of a batch."""
        return self.handle(payloads)[-1]

    def handle(self, payloads: Sequence[bytes]) -> list[Reply]:
        """Return the replies to a batch."""
        replies, records = handle(self.registrar, self.store, payloads, self.now, self.wall)
        self.records += records
        return replies

    def revoke(self, device: Device) -> None:
        self.store.commit([Revoke(self.device_id(device.imei), int(self.wall))])

    def set_minimum_epoch(self, epoch: int, device: Device | None = None) -> None:
        """Of one device, or of all."""
        change = SetMinimumEpoch(epoch) if device is None else RestrictEpoch(self.device_id(device.imei), epoch)
        self.store.commit([change])

    def rows(self) -> list[Session]:
        return list(self.store.live(int(self.wall)))

    def client_ids(self) -> list[bytes]:
        """Return the Client IDs of the live sessions, as devices have them."""
        return [client_id_bytes(row.client_id) for row in self.rows()]

    def events(self) -> list[str]:
        return [record.event for record in self.take_records()]

    def take_records(self) -> list[AuditRecord]:
        """Return what the audit log was told since the last call."""
        taken, self.records = self.records, []
        return taken

    def device_id(self, imei: Imei) -> bytes:
        return AtRest(self.keys.at_rest, urandom).device_id(imei)
