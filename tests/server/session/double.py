"""A server's side of sessions on a made-up clock, and a device in its session, with real keys and a real policy."""

from collections.abc import Mapping, Sequence
from os import urandom

from dpe_coap import oscore
from dpe_coap.binding import Code
from dpe_coap.client_ids import client_id_bytes
from dpe_coap.messages import Version
from dpe_coap.session_messages import Property, Value, encode_report
from dpe_server import policy
from dpe_server.handling.handler import handle
from dpe_server.handling.records import AuditRecord
from dpe_server.handling.reply import Reply
from dpe_server.keys.at_rest import AtRest
from dpe_server.keys.ring import KeyRing
from dpe_server.session.sessions import Sessions
from dpe_server.store.contract import (
    Change,
    Outcome,
    Session,
    StoreError,
)
from dpe_server.store.record import entries
from dpe_tools.simulation.memory_store import Disk, MemoryStore

WALL = 1_800_000_000.0
POLICY = """
[[rule]]
name = "everyone"
action = "accept"
range = ["10000000000000", "1fffffffffffff"]
lifetime = 86400
[rule.report]
battery = { pmax = 3600 }
"""
USUAL = b"\xb3dpe\x11\x3c\xff"
"""The options of a report, and the marker of its payload."""


class Store(MemoryStore):
    """Commits and looks fail on demand."""

    broken = unreadable = False

    def commit(self, changes: Sequence[Change], *, patience: float = 0.0) -> list[Outcome]:
        if self.broken:
            raise StoreError("made to fail")
        return super().commit(changes, patience=patience)


class Server:
    """A handler and its store. Any number of handlers may share the store."""

    def __init__(self) -> None:
        self.keys = KeyRing(master={1: urandom(32)}, handle={1: urandom(32)}, at_rest=urandom(32))
        self.at_rest = AtRest(self.keys.at_rest, urandom)
        self.now, self.wall = 1000.0, WALL
        self.store = Store(Disk(), clock=lambda: self.wall)
        self.records: list[AuditRecord] = []
        self.sessions = self.another()

    def another(self) -> Sessions:
        """Return a handler on the same store, as another worker or the next start has it."""
        return Sessions(keys=self.keys, policy=policy.parse(POLICY), random=urandom, retry_after=30)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def send(self, *payloads: bytes, to: Sessions | None = None) -> list[Reply]:
        """Return the replies to a batch."""
        replies, records = handle(to or self.sessions, self.store, payloads, self.now, self.wall)
        self.records += records
        return replies

    def events(self) -> list[str]:
        """Return what the audit log was told, and forget it."""
        told, self.records = self.records, []
        return [f"{record.event}: {record.details.get('reason') or record.details.get('why') or ''}" for record in told]


class Device:
    """A device in its session."""

    def __init__(
        self, server: Server, client_id: int = 0x12345678901234, *, ordinal: int = 5, rule: str = "everyone",
        lifetime: int | None = 86_400, device: bytes | None = None,
    ) -> None:  # fmt: skip
        self.server = server
        self.client_id = client_id
        self.ordinal = ordinal
        self.number = 0
        self.device = device or urandom(16)
        master = urandom(24)
        self.keys = oscore.derive(master[:16], master[16:], client_id_bytes(client_id))
        session = Session(
            client_id=client_id,
            device=self.device,
            sealed_imei=b"sealed",
            version=Version(1, 0),
            firmware=None,
            suite=1,
            rule=rule,
            ordinal=ordinal,
            established_at=int(server.wall),
            lifetime=lifetime,
            expires_at=None if lifetime is None else int(server.wall) + lifetime,
            th3=urandom(32),
            success_hash=urandom(32),
            confirm=b"confirm",
            sealed_keys=server.at_rest.seal_keys(master, client_id),
        )
        assert server.store.commit([session])[0] in (Outcome.COMMITTED, Outcome.REPLACED)

    def protect(self, plaintext: bytes, number: int | None = None) -> bytes:
        """Return what a protected request carries: the option, a marker and the ciphertext."""
        if number is None:
            self.number += 1
            number = self.number
        sender = client_id_bytes(self.client_id)
        nonce = oscore.nonce(self.keys.common_iv, sender, number)
        ciphertext = oscore.encrypt(self.keys.client, nonce, oscore.additional_data(sender, number), plaintext)
        return oscore.option(sender, number) + b"\xff" + ciphertext

    def report(
        self, properties: Mapping[Property, Value] | None, etag: bytes | None = None, number: int | None = None
    ) -> bytes:
        return self.protect(bytes([Code.POST]) + USUAL + encode_report(properties, etag), number)

    def get(self) -> bytes:
        return self.protect(bytes([Code.GET]) + b"\xb3dpe")

    def delete(self) -> bytes:
        return self.protect(bytes([Code.DELETE]) + b"\xb3dpe")

    def opened(self, request: bytes, reply: Reply) -> bytes:
        """Return the plaintext of a protected reply to ``request``."""
        assert reply.protected
        assert (reply.code, reply.content_format, reply.max_age) == (Code.CHANGED, None, None)
        size = request[0] & 7
        number = int.from_bytes(request[1 : 1 + size], "big")
        sender = client_id_bytes(self.client_id)
        nonce = oscore.nonce(self.keys.common_iv, sender, number)
        additional_data = oscore.additional_data(sender, number)
        plaintext = oscore.decrypt(self.keys.server, nonce, additional_data, reply.payload)
        assert plaintext is not None
        return plaintext

    def ask(self, request: bytes) -> bytes:
        """Return the plaintext of the answer to a request that is sent alone."""
        (reply,) = self.server.send(request)
        return self.opened(request, reply)

    @property
    def record(self) -> dict[bytes, bytes]:
        """What the server has of the device."""
        session = self.server.store.session(self.client_id)
        assert session is not None
        return {entry.property: entry.value for entry in entries(session.record)}

    @property
    def session(self) -> Session:
        session = self.server.store.session(self.client_id)
        assert session is not None
        return session
